"""Random halves of the consortium: who trains which probe, and which draws may be used. Pure in names and seed.

halves/2 bisections; each is a permutation of the sorted site names, cut in the middle. Sums of overlapping halves
must not be subtractable: under masks a draw is repeated while some combination of up to three slot sums with signs
+-1 touches fewer than max(3, c + 2) sites, c = floor(N/3). Where no draw can do that (N = 10: two halves of five
always differ, or are opposite, in four sites or fewer) the best of 200 draws is taken.
Design: harmful-data.md 5.2.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LEAST_BISECTIONS",
    "LEAST_OF_A_CLASS",
    "MAX_DRAWS",
    "draw_halves",
    "group_bound",
    "halves_drawn",
    "stream_of",
    "thinnest",
]

Membership = NDArray[np.bool_]

LEAST_OF_A_CLASS = 5
MAX_DRAWS = 200
LEAST_BISECTIONS = 3
_TRIES = 200


def group_bound(n_sites: int) -> int:
    """Fewest sites whose sum may be opened under masks: max(3, floor(N/3) + 2)."""
    return max(3, n_sites // 3 + 2)


def stream_of(lot: bytes, *names: str | int) -> np.random.Generator:
    """Chance of one name under an audit's seed: 32 bytes of the ledger, or a number below 2^64 as 32 bytes."""
    words = [int(word) for word in np.frombuffer(lot, dtype="<u4")]
    while len(words) > 2 and not words[-1]:  # of a number its two words
        words.pop()
    for name in names:
        words += [name] if isinstance(name, int) else list(name.encode())
    return np.random.default_rng(words)


def halves_drawn(
    lot: bytes, *, attempt: int, number: int, draw: int, n_sites: int, halves: int, masked: bool
) -> Membership:
    """The halves of one draw for one pass, as anybody can repeat it who knows the ledger's seed."""
    rng = stream_of(lot, "halves", attempt, number, draw)
    return draw_halves(n_sites, halves=halves, rng=rng, masked=masked)


def draw_halves(n_sites: int, *, halves: int, rng: np.random.Generator, masked: bool = False) -> Membership:
    """Which site (by sorted name) is in which half, (n_sites, halves); halves 2b and 2b + 1 are one bisection.

    masked: each bisection is drawn again until no sums of halves can be subtracted, as above.
    """
    member, bound = np.zeros((n_sites, 0), dtype=bool), group_bound(n_sites) if masked else 0
    for _ in range(halves // 2):
        best, reach = member, -1
        for _ in range(_TRIES if masked else 1):
            drawn = _with_bisection(member, rng)
            touched = thinnest(drawn) if masked else 0
            if touched > reach:
                best, reach = drawn, touched
            if reach >= bound:
                break
        member = best
    return member


def thinnest(member: Membership) -> int:
    """Fewest sites that one, two or three slot sums tell of when they are added or subtracted; 0 for equal halves."""
    return int(np.count_nonzero(member.astype(np.int8) @ _combinations(member.shape[1]), axis=0).min())


def _with_bisection(member: Membership, rng: np.random.Generator) -> Membership:
    """The same slots and two more: a random half and its rest."""
    half = np.zeros(len(member), dtype=bool)
    half[rng.permutation(len(member))[: len(member) // 2]] = True
    return np.column_stack([member, half, ~half])


@lru_cache
def _combinations(n_slots: int) -> NDArray[np.int8]:
    """Every sum of one to three slots with signs, as columns (n_slots, n); the first sign is +."""
    columns = []
    for size in (1, 2, 3):
        for chosen in combinations(range(n_slots), size):
            for signs in product((1, -1), repeat=size - 1):
                column = np.zeros(n_slots, dtype=np.int8)
                column[list(chosen)] = (1, *signs)
                columns.append(column)
    return np.array(columns).T
