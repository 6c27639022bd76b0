"""Sums and norms of updates that every peer recomputes bit for bit, on whatever processor it has.

`weighted_sum` is the one place where updates meet; `divide` ends a mean; `dot` and `norm2` serve rules
that look at lengths. What makes them exact (design: swarm.md section 7, performance-and-interface.md 1.3):

- sites sorted by name, multiply and add as two element-wise steps (a fused float32 form differs in 4
  elements of 10), float64 accumulators, blocks that stay in the cache;
- integer weights up to 2^29: a float32 times such a weight is exact in float64;
- one division at the end, one rounding to the dtype that goes on;
- int64 arrays are added as integers; whether they fit is checked before the first addition;
- no BLAS, no thread: element-wise + - x / sqrt of numpy give the same bits everywhere.

Sums over patients and elementary functions are in `fixed_point.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cohortium.core import payload
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Update
from cohortium.errors import FrameError, InvariantBroken, PeerError

__all__ = ["BLOCK", "divide", "dot", "norm2", "rounded", "weighted_sum"]

BLOCK = 32_768
"""Elements worked on at once: two float64 blocks of this length stay in the second-level cache."""

_INT64_LIMIT = 1 << 63


def weighted_sum(updates: Sequence[Update], *, block: int = BLOCK) -> Aggregate:
    """Sum of weight x update over sites, with the single updates sorted by site beside it.

    Floating arrays give float64 totals, integer arrays int64. Any order of `updates` and any `block`
    give the same bits. Raises FrameError when layouts differ, PeerError for a value that is not finite
    or integers that could leave int64 (both name site and array), InvariantBroken for no or double sites.
    """
    ordered = tuple(sorted(updates, key=lambda update: update.site))
    _check(ordered)
    total = {name: _total(name, ordered, block) for name in ordered[0].parameters}
    return Aggregate(
        total=Parameters.owning(total),
        weight=sum(update.weight for update in ordered),
        contributors=tuple(update.site for update in ordered),
        single=ordered,
    )


def divide(total: Parameters, weight: int, like: Parameters) -> Parameters:
    """total / weight for the arrays named in `like`: one division in float64, one rounding to its dtypes."""
    if weight < 1:
        raise InvariantBroken(f"sum of weights must be positive, got {weight}")
    return Parameters.owning({name: _quotient(total[name], weight, array.dtype) for name, array in like.items()})


def _quotient(total: NDArray[np.generic], weight: int, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Element-wise, so blocks change no bit; they keep the float64 quotient of a large array from existing whole."""
    flat, made = total.reshape(-1), np.empty(total.size, dtype)
    for start in range(0, flat.size, BLOCK):
        part = slice(start, start + BLOCK)
        made[part] = rounded(np.divide(flat[part], float(weight)), dtype)
    return made.reshape(total.shape)


def rounded(values: NDArray[np.float64], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """float64 values as `dtype`; to the nearest, ties to even, for integers too."""
    return (np.rint(values) if dtype.kind in "iu" else values).astype(dtype)


def dot(a: NDArray[np.generic], b: NDArray[np.generic], *, block: int = BLOCK) -> float:
    """Sum of a x b over all elements: products halved element-wise inside blocks, then over the blocks.

    The order of additions depends on the length alone, never on vector unit or BLAS kernel.
    """
    left, right = a.reshape(-1), b.reshape(-1)
    if left.shape != right.shape:
        raise ValueError(f"dot needs arrays of equal size, got {left.size} and {right.size}")
    sums = np.zeros(max(1, -(-left.size // block)))
    for at in range(len(sums)):
        part = slice(at * block, (at + 1) * block)
        sums[at] = _halved(left[part].astype(np.float64) * right[part].astype(np.float64))
    return _halved(sums)


def norm2(a: NDArray[np.generic]) -> float:
    """Euclidean length of all elements: the square root of `dot(a, a)`."""
    return math.sqrt(dot(a, a))


def _halved(values: NDArray[np.float64]) -> float:
    """Sum by folding the upper half onto the lower one, in place."""
    n = len(values)
    while n > 1:
        half = (n + 1) // 2
        values[: n - half] += values[half:n]
        n = half
    return float(values[0]) if len(values) else 0.0


def _check(ordered: tuple[Update, ...]) -> None:
    if not ordered:
        raise InvariantBroken("a merge needs at least one update, got none")
    for before, after in pairwise(ordered):
        if before.site == after.site:
            raise InvariantBroken(f"two updates of site '{after.site}' in one merge")
    first = ordered[0]
    expected = payload.layout(first.parameters)
    for update in ordered:
        if payload.layout(update.parameters) != expected:
            raise FrameError(f"update of site '{update.site}': {_difference(first, update)}")
    for update in ordered:
        for name, array in update.parameters.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                n_bad = int(array.size - np.count_nonzero(np.isfinite(array)))
                raise PeerError(
                    f"update of site '{update.site}': array '{name}' has {n_bad} values that are not finite",
                    site=update.site,
                )


def _difference(first: Update, other: Update) -> str:
    """The first array in which two layouts differ, in words."""
    theirs = payload.layout(other.parameters)
    for ours, found in zip(payload.layout(first.parameters), theirs, strict=False):
        if ours != found:
            return f"array {_words(found)} where site '{first.site}' has {_words(ours)}"
    return f"{len(theirs)} arrays where site '{first.site}' has {len(first.parameters)}"


def _words(layout: list[object]) -> str:
    name, dtype, shape = layout
    return f"'{name}' {dtype} {shape}"


def _total(name: str, ordered: tuple[Update, ...], block: int) -> NDArray[np.generic]:
    first = ordered[0].parameters[name]
    if first.dtype.kind != "f":
        return _integer_total(name, ordered)
    flats = [update.parameters[name].reshape(-1) for update in ordered]
    total = np.empty(first.size)
    buffer = np.empty(min(block, first.size))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, first.size, block):
            added = total[start : start + block]
            np.copyto(added, flats[0][start : start + block])
            added *= float(ordered[0].weight)
            term = buffer[: len(added)]
            for update, flat in zip(ordered[1:], flats[1:], strict=True):
                np.copyto(term, flat[start : start + block])
                term *= float(update.weight)
                added += term
    if not np.isfinite(total).all():
        reach = _reach(name, ordered)
        far = max(reach, key=reach.__getitem__)
        raise PeerError(f"update of site '{far}': array '{name}' takes the weighted sum beyond float64", site=far)
    return total.reshape(first.shape)


def _reach(name: str, ordered: tuple[Update, ...]) -> dict[str, int]:
    """The largest weighted magnitude each site brings to an array."""
    reach = dict.fromkeys([update.site for update in ordered], 0)
    for update in ordered:
        array = update.parameters[name]
        if array.size:
            reach[update.site] = update.weight * max(abs(int(array.min())), abs(int(array.max())))
    return reach


def _integer_total(name: str, ordered: tuple[Update, ...]) -> NDArray[np.generic]:
    reach = _reach(name, ordered)
    if sum(reach.values()) >= _INT64_LIMIT:
        far = max(reach, key=reach.__getitem__)  # whose part is largest, whatever its place in the order
        raise PeerError(f"update of site '{far}': array '{name}' may take the sum beyond int64", site=far)
    total = np.zeros(ordered[0].parameters[name].shape, dtype=np.int64)
    for update in ordered:
        total += update.parameters[name].astype(np.int64) * np.int64(update.weight)
    return total
