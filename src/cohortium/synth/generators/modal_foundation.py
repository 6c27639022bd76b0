"""The foundation of `ctgan` with `modes = "em"`: a Bayesian network by exact sums, then the modes by exact sums.

`modes/...` in the state is the learner of `modes_em`; everything else is the network's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import UsageError
from cohortium.synth.facts import Facts
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.generators.coding import Coding
from cohortium.synth.generators.modes import Modes
from cohortium.synth.generators.modes_em import MAX_EXCHANGES, ModesByEm
from cohortium.synth.generators.normal_scores import Scores
from cohortium.synth.rows import Rows, rows_of_examples

__all__ = ["ModalFoundation", "modes_of", "number_tables"]


def number_tables(coding: Coding) -> tuple[tuple[str, ...], tuple[Scores, ...]]:
    """(names, published tables) of the numbers, the survival time's last."""
    names = (*(c.name for c in coding.numbers), *([coding.facts.time] if coding.facts.time else []))
    return names, tuple(coding.tables[name] for name in names)


def modes_of(coding: Coding, foundation: Parameters) -> tuple[Modes, ...]:
    """By number: those learned by EM if the foundation has them, else those of the published histograms."""
    _, tables = number_tables(coding)
    held = foundation.under("modes")
    return ModesByEm(tables=tables).modes(held) if len(held) else tuple(Modes.of(table) for table in tables)


@dataclass(frozen=True, kw_only=True)
class ModalFoundation:
    """inner: what is learned first."""

    inner: BayesianNetwork

    learns_by: ClassVar[Literal["sums"]] = "sums"
    reads_columns: ClassVar[bool] = False

    @property
    def facts(self) -> Facts:
        """The columns."""
        return self.inner.facts

    @property
    def max_rounds(self) -> int:
        """Most exchanges a fit takes."""
        return self.inner.max_rounds + MAX_EXCHANGES

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """The first question."""
        return self.inner.initial(layout, rng=rng)

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's answer, whole numbers only."""
        rows = rows_of_examples(examples, self.facts)
        return Fitted(parameters=self.answer(start, rows), n_samples=len(rows))

    def answer(self, state: Parameters, rows: Rows) -> Parameters:
        """The sums the state asks for, of these rows."""
        if not self.inner.finished(state):
            return self.inner.answer(state, rows)
        coding = self.coding(state)
        return ModesByEm(tables=number_tables(coding)[1]).answer(state.under("modes"), _measured(coding, rows))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half."""
        if self.inner.finished(start):
            em = ModesByEm(tables=number_tables(self.coding(start))[1])
            kept = start.without([name for name in start if name.startswith("modes/")])
            return kept | em.advance(start.under("modes"), total).prefixed("modes")
        state = self.inner.advance(start, total)
        if not self.inner.finished(state):
            return state
        return state | ModesByEm(tables=number_tables(self.coding(state))[1]).initial().prefixed("modes")

    def finished(self, parameters: Parameters) -> bool:
        """Whether network and modes stand still."""
        if not self.inner.finished(parameters):
            return False
        return ModesByEm(tables=number_tables(self.coding(parameters))[1]).finished(parameters.under("modes"))

    def predict(self, parameters: Parameters, examples: Examples) -> Any:
        """Nothing. Raises UsageError."""
        raise UsageError("a foundation predicts nothing")

    def parts(self, parameters: Parameters) -> dict[str, tuple[str, ...]]:
        """None."""
        return {}

    def coding(self, state: Parameters) -> Coding:
        """How rows are coded."""
        return self.inner.coding(state)

    def sample(self, state: Parameters, n: int, *, rng: np.random.Generator) -> Rows:
        """n patients of the network."""
        return self.inner.sample(state, n, rng=rng)


def _measured(coding: Coding, rows: Rows) -> list[NDArray[np.float64]]:
    """By number the values that are neither missing nor spikes, the survival time's last."""
    absent = coding.unmeasured(coding.codes(rows))
    found = [rows[fact.name][~absent[:, k]] for k, fact in enumerate(coding.numbers)]
    found += [rows[coding.facts.time]] if coding.facts.time else []
    return [values[~np.isnan(values)] for values in found]
