"""Who is in which half of a run whose sums are two, and how many sites that takes. `groups.py` says why.

Design: privacy.md section 3.4, rule 7.
"""

from __future__ import annotations

import hashlib

from cohortium.core.exchange import Context, n_colluders, threshold

__all__ = ["halves_of", "least_with_halves"]


def least_with_halves(n_sites: int) -> int:
    """Fewest sites a sum may hold so that neither half falls below what it needs, whoever is missing.

    Raises ValueError where halves of so many sites are too small from the start.
    """
    half = n_sites // 2
    needed = max(3, n_colluders(n_sites) + 2)
    if half < needed:
        raise ValueError(f"groups = 2 needs halves of {needed} sites or more, {n_sites} sites make {half}")
    return n_sites - (half - max(needed, threshold(half, n_sites)))


def halves_of(context: Context) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The frozen sites of each half, sorted."""
    seed = b"cohortium-halves-1" + context.consortium + context.study + context.run.to_bytes(8, "big")
    halves: tuple[list[str], list[str]] = ([], [])
    for place, site in enumerate(context.joiners):
        coin = hashlib.sha256(seed + (place // 2).to_bytes(8, "big")).digest()[0] & 1
        if site in context.frozen:
            halves[(place + coin) % 2].append(site)
    return tuple(sorted(halves[0])), tuple(sorted(halves[1]))
