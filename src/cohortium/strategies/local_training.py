"""The site half that most strategies share: what is asked of training, what it changed, how much it weighs.

Strategies call these functions; none inherits from another. Options every strategy by weights takes:

local_epochs   passes over the training rows a round, at least 1.
sync_every     batches a round instead of whole passes, or None.
weights        `samples` (training rows), `equal`, or a table of 1 to 100 by site.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from cohortium.core.exact import rounded
from cohortium.core.parameters import Parameters
from cohortium.core.update import MAX_WEIGHT, Aggregate, Fitted, Instructions, Turn
from cohortium.errors import FrameError, TrainingFailed

__all__ = [
    "Weights",
    "as_floats",
    "ask",
    "check_options",
    "check_positive",
    "check_share",
    "difference",
    "enough_sites",
    "mean_difference",
    "moved",
    "named",
    "weight_of",
]

Weights = str | Mapping[str, int]


def check_options(*, local_epochs: int, sync_every: int | None, weights: Weights = "samples") -> None:
    """Raise ValueError naming the option that is out of range."""
    if local_epochs < 1:
        raise ValueError(f"local_epochs must be at least 1, got {local_epochs}")
    if sync_every is not None and sync_every < 1:
        raise ValueError(f"sync_every must be at least 1 batch, got {sync_every}")
    if isinstance(weights, str):
        if weights not in ("samples", "equal"):
            raise ValueError(f"weights must be 'samples', 'equal' or a table of 1 to 100 by site, got {weights!r}")
        return
    for site, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int) or not 1 <= weight <= 100:
            raise ValueError(f"weights: site {site!r} must be a whole number of 1 to 100, got {weight!r}")


def check_share(name: str, value: float, *, above: float = 0.0, below: float = 1.0) -> None:
    """Raise ValueError unless above <= value < below."""
    if not above <= value < below:
        raise ValueError(f"{name} must be at least {above:g} and below {below:g}, got {value}")


def check_positive(name: str, value: float) -> None:
    """Raise ValueError unless the value is positive and finite."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be positive and finite, got {value}")


def ask(*, local_epochs: int, sync_every: int | None) -> Instructions:
    """One ordinary local training. With `sync_every`, exactly so many batches, over several passes if need be."""
    if sync_every is None:
        return Instructions(local_epochs=local_epochs)
    return Instructions(local_epochs=max(local_epochs, sync_every), max_steps=sync_every)


def difference(turn: Turn, fitted: Fitted) -> Parameters:
    """D = y - x in the dtypes of the model: what the training changed."""
    if not fitted.parameters.like(turn.start):
        raise TrainingFailed("training returned other arrays than the round started from", code="layout")
    return Parameters({name: np.subtract(fitted.parameters[name], array) for name, array in turn.start.items()})


def as_floats(parameters: Parameters) -> dict[str, NDArray[np.float64]]:
    """The arrays as float64, to calculate with."""
    return {name: np.asarray(array, dtype=np.float64) for name, array in parameters.items()}


def named(patterns: tuple[str, ...], parameters: Parameters) -> tuple[str, ...]:
    """Names of the arrays that match one of the patterns (`*` for any characters)."""
    return tuple(name for name in parameters if any(fnmatchcase(name, pattern) for pattern in patterns))


def weight_of(turn: Turn, fitted: Fitted, weights: Weights) -> int:
    """The integer weight of this site's contribution."""
    if weights == "equal":
        return 1
    if isinstance(weights, Mapping):
        if turn.site not in weights:
            raise TrainingFailed(f"weights names no weight for site '{turn.site}'", code="weight")
        return weights[turn.site]
    if fitted.n_samples < 1:
        raise TrainingFailed("no training rows, so the contribution has no weight", code="empty")
    return min(fitted.n_samples, MAX_WEIGHT)


def mean_difference(turn: Turn, aggregate: Aggregate) -> dict[str, NDArray[np.float64]]:
    """(sum of n_i D_i)/(sum of n_i) in float64 for the arrays of the model that were sent."""
    for name, array in turn.start.items():
        if name in aggregate.total and aggregate.total[name].shape != array.shape:
            raise FrameError(f"updates hold '{name}' as {aggregate.total[name].shape}, the model as {array.shape}")
    return {
        name: np.divide(aggregate.total[name], float(aggregate.weight))
        for name in turn.start
        if name in aggregate.total
    }


def moved(start: Parameters, step: Mapping[str, NDArray[np.float64]]) -> Parameters:
    """start + step, added in float64 and rounded once to the dtypes of `start`; arrays without a step stay."""
    return Parameters(
        {
            name: rounded(array.astype(np.float64) + step[name], array.dtype) if name in step else array
            for name, array in start.items()
        }
    )


def enough_sites(rule: str, aggregate: Aggregate, *, least: int) -> None:
    """Raise TrainingFailed (stage `merge`) when too few sites contributed for the rule to mean anything."""
    found = len(aggregate.contributors)
    if found < least:
        message = f"merge '{rule}' needs at least {least} contributing sites, got {found}"
        raise TrainingFailed(message, stage="merge", code="too_few_sites")
