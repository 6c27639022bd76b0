"""What one stage hands to the next: finished arrays in the layout, and at the site its reserve beside its rows.

A preparation of the round machine changes the layout that later stages see. Ours changes no column: it puts what was
learned (a foundation, histograms, weights) into the layout, where every node finds it, leader half and site half alike.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions

__all__ = ["Carried", "CarryingLayout", "WithReserve", "carried_by", "reserve_of", "with_reserve"]

_NONE = Parameters()


@dataclass(frozen=True, kw_only=True)
class CarryingLayout(Layout):
    """A layout that also carries arrays, under the names of the stages that made them."""

    carried: Parameters = _NONE


@dataclass(frozen=True, kw_only=True, eq=False)
class WithReserve(Examples):
    """Training rows, and beside them the site's reserve, which trains nothing: only the gate looks at it."""

    reserve: Examples | None = None


def with_reserve(training: Examples, reserve: Examples) -> WithReserve:
    """The training rows that know their reserve."""
    held = {field.name: getattr(training, field.name) for field in fields(Examples)}
    return WithReserve(**held, reserve=reserve)


def reserve_of(examples: Examples) -> Examples | None:
    """The reserve beside these rows, if there is one."""
    return getattr(examples, "reserve", None)


def carried_by(layout: Layout) -> Parameters:
    """What earlier stages left; empty before any."""
    return getattr(layout, "carried", _NONE)


@dataclass(frozen=True, kw_only=True)
class Carried:
    """A learner as a preparation: its finished state goes on under `name`; the rows stay as they are."""

    name: str
    inner: Any

    learns_by: ClassVar[Literal["sums"]] = "sums"

    @property
    def max_rounds(self) -> int:
        """Of the learner inside."""
        return int(self.inner.max_rounds)

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """The first question."""
        first: Parameters = self.inner.initial(layout, rng=rng)
        return first

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's sums."""
        found: Fitted = self.inner.fit(start, examples, instructions=instructions, rng=rng)
        return found

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half."""
        state: Parameters = self.inner.advance(start, total)
        return state

    def finished(self, parameters: Parameters) -> bool:
        """Whether it has converged."""
        return bool(self.inner.finished(parameters))

    def predict(self, parameters: Parameters, examples: Examples) -> Any:
        """As the learner inside."""
        return self.inner.predict(parameters, examples)

    def parts(self, parameters: Parameters) -> dict[str, tuple[str, ...]]:
        """None."""
        return {}

    def own(self, parameters: Parameters, training: Examples) -> Parameters:
        """Nothing of the site is needed."""
        return _NONE

    def apply(self, parameters: Parameters, examples: Examples, *, own: Parameters) -> Examples:
        """The same rows under the layout that carries the state."""
        return examples.with_x(examples.x, self.layout(parameters, examples.layout))

    def layout(self, parameters: Parameters, layout: Layout) -> CarryingLayout:
        """The layout with the state in it."""
        held = {field.name: getattr(layout, field.name) for field in fields(Layout)}
        return CarryingLayout(**held, carried=carried_by(layout) | parameters.prefixed(self.name))
