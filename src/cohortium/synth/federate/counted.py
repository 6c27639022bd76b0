"""Counts behind a finished generator: the federated validation by sums, as two more stages of the same run.

The stages that learn go on as preparations that change nothing; then training patients are counted (`census`), and
held-out ones on the same grids (`reserve`). Only sums are needed, so masks hide every site's own counts.
Design: synthetic-data.md 7.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import UsageError
from cohortium.strategies.exact_sums import ExactSums
from cohortium.swarm.program import Stage
from cohortium.synth.facts import Facts
from cohortium.synth.federate.carried import Carried, carried_by, reserve_of
from cohortium.synth.rows import rows_of_examples
from cohortium.synth.validation.census import Census

__all__ = ["Aside", "ReserveCensus", "counting_stages", "counts_in"]

_CENSUS, _RESERVE = "census", "reserve"
_NONE = Parameters()


class Aside:
    """A learner as a preparation after which every row and column is as before."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def own(self, parameters: Parameters, training: Examples) -> Parameters:
        """Nothing of the site is needed."""
        return _NONE

    def apply(self, parameters: Parameters, examples: Examples, *, own: Parameters) -> Examples:
        """The same rows."""
        return examples

    def layout(self, parameters: Parameters, layout: Layout) -> Layout:
        """The same layout."""
        return layout


@dataclass(frozen=True, kw_only=True)
class ReserveCensus:
    """The census of held-out patients, on the grids and bins of the finished one of training patients."""

    facts: Facts

    learns_by: ClassVar[Literal["sums"]] = "sums"
    reads_columns: ClassVar[bool] = False
    max_rounds: ClassVar[int] = 2

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """The first question; nothing where the grids are not known yet."""
        census = carried_by(layout).under(_CENSUS)
        if not len(census):
            return Parameters({"empty": np.zeros(1)})
        return Census(facts=self.facts, reference=census).initial(layout, rng=rng)

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's counts of those it holds back."""
        held = reserve_of(examples)
        rows = rows_of_examples(examples, self.facts)
        rows = rows.take(np.zeros(0, dtype=np.int64)) if held is None else rows_of_examples(held, self.facts)
        return Fitted(parameters=Census(facts=self.facts).answer(start, rows), n_samples=len(rows))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half. Raises ValueError for totals that are no counts."""
        return Census(facts=self.facts).advance(start, total)

    def finished(self, parameters: Parameters) -> bool:
        """Whether all sums are in."""
        return "empty" not in parameters and Census(facts=self.facts).finished(parameters)

    def predict(self, parameters: Parameters, examples: Examples) -> Any:
        """Nothing. Raises UsageError."""
        raise UsageError("a census counts, it predicts nothing")

    def parts(self, parameters: Parameters) -> dict[str, tuple[str, ...]]:
        """None."""
        return {}


def counting_stages(stages: Sequence[Stage], facts: Facts) -> tuple[Stage, ...]:
    """The stages, and both counts behind them."""
    *before, last = stages
    first, second = Census(facts=facts), ReserveCensus(facts=facts)
    counted = Carried(name=_CENSUS, inner=first)
    return (
        *before,
        replace(last, learner=Aside(last.learner)),
        Stage(name=_CENSUS, learner=counted, strategy=ExactSums(), max_rounds=first.max_rounds),
        Stage(name=_RESERVE, learner=second, strategy=ExactSums(), max_rounds=second.max_rounds),
    )


def counts_in(facts: Facts, state: Parameters) -> tuple[Parameters, Parameters] | None:
    """The finished counts of training and held-out patients in a program's last state; None where there are none."""
    real, out = state.under(f"{_CENSUS}/model"), state.under(f"{_RESERVE}/model")
    census = Census(facts=facts)
    whole = all(len(one) and "empty" not in one and census.finished(one) for one in (real, out))
    return (real, out) if whole else None
