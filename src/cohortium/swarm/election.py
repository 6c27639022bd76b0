"""Who leads: a rotation over the joiners that starts where nobody could choose.

The start follows from the seed of the run (XOR of hashed nonces, each committed before any was opened), so no
single site picks it. The first leader of a round is the first live joiner from the start plus the round; after a
fail-over the pointer moves to the next live joiner, never by counting terms, because a count over a shrinking
list can name the same leader again. Anybody can compute it; the contract does. Design: swarm.md section 4.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

from cohortium.core.identity import keccak

__all__ = ["attestors", "first_leader", "is_drawn", "next_leader", "rotation_start", "votes_needed"]

_ALL_UP_TO_BYTES = 256 << 20


def rotation_start(seed: bytes, run: int, n_joiners: int) -> int:
    """Index of the joiner the rotation starts from: keccak(seed, run) mod n."""
    return int.from_bytes(keccak(seed + run.to_bytes(32, "big")), "big") % n_joiners


def first_leader(joiners: Sequence[str], live: Collection[str], *, start: int, round: int) -> str:
    """The first live joiner from index start + round; empty when none is live."""
    return _from(joiners, live, start + round)


def next_leader(joiners: Sequence[str], live: Collection[str], current: str) -> str:
    """The first live joiner after the current leader (itself only when nobody else is left)."""
    return _from(joiners, live, joiners.index(current) + 1)


def _from(joiners: Sequence[str], live: Collection[str], index: int) -> str:
    n = len(joiners)
    return next((joiners[(index + i) % n] for i in range(n) if joiners[(index + i) % n] in live), "")


def votes_needed(n_contributors: int, *, drawn: bool) -> int:
    """Equal attestations that make a merge final, the leader not counted.

    Without drawing, a majority of the other contributors; drawn, floor(m/3) + 1 of them; never more than there are.
    """
    if drawn:
        return max(1, min(n_contributors // 3 + 1, n_contributors - 1))
    return (n_contributors - 1) // 2 + 1


def is_drawn(attest: Literal["auto", "all", "drawn"], *, n_sites: int, size_bytes: int) -> bool:
    """Whether only a few sites recompute: as the study says; `auto`: when a site would receive more than 256 MB."""
    return attest == "drawn" or (attest == "auto" and (n_sites - 1) * size_bytes > _ALL_UP_TO_BYTES)


def attestors(joiners: Sequence[str], contributors: Collection[str], leader: str, *, drawn: bool) -> tuple[str, ...]:
    """Who recomputes the merge, in the order they are asked: after the leader, round the joiners.

    All contributors but the leader; drawn: the next k + 1 of them.
    """
    start = joiners.index(leader) + 1
    around = [joiners[(start + i) % len(joiners)] for i in range(len(joiners) - 1)]
    asked = tuple(site for site in around if site in contributors)
    return asked[: votes_needed(len(contributors), drawn=True) + 1] if drawn else asked
