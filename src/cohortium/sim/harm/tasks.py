"""What the records of a harm benchmark are: images to classify, a standardised table, or two normal clouds.

A task is a pool of records with known outcome, from which a world deals its sites. `image_task` and `table_task` take
real patients; `gaussian_task` needs no data at all, so that a consortium can try its own shape with the separability
it expects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from cohortium.errors import DataError

__all__ = ["Task", "gaussian_task", "image_task", "table_task"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A pool of records.

    x: (n, d), images flattened and in [0, 1] or standardised columns. y: (n,) of 0 and 1. side: pixels a side, 0 for
    a table. noise: sd added to every image of a world. rare: (n,) the records of a table's legitimate minority.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.int8]
    side: int = 0
    noise: float = 0.0
    rare: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.y.shape != (len(self.x),) or not np.isin(self.y, (0, 1)).all():
            raise DataError(f"task '{self.name}': expected rows of values and one outcome of 0 or 1 for each")
        if not np.isfinite(self.x).all():
            raise DataError(f"task '{self.name}': values that are missing or not finite; fill them first")
        if self.side and self.side**2 != self.x.shape[1]:
            raise DataError(f"task '{self.name}': {self.x.shape[1]} values are no square image of {self.side} a side")


def image_task(name: str, images: NDArray[np.generic], labels: NDArray[np.generic], *, noise: float) -> Task:
    """Square grey images (n, h, h), whole numbers of 8 bits or floats in [0, 1], averaged to 14 x 14.

    h must be a multiple of 14. noise: sd of the Gaussian noise that keeps the task from being too easy.
    """
    grey = np.asarray(images, dtype=np.float64)
    if images.dtype.kind in "iu":
        grey = grey / 255
    side = 14
    if grey.ndim != 3 or grey.shape[1] != grey.shape[2] or grey.shape[1] % side:
        raise DataError(f"task '{name}': images of shape {grey.shape}; expected (n, h, h) with h a multiple of {side}")
    block = grey.shape[1] // side
    small = grey.reshape(len(grey), side, block, side, block).mean(axis=(2, 4))
    return Task(name=name, x=small.reshape(len(grey), -1), y=np.asarray(labels, np.int8), side=side, noise=noise)


def table_task(
    name: str, columns: NDArray[np.float64], labels: NDArray[np.generic], *, rare: NDArray[np.bool_] | None = None
) -> Task:
    """A table (n, d): missing values become the column's median, then every column mean 0 and variance 1."""
    filled = np.where(np.isnan(columns), np.nanmedian(columns, axis=0), columns)
    spread = filled.std(axis=0)
    scaled = (filled - filled.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return Task(name=name, x=scaled, y=np.asarray(labels, np.int8), rare=rare)


def gaussian_task(*, auroc: float = 0.85, n: int = 6000, n_features: int = 8, seed: int = 0) -> Task:
    """Two normal clouds that the best linear score tells apart with this AUROC; no patient is in it.

    The legitimate minority is the quarter of the records highest in the last column, which says nothing of the outcome.
    """
    if not 0.5 < auroc < 1 or n < 100 or n_features < 2:
        raise DataError("auroc must lie between 0.5 and 1, n be at least 100, n_features at least 2")
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 2).astype(np.int8)
    x = rng.normal(size=(n, n_features))
    direction = np.ones(n_features - 1) / np.sqrt(n_features - 1)
    x[:, :-1] += np.where(y == 1, 0.5, -0.5)[:, None] * (np.sqrt(2) * ndtri(auroc)) * direction
    return Task(name=f"gaussian-{auroc:g}", x=x, y=y, rare=x[:, -1] > ndtri(0.75))
