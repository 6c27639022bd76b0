"""Records as an audit sees them: scaled with the consortium's means, rounded, with the site each belongs to.

One site's rows at a node, all sites' at once in a simulation: every number of an audit's sums belongs to one record,
so both give the same totals. Features are standardised, cut at five standard deviations and rounded to 2^-12; missing
ones are the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.wide_sums import wide_mean, wide_square_sums, wide_sums, wide_variance
from cohortium.errors import DataError
from cohortium.quality.slots import MAX_COLUMNS, X_BITS

__all__ = ["Pool", "Scale", "as_examples", "flat", "pool_of", "scale_of", "scale_sums"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_FURTHEST = 5.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """Mean and standard deviation of every column over all sites, (d,)."""

    mean: Floats
    sd: Floats

    @classmethod
    def read(cls, state: Parameters) -> Scale:
        """From an audit's state."""
        mean, sd = np.asarray(state["scale"], dtype=np.float64)
        return cls(mean=mean, sd=sd)

    def write(self) -> Parameters:
        """Into one."""
        return Parameters({"scale": np.array([self.mean, self.sd])})

    def fixed(self, x: Floats) -> Integers:
        """Scaled rows at 2^-12, (n, d)."""
        held = np.clip(np.nan_to_num((x - self.mean) / self.sd, nan=0.0), -_FURTHEST, _FURTHEST)
        return fp.to_fixed(held, X_BITS, what="features")


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Rows of one or several sites. x: raw, (n, d), NaN = missing; y: 0/1; site: index into the consortium, (n,)."""

    x: Floats
    y: Floats
    site: Integers
    examples: Mapping[int, Examples]
    cache: dict[Any, Any] = field(default_factory=dict)

    def rows(self, site: int) -> Integers:
        """Row numbers of one site."""
        if ("rows", site) not in self.cache:
            self.cache["rows", site] = np.flatnonzero(self.site == site)
        found: Integers = self.cache["rows", site]
        return found


def as_examples(content: Any) -> Examples:
    """Examples as they are, or a pair of arrays x (n, d) or (n, c, h, w) and y (n,) of 0 and 1. Raises DataError."""
    if isinstance(content, Examples):
        return content
    x, y = (np.asarray(part, dtype=np.float64) for part in content)
    if len(x) != len(y):
        raise DataError(f"{len(x)} rows of features and {len(y)} labels; expected as many")
    image = (x.shape[1], x.shape[2], x.shape[3]) if x.ndim == 4 else None
    names = () if image else tuple(f"column {j + 1}" for j in range(x.shape[1]))
    return Examples(layout=Layout(features=names, outcome="binary", classes=("0", "1"), image=image), x=x, y=y)


def flat(examples: Examples) -> Floats:
    """The features as a table of float64, (n, d)."""
    return np.asarray(examples.x, dtype=np.float64).reshape(len(examples), -1)


def pool_of(examples: Mapping[int, Examples], *, most_columns: int | None = MAX_COLUMNS) -> Pool:
    """The rows of the sites at these places in the consortium. Raises DataError for what no probe can score.

    most_columns: None where no second derivatives travel.
    """
    for one in examples.values():
        wrong = one.layout.outcome != "binary" or one.y is None
        if wrong or not np.isin(np.asarray(one.y), (0.0, 1.0)).all():
            raise DataError("an audit needs an outcome of 0 and 1 in every row")
        if (patients := len(np.unique(one.patient))) < len(one):
            raise DataError(
                f"{len(one)} rows of {patients} patients: an audit counts every patient once",
                hint="keep one row of each patient; repeated ones would count as independent evidence",
            )
        if most_columns is not None and one.layout.n_features > most_columns:
            raise DataError(
                f"the audit's probe takes up to {most_columns} columns, got {one.layout.n_features}",
                hint="audit the embedding of a shared model, or smaller images",
            )
    places = sorted(examples)
    rows = [flat(examples[place]) for place in places]
    if len({part.shape[1] for part in rows}) != 1:
        raise DataError("sites differ in their number of columns")
    return Pool(
        x=np.concatenate(rows),
        y=np.concatenate([np.asarray(examples[place].y, dtype=np.float64) for place in places]),
        site=np.repeat(places, [len(part) for part in rows]).astype(np.int64),
        examples=examples,
    )


def scale_sums(x: Floats) -> dict[str, Integers]:
    """What a site adds to the scale: values, their sum and their squares per column, without missing ones."""
    known = np.isfinite(x)
    held = np.where(known, x, 0.0)
    return {
        "count": known.sum(axis=0).astype(np.int64),
        "sum": wide_sums(held, what="features"),
        "square": wide_square_sums(held, what="features"),
    }


def scale_of(total: Parameters) -> Scale:
    """The merged scale; a constant or empty column gets sd 1."""
    count = np.asarray(total["count"], dtype=np.int64)
    sums, squares = (np.asarray(total[name], dtype=np.int64) for name in ("sum", "square"))
    mean, variance = wide_mean(sums, count), wide_variance(sums, squares, count)
    sd = np.sqrt(np.nan_to_num(variance, nan=0.0))
    return Scale(mean=np.nan_to_num(mean, nan=0.0), sd=np.where(sd > 0, sd, 1.0))
