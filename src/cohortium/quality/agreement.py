"""`agreement`: reversed labels in a consortium of 3 to 9 sites, where halves would be too small.

Every site trains alone, every site scores every other; `shown_models` tells how. M_ij = (A_ij + A_ji)/2 - 1/2, where
A_ij is the AUROC of site i's model at site j; the leading eigenvector of M splits those that agree from those that
contradict. Single-site models are shown to peers, so the detector needs `updates`: the study's consent, and no secure
aggregation. One-class sites stay out: they cannot be ranked. Pure, the same bits everywhere: AUROCs in, verdicts out.
Design: harmful-data.md 5.7.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters
from cohortium.core.verdicts import Needs, Verdict
from cohortium.errors import UsageError
from cohortium.quality.decide import Table
from cohortium.quality.pool import as_examples, pool_of
from cohortium.quality.shown_models import ShownModels
from cohortium.quality.stakes import registered

__all__ = ["Agreement", "agreements", "judge_agreement", "table_of"]

Floats = NDArray[np.float64]

LEAST_SITES, MOST_SITES = 3, 9
_REVERSED, _LOOK = -0.1, 0.05
_SQUARINGS = 40


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The detector; it has no options: a reversed site is named by its sign, not by a posterior."""

    needs: ClassVar[Needs] = "updates"

    def auditor(self, sites: Collection[str]) -> ShownModels:
        """What these sites exchange. Raises UsageError outside 3 to 9 sites."""
        if not LEAST_SITES <= len(sites) <= MOST_SITES:
            raise UsageError(
                f"detector 'agreement' is for {LEAST_SITES} to {MOST_SITES} sites, got {len(sites)}; use 'out-of-bag'"
            )
        return ShownModels(sites=tuple(sorted(sites)))

    def run(self, sites: Mapping[str, Any], *, probe: str = "logistic", seed: int | bytes = 0) -> Table:
        """Audit all sites in one process: the same bytes as between nodes whose ledger drew this seed (32 bytes).

        `sites` as `OutOfBag.run` takes them, but of any number of columns. Raises UsageError outside 3 to 9 sites or
        for another probe.
        """
        if probe != "logistic":
            raise UsageError(f"unknown probe {probe!r}; available: logistic")
        auditor = self.auditor(sites)
        pool = pool_of({at: as_examples(sites[name]) for at, name in enumerate(auditor.sites)}, most_columns=None)
        state = auditor.initial(seed)
        while not auditor.finished(state):
            state = auditor.advance(state, auditor.answer(state, pool))
        return table_of(auditor, state)


def table_of(auditor: ShownModels, state: Parameters) -> Table:
    """The verdicts of a finished audit: the same bytes at every node."""
    aurocs, silent = auditor.aurocs(state), auditor.silent(state)
    return judge_agreement(auditor.sites, aurocs, silent=silent, to_sign=registered(state))


def judge_agreement(
    sites: Sequence[str], aurocs: Floats, *, silent: Collection[str] = (), to_sign: bool = False
) -> Table:
    """Verdicts from A (n, n), the AUROC of i's model at j; NaN in rows and columns of sites that were not scored.

    Those have one class, or are `silent`: have not answered to the end. to_sign: the study registers subgroups; of nine
    sites or fewer each is taken to hold a twentieth of one.

    A site with a negative entry of the leading eigenvector and a mean agreement below -.1: labels reversed, repair
    `label-polarity`. A positive one with a mean below .05 among those not named: `look`. Fewer than three two-class
    sites: `inconclusive`.
    """
    scored = ~np.isnan(aurocs).all(axis=1)
    if int(scored.sum()) < LEAST_SITES:
        whose = "have answered with" if silent else "have"
        reason = f"fewer than {LEAST_SITES} sites {whose} three records of each class"
        verdicts = [Verdict(site=s, kind="keep", posterior=0.0, channel="sound", reason=reason) for s in sites]
        return Table(status="inconclusive", auroc=0.5, slope=0.0, verdicts=tuple(verdicts))
    matrix = agreements(aurocs[np.ix_(scored, scored)])
    leading = _leading(matrix)
    if int((leading > 0).sum()) * 2 < len(leading) or (
        (leading > 0).sum() * 2 == len(leading) and fp.ordered_sum(leading) < 0
    ):
        leading = -leading
    off = ~np.eye(len(matrix), dtype=bool)
    means = np.array([_mean(row[keep]) for row, keep in zip(matrix, off, strict=True)])
    turned = (leading < 0) & (means < _REVERSED)
    found: dict[int, Verdict] = {}
    for place, at in enumerate(np.flatnonzero(scored)):
        trusted = off[place] & ~turned
        mean = _mean(matrix[place, trusted]) if trusted.any() else 0.0
        one = _verdict(sites[int(at)], turned=bool(turned[place]), mean=mean, others=int(trusted.sum()))
        found[int(at)] = replace(one, to_sign=to_sign and one.left_out)
    verdicts = [found.get(at) or _unranked(site, silent=site in silent) for at, site in enumerate(sites)]
    return Table(
        status="decided",
        auroc=round(0.5 + _mean(np.abs(matrix[off])), 6),
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


def _unranked(site: str, *, silent: bool) -> Verdict:
    reason = "too few records to judge: fewer than three of a class"
    if silent:
        reason = "not judged: it has not answered to the end; it is in the next audit"
    return Verdict(site=site, kind="keep", posterior=0.0, channel="sound", reason=reason)


def _leading(matrix: Floats) -> Floats:
    """The eigenvector of the largest eigenvalue of (n, n), up to its length: a column of a high power, by squaring.

    Only products, sums and quotients of single numbers, so that every processor finds the same bits.
    """
    power = matrix + len(matrix) * np.eye(len(matrix))  # entries are below 1, so that eigenvalues are above 0
    for _ in range(_SQUARINGS):
        squared = np.zeros_like(power)
        for k in range(len(power)):
            squared += power[:, k, None] * power[k]
        power = squared / np.max(np.abs(squared))
    return np.asarray(power[:, int(np.argmax(np.diag(power)))], dtype=np.float64)


def _mean(values: Floats) -> float:
    return float(fp.ordered_sum(values)) / len(values)
