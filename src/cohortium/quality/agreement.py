"""`agreement`: reversed labels in a consortium of 3 to 9 sites, where halves would be too small.

Every site trains alone, every site scores every other. M_ij = (A_ij + A_ji)/2 - 1/2, where A_ij is the AUROC of site
i's model at site j; the leading eigenvector of M splits those that agree from those that contradict. Single-site models
are shown to peers, so the detector needs `updates`: the study's consent, and no secure aggregation. One-class sites
stay out: they cannot be ranked. Pure: AUROCs in, verdicts out. Design: harmful-data.md 5.7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.core.verdicts import Needs, Verdict
from cohortium.errors import UsageError
from cohortium.quality.decide import Table
from cohortium.quality.evidence import two_class
from cohortium.quality.pool import Scale, as_examples, flat, scale_of, scale_sums
from cohortium.quality.protection import ranking
from cohortium.quality.slots import EXACT, begin, logits, newton, slot_sums

__all__ = ["Agreement", "agreements", "judge_agreement"]

Floats = NDArray[np.float64]

LEAST_SITES, MOST_SITES = 3, 9
_REVERSED, _LOOK = -0.1, 0.05


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The detector; it has no options: a reversed site is named by its sign, not by a posterior."""

    needs: ClassVar[Needs] = "updates"

    def run(self, sites: Mapping[str, Any], *, probe: str = "logistic", seed: int = 0) -> Table:
        """Audit all sites in one process; `sites` as `OutOfBag.run` takes them.

        Raises UsageError outside 3 to 9 sites or for another probe.
        """
        if probe != "logistic":
            raise UsageError(f"unknown probe {probe!r}; available: logistic")
        if not LEAST_SITES <= len(sites) <= MOST_SITES:
            raise UsageError(
                f"detector 'agreement' is for {LEAST_SITES} to {MOST_SITES} sites, got {len(sites)}; use 'out-of-bag'"
            )
        names = sorted(sites)
        rows = [as_examples(sites[name]) for name in names]
        return judge_agreement(names, _aurocs(rows, seed=seed))


def judge_agreement(sites: Sequence[str], aurocs: Floats) -> Table:
    """Verdicts from A (n, n), the AUROC of i's model at j; NaN in rows and columns of one-class sites.

    A site with a negative entry of the leading eigenvector and a mean agreement below -.1: labels reversed, repair
    `label-polarity`. A positive one with a mean below .05 among those not named: `look`. Fewer than three two-class
    sites: `inconclusive`.
    """
    scored = ~np.isnan(aurocs).all(axis=1)
    if int(scored.sum()) < LEAST_SITES:
        reason = f"fewer than {LEAST_SITES} sites have three records of each class"
        verdicts = [Verdict(site=s, kind="keep", posterior=0.0, channel="sound", reason=reason) for s in sites]
        return Table(status="inconclusive", auroc=0.5, slope=0.0, verdicts=tuple(verdicts))
    matrix = agreements(aurocs[np.ix_(scored, scored)])
    values, vectors = np.linalg.eigh(matrix)
    leading = vectors[:, int(np.argmax(values))]
    if int((leading > 0).sum()) * 2 < len(leading) or ((leading > 0).sum() * 2 == len(leading) and leading.sum() < 0):
        leading = -leading
    off = ~np.eye(len(matrix), dtype=bool)
    means = np.array([row[keep].mean() for row, keep in zip(matrix, off, strict=True)])
    turned = (leading < 0) & (means < _REVERSED)
    found: dict[int, Verdict] = {}
    for place, at in enumerate(np.flatnonzero(scored)):
        trusted = off[place] & ~turned
        mean = float(matrix[place, trusted].mean()) if trusted.any() else 0.0
        found[int(at)] = _verdict(sites[int(at)], turned=bool(turned[place]), mean=mean, others=int(trusted.sum()))
    verdicts = [found.get(at) or _unranked(site) for at, site in enumerate(sites)]
    return Table(
        status="decided",
        auroc=round(0.5 + float(np.abs(matrix[off]).mean()), 6),
        slope=0.0,
        verdicts=tuple(sorted(verdicts, key=lambda one: one.site)),
    )


def agreements(aurocs: Floats) -> Floats:
    """M = (A + A')/2 - 1/2 with a diagonal of 0, (n, n)."""
    matrix = 0.5 * (aurocs + aurocs.T) - 0.5
    np.fill_diagonal(matrix, 0.0)
    return np.asarray(matrix, dtype=np.float64)


def _verdict(site: str, *, turned: bool, mean: float, others: int) -> Verdict:
    average = f"mean AUROC {0.5 + mean:.2f}".replace("0.", ".", 1)
    if turned:
        reason = f"labels look reversed: this site and {others} others contradict each other ({average})"
        return Verdict(site=site, kind="repair", posterior=1.0, channel="reversed", reason=reason,
                       repair="label-polarity", gain=8, left_out=True)  # fmt: skip
    look = mean < _LOOK
    words = "agrees with the others hardly better than chance" if look else "agrees with the others"
    reason = f"this site {words} ({average})"
    return Verdict(site=site, kind="keep", posterior=0.5 if look else 0.0, channel="sound", reason=reason, look=look)


def _unranked(site: str) -> Verdict:
    reason = "too few records to judge: fewer than three of a class"
    return Verdict(site=site, kind="keep", posterior=0.0, channel="sound", reason=reason)


def _aurocs(rows: Sequence[Examples], *, seed: int) -> Floats:
    """A_ij for all pairs; NaN where either site has one class. Features are scaled over all sites."""
    x = [flat(one) for one in rows]
    scale = scale_of(Parameters(scale_sums(np.concatenate(x))))
    labels = [np.asarray(one.y, dtype=np.float64) for one in rows]
    usable = [two_class(y) for y in labels]
    found = np.full((len(rows), len(rows)), np.nan)
    for i in range(len(rows)):
        if not usable[i]:
            continue
        point = _alone(x[i], labels[i], scale, rng=np.random.default_rng([seed, i]))
        for j in range(len(rows)):
            if usable[j]:
                found[i, j] = ranking(logits(scale.fixed(x[j]), point)[:, 0], labels[j]).auroc
    return found


def _alone(x: Floats, y: Floats, scale: Scale, *, rng: np.random.Generator) -> Floats:
    """One site's own probe, (1, 1 + d)."""
    fixed, everyone = scale.fixed(x), np.ones((len(y), 1), dtype=bool)
    slots = begin(1, x.shape[1], rng=rng)
    while not slots.done.all():
        slots = newton(slots, Parameters(slot_sums(fixed, y, np.ones(len(y)), everyone, slots)), settled=EXACT)
    return slots.point
