"""Block time of `replicated`: what most members' clocks agree on, so that one wrong clock moves nothing.

A block's time is max(last + 1, lower median of the newest time claimed by each active member); who never spoke counts
with the time of the genesis. With the time of the submitting entry instead, one member claiming the year 2100 would
freeze every later time-out. Time moves only when somebody transacts: never compare it with a local clock.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Claims"]


class Claims:
    """The newest time each member claimed, in entries that became blocks."""

    def __init__(self, *, genesis_s: int) -> None:
        self._genesis_s = genesis_s
        self._newest: dict[bytes, int] = {}

    def tell(self, sender: bytes, claimed_s: int) -> None:
        """An entry of this member became a block."""
        self._newest[sender] = claimed_s

    def block_time(self, sender: bytes, claimed_s: int, *, active: Iterable[bytes], last_s: int) -> int:
        """Time of the block that this entry would make. active: addresses of those who may act before it."""
        newest = {**self._newest, sender: claimed_s}
        claims = sorted(newest.get(address, self._genesis_s) for address in active)
        return max(last_s + 1, claims[(len(claims) - 1) // 2] if claims else 0)
