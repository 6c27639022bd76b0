"""Counts below 5 are not told to others, nor what would give them back by a difference.

Pure functions on counts. A count is told if it is 0 or at least `MIN_CELL`. Where a part of a sum is withheld, the
sum is withheld too, so that no equation is left to solve; among several groups a single withheld one is joined by
the next smallest, because the total minus the rest would reveal it.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["MIN_CELL", "complement", "tell", "too_small", "withhold_sum"]

MIN_CELL = 5


def too_small(count: int | None) -> bool:
    """Whether a count may not be told: 1 to MIN_CELL - 1."""
    return count is not None and 0 < count < MIN_CELL


def tell(count: int | None) -> int | None:
    """The count, or None where it may not be told."""
    return None if too_small(count) else count


def withhold_sum(total: int | None, parts: Mapping[str, int | None]) -> tuple[int | None, dict[str, int | None]]:
    """A sum and its parts as they may be told: with one part withheld the sum goes as well."""
    told = {name: tell(count) for name, count in parts.items()}
    hidden = any(told[name] is None for name in parts)
    return (None if hidden else tell(total)), told


def complement(hidden: set[str], sizes: Mapping[str, int | None]) -> set[str]:
    """The groups to withhold: never exactly one, since a total would give it back. sizes: of all groups."""
    if len(hidden) != 1:
        return hidden
    others = sorted((size or 0, name) for name, size in sizes.items() if name not in hidden)
    return hidden | {others[0][1]} if others else hidden
