"""What a hazard is told of a patient: levels, normal scores, the numbers on their own scale, and products of flags.

A regression of normal scores is a straight line in ranks; people write hazards in the value (age) or its logarithm
(blasts, platelets), and for values that many share as well. So every number has a second column, its curve: the value
or its logarithm, whichever is less skewed, centred and scaled, capped at 6. Both are in the model; the ridge shares
out between them. Two levels that stand together far oftener than chance would have them (TP53 and a complex
karyotype) have a column for their product: without it both their own effects would be wrong wherever they meet.
All columns are whole numbers, functions of a patient's codes and scores alone, so sums stay exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters
from cohortium.synth.generators.coding import Coding
from cohortium.synth.generators.design import SCORE_BITS, Design
from cohortium.synth.generators.normal_scores import Scores

__all__ = ["MAX_PAIRS", "Covariates", "Curve", "curves_begun", "curves_of", "linked_pairs"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MAX_PAIRS = 24
_LINKED, _LEAST_BOTH, _LEAST_ONE = 3.0, 30, 10
_WIDEST = 6.0
_VALUE, _LOG_1, _LOG = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Curve:
    """One number on its own scale. z: scores of the cells, ascending; steps: what each is worth, in 2^-12; spikes: the
    same by shared value."""

    z: Floats
    steps: Floats
    spikes: Floats

    def at(self, z: Floats, state: Integers | None, *, rest: int) -> Floats:
        """Whole steps of every patient. state: codes of the number's own variable, if it has one; rest: 1 where its
        first level says that there is a score. NaN scores and missing values: 0."""
        scored = ~np.isnan(z)
        on = np.interp(np.where(scored, z, 0.0), self.z, self.steps) if len(self.z) else np.zeros(len(z))
        found = np.where(scored, np.rint(on), 0.0)
        if state is None or not len(self.spikes):
            return found
        spike = state - rest
        shared = (spike >= 0) & (spike < len(self.spikes))
        return np.where(shared, self.spikes[np.clip(spike, 0, len(self.spikes) - 1)], np.where(spike < 0, found, 0.0))


@dataclass(frozen=True, eq=False)
class Covariates:
    """design: levels and scores. curves: one a score. pairs: (k, 2), columns of levels whose product is a column."""

    coding: Coding
    design: Design
    curves: tuple[Curve, ...]
    pairs: Integers

    @property
    def width(self) -> int:
        """All columns: those of the design, the curves, the products."""
        return self.design.width + len(self.curves) + len(self.pairs)

    @cached_property
    def on_score(self) -> NDArray[np.bool_]:
        """Which columns come in steps of 2^-12."""
        return np.concatenate([self.design.on_score, np.ones(len(self.curves), bool), np.zeros(len(self.pairs), bool)])

    @cached_property
    def scale(self) -> Floats:
        """What one step of each column is worth."""
        return np.where(self.on_score, 2.0**-SCORE_BITS, 1.0)

    def rows(self, codes: Integers, z: Floats) -> Integers:
        """All columns as whole numbers, (n, width). z: (n, scores), NaN where missing."""
        plain = self.design.rows(codes, z)
        curves = [self.curve(j, z[:, j], codes) for j in range(len(self.curves))]
        products = [plain[:, a] * plain[:, b] for a, b in self.pairs]
        return np.column_stack([plain, *(one.astype(np.int64) for one in curves), *products])

    def curve(self, number: int, z: Floats, codes: Integers) -> Floats:
        """Whole steps of one number."""
        variable = self.state_of[number]
        rest = int(self.coding.has_rest(self.coding.numbers[number].name))
        return self.curves[number].at(z, None if variable < 0 else codes[:, variable], rest=rest)

    @cached_property
    def state_of(self) -> tuple[int, ...]:
        """By number its variable in the network, -1 where it has none."""
        stated = [fact.name for fact in self.coding.stated]
        first = len(self.coding.named)
        return tuple(first + stated.index(c.name) if c.name in stated else -1 for c in self.coding.numbers)

    @cached_property
    def level_of(self) -> dict[int, tuple[int, int]]:
        """(variable, level) of every column of levels but the constant."""
        found, at = {}, 1
        for variable, (size, reference) in enumerate(zip(self.design.sizes, self.design.reference, strict=True)):
            for level in range(size):
                if level != reference:
                    found[at] = (variable, level)
                    at += 1
        return found


def curves_begun(coding: Coding, measured: Mapping[str, int]) -> dict[str, object]:
    """By number the scale of its curve for the state: (0 value, 1 log(1 + value), 2 log value; centre; spread).

    measured: patients who have the number. Those on a spike are taken to be shared out evenly between the spikes.
    """
    found: dict[str, object] = {}
    for fact in coding.numbers:
        cells, counts = _cells(coding.tables[fact.name])
        spikes = coding.spikes[fact.name]
        on_spikes = max(measured[fact.name] - float(counts.sum()), 0.0) / max(len(spikes), 1)
        values, weights = np.append(cells, spikes), np.append(counts, np.full(len(spikes), on_spikes))
        lowest = float(values[weights > 0].min(initial=np.inf))
        kinds = [_VALUE, *([_LOG_1] if 0 <= lowest < np.inf else []), *([_LOG] if 0 < lowest < np.inf else [])]
        moments = {kind: _moments(_on_scale(values, kind), weights) for kind in kinds}
        kind = min(kinds, key=lambda one: (round(abs(moments[one][2]), 6), one))
        found[f"curve/{fact.name}"] = np.array([float(kind), *moments[kind][:2]])
    return found


def curves_of(coding: Coding, state: Parameters) -> tuple[Curve, ...]:
    """The curves a state tells of."""
    found = []
    for fact in coding.numbers:
        kind, centre, spread = (float(v) for v in state[f"curve/{fact.name}"])
        table = coding.tables[fact.name]
        values, weights = _cells(table)
        steps = [_steps(_on_scale(held, int(kind)), centre, spread) for held in (values, coding.spikes[fact.name])]
        there = weights > 0
        found.append(Curve(table.z[there], steps[0][there], steps[1]))
    return tuple(found)


def linked_pairs(coding: Coding, design: Design, joint: Integers, starts: Integers) -> Integers:
    """Columns of levels whose products a hazard should have, (k, 2), at most `MAX_PAIRS`, the closest linked first.

    joint: (levels, levels), patients by pair of levels of all variables side by side; starts: first level of each
    named column. Two levels of different columns, neither of them the most frequent nor `missing`: 30 patients with
    both, 10 with either alone, and a log odds ratio of more than 3 standard errors.
    """
    columns, at = [], 1
    for variable, (size, reference) in enumerate(zip(design.sizes, design.reference, strict=True)):
        for level in range(size):
            if level == reference:
                continue
            if variable < len(coding.named) and level < len(coding.named[variable].levels or "01"):
                columns.append((at, variable, int(starts[variable]) + level))
            at += 1
    found = []
    for k, (a, first, p) in enumerate(columns):
        for b, second, q in columns[k + 1 :]:
            if first == second:
                continue
            last = slice(int(starts[second]), int(starts[second]) + len(coding.named[second].levels or "01"))
            own = slice(int(starts[first]), int(starts[first]) + len(coding.named[first].levels or "01"))
            both, n_a, n_b = int(joint[p, q]), int(joint[p, last].sum()), int(joint[own, q].sum())
            neither = int(joint[own, last].sum()) - n_a - n_b + both
            if both < _LEAST_BOTH or min(n_a - both, n_b - both, neither) < _LEAST_ONE:
                continue
            cells = np.array([both, neither, n_a - both, n_b - both]) + 0.5
            ratio = float(fp.ordered_sum(fp.log(cells) * np.array([1.0, 1.0, -1.0, -1.0])))
            linked = round(ratio / float(np.sqrt(fp.ordered_sum(1.0 / cells))), 6)
            if linked > _LINKED:
                found.append((-linked, a, b))
    return np.array([(a, b) for _, a, b in sorted(found)[:MAX_PAIRS]], dtype=np.int64).reshape(-1, 2)


def _cells(table: Scores) -> tuple[Floats, Floats]:
    """(middle value of every cell, patients in it)."""
    left = np.concatenate([[table.first], table.upper[:-1] + 1])
    start, width = float(table.grid[0]), float(table.grid[1])
    middle = start + 0.5 * (left + table.upper + 1).astype(np.float64) * width
    return middle, table.counts.astype(np.float64)


def _on_scale(values: Floats, kind: int) -> Floats:
    if kind == _VALUE:
        return values
    return fp.log1p(np.maximum(values, 0.0)) if kind == _LOG_1 else fp.log(np.maximum(values, 1e-9))


def _moments(values: Floats, weights: Floats) -> tuple[float, float, float]:
    """(mean, standard deviation, skewness); spread 1 and skewness 0 where nothing varies."""
    n = float(fp.ordered_sum(weights))
    if n <= 0:
        return 0.0, 1.0, 0.0
    mean = float(fp.ordered_sum(weights * values)) / n
    left = values - mean
    variance = float(fp.ordered_sum(weights * left * left)) / n
    if variance <= 1e-12 * max(mean * mean, 1e-12):
        return mean, 1.0, 0.0
    spread = float(np.sqrt(variance))
    return mean, spread, float(fp.ordered_sum(weights * left * left * left)) / n / spread**3


def _steps(values: Floats, centre: float, spread: float) -> Floats:
    return np.rint(np.clip((values - centre) / spread, -_WIDEST, _WIDEST) * 2.0**SCORE_BITS)
