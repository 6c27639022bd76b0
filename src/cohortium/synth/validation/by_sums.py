"""Scores of two tables of which nothing is known but their census: the leader half of the federated validation.

The parts have the names and formulas of `fidelity`; indistinguishability is not among them, so the mean of the rest is
no CSF and is not called one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.validation.association import agreement, correlations, cramers_v_of
from cohortium.synth.validation.curves import km_gap, log_rank_p, restricted_mean, tau_of
from cohortium.synth.validation.fidelity import kept_signs, log_odds_of

__all__ = ["compare"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def compare(facts: Facts, reference: Parameters, against: Parameters, candidate: Parameters) -> dict[str, float]:
    """Parts by name, and `log-rank p`, `mean survival` (candidate minus the other, in units of time).

    reference: the census of the training rows, which gives the end of the curves.
    """
    pair = (against, candidate)
    clinical = facts.of_group("clinical", "outcome", "treatment")
    found = {
        "marginals": 1.0 - float(np.mean([_apart(fact, *pair) for fact in clinical])),
        "dependence": agreement(*(_associations(facts, clinical, one) for one in pair)),
    }
    if facts.time:
        tau = tau_of(_followed(facts, reference)[0])
        real, made = (_followed(facts, one) for one in pair)
        found["survival"] = 1.0 - km_gap(real, made, tau)
        found["log-rank p"] = log_rank_p(real, made)
        width = float(reference[f"grid/{facts.time}"][1])
        found["mean survival"] = width * (restricted_mean(*made, tau)[0] - restricted_mean(*real, tau)[0])
    return found | _genes(facts, *pair)


def _genes(facts: Facts, real: Parameters, made: Parameters) -> dict[str, float]:
    genes, numbers = facts.of_group("gene"), [f for f in facts.columns if f.is_number]
    if not genes:
        return {}
    at = np.arange(len(numbers), len(numbers) + len(genes))
    clinic = np.array([k for k, fact in enumerate(numbers) if fact.group == "clinical"], dtype=np.int64)
    p, q = (np.diag(_sums(one, "sum"))[at] / np.maximum(np.diag(_sums(one, "both"))[at], 1) for one in (real, made))
    total = float((p + q).sum())
    shares = [np.asarray(one["burden"], dtype=np.float64) / max(int(one["n"][0]), 1) for one in (real, made)]
    tables = [_correlations(one) for one in (real, made)]
    below = np.tril_indices(len(at), -1)
    z = [log_odds_of(*(_sums(one, key)[np.ix_(at, at)] for key in ("product", "sum", "both")))[1]
         for one in (real, made)]  # fmt: skip
    return {
        "frequency": 1.0 - float(np.abs(p - q).sum()) / total if total else float("nan"),
        "burden": 1.0 - float(0.5 * np.abs(shares[0] - shares[1]).sum()),
        "pairs": agreement(*(one[np.ix_(at, at)][below] for one in tables)) if len(at) > 1 else float("nan"),
        "signs": kept_signs(*z)["kept"] if len(at) > 1 else float("nan"),
        "with the clinic": agreement(*(one[np.ix_(at, clinic)].ravel() for one in tables))
        if len(clinic)
        else float("nan"),
    }


def _apart(fact: Fact, real: Parameters, made: Parameters) -> float:
    """Kolmogorov-Smirnov of numbers, total variation of levels; a missing value counts."""
    key = f"{'fine' if fact.is_number else 'levels'}/{fact.name}"
    shares = [np.asarray(one[key], dtype=np.float64) / max(int(one["n"][0]), 1) for one in (real, made)]
    if fact.is_number:
        return float(np.abs(np.cumsum(shares[0]) - np.cumsum(shares[1])).max())
    return float(0.5 * np.abs(shares[0] - shares[1]).sum())


def _associations(facts: Facts, clinical: Sequence[Fact], state: Parameters) -> Floats:
    numbers = [fact.name for fact in facts.columns if fact.is_number]
    ranks = _correlations(state)
    sizes = [(len(state[f"bins/{f.name}"]) + 1 if f.is_number else len(f.levels) or 2) + 1 for f in clinical]
    edges = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    tables = _sums(state, "tables")
    found = []
    for i, a in enumerate(clinical):
        for j, b in enumerate(clinical[:i]):
            if a.is_number and b.is_number:
                found.append(float(ranks[numbers.index(a.name), numbers.index(b.name)]))
            else:
                found.append(cramers_v_of(tables[edges[i] : edges[i + 1], edges[j] : edges[j + 1]]))
    return np.array(found)


def _correlations(state: Parameters) -> Floats:
    n, s, squares = _sums(state, "both"), _sums(state, "sum"), _sums(state, "square")
    return correlations(n, s, s.T, squares, squares.T, _sums(state, "product"))


def _followed(facts: Facts, state: Parameters) -> tuple[Floats, Floats]:
    """(time, event) of nobody in particular with these counts per cell of time."""
    left = np.asarray(state[f"fine/{facts.time}"], dtype=np.int64)
    died = np.asarray(state["deaths"], dtype=np.int64)
    cells = np.arange(len(left), dtype=np.float64)
    time = np.concatenate([np.repeat(cells, died), np.repeat(cells, left - died)])
    return time, np.concatenate([np.ones(int(died.sum())), np.zeros(int((left - died).sum()))])


def _sums(state: Parameters, name: str) -> Floats:
    return np.asarray(state[name], dtype=np.float64)
