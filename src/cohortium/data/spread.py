"""Columns that nobody scales must be on a scale that sums can resolve: `Spread` refuses others and changes nothing.

Models by sums round every value to multiples of 2^-16, which is fine for columns in units of their sd. A column in
mol/L whose values differ by a millionth would round to nothing, and its coefficient would be 0 without a word. So
where a study says `scale = "none"`, one exchange of exact sums finds the sd of every column over all sites first.
Values too large are refused by the models themselves (`models/row_sums.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.data.moments import moment_sums, moments
from cohortium.errors import InvariantBroken, TrainingFailed

__all__ = ["LEAST_SD", "Spread"]

LEAST_SD = 2.0**-8
"""The smallest sd a column may have, unless it is constant: 256 steps of the values, so errors stay below 0.1 %."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Passes all columns as they are; the run ends, naming them, where some vary too little to be summed."""

    learns_by: ClassVar[Literal["sums"]] = "sums"
    max_rounds: ClassVar[int] = 1

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """`step` and for each of p columns `narrow` (1 = varies too little)."""
        narrow = np.zeros(len(layout.features), dtype=np.uint8)
        return Parameters({"step": np.zeros(1, dtype=np.int64), "narrow": narrow})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Exact sums of values and squares."""
        return Fitted(parameters=moment_sums(examples), n_samples=len(examples))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Which columns vary, but by less than `LEAST_SD`."""
        found = moments(total)
        narrow = found.usable & (found.variance < LEAST_SD * LEAST_SD)
        return Parameters({"step": np.ones(1, dtype=np.int64), "narrow": narrow.astype(np.uint8)})

    def finished(self, parameters: Parameters) -> bool:
        """After one exchange."""
        return int(parameters["step"][0]) >= 1

    def own(self, parameters: Parameters, training: Examples) -> Parameters:
        """Nothing."""
        return Parameters()

    def apply(self, parameters: Parameters, examples: Examples, *, own: Parameters) -> Examples:
        """Unchanged."""
        return examples

    def layout(self, parameters: Parameters, layout: Layout) -> Layout:
        """Unchanged. Raises TrainingFailed, naming the columns that vary too little."""
        names = [f"'{name}'" for name, bad in zip(layout.features, parameters["narrow"], strict=True) if bad]
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
            raise TrainingFailed(
                f"column {shown}: sd below {LEAST_SD:.4f}, too small for exact sums; expected units of about a sd",
                stage="spread",
                code="units",
                hint="set cohort.scale to 'standard'",
            )
        return layout

    def predict(self, parameters: Parameters, examples: Examples) -> NDArray[np.float64]:
        """Never: a preparation has no outcome."""
        raise InvariantBroken("spread predicts nothing")

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}
