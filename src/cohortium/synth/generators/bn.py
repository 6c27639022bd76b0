"""Generator `bn`: a Bayesian network for what is named, regressions for what is measured, hazards for the outcome.

    learner = BayesianNetwork(facts=facts)

A learner by exact sums: every exchange the sites answer the state's question with whole numbers, the leader half adds
nothing but the rules, so the model of the swarm is the model of the pooled table to the last bit, under masks too.
Exchanges: 0 ranges and gaps, 1 fine histograms, from 2 on the parallel climb with the Gram matrices (once) and the
Newton steps of both hazards. A model exists after every exchange from 3 on. Design: synthetic-data.md 5.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import UsageError
from cohortium.synth.facts import Facts
from cohortium.synth.generators.climb import Family, block_counts, climb, one_hot
from cohortium.synth.generators.coding import MODELLED_GAP, Coding, spikes_of
from cohortium.synth.generators.design import Design
from cohortium.synth.generators.hazard import MAX_STEPS, Hazard, hazard_sums, started
from cohortium.synth.generators.network import Network
from cohortium.synth.generators.normal_scores import (
    N_COARSE,
    STEPS,
    Scores,
    coarse_counts,
    fine_counts,
    fine_grid,
    scores_of,
    step_counts,
)
from cohortium.synth.generators.tail import Tail, gram_counts, repaired
from cohortium.synth.rows import Rows, rows_of_examples

__all__ = ["BayesianNetwork"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RANGES, HISTOGRAMS, CLIMB, DONE = 0, 1, 2, -1
_ENDS = ("event", "censored")


@dataclass(frozen=True, kw_only=True)
class BayesianNetwork:
    """facts: the columns. penalty: `aic` or `bic`. min_cell: fewest patients in a published cell of a histogram."""

    facts: Facts
    max_parents: int = 4
    penalty: Literal["aic", "bic"] = "aic"
    min_cell: int = 10
    max_climbs: int = 8

    learns_by: ClassVar[Literal["sums"]] = "sums"
    reads_columns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.max_parents <= 4:
            raise ValueError(f"max_parents must be 0 to 4, got {self.max_parents}")
        if self.penalty not in ("aic", "bic"):
            raise ValueError(f"penalty must be 'aic' or 'bic', got {self.penalty!r}")
        if not 1 <= self.min_cell <= 1000:
            raise ValueError(f"min_cell must be 1 to 1000, got {self.min_cell}")
        if not 1 <= self.max_climbs <= 50:
            raise ValueError(f"max_climbs must be 1 to 50, got {self.max_climbs}")

    @property
    def max_rounds(self) -> int:
        """Most exchanges a fit takes."""
        return 2 + self.max_climbs + MAX_STEPS

    # --- Learner -----------------------------------------------------------------------------------------------

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """The first question. Independent of layout and stream."""
        return Parameters({"phase": np.array([RANGES], dtype=np.int64)})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's answer to the state's question, whole numbers only."""
        rows = rows_of_examples(examples, self.facts)
        return Fitted(parameters=self.answer(start, rows), n_samples=len(rows))

    def answer(self, state: Parameters, rows: Rows) -> Parameters:
        """The sums the state asks for, of these rows."""
        phase = _phase(state)
        if phase == RANGES:
            return self._ranges(rows)
        if phase == HISTOGRAMS:
            return self._histograms(state, rows)
        return self._families(state, rows)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half: what the sums of all sites make of the state."""
        phase = _phase(start)
        if phase == RANGES:
            return self._after_ranges(total)
        if phase == HISTOGRAMS:
            return self._after_histograms(start, total)
        return self._after_families(start, total)

    def finished(self, parameters: Parameters) -> bool:
        """Whether graph and hazards stand still."""
        return _phase(parameters) == DONE

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Log relative hazard of every patient, (n,). Raises UsageError for an outcome that is not survival."""
        if not self.facts.time:
            raise UsageError("generator 'bn' predicts survival outcomes only")
        return self.log_risk(parameters, rows_of_examples(examples, self.facts))

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}

    # --- what sites answer -------------------------------------------------------------------------------------

    def _ranges(self, rows: Rows) -> Parameters:
        measured = [rows[c.name] for c in self.facts.columns if c.is_number]
        return Parameters(
            {
                "n": np.array([len(rows)], dtype=np.int64),
                "missing": np.array([int(np.isnan(rows[c.name]).sum()) for c in self.facts.columns], dtype=np.int64),
                "zeros": np.array([int((v == 0).sum()) for v in measured], dtype=np.int64),
                "levels": np.stack([_level_counts(rows[c.name]) for c in self.facts.columns]),
                "coarse": np.stack([coarse_counts(v) for v in measured]) if measured else np.zeros((0, N_COARSE), int),
                "steps": np.stack([step_counts(v) for v in measured])
                if measured
                else np.zeros((0, len(STEPS) + 1), int),
            }
        )

    def _histograms(self, state: Parameters, rows: Rows) -> Parameters:
        found: dict[str, object] = {}
        for fact in self.facts.columns:
            if not fact.is_number:
                continue
            grid = np.asarray(state[f"grid/{fact.name}"], dtype=np.float64)
            if fact.kind == "time":
                died = rows[self.facts.event] == 1
                found["fine/event"] = fine_counts(rows[fact.name][died], grid)
                found["fine/censored"] = fine_counts(rows[fact.name][~died], grid)
            else:
                found[f"fine/{fact.name}"] = fine_counts(rows[fact.name], grid)
        return Parameters(found)

    def _families(self, state: Parameters, rows: Rows) -> Parameters:
        coding = self.coding(state)
        codes, z = coding.codes(rows), coding.scores(rows)
        wide = one_hot(codes, coding.sizes) if coding.sizes else np.zeros((len(rows), 0))
        families = _families_of(state)
        found: dict[str, object] = {
            f"block/{child}": block_counts(codes, wide, families[child], coding.sizes)
            for child in _changed(state)
        }  # fmt: skip
        design = self._design(state, coding)
        if "tail/sd" not in state and coding.numbers:
            found["gram"] = gram_counts(design, codes, z)
        if self.facts.time:
            x, time, died = design.rows(codes, z), rows[self.facts.time], rows[self.facts.event] == 1
            for end in _ENDS:
                point = Hazard.from_parameters(state.under(f"hazard/{end}"))
                if not point.converged:
                    ended = died if end == "event" else ~died
                    sums = hazard_sums(point, design, x, time, ended)
                    found |= dict(sums.prefixed(f"hazard/{end}").items())
        return Parameters(found)

    # --- what the leader half makes of it ----------------------------------------------------------------------

    def _after_ranges(self, total: Parameters) -> Parameters:
        found: dict[str, object] = {
            "phase": np.array([HISTOGRAMS], dtype=np.int64),
            "n": total["n"],
            "missing": total["missing"],
            "middle": np.asarray(total["levels"]).argmax(axis=1).astype(np.int64),
        }
        measured = [c for c in self.facts.columns if c.is_number]
        for fact, coarse, whole, zeros in zip(measured, total["coarse"], total["steps"], total["zeros"], strict=True):
            found[f"grid/{fact.name}"] = fine_grid(coarse, whole, low=fact.low, high=fact.high)
            found[f"zeros/{fact.name}"] = [zeros]
            found[f"whole/{fact.name}"] = whole
        return Parameters(found)

    def _after_histograms(self, start: Parameters, total: Parameters) -> Parameters:
        found: dict[str, object] = {name: start[name] for name in ("n", "missing", "middle")}
        found["phase"] = np.array([CLIMB], dtype=np.int64)
        for fact in self.facts.columns:
            if not fact.is_number:
                continue
            grid = np.asarray(start[f"grid/{fact.name}"], dtype=np.float64)
            ends = {end: np.asarray(total[f"fine/{end}"], dtype=np.int64) for end in _ENDS if fact.kind == "time"}
            counted = list(ends.values()) or [np.asarray(total[f"fine/{fact.name}"], dtype=np.int64)]
            fine: Integers = np.add.reduce(counted)
            if fact.kind == "numeric":
                spikes, fine = spikes_of(fine, grid, zeros=int(start[f"zeros/{fact.name}"][0]), min_cell=self.min_cell)
                found[f"spikes/{fact.name}"] = spikes
            whole = np.asarray(start[f"whole/{fact.name}"], dtype=np.int64)
            found |= self._table(fact.name, grid, fine, whole)
            for end, counts in ends.items():
                found |= self._table(f"{fact.name} {end}", grid, counts, whole)
        state = Parameters(found)
        coding = self.coding(state)
        found["families"] = _packed([Family(child) for child in range(len(coding.sizes))], self.max_parents)
        found["changed"] = np.arange(len(coding.sizes), dtype=np.int64)
        found["climbs"] = np.zeros(1, dtype=np.int64)
        if self.facts.time:
            design, times = self._design(state, coding), scores_of(state.under(f"table/{self.facts.time}"))
            for end in _ENDS:
                own = scores_of(state.under(f"table/{self.facts.time} {end}"))
                found |= dict(started(own, times, design).to_parameters().prefixed(f"hazard/{end}").items())
        return Parameters(found)

    def _after_families(self, start: Parameters, total: Parameters) -> Parameters:
        coding = self.coding(start)
        design = self._design(start, coding)
        found: dict[str, object] = dict(start.items())
        found |= {name: array for name, array in total.items() if name.startswith("block/")}
        if "gram" in total:
            tail = Tail.solved(design, np.asarray(total["gram"], dtype=np.int64))
            found |= dict(tail.to_parameters().prefixed("tail").items())
        still = True
        for end in _ENDS if self.facts.time else ():
            point = Hazard.from_parameters(start.under(f"hazard/{end}"))
            if not point.converged:
                point = point.advanced(total.under(f"hazard/{end}"))
                found |= dict(point.to_parameters().prefixed(f"hazard/{end}").items())
            still = still and point.converged
        climbs = int(start["climbs"][0]) + 1
        families = _families_of(start)
        changed: tuple[int, ...] = ()
        if climbs <= self.max_climbs and _changed(start):
            blocks = {child: np.asarray(found[f"block/{child}"], dtype=np.int64) for child in range(len(families))}
            n = int(start["n"][0])
            kappa = 1.0 if self.penalty == "aic" else 0.5 * float(fp.log(float(max(n, 2))))
            moved = climb(families, blocks, coding.sizes, n=n, kappa=kappa, max_parents=self.max_parents)
            families, changed = moved.families, moved.changed
        found["families"] = _packed(families, self.max_parents)
        found["changed"] = np.array(changed, dtype=np.int64)
        found["climbs"] = np.array([climbs], dtype=np.int64)
        if not changed and (still or climbs >= self.max_rounds - 2):
            return self._released(found, coding)
        return Parameters(found)

    def _released(self, found: Mapping[str, object], coding: Coding) -> Parameters:
        """The finished model: of every block only the child's own table is kept."""
        kept = {name: value for name, value in found.items() if not name.startswith("block/") and name != "changed"}
        for child, size in enumerate(coding.sizes):
            block = np.asarray(found[f"block/{child}"], dtype=np.int64)
            kept[f"counts/{child}"] = block[:, : coding.sizes[0]].sum(axis=1).reshape(size, -1)
        kept["phase"] = np.array([DONE], dtype=np.int64)
        return Parameters(kept)

    def _table(self, name: str, grid: Floats, fine: Integers, whole: Integers) -> dict[str, object]:
        held = Scores.joined(grid, fine, whole=whole, min_cell=self.min_cell).to_parameters()
        return dict(held.prefixed(f"table/{name}").items())

    # --- reading a state ---------------------------------------------------------------------------------------

    def coding(self, state: Parameters) -> Coding:
        """How rows are coded, from exchange 2 on."""
        n = int(state["n"][0])
        names = self.facts.names
        missing = dict(zip(names, (int(v) for v in state["missing"]), strict=True))
        tables = {c.name: scores_of(state.under(f"table/{c.name}")) for c in self.facts.columns if c.is_number}
        return Coding(
            facts=self.facts,
            gaps={name: missing[name] >= MODELLED_GAP * n and missing[name] > 0 for name in names},
            tables=tables,
            middle=dict(zip(names, (int(v) for v in state["middle"]), strict=True)),
            spikes={c.name: np.asarray(state[f"spikes/{c.name}"], dtype=np.float64) for c in self.facts.columns
                    if c.kind == "numeric"},
        )  # fmt: skip

    def _design(self, state: Parameters, coding: Coding) -> Design:
        reference = tuple(coding.middle[c.name] for c in coding.named) + (0,) * len(coding.stated)
        return Design(coding.sizes, reference, len(coding.numbers))

    def network(self, state: Parameters) -> Network:
        """The finished network."""
        coding = self.coding(state)
        counts = {child: np.asarray(state[f"counts/{child}"], dtype=np.int64) for child in range(len(coding.sizes))}
        return Network(_families_of(state), counts, coding.sizes)

    def tail(self, state: Parameters) -> Tail:
        """The finished regressions."""
        coding = self.coding(state)
        design = self._design(state, coding)
        if not coding.numbers:
            return Tail(design, np.zeros((0, design.width)), np.zeros(0))
        held = state.under("tail")
        return Tail(design, np.asarray(held["coefficients"]), np.asarray(held["sd"]))

    def log_risk(self, state: Parameters, rows: Rows) -> Floats:
        """b' x of the event's hazard, (n,)."""
        coding = self.coding(state)
        design = self._design(state, coding)
        x = design.rows(coding.codes(rows), coding.scores(rows))
        return np.asarray((x * design.scale) @ Hazard.from_parameters(state.under("hazard/event")).b)

    # --- sampling ----------------------------------------------------------------------------------------------

    def sample(self, state: Parameters, n: int, *, rng: np.random.Generator) -> Rows:
        """n new patients; gaps as in the data. Raises UsageError before the fit is finished."""
        if not self.finished(state):
            raise UsageError("this generator is not finished; fit it to the end before sampling")
        coding, network, tail = self.coding(state), self.network(state), self.tail(state)
        codes = network.sample(n, rng)
        z = tail.sample(codes, coding.unmeasured(codes), rng)
        columns = coding.named_values(codes)
        for place, fact in enumerate(coding.numbers):
            columns[fact.name] = repaired(z[:, place], coding.tables[fact.name], rng)
        columns |= coding.stated_values(codes, columns)
        if self.facts.time:
            x = tail.design.rows(codes, z)
            columns |= self._outcome(state, coding, tail.design, x, rng)
        return Rows(self.facts, columns)

    def _outcome(
        self, state: Parameters, coding: Coding, design: Design, x: Integers, rng: np.random.Generator
    ) -> dict[str, Floats]:
        table = coding.tables[self.facts.time]
        died, lost = (
            Hazard.from_parameters(state.under(f"hazard/{end}")).sample(x, design, rng) for end in _ENDS
        )  # fmt: skip
        unit = float(table.grid[3])
        time = np.minimum(np.minimum(died, lost), table.high)
        event = (died <= lost) & (died <= table.high)
        time = np.maximum(np.round(np.rint(time / unit) * unit, 6), unit) if unit > 0 else time
        return {self.facts.time: time, self.facts.event: event.astype(np.float64)}


def _level_counts(values: Floats) -> Integers:
    """Patients per level of a named column, padded; nothing for numbers."""
    there = values[~np.isnan(values)]
    whole = there[(there >= 0) & (there < 128) & (there == np.rint(there))].astype(np.int64)
    return np.bincount(whole, minlength=128).astype(np.int64)


def _phase(state: Parameters) -> int:
    return int(state["phase"][0])


def _changed(state: Parameters) -> tuple[int, ...]:
    return tuple(int(v) for v in state["changed"])


def _families_of(state: Parameters) -> tuple[Family, ...]:
    rows = np.asarray(state["families"], dtype=np.int64)
    return tuple(Family(child, tuple(int(p) for p in row if p >= 0)) for child, row in enumerate(rows))


def _packed(families: tuple[Family, ...] | list[Family], width: int) -> Integers:
    found = np.full((len(families), max(width, 1)), -1, dtype=np.int64)
    for family in families:
        found[family.child, : len(family.parents)] = family.parents
    return found
