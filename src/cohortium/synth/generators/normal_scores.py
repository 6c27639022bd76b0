"""Numbers as normal scores and back: published histograms that end where extremes are patients.

Two exchanges. First every site counts its values on a coarse grid that fits any unit (cells of equal width in asinh x)
and how many of them are whole steps of 10, 5, 1, 0.5, ... The leader half lays a fine grid between the 0.5 and 99.5 %
points whose cells are whole steps, so that values look as they were written and typical ones keep their spikes. Then
the fine grid is counted, and cells are joined until each holds at least `min_cell` patients. A value's score is the
inverse normal of its mid-rank; all of it is integers and + - x / sqrt, hence equal for every partition of the patients.
Design: synthetic-data.md 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters

__all__ = [
    "N_COARSE",
    "N_FINE",
    "STEPS",
    "Scores",
    "coarse_counts",
    "fine_cells",
    "fine_counts",
    "fine_grid",
    "mid_rank_scores",
    "normal_quantile",
    "scores_of",
    "step_counts",
    "written_shares",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

N_COARSE = 4096
N_FINE = 4096
STEPS = (10.0, 5.0, 1.0, 0.5, 0.1, 0.05, 0.01, 0.001, 0.0001)
"""Widths values may have been rounded to, each a multiple of the next; the widest that fits nearly all is the step."""
_REACH = 48.0  # asinh of the largest value a grid can tell apart, about 3.5e20
_ENDS = (0.005, 0.995)
_LARGEST_SCORE = 4.0
_ALMOST_ALL = 0.999


def coarse_counts(values: Floats) -> Integers:
    """Patients per coarse cell, (N_COARSE,); missing ones are nowhere."""
    return np.bincount(_coarse(values[~np.isnan(values)]), minlength=N_COARSE).astype(np.int64)


def step_counts(values: Floats) -> Integers:
    """How many values are whole multiples of each of STEPS, and how many there are, (STEPS + 1,).

    Zeros are left out: a multiple of everything, they do not tell how a column is written.
    """
    there = values[~np.isnan(values) & (values != 0)]
    found = []
    for width in STEPS:
        scaled = there / width
        found.append(int((np.abs(scaled - np.rint(scaled)) <= 1e-6 * np.maximum(np.abs(scaled), 1.0)).sum()))
    return np.array([*found, len(there)], dtype=np.int64)


def fine_grid(coarse: Integers, whole: Integers, *, low: float | None, high: float | None) -> Floats:
    """(first edge, width of a cell, number of cells, step or 0) of the fine grid. whole: of `step_counts`."""
    n = int(coarse.sum())
    if n == 0:
        return np.array([-0.5, 1.0, 1.0, 1.0])
    running = np.add.accumulate(coarse)
    first = int(np.searchsorted(running, int(np.floor(_ENDS[0] * n)) + 1))
    last = int(np.searchsorted(running, int(np.ceil(_ENDS[1] * n))))
    start, end = _edge(first), _edge(last + 1)
    start = start if low is None else max(start, low)
    end = end if high is None else min(end, high)
    enough = np.flatnonzero(whole[:-1] >= _ALMOST_ALL * int(whole[-1]))
    if not len(enough):
        width = (end - start) / N_FINE if end > start else 1.0
        return np.array([start, width, float(N_FINE if end > start else 1), 0.0])
    unit = STEPS[int(enough[0])]
    from_step, to_step = int(np.floor(start / unit + 1e-9)), int(np.ceil(end / unit - 1e-9))
    steps = max(1, -(-(to_step - from_step + 1) // N_FINE))
    cells = -(-(to_step - from_step + 1) // steps)
    return np.array([(from_step - 0.5) * unit, steps * unit, float(cells), unit])


def fine_counts(values: Floats, grid: Floats) -> Integers:
    """Patients per fine cell, (N_FINE,); values beyond the ends are counted in the first or last cell."""
    return np.bincount(fine_cells(values[~np.isnan(values)], grid), minlength=N_FINE).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Scores:
    """One column's published table. first: fine cell with the first patient; upper: last fine cell of each joined one;
    counts: patients in it; z: its score; written: share of values written to each of STEPS, the rest to none."""

    grid: Floats
    first: int
    upper: Integers
    counts: Integers
    z: Floats
    written: Floats

    @classmethod
    def joined(
        cls,
        grid: Floats,
        fine: Integers,
        *,
        whole: Integers,
        min_cell: int,
        alone: Sequence[int] | Integers = (),
        gone: Sequence[int] | Integers = (),
    ) -> Scores:
        """Cells joined from below until each holds at least `min_cell`; what is left joins the last.

        alone: cells that stay by themselves; what is left before one joins the cell below, or it where there is none.
        gone: empty cells whose patients are counted elsewhere (spikes); a joined cell does not begin before one.
        """
        upper: list[int] = []
        counts: list[int] = []
        held, first, last = 0, -1, 0
        single = {int(cell) for cell in alone}
        elsewhere = sorted({int(cell) for cell in gone})
        for cell in (int(one) for one in np.flatnonzero(fine)):
            passed = [one for one in elsewhere if upper and not held and upper[-1] < one < cell]
            if passed:  # nobody: a value up to there is a spike, and not drawn with the rest
                upper.append(passed[-1])
                counts.append(0)
            if cell in single:
                if counts:
                    counts[-1] += held
                    if held and upper[-1] not in single:
                        upper[-1] = last
                    if upper[-1] < cell - 1:  # nobody: what lies between is not drawn
                        counts.append(0)
                        upper.append(cell - 1)
                    held = 0
                else:
                    first = cell
            elif first < 0:
                first = cell
            held, last = held + int(fine[cell]), cell
            if held >= min_cell or cell in single:
                upper.append(cell)
                counts.append(held)
                held = 0
        if held and counts:
            counts[-1] += held
            upper[-1] = upper[-1] if upper[-1] in single else last
        elif held or not counts:
            upper, counts = [last], [held]
        first = max(first, 0)
        held_by = np.array(counts, dtype=np.int64)
        z = mid_rank_scores(held_by)
        return cls(grid, first, np.array(upper, dtype=np.int64), held_by, z, written_shares(whole))

    def score(self, values: Floats) -> Floats:
        """Normal score of every value; NaN where missing."""
        there = ~np.isnan(values)
        found = np.full(len(values), np.nan)
        cells = np.searchsorted(self.upper, fine_cells(values[there], self.grid))
        found[there] = self.z[np.minimum(cells, len(self.z) - 1)]
        return found

    def value(self, p: Floats) -> Floats:
        """The values at probabilities p in (0, 1): even within a cell, rounded to the decimals of the data."""
        n = float(max(int(self.counts.sum()), 1))
        running = np.add.accumulate(self.counts) / n
        cell = np.minimum(np.searchsorted(running, p, side="right"), len(running) - 1)
        below = np.where(cell > 0, running[cell - 1], 0.0)
        share = np.clip((p - below) / np.maximum(running[cell] - below, 1e-12), 0.0, 1.0)
        start_at, width, unit = (float(self.grid[k]) for k in (0, 1, 3))
        left = np.where(cell > 0, self.upper[cell - 1] + 1, self.first)
        right = self.upper[cell] + 1
        if unit > 0:  # whole steps: the first to the last value inside, each as likely
            per_cell = round(width / unit)
            start = np.rint((start_at + 0.5 * unit) / unit).astype(np.int64)
            n_steps = (right - left) * per_cell
            step = np.minimum((share * n_steps).astype(np.int64), n_steps - 1)
            return np.asarray(np.round((start + left * per_cell + step) * unit, 6), dtype=np.float64)
        return np.asarray(start_at + (left + share * (right - left)) * width)

    def heaped(self, values: Floats, rng: np.random.Generator) -> Floats:
        """The values as people write them: each rounded to a step drawn by how often values are written to it."""
        edges = np.cumsum(self.written)
        chosen = np.searchsorted(edges, rng.random(len(values)))
        width = np.append(np.array(STEPS), 0.0)[chosen]
        low, high = self.low, self.high
        rounded = np.round(np.rint(values / np.where(width > 0, width, 1.0)) * width, 6)
        fits = (width > max(float(self.grid[3]), 0.0)) & (rounded >= low) & (rounded <= high)
        return np.asarray(np.where(fits, rounded, values), dtype=np.float64)

    @property
    def low(self) -> float:
        """The smallest value that is ever drawn."""
        return float(self.value(np.array([1e-9]))[0])

    @property
    def high(self) -> float:
        """The largest value that is ever drawn."""
        return float(self.value(np.array([1 - 1e-9]))[0])

    def to_parameters(self) -> Parameters:
        """As arrays of a state."""
        return Parameters(
            {"grid": self.grid, "first": [self.first], "upper": self.upper, "counts": self.counts, "z": self.z,
             "written": self.written}
        )  # fmt: skip


def scores_of(held: Parameters) -> Scores:
    """What `to_parameters` gave."""
    return Scores(
        np.asarray(held["grid"], dtype=np.float64),
        int(held["first"][0]),
        np.asarray(held["upper"], dtype=np.int64),
        np.asarray(held["counts"], dtype=np.int64),
        np.asarray(held["z"], dtype=np.float64),
        np.asarray(held["written"], dtype=np.float64),
    )


def written_shares(whole: Integers) -> Floats:
    """Share of values written to each of STEPS, from how many are whole multiples of each (the count of all is last).

    Of values written to a fine step a part lies on coarser ones by chance: one of five tenths is a whole half.
    """
    n = float(max(int(whole[-1]), 1))
    counts = np.asarray(whole[:-1], dtype=np.float64) / n
    shares = np.zeros(len(STEPS))
    for k in range(len(STEPS)):  # finer steps are told by what the coarser ones leave
        finer = max(1.0 - float(shares[:k].sum()), 0.0)
        by_chance = (STEPS[k + 1] / STEPS[k]) if k + 1 < len(STEPS) else 0.0
        found = float(counts[k]) - float(shares[:k].sum())
        shares[k] = min(max((found - finer * by_chance) / (1.0 - by_chance), 0.0), finer)
    return shares


def mid_rank_scores(counts: Integers) -> Floats:
    """Score of every cell: the inverse normal of its mid-rank."""
    below = np.concatenate([[0], np.add.accumulate(counts)[:-1]])
    n = max(int(counts.sum()), 1)
    return np.clip(normal_quantile((below + 0.5 * counts) / n), -_LARGEST_SCORE, _LARGEST_SCORE)


def normal_quantile(p: Floats) -> Floats:
    """Inverse of the normal distribution to 1e-15 by algorithm AS 241 (Wichura 1988), in + - x / sqrt and our log."""
    p = np.asarray(p, dtype=np.float64)
    q = p - 0.5
    inner = np.abs(q) <= 0.425
    r = 0.180625 - q * q
    middle = q * _ratio(np.where(inner, r, 0.0), _A, _B)
    tail = np.clip(np.minimum(p, 1.0 - p), 1e-300, 0.5)
    s = np.sqrt(-fp.log(tail))
    near = _ratio(np.where(s <= 5, s - 1.6, 0.0), _C, _D)
    far = _ratio(np.where(s > 5, s - 5.0, 0.0), _E, _F)
    return np.asarray(np.where(inner, middle, np.where(q < 0, -1.0, 1.0) * np.where(s <= 5, near, far)))


_A = (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
      13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608)  # fmt: skip
_B = (5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
      5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0)  # fmt: skip
_C = (7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
      3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734)  # fmt: skip
_D = (1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
      0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0)  # fmt: skip
_E = (2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093,
      0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772)  # fmt: skip
_F = (2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4,
      0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1.0)  # fmt: skip


def _ratio(x: Floats, above: tuple[float, ...], below: tuple[float, ...]) -> Floats:
    top, bottom = np.full_like(x, above[0]), np.full_like(x, below[0])
    for a, b in zip(above[1:], below[1:], strict=True):
        top, bottom = top * x + a, bottom * x + b
    return np.asarray(top / bottom)


def _coarse(values: Floats) -> Integers:
    cells = np.floor((np.arcsinh(values) + _REACH) * (N_COARSE / (2 * _REACH)))
    return np.clip(cells, 0, N_COARSE - 1).astype(np.int64)


def _edge(cell: int) -> float:
    """Where a coarse cell begins: sinh of its place, by our own exponential, since every node must find the same."""
    u = cell * (2 * _REACH / N_COARSE) - _REACH
    return float(0.5 * (fp.exp(u) - fp.exp(-u)))


def fine_cells(values: Floats, grid: Floats) -> Integers:
    """The fine cell of every value (none missing); values beyond the ends lie in the first or last cell."""
    cells = np.floor((values - grid[0]) / grid[1])
    return np.asarray(np.clip(cells, 0, int(grid[2]) - 1), dtype=np.int64)
