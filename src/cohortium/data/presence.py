"""Columns too few patients have are dropped for everybody, before anything is scaled or filled.

A column held by less than a fifth of all records says more about the site than about the patient: in
heart_uci `ca`, `thal` and `slope` are nearly absent outside one hospital. Optionally 0/1 columns with
few carriers go too. One exchange: records, values present, ones, values that are neither 0 nor 1.
Which site lacks which column is told by evaluation. Design: clinical-learning.md 1.5 and 1.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import InvariantBroken, TrainingFailed

__all__ = ["Presence"]


@dataclass(frozen=True, kw_only=True)
class Presence:
    """Keep columns present in at least `min_share` of all records; 0/1 columns need `min_carriers` ones (0 = any).

    15 is the usual `min_carriers` where results are released. Images pass unchanged.
    """

    min_share: float = 0.2
    min_carriers: int = 0
    learns_by: ClassVar[Literal["sums"]] = "sums"
    max_rounds: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 <= self.min_share <= 1:
            raise ValueError(f"min_share must be 0 to 1, got {self.min_share}")
        if self.min_carriers < 0:
            raise ValueError(f"min_carriers must be at least 0, got {self.min_carriers}")

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """`step`, `records` (1,) and for each of p columns `present` (count) and `keep` (0 = dropped)."""
        p = len(layout.features)
        counts = {"records": np.zeros(1, dtype=np.int64), "present": np.zeros(p, dtype=np.int64)}
        return Parameters({"step": np.zeros(1, dtype=np.int64), **counts, "keep": np.ones(p, dtype=np.uint8)})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Counts over this site's training rows."""
        x = examples.x if examples.layout.image is None else np.zeros((len(examples), 0))
        present = len(x) - np.count_nonzero(np.isnan(x), axis=0)
        ones, zeros = np.count_nonzero(x == 1, axis=0), np.count_nonzero(x == 0, axis=0)
        counts = {"present": present, "ones": ones, "others": present - ones - zeros}
        arrays = {name: np.asarray(count, dtype=np.int64) for name, count in counts.items()}
        records = np.array([len(examples)], dtype=np.int64)
        return Fitted(parameters=Parameters({"records": records, **arrays}), n_samples=len(examples))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Which columns stay. Raises TrainingFailed when none would."""
        present, records = total["present"].astype(np.int64), int(total["records"][0])
        keep = present >= self.min_share * records
        carriers = total["ones"].astype(np.int64)
        rare = (total["others"] == 0) & (np.minimum(carriers, present - carriers) < self.min_carriers)
        keep &= ~rare
        if len(keep) and not keep.any():
            reason = f"no column is present in {self.min_share:.0%} of the {records} records"
            raise TrainingFailed(f"{reason}; lower min_share or choose other features", stage="presence", code="empty")
        counts = {"records": np.array([records], dtype=np.int64), "present": present}
        return Parameters({"step": np.ones(1, dtype=np.int64), **counts, "keep": keep.astype(np.uint8)})

    def finished(self, parameters: Parameters) -> bool:
        """After one exchange."""
        return int(parameters["step"][0]) >= 1

    def own(self, parameters: Parameters, training: Examples) -> Parameters:
        """Nothing."""
        return Parameters()

    def apply(self, parameters: Parameters, examples: Examples, *, own: Parameters) -> Examples:
        """The kept columns."""
        if examples.layout.image is not None:
            return examples
        keep = np.asarray(parameters["keep"], dtype=bool)
        if keep.all():
            return examples
        return examples.with_x(examples.x[:, keep], self.layout(parameters, examples.layout))

    def layout(self, parameters: Parameters, layout: Layout) -> Layout:
        """The layout with the kept columns."""
        keep = parameters["keep"]
        return replace(layout, features=tuple(f for f, k in zip(layout.features, keep, strict=True) if k))

    def predict(self, parameters: Parameters, examples: Examples) -> NDArray[np.float64]:
        """Never: a preparation has no outcome."""
        raise InvariantBroken("presence predicts nothing")

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}
