"""Features on a public scale: each column's agreed range becomes -1 to 1, and nobody asks the patients.

Means and deviations of patients cost privacy, as fill values do; a range that was agreed before anybody looked costs
nothing. Values outside are clipped to it, a missing one becomes the middle. Ranges are given by column name, with `*`
for any characters; of several that fit the longest counts, whatever their order. Images hold 0 to 1 by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import isfinite
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import InvariantBroken, Problem, StudyError

__all__ = ["PublicScale"]

_UNIT = (0.0, 1.0)

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PublicScale:
    """(2 x - low - high) / (high - low), clipped to -1 to 1. ranges: (pattern, low, high), as `cohort.ranges` has them.

    A 0/1 column of an agreed category (`column=value`) has the range 0 to 1 unless a pattern says otherwise.
    """

    ranges: tuple[tuple[str, float, float], ...] = ()
    learns_by: ClassVar[Literal["sums"]] = "sums"
    max_rounds: ClassVar[int] = 0

    def __post_init__(self) -> None:
        for pattern, low, high in self.ranges:
            if not (isfinite(low) and isfinite(high) and low < high):
                raise ValueError(f"ranges: '{pattern}' must be two numbers that rise, got {low:g} and {high:g}")

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """`low` and `high` of each column or channel: all there is. Raises StudyError for columns without a range."""
        if layout.image is not None:
            found = [self._range(f"channel {at}") or _UNIT for at in range(layout.image[0])]
            return _bounds(found)
        known = {name: self._range(name) or (_UNIT if "=" in name else None) for name in layout.features}
        if missing := [name for name, bounds in known.items() if bounds is None]:
            shown = ", ".join(f"'{name}'" for name in missing[:5]) + (
                f" and {len(missing) - 5} more" * (len(missing) > 5)
            )
            sentence = f'no public range for column {shown}; give cohort.ranges, for example {{ "*" = [0, 1] }}'
            raise StudyError([Problem("cohort.ranges", sentence)])
        return _bounds([bounds for bounds in known.values() if bounds is not None])

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Never: there is nothing to ask a site."""
        raise InvariantBroken("a public scale asks nobody")

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Never."""
        raise InvariantBroken("a public scale asks nobody")

    def finished(self, parameters: Parameters) -> bool:
        """From the beginning."""
        return True

    def own(self, parameters: Parameters, training: Examples) -> Parameters:
        """Nothing."""
        return Parameters()

    def apply(self, parameters: Parameters, examples: Examples, *, own: Parameters) -> Examples:
        """Scaled, clipped and filled."""
        low, high = (np.asarray(parameters[name], dtype=np.float64) for name in ("low", "high"))
        if examples.layout.image is not None:
            low, high = low[:, None, None], high[:, None, None]
        x = (2.0 * np.asarray(examples.x, dtype=np.float64) - (low + high)) / (high - low)
        x = np.where(np.isnan(x), 0.0, np.clip(x, -1.0, 1.0))
        return examples.with_x(x.astype(examples.x.dtype), examples.layout)

    def layout(self, parameters: Parameters, layout: Layout) -> Layout:
        """Unchanged."""
        return layout

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Never: a preparation has no outcome."""
        raise InvariantBroken("scaling predicts nothing")

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}

    def _range(self, name: str) -> tuple[float, float] | None:
        fitting = [(len(p), p, low, high) for p, low, high in self.ranges if p == name or fnmatchcase(name, p)]
        return max(fitting)[2:] if fitting else None


def _bounds(found: list[tuple[float, float]]) -> Parameters:
    both = np.array(found, dtype=np.float64).reshape(-1, 2)
    return Parameters({"low": both[:, 0], "high": both[:, 1]})
