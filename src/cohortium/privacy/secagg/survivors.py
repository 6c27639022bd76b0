"""What successive sums tell together: two rounds whose survivors differ by one site nearly give that site away.

Only noise prevents it; without noise it is said, by name. Design: privacy.md section 3.4, rule 6.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["lone_difference", "warnings_of"]


def lone_difference(before: Collection[str], now: Collection[str]) -> str:
    """The one site that is in only one of two sums, where there is exactly one; else an empty name."""
    differing = set(before) ^ set(now)
    return differing.pop() if len(differing) == 1 and before and now else ""


def warnings_of(survivors: Sequence[Collection[str]], rounds: Sequence[int]) -> tuple[str, ...]:
    """One sentence for each pair of successive merged rounds that differ by one site. rounds: their numbers."""
    said = []
    for at in range(1, len(survivors)):
        site = lone_difference(survivors[at - 1], survivors[at])
        if site:
            said.append(f"round {rounds[at]} minus round {rounds[at - 1]} differs by {site}")
    return tuple(said)
