"""Features of all sites on one scale: over all patients (`Standard`), by site (`PerSite`), or in between (`Shrunk`).

One exchange of exact sums gives every column's mean and sd over all training rows; columns without two
different values are dropped. Site scaling removes what a scanner or laboratory adds, which helps sites
never seen and hurts where outcome shares differ (TB series: 0.956 -> 0.973 on an unseen one, 0.957 ->
0.906 on the common test rows), so it is the study's choice. The site's own moments stay at the site and
come from its training rows only. Images have one mean and sd per channel. ComBat is in `combat.py`.

All end with a clip to +-`clip` sd; missing values stay missing. Design: clinical-learning.md 1.7.
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
from cohortium.data.moments import Moments, floats, moment_sums, moments, n_columns
from cohortium.errors import InvariantBroken

__all__ = ["PerSite", "Shrunk", "Standard", "check_positive"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Standard:
    """(x - mean) / sd with the mean and sd of all sites' training rows. clip: in sd."""

    clip: float = 5.0
    learns_by: ClassVar[Literal["sums"]] = "sums"
    max_rounds: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_positive("clip", self.clip)

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """`step`, and for each of p columns or channels `mean`, `sd`, `keep` (0 = dropped)."""
        return _initial(layout)

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Exact sums of values and squares."""
        return Fitted(parameters=moment_sums(examples), n_samples=len(examples))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Mean, sd and kept columns from the sums."""
        return _advance(total)

    def finished(self, parameters: Parameters) -> bool:
        """After one exchange."""
        return int(parameters["step"][0]) >= 1

    def own(self, parameters: Parameters, training: Examples) -> Parameters:
        """Nothing: the shared moments are enough."""
        return Parameters()

    def apply(self, parameters: Parameters, examples: Examples, *, own: Parameters) -> Examples:
        """Scaled and clipped columns."""
        return _scaled(parameters, examples, floats(parameters, "mean"), floats(parameters, "sd"), clip=self.clip)

    def layout(self, parameters: Parameters, layout: Layout) -> Layout:
        """The kept columns."""
        return _kept(parameters, layout)

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Never: a preparation has no outcome."""
        raise InvariantBroken("scaling predicts nothing")

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Shrunk:
    """Scaling by site moments drawn to the global ones: mean (n m_site + weight m)/(n + weight), variance alike.

    weight: as many records the global moments count for. A site without rows uses the global moments.
    """

    weight: float = 10.0
    clip: float = 5.0
    learns_by: ClassVar[Literal["sums"]] = "sums"
    max_rounds: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_positive("weight", self.weight)
        check_positive("clip", self.clip)

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """As `Standard`."""
        return _initial(layout)

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Exact sums of values and squares."""
        return Fitted(parameters=moment_sums(examples), n_samples=len(examples))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The global moments and kept columns."""
        return _advance(total)

    def finished(self, parameters: Parameters) -> bool:
        """After one exchange."""
        return int(parameters["step"][0]) >= 1

    def own(self, parameters: Parameters, training: Examples) -> Parameters:
        """This site's `mean` and `sd`, shrunk to the global ones; they never leave."""
        return _own(parameters, training, weight=self.weight)

    def apply(self, parameters: Parameters, examples: Examples, *, own: Parameters) -> Examples:
        """Scaled by the site's own moments and clipped."""
        return _scaled(parameters, examples, floats(own, "mean"), floats(own, "sd"), clip=self.clip)

    def layout(self, parameters: Parameters, layout: Layout) -> Layout:
        """The kept columns."""
        return _kept(parameters, layout)

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Never: a preparation has no outcome."""
        raise InvariantBroken("scaling predicts nothing")

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}


@dataclass(frozen=True, kw_only=True)
class PerSite:
    """Scaling by each site's own mean and sd; global ones for columns of which it holds less than two values."""

    clip: float = 5.0
    learns_by: ClassVar[Literal["sums"]] = "sums"
    max_rounds: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_positive("clip", self.clip)

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """As `Standard`."""
        return _initial(layout)

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Exact sums of values and squares."""
        return Fitted(parameters=moment_sums(examples), n_samples=len(examples))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The global moments and kept columns."""
        return _advance(total)

    def finished(self, parameters: Parameters) -> bool:
        """After one exchange."""
        return int(parameters["step"][0]) >= 1

    def own(self, parameters: Parameters, training: Examples) -> Parameters:
        """This site's `mean` and `sd`; they never leave."""
        return _own(parameters, training, weight=0.0)

    def apply(self, parameters: Parameters, examples: Examples, *, own: Parameters) -> Examples:
        """Scaled by the site's own moments and clipped."""
        return _scaled(parameters, examples, floats(own, "mean"), floats(own, "sd"), clip=self.clip)

    def layout(self, parameters: Parameters, layout: Layout) -> Layout:
        """The kept columns."""
        return _kept(parameters, layout)

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Never: a preparation has no outcome."""
        raise InvariantBroken("scaling predicts nothing")

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}


def check_positive(name: str, value: float) -> None:
    """Raise ValueError naming the option unless it is a positive, finite number."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be positive and finite, got {value}")


def _initial(layout: Layout) -> Parameters:
    p = n_columns(layout)
    arrays = {"step": np.zeros(1, dtype=np.int64), "mean": np.zeros(p), "sd": np.ones(p)}
    return Parameters({**arrays, "keep": np.ones(p, dtype=np.uint8)})


def _advance(total: Parameters) -> Parameters:
    found = moments(total)
    keep = found.usable
    arrays = {
        "step": np.ones(1, dtype=np.int64),
        "mean": np.where(found.count > 0, found.mean, 0.0),
        "sd": np.sqrt(np.where(keep, found.variance, 1.0)),
        "keep": keep.astype(np.uint8),
    }
    return Parameters(arrays)


def _own(parameters: Parameters, training: Examples, *, weight: float) -> Parameters:
    mean, sd = floats(parameters, "mean"), floats(parameters, "sd")
    local: Moments = moments(moment_sums(training))
    n = _records(local, training)
    share = n / np.maximum(n + weight, 1.0)
    known = (local.count > 1) & ((local.variance > 0) | (weight > 0))
    site_mean = np.where(known, local.mean, mean)
    site_variance = np.where(known, local.variance, sd * sd)
    shrunk_mean = share * site_mean + (1.0 - share) * mean
    shrunk_variance = share * site_variance + (1.0 - share) * (sd * sd)
    only_mean = (local.count > 1) & (local.variance == 0) & (weight == 0)  # constant at the site: centre, keep the sd
    return Parameters({"mean": np.where(only_mean, local.mean, shrunk_mean), "sd": np.sqrt(shrunk_variance)})


def _records(local: Moments, training: Examples) -> Floats:
    """Patients behind each mean: all pixels of an image are one record."""
    if training.layout.image is None:
        return local.count.astype(np.float64)
    return np.full(len(local.count), float(len(training)))


def _scaled(parameters: Parameters, examples: Examples, centre: Floats, width: Floats, *, clip: float) -> Examples:
    layout = _kept(parameters, examples.layout)
    if layout.image is not None:
        x = examples.x - centre[:, None, None].astype(np.float32)
        x /= width[:, None, None].astype(np.float32)
    else:
        keep = np.asarray(parameters["keep"], dtype=bool)
        x = examples.x[:, keep] - centre[keep]
        x /= width[keep]
    np.clip(x, -clip, clip, out=x)
    return examples.with_x(x, layout)


def _kept(parameters: Parameters, layout: Layout) -> Layout:
    if layout.image is not None:
        return layout
    keep = parameters["keep"]
    return replace(layout, features=tuple(f for f, k in zip(layout.features, keep, strict=True) if k))
