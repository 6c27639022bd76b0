"""What every generator by sums asks first: ranges and gaps, then fine histograms; two exchanges, whole numbers only.

    answer = ranges(facts, rows);             state = after_ranges(facts, total)
    answer = histograms(facts, state, rows);  state = after_histograms(facts, state, total, min_cell=10)
    coding_of(facts, state)                   # how rows are coded, from here on

After the second the state holds published quantile tables without their spikes, gaps and most frequent levels, and for
survival one table a kind of end. Design: synthetic-data.md 4.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.synth.facts import Facts
from cohortium.synth.generators.coding import MODELLED_GAP, Coding, spikes_of
from cohortium.synth.generators.normal_scores import (
    N_COARSE,
    STEPS,
    Scores,
    coarse_counts,
    fine_cells,
    fine_counts,
    fine_grid,
    scores_of,
    step_counts,
)
from cohortium.synth.rows import Rows

__all__ = ["ENDS", "after_histograms", "after_ranges", "check_counts", "coding_of", "histograms", "ranges"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ENDS: Final = ("event", "censored")
"""How a patient's record may end."""

_MOST_PATIENTS = 1 << 40
_KEPT = ("n", "missing", "middle")


def check_counts(total: Parameters) -> None:
    """Raise ValueError for totals that patients cannot give: a merge fails by it, instead of what the sites do next."""
    for name, counts in total.items():
        held = np.asarray(counts, dtype=np.int64)
        if held.size and (int(held.min()) < 0 or int(held.max()) > _MOST_PATIENTS):
            raise ValueError(f"totals '{name}' are no counts of patients")


def ranges(facts: Facts, rows: Rows) -> Parameters:
    """This site's ranges, gaps and levels."""
    measured = [rows[c.name] for c in facts.columns if c.is_number]
    return Parameters(
        {
            "n": np.array([len(rows)], dtype=np.int64),
            "missing": np.array([int(np.isnan(rows[c.name]).sum()) for c in facts.columns], dtype=np.int64),
            "zeros": np.array([int((v == 0).sum()) for v in measured], dtype=np.int64),
            "levels": np.stack([_level_counts(rows[c.name]) for c in facts.columns]),
            "coarse": np.stack([coarse_counts(v) for v in measured]) if measured else np.zeros((0, N_COARSE), int),
            "steps": np.stack([step_counts(v) for v in measured]) if measured else np.zeros((0, len(STEPS) + 1), int),
        }
    )


def after_ranges(facts: Facts, total: Parameters) -> Parameters:
    """The grids to count on. Raises ValueError for totals that are no counts."""
    check_counts(total)
    found: dict[str, object] = {
        "n": total["n"],
        "missing": total["missing"],
        "middle": np.asarray(total["levels"]).argmax(axis=1).astype(np.int64),
    }
    measured = [c for c in facts.columns if c.is_number]
    for fact, coarse, whole, zeros in zip(measured, total["coarse"], total["steps"], total["zeros"], strict=True):
        found[f"grid/{fact.name}"] = fine_grid(coarse, whole, low=fact.low, high=fact.high)
        found[f"zeros/{fact.name}"] = [zeros]
        found[f"whole/{fact.name}"] = whole
    return Parameters(found)


def histograms(facts: Facts, state: Parameters, rows: Rows) -> Parameters:
    """This site's counts on those grids."""
    found: dict[str, object] = {}
    for fact in facts.columns:
        if not fact.is_number:
            continue
        grid = np.asarray(state[f"grid/{fact.name}"], dtype=np.float64)
        if fact.kind == "time":
            died = rows[facts.event] == 1
            found["fine/event"] = fine_counts(rows[fact.name][died], grid)
            found["fine/censored"] = fine_counts(rows[fact.name][~died], grid)
        else:
            found[f"fine/{fact.name}"] = fine_counts(rows[fact.name], grid)
    return Parameters(found)


def after_histograms(facts: Facts, start: Parameters, total: Parameters, *, min_cell: int) -> Parameters:
    """The published tables and spikes. Raises ValueError for totals that are no counts."""
    check_counts(total)
    found: dict[str, object] = {name: start[name] for name in _KEPT}
    for fact in facts.columns:
        if not fact.is_number:
            continue
        grid = np.asarray(start[f"grid/{fact.name}"], dtype=np.float64)
        ends = {end: np.asarray(total[f"fine/{end}"], dtype=np.int64) for end in ENDS if fact.kind == "time"}
        counted = list(ends.values()) or [np.asarray(total[f"fine/{fact.name}"], dtype=np.int64)]
        fine: Integers = np.add.reduce(counted)
        gone: Integers = np.zeros(0, dtype=np.int64)
        whole = np.asarray(start[f"whole/{fact.name}"], dtype=np.int64)
        if fact.kind == "numeric":
            before = fine
            spikes, fine = spikes_of(fine, grid, zeros=int(start[f"zeros/{fact.name}"][0]), min_cell=min_cell)
            found[f"spikes/{fact.name}"] = spikes
            gone = np.flatnonzero((before > 0) & (fine == 0))
            whole = _without(whole, spikes, (before - fine)[fine_cells(spikes, grid)])
        for name, counts in ((fact.name, fine), *((f"{fact.name} {end}", one) for end, one in ends.items())):
            held = Scores.joined(grid, counts, whole=whole, min_cell=min_cell, gone=gone).to_parameters()
            found |= dict(held.prefixed(f"table/{name}").items())
    return Parameters(found)


def _without(whole: Integers, spikes: Floats, patients: Integers) -> Integers:
    """How the values beside the spikes are written: `step_counts` less the patients on each spike."""
    for spike, n in zip(spikes, patients, strict=True):
        whole = whole - int(n) * step_counts(np.array([spike]))
    return np.maximum(whole, 0)


def coding_of(facts: Facts, state: Parameters) -> Coding:
    """How rows are coded, by a state that has seen both exchanges."""
    n = int(state["n"][0])
    missing = dict(zip(facts.names, (int(v) for v in state["missing"]), strict=True))
    return Coding(
        facts=facts,
        gaps={name: missing[name] >= MODELLED_GAP * n and missing[name] > 0 for name in facts.names},
        tables={c.name: scores_of(state.under(f"table/{c.name}")) for c in facts.columns if c.is_number},
        middle=dict(zip(facts.names, (int(v) for v in state["middle"]), strict=True)),
        spikes={c.name: np.asarray(state[f"spikes/{c.name}"], dtype=np.float64) for c in facts.columns
                if c.kind == "numeric"},
    )  # fmt: skip


def _level_counts(values: Floats) -> Integers:
    """Patients per level of a named column, padded; nothing for numbers."""
    there = values[~np.isnan(values)]
    whole = there[(there >= 0) & (there < 128) & (there == np.rint(there))].astype(np.int64)
    return np.bincount(whole, minlength=128).astype(np.int64)
