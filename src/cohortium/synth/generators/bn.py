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
from cohortium.synth.generators.coding import Coding
from cohortium.synth.generators.hazard import MAX_STEPS
from cohortium.synth.generators.imputing import Imputer
from cohortium.synth.generators.network import Network
from cohortium.synth.generators.outcome import (
    covariates_of,
    design_of,
    hazard_answer,
    hazards_begun,
    hazards_moved,
    hazards_of,
    log_risk,
    products_added,
    sampled_outcome,
)
from cohortium.synth.generators.preparing import after_histograms, after_ranges, coding_of, histograms, ranges
from cohortium.synth.generators.redrawing import redrawn
from cohortium.synth.generators.tail import Tail, gram_counts, repaired
from cohortium.synth.phases import at_phase, phase_of
from cohortium.synth.rows import Rows, rows_of_examples

__all__ = ["BayesianNetwork"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RANGES, HISTOGRAMS, CLIMB, DONE = 0, 1, 2, -1


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
        return Parameters(at_phase(RANGES))

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's answer to the state's question, whole numbers only."""
        rows = rows_of_examples(examples, self.facts)
        return Fitted(parameters=self.answer(start, rows), n_samples=len(rows))

    def answer(self, state: Parameters, rows: Rows) -> Parameters:
        """The sums the state asks for, of these rows."""
        phase = phase_of(state)
        if phase == RANGES:
            return ranges(self.facts, rows)
        if phase == HISTOGRAMS:
            return histograms(self.facts, state, rows)
        return self._families(state, rows)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half: what the sums of all sites make of the state."""
        phase = phase_of(start)
        if phase == RANGES:
            return Parameters(at_phase(HISTOGRAMS)) | after_ranges(self.facts, total)
        if phase == HISTOGRAMS:
            return self._after_histograms(start, total)
        return self._after_families(start, total)

    def finished(self, parameters: Parameters) -> bool:
        """Whether graph and hazards stand still."""
        return phase_of(parameters) == DONE

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Log relative hazard of every patient, (n,). Raises UsageError for an outcome that is not survival."""
        if not self.facts.time:
            raise UsageError("generator 'bn' predicts survival outcomes only")
        return self.log_risk(parameters, rows_of_examples(examples, self.facts))

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}

    # --- what sites answer -------------------------------------------------------------------------------------

    def _families(self, state: Parameters, rows: Rows) -> Parameters:
        coding = self.coding(state)
        codes, z = coding.codes(rows), coding.scores(rows)
        wide = one_hot(codes, coding.sizes) if coding.sizes else np.zeros((len(rows), 0))
        families = _families_of(state)
        found: dict[str, object] = {
            f"block/{child}": block_counts(codes, wide, families[child], coding.sizes)
            for child in _changed(state)
        }  # fmt: skip
        design = design_of(coding)
        if "tail/sd" not in state and coding.numbers:
            found["gram"] = gram_counts(design, codes, z)
        if self.facts.time:
            found |= hazard_answer(self.facts, state, coding, codes, z, rows)
        return Parameters(found)

    # --- what the leader half makes of it ----------------------------------------------------------------------

    def _after_histograms(self, start: Parameters, total: Parameters) -> Parameters:
        state = after_histograms(self.facts, start, total, min_cell=self.min_cell)
        found: dict[str, object] = dict(state.items())
        coding = self.coding(state)
        found |= at_phase(CLIMB)
        found["families"] = _packed([Family(child) for child in range(len(coding.sizes))], self.max_parents)
        found["changed"] = np.arange(len(coding.sizes), dtype=np.int64)
        found["climbs"] = np.zeros(1, dtype=np.int64)
        return Parameters(found | hazards_begun(self.facts, state, coding))

    def _after_families(self, start: Parameters, total: Parameters) -> Parameters:
        coding = self.coding(start)
        found: dict[str, object] = dict(start.items())
        found |= {name: array for name, array in total.items() if name.startswith("block/")}
        if "gram" in total:
            tail = Tail.solved(design_of(coding), np.asarray(total["gram"], dtype=np.int64))
            found |= dict(tail.to_parameters().prefixed("tail").items())
        hazards, still = hazards_moved(self.facts, start, total)
        found |= hazards
        climbs = int(start["climbs"][0]) + 1
        families = _families_of(start)
        if climbs == 1 and families:  # the first blocks are the tables of all pairs of levels
            joint = np.vstack([np.asarray(found[f"block/{child}"], dtype=np.int64) for child in range(len(families))])
            starts = np.concatenate([[0], np.add.accumulate(coding.sizes)[:-1]]).astype(np.int64)
            found = products_added(self.facts, found, coding, joint, starts)
            still = still and not len(np.asarray(found.get("hazard pairs", ())))
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
        kept |= at_phase(DONE)
        return Parameters(kept)

    # --- reading a state ---------------------------------------------------------------------------------------

    def coding(self, state: Parameters) -> Coding:
        """How rows are coded, from exchange 2 on."""
        return coding_of(self.facts, state)

    def network(self, state: Parameters) -> Network:
        """The finished network."""
        coding = self.coding(state)
        counts = {child: np.asarray(state[f"counts/{child}"], dtype=np.int64) for child in range(len(coding.sizes))}
        return Network(_families_of(state), counts, coding.sizes)

    def tail(self, state: Parameters) -> Tail:
        """The finished regressions."""
        coding = self.coding(state)
        design = design_of(coding)
        if not coding.numbers:
            return Tail(design, np.zeros((0, design.width)), np.zeros(0))
        held = state.under("tail")
        return Tail(design, np.asarray(held["coefficients"]), np.asarray(held["sd"]))

    def log_risk(self, state: Parameters, rows: Rows) -> Floats:
        """b' x of the event's hazard, (n,)."""
        return log_risk(self.facts, state, self.coding(state), rows)

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
            columns |= sampled_outcome(self.facts, state, coding, columns, rng)
        return Rows(self.facts, columns)

    def impute(self, state: Parameters, rows: Rows, *, rng: np.random.Generator) -> Rows:
        """These patients, their gaps filled by one draw under parameters drawn anew; call it m times. A column that
        nobody had stays empty.

        Raises UsageError before the fit is done.
        """
        if not self.finished(state):
            raise UsageError("this generator is not finished; fit it to the end before filling gaps")
        coding, counts = self.coding(state), self.network(state).counts
        nobody = [c.name for at, c in enumerate(coding.named) if not counts[at][: len(c.levels or "01")].sum()]
        state = redrawn(self, state, rng=rng)
        coding, hazards = self.coding(state), tuple(hazards_of(self.facts, state).values())
        covariates = covariates_of(coding, state)
        filled = Imputer(coding, self.network(state), self.tail(state), covariates, hazards).filled(rows, rng=rng)
        return filled.with_columns({name: rows[name] for name in nobody})


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
