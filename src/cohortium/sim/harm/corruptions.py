"""What goes wrong with a site's records, and what merely differs: the corruptions of the 83-centre benchmark.

Images are flattened squares in [0, 1]; tables are standardised columns. All return new arrays.

| fault | image | table |
|---|---|---|
| flip, random | 1 - y; a coin per record | same |
| noise | + N(0, 1), clipped | N(0, 2^2) instead of the values |
| inverted | 1 - x | -x |
| preparation | rotated by 90 degrees | columns in reverse order, x 3 |

Benign: another scanner (blur, gain, offset) and a minority (images rotated by 30 degrees).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["FAULTS", "broken_labels", "broken_values", "near_copy", "scanner_shift", "turned"]

Floats = NDArray[np.float64]

FAULTS = ("flip", "random", "noise", "inverted", "preparation")
"""Kinds of harm, in the turn in which scenarios deal them out."""

_FEW = 3  # records; a coin for each of so few might leave every label as it was


def broken_labels(y: NDArray[np.int8], *, fault: str, rng: np.random.Generator) -> NDArray[np.int8]:
    """Labels (m,) of 0 and 1 after a fault; other faults than `flip` and `random` leave them alone."""
    if fault == "flip" or (fault == "random" and len(y) <= _FEW):
        return (1 - y).astype(np.int8)
    if fault == "random":
        return rng.integers(0, 2, size=len(y)).astype(np.int8)
    return y.copy()


def broken_values(x: Floats, *, fault: str, side: int, rng: np.random.Generator) -> Floats:
    """Values (m, d) after a fault; side: pixels a side of an image, 0 for a table. Label faults leave them alone."""
    if fault == "noise":
        return _unit(x + rng.normal(size=x.shape)) if side else rng.normal(scale=2.0, size=x.shape)
    if fault == "inverted":
        return 1.0 - x if side else -x
    if fault == "preparation":
        return _flat(np.rot90(_square(x, side), axes=(1, 2))) if side else 3.0 * x[:, ::-1]
    return x.copy()


def scanner_shift(x: Floats, *, side: int, rng: np.random.Generator) -> Floats:
    """The same patients on another machine: blur, gain and offset of images; gain and offset of 4 columns."""
    if side:
        blurred = _flat(ndimage.uniform_filter(_square(x, side), size=(0, 3, 3), mode="nearest"))
        return _unit(blurred * rng.uniform(0.75, 1.3) + rng.uniform(0.0, 0.12))
    columns = rng.choice(x.shape[1], size=min(4, x.shape[1]), replace=False)
    moved = x.copy()
    moved[:, columns] = x[:, columns] * rng.uniform(0.85, 1.15, len(columns)) + rng.normal(0.0, 0.25, len(columns))
    return moved


def turned(x: Floats, *, side: int, degrees: float = 30.0) -> Floats:
    """Images turned in their plane; corners repeat the border."""
    spun = ndimage.rotate(_square(x, side), degrees, axes=(1, 2), reshape=False, order=1, mode="nearest")
    return _unit(_flat(spun))


def near_copy(x: Floats, *, side: int, rng: np.random.Generator) -> Floats:
    """The same records once more, with up to 5 % gain and noise of sd .02."""
    again = x * rng.uniform(0.95, 1.05, size=(len(x), 1)) + rng.normal(scale=0.02, size=x.shape)
    return _unit(again) if side else again


def _square(x: Floats, side: int) -> Floats:
    return x.reshape(len(x), side, side)


def _flat(x: Floats) -> Floats:
    return np.ascontiguousarray(x).reshape(len(x), -1)


def _unit(x: Floats) -> Floats:
    return np.clip(x, 0.0, 1.0)
