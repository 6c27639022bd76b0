"""CSF and GSF, in the open: how like the real table the clinical and the genomic half of a synthetic one are.

    clinical_parts(against, candidate, ...)    # c1 marginals, c2 dependence, c3 indistinguishability, c4 survival
    genomic_parts(against, candidate)          # g1 frequency, g2 burden, g3 pairs, g4 signs, g5 with the clinic

Each part is 0 to 1, the score is their mean; a part that cannot be computed is left out and named. The names are those
of a publication whose formulas are not public (Asti et al. 2025); ours are open and never numerically equal to them.
`classic_pair` are the usual two scores for comparison with published work: they are blind to dependence, a table with
its columns shuffled independently reaches 0.96. Design: synthetic-data.md 7.1 to 7.3.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cohortium.synth.facts import Fact, Facts
from cohortium.synth.rows import Rows
from cohortium.synth.validation.association import (
    agreement,
    bin_edges,
    binned,
    clinical_matrix,
    phi_matrix,
    rank_with_numbers,
)
from cohortium.synth.validation.curves import km_gap, tau_of
from cohortium.synth.validation.indistinguishable import separability
from cohortium.synth.validation.marginals import distance

__all__ = [
    "classic_pair",
    "clinical_parts",
    "co_occurrence",
    "edges_and_tau",
    "genomic_parts",
    "kept_signs",
    "log_odds_of",
    "mean_of",
    "pair_z",
]

Floats = NDArray[np.float64]
Parts = Mapping[str, float]

_SIGNIFICANT, _KEPT, _NOTHING = 3.0, 1.64, 1.0


def mean_of(parts: Parts) -> float:
    """The score: the mean of the parts there are."""
    there = [value for value in parts.values() if np.isfinite(value)]
    return float(np.mean(there)) if there else float("nan")


def clinical_parts(against: Rows, candidate: Rows, *, edges: Mapping[str, Floats], tau: float, seed: int) -> Parts:
    """c1 to c4 of a candidate against real rows. edges: of bins; tau: end of the curves, both from the real rows."""
    facts = _clinical(against.facts)
    apart = [distance(against[fact.name], candidate[fact.name], fact) for fact in facts]
    real, other = (clinical_matrix(rows, facts, dict(edges)) for rows in (against, candidate))
    auc = separability(against, candidate, seed=seed)
    return {
        "marginals": 1.0 - float(np.mean(apart)),
        "dependence": agreement(real, other),
        "indistinguishability": 1.0 - 2.0 * max(0.0, auc - 0.5),
        "survival": _survival(against, candidate, tau),
    }


def _survival(against: Rows, candidate: Rows, tau: float) -> float:
    facts = against.facts
    if not facts.time:
        return float("nan")
    real, other = ((rows[facts.time], rows[facts.event]) for rows in (against, candidate))
    return 1.0 - km_gap(real, other, tau)


def genomic_parts(against: Rows, candidate: Rows) -> Parts:
    """g1 to g5; all NaN where the study names no genes."""
    names = [fact.name for fact in against.facts.of_group("gene")]
    if not names:
        return dict.fromkeys(("frequency", "burden", "pairs", "signs", "with the clinic"), float("nan"))
    real, other = (np.column_stack([rows[name] for name in names]) for rows in (against, candidate))
    numbers = [f.name for f in against.facts.of_group("clinical") if f.is_number]
    with_clinic = float("nan")
    if numbers:
        measured = [np.column_stack([rows[name] for name in numbers]) for rows in (against, candidate)]
        with_clinic = agreement(rank_with_numbers(real, measured[0]), rank_with_numbers(other, measured[1]))
    return {
        "frequency": _frequency(real, other),
        "burden": _burden(real, other),
        "pairs": agreement(phi_matrix(real), phi_matrix(other)) if len(names) > 1 else float("nan"),
        "signs": co_occurrence(real, other)["kept"],
        "with the clinic": with_clinic,
    }


def _frequency(real: Floats, other: Floats) -> float:
    p, q = (np.nansum(one, axis=0) / np.maximum((~np.isnan(one)).sum(axis=0), 1) for one in (real, other))
    total = float((p + q).sum())
    return 1.0 - float(np.abs(p - q).sum()) / total if total else float("nan")


def _burden(real: Floats, other: Floats) -> float:
    counts = [np.nansum(flags, axis=1).astype(np.int64) for flags in (real, other)]
    longest = max(int(one.max(initial=0)) for one in counts) + 1
    shares = [np.bincount(one, minlength=longest) / max(len(one), 1) for one in counts]
    return 1.0 - float(0.5 * np.abs(shares[0] - shares[1]).sum())


def _log_odds(flags: Floats) -> tuple[Floats, Floats]:
    """ln odds ratio of every pair and its z, 0.5 added to each cell, over rows that have both."""
    there = (~np.isnan(flags)).astype(np.float64)
    ones = np.nan_to_num(flags)
    return log_odds_of(ones.T @ ones, ones.T @ there, there.T @ there)


def log_odds_of(both: Floats, first: Floats, n: Floats) -> tuple[Floats, Floats]:
    """The same from counts: of patients with both flags, with the first (row) where both are known, with both known."""
    only_first = first - both
    only_second = only_first.T
    neither = n - both - only_first - only_second
    cells = [cell + 0.5 for cell in (both, only_first, only_second, neither)]
    log_odds = np.log(cells[0] * cells[3] / (cells[1] * cells[2]))
    z = log_odds / np.sqrt(sum(1.0 / cell for cell in cells))
    below = np.tril_indices(len(both), -1)
    return log_odds[below], z[below]


def co_occurrence(real: Floats, other: Floats) -> dict[str, float]:
    """kept: share of significant pairs (|z| > 3) that keep their sign with |z| > 1.64; together and apart alone; false:
    share of the pairs significant in `other` that have the opposite sign or |z| < 1 in `real`."""
    if real.shape[1] < 2:
        return {"kept": float("nan"), "together": float("nan"), "apart": float("nan"), "false": float("nan")}
    return kept_signs(pair_z(real), pair_z(other))


def pair_z(flags: Floats) -> Floats:
    """Log odds ratio over its standard error of every pair of columns of 0, 1 and NaN, lower triangle row by row."""
    return _log_odds(flags)[1]


def kept_signs(z_real: Floats, z_other: Floats) -> dict[str, float]:
    """The same from the z values of all pairs."""
    kept = (np.sign(z_real) == np.sign(z_other)) & (np.abs(z_other) > _KEPT)
    found = np.abs(z_other) > _SIGNIFICANT
    wrong = (np.sign(z_real) != np.sign(z_other)) | (np.abs(z_real) < _NOTHING)
    return {
        "kept": _share(kept, np.abs(z_real) > _SIGNIFICANT),
        "together": _share(kept, z_real > _SIGNIFICANT),
        "apart": _share(kept, z_real < -_SIGNIFICANT),
        "false": _share(wrong, found),
    }


def _share(of: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    return float(of[among].mean()) if among.any() else float("nan")


def classic_pair(real: Rows, synthetic: Rows) -> tuple[float, float]:
    """The classic CSF and GSF of a table against the real one, for comparison with published figures only."""
    facts = _clinical(real.facts)
    edges = bin_edges(real, facts)
    first = 1.0 - float(np.mean([distance(real[f.name], synthetic[f.name], f) for f in facts]))
    codes = [[binned(rows[f.name], f, edges.get(f.name)) for f in facts] for rows in (real, synthetic)]
    pairs = [
        1.0 - _pair_distance(codes[0][i], codes[0][j], codes[1][i], codes[1][j])
        for i in range(len(facts))
        for j in range(i)
    ]
    csf = float(np.mean([first, np.mean(pairs)])) if pairs else first
    parts = genomic_parts(real, synthetic)
    names = [fact.name for fact in real.facts.of_group("gene")]
    if len(names) < 2:
        return csf, float("nan")
    phi = [phi_matrix(np.column_stack([rows[name] for name in names])) for rows in (real, synthetic)]
    together = float(np.corrcoef(phi[0], phi[1])[0, 1]) if phi[0].std() and phi[1].std() else 0.0
    return csf, float(np.mean([parts["frequency"], parts["burden"], max(0.0, together)]))


Coded = tuple[NDArray[np.int64], int]


def _pair_distance(a: Coded, b: Coded, c: Coded, d: Coded) -> float:
    size = a[1] * b[1]
    real = np.bincount(a[0] * b[1] + b[0], minlength=size) / max(len(a[0]), 1)
    other = np.bincount(c[0] * d[1] + d[0], minlength=size) / max(len(c[0]), 1)
    return float(0.5 * np.abs(real - other).sum())


def _clinical(facts: Facts) -> tuple[Fact, ...]:
    return facts.of_group("clinical", "outcome", "treatment")


def edges_and_tau(real: Rows) -> tuple[dict[str, Floats], float]:
    """What scores take from the real rows: edges of bins, and the end of the survival curves."""
    tau = tau_of(real[real.facts.time]) if real.facts.time else 0.0
    return bin_edges(real, _clinical(real.facts)), tau
