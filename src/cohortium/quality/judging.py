"""What a site finds out about its own records from the merged models: scores, evidence, trust. Nothing here leaves.

Everything follows from the shared state of an audit and the site's rows, so a node that was restarted finds the same.
Works on a `Pool` of one site or of all: per record, or site by site.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.core.verdicts import LEAST_PUBLISHED, Evidence, Repair
from cohortium.quality.calibrate import clipped_mean, margin
from cohortium.quality.evidence import (
    SUSPECT,
    SiteEvidence,
    posterior,
    record_suspicion,
    site_evidence,
    sound_terms,
    trust,
)
from cohortium.quality.novelty import (
    Basis,
    Spread,
    basis_of,
    distances,
    record_oddity,
    site_novelty,
    site_oddity,
)
from cohortium.quality.pool import Pool, Scale, flat
from cohortium.quality.protection import RANKED_RIGHTLY, Ranking, protects, ranking
from cohortium.quality.repairs import LabelPolarity, gain_class, offered
from cohortium.quality.slots import X_BITS, Slots, logits
from cohortium.quality.suspects import own_margin, suspect_odds, suspicion

__all__ = [
    "OF_SITES",
    "Heads",
    "Judged",
    "Logits",
    "PassModels",
    "SiteJudged",
    "judge",
    "mended",
    "oddities",
    "published",
    "read_basis",
    "read_spreads",
    "scores",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Logits = Callable[[Integers, Floats], Floats]

_AS_GOOD = 3.0  # nats, log 19
_ODD = 2.0

OF_SITES = 2
"""Distances that count for sites and for trust; single records of images have one more."""

LABELS = LabelPolarity().name
"""The one repair that changes labels: not offered to sites that cannot be told from a different population."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Heads:
    """The probes of one pass. member: (sites, slots); usable: slots whose bisection was not voided.

    logits: predictors (n, slots) of rows at their points.
    """

    member: NDArray[np.bool_]
    usable: NDArray[np.bool_]
    point: Floats
    logits: Logits = logits

    @classmethod
    def read(cls, state: Parameters, prefix: str, logits: Logits = logits) -> Heads:
        """Of a pass whose probes are trained."""
        return cls(
            member=np.asarray(state[f"{prefix}/member"], dtype=bool),
            usable=np.asarray(state[f"{prefix}/usable"], dtype=bool),
            point=Slots.read(state, f"{prefix}/slots").point,
            logits=logits,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class PassModels:
    """What one pass leaves in the state: probes, calibration u = slope z + offset, and what is usual of records."""

    heads: Heads
    slope: float
    offset: float
    basis: Basis
    spreads: tuple[Spread, ...]
    usual: float

    @classmethod
    def read(cls, state: Parameters, prefix: str, logits: Logits = logits) -> PassModels:
        """Of a finished pass."""
        slope, offset = (float(v) for v in state[f"{prefix}/calibration"])
        return cls(
            heads=Heads.read(state, prefix, logits),
            slope=slope,
            offset=offset,
            basis=read_basis(state, prefix),
            spreads=read_spreads(state, prefix),
            usual=float(state[f"{prefix}/usual"][0]),
        )


@dataclass(frozen=True, kw_only=True)
class SiteJudged:
    """One site after a pass. harmful: p_s, 0 where the ranking protects it."""

    evidence: SiteEvidence
    ranking: Ranking
    harmful: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """All rows of a pool after a pass, (n,) each, and its sites by place. q: trust for the next pass.

    suspicion: that a record is wrong, as its own site lists it; deformed: whether its values are it, not its label.
    """

    z: Floats
    margin: Floats
    oddity: Floats
    suspicion: Floats
    deformed: NDArray[np.bool_]
    q: Floats
    sites: Mapping[int, SiteJudged]


def read_basis(state: Parameters, prefix: str) -> Basis:
    """Mean and directions of the trusted records of a pass, from exact totals."""
    n = float(state[f"{prefix}/moments/n"][0])
    total = fp.from_fixed(state[f"{prefix}/moments/sum"], X_BITS)
    packed = fp.from_fixed(state[f"{prefix}/moments/products"], 2 * X_BITS)
    square = np.zeros((len(total), len(total)))
    rows, columns = np.triu_indices(len(total))
    square[rows, columns] = square[columns, rows] = packed
    return basis_of(max(n, 1.0), total, square, scale=np.asarray(state["scale"], dtype=np.float64))


def read_spreads(state: Parameters, prefix: str) -> tuple[Spread, ...]:
    """Median and spread of each novelty distance of a pass."""
    return tuple(Spread(float(median), float(sd)) for median, sd in state[f"{prefix}/spreads"])


def scores(x: Integers, site: Integers, heads: Heads) -> Floats:
    """z of every row: the mean clipped logit of the usable probes that never saw its site."""
    return clipped_mean(heads.logits(x, heads.point), ~heads.member[site] & heads.usable)


def oddities(x: Integers, basis: Basis, spreads: tuple[Spread, ...]) -> Floats:
    """o of every row. spreads: of the distances that count; three of images for single records, else two."""
    found = distances(fp.from_fixed(x, X_BITS), basis, images=len(spreads) > OF_SITES)
    return record_oddity(found, spreads)


def judge(pool: Pool, x: Integers, models: PassModels, *, anchors: frozenset[int]) -> Judged:
    """Steps 2 and 5 to 8 of a pass. x: the pool's rows, scaled, at 2^-12; anchors: places of trusted sites."""
    z = scores(x, pool.site, models.heads)
    m = margin(z, pool.y, models.slope, models.offset)
    oddity = oddities(x, models.basis, models.spreads[:OF_SITES])
    unlike = oddities(x, models.basis, models.spreads)
    doubt, predictor = record_suspicion(m, oddity), models.slope * z + models.offset
    q, odds, sites = np.ones(len(z)), np.zeros((len(z), 2)), {}
    for site in pool.examples:
        rows = pool.rows(site)
        novelty = site_novelty(site_oddity(oddity[rows]), usual=models.usual, n=len(rows))
        found = site_evidence(m[rows], pool.y[rows], novelty=novelty)
        own, y = predictor[rows], pool.y[rows]
        ranked = ranking(z[rows], y, predictor=own) if found.two_class else Ranking(0.5, 0.0)
        odds[rows] = suspect_odds(own_margin(own, y), unlike[rows], images=len(models.spreads) > OF_SITES)
        harmful = posterior(found)
        if harmful > SUSPECT and protects(ranked.errors, ranked.shortfall, novelty=novelty, two_class=found.two_class):
            harmful = 0.0
        sites[site] = SiteJudged(evidence=found, ranking=ranked, harmful=harmful)
        q[rows] = trust(harmful, doubt[rows], anchor=site in anchors)
    return Judged(z=z, margin=m, oddity=oddity, suspicion=suspicion(odds), deformed=odds[:, 1] > odds[:, 0], q=q,
                  sites=sites)  # fmt: skip


def published(
    name: str, site: int, pool: Pool, judged: Judged, models: PassModels, scale: Scale, repairs: Sequence[Repair]
) -> Evidence | None:
    """What leaves the site after the last pass; None below five records."""
    rows = pool.rows(site)
    if len(rows) < LEAST_PUBLISHED:
        return None
    one = judged.sites[site]
    told, coins = one.evidence, one.evidence.unrelated - one.evidence.novelty
    repair, gain = mended(site, pool, judged, models, scale, repairs)
    return Evidence(
        site=name,
        n=told.n,
        two_class=told.two_class,
        sound=told.sound - coins,
        reversed=told.reversed - coins,
        shifted=told.shifted - coins,
        novelty=told.novelty,
        contradicted=int((judged.margin[rows] < 0).sum()),
        flagged=int((judged.suspicion[rows] > SUSPECT).sum()),
        majority=int(2 * pool.y[rows].sum() > len(rows)),
        auroc=one.ranking.auroc,
        ranking=one.ranking.errors,
        shortfall=one.ranking.shortfall,
        repair=repair,
        gain=gain,
    )


def mended(
    site: int, pool: Pool, judged: Judged, models: PassModels, scale: Scale, repairs: Sequence[Repair]
) -> tuple[str, int]:
    """The repair after which the site's labels agree best with the others' models, and the class of its gain.

    Empty and 0 where no repair gains enough. Labels are not turned, and values of a table not changed, where the site
    cannot be told from a different population: with one class, or while its patients are ranked rightly. Where another
    repair is hardly better than turned labels, labels are meant: the commoner mistake. They are named only where the
    site's patients are ranked the wrong way round, by as much as would protect it the right way round.
    """
    one, labels = judged.sites[site], [repair for repair in repairs if repair.name == LABELS]
    protected = one.ranking.errors > RANKED_RIGHTLY
    examples, x = pool.examples[site], scale.fixed(flat(pool.examples[site]))
    if examples.layout.image is None and (protected or not one.evidence.two_class):
        return "", 0
    after: list[float] = []

    def score(changed: Examples) -> float:
        values = scale.fixed(flat(changed))
        after.append(_fit(values, np.asarray(changed.y, dtype=np.float64), site, models))
        return after[-1]

    found, gain = offered(examples, [one for one in repairs if _plausible(one, examples, x, scale)], score)
    if not labels or not found:
        return found, gain
    turned = score(labels[0].apply(examples))
    if found != LABELS and turned <= max(after) - _AS_GOOD:
        return found, gain
    allowed = one.evidence.two_class and -one.ranking.errors > RANKED_RIGHTLY
    return (LABELS, min(gain, gain_class(turned - after[0]))) if allowed else ("", 0)


def _plausible(repair: Repair, examples: Examples, x: Integers, scale: Scale) -> bool:
    """Whether a repair of a table's values brings the columns it changes nearer to the consortium's means.

    In a table any factor that shrinks a noisy column makes bad records agree a little better; a wrong unit is one only
    where the site's median lies a standard deviation away, and no longer does afterwards.
    """
    if examples.layout.image is not None or repair.name == LABELS:
        return True
    try:
        changed = scale.fixed(flat(repair.apply(examples)))
    except ValueError:
        return False
    moved = (changed != x).any(axis=0)
    before, after = (np.abs(np.median(values[:, moved], axis=0)) / (1 << X_BITS) for values in (x, changed))
    return bool(moved.any() and (before > 1.0).all() and (after < before).all() and (after < 1.0).all())


def _fit(x: Integers, y: Floats, site: int, models: PassModels) -> float:
    """How well records agree with the others' models and look like theirs, in nats.

    Oddity counts at most `_ODD` nats a record: it tells an inverted image from a reversed label, which a linear probe
    alone cannot.
    """
    z = scores(x, np.full(len(x), site, dtype=np.int64), models.heads)
    odd = np.clip(oddities(x, models.basis, models.spreads), 0.0, 2.0 * _ODD) / 2.0
    return float(sound_terms(margin(z, y, models.slope, models.offset)).sum() - odd.sum())
