"""Forwarding for members that cannot reach each other, and finding a member that forwards.

A relay holds streams to both, sees sender, receiver and size of sealed frames, and keeps nothing: what cannot be
passed on at once waits in memory, at most 64 MiB for a pair of sites and 512 MiB for all, and is let go beyond that.
Relays tell their peers whom they reach; a sender takes the receiver's own choice first, then its own, then any.
Pure but for its lock.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

_EACH_BYTES = 512  # what Python needs to keep a frame, so that small ones are bounded too

__all__ = ["PAIR_BYTES", "TOTAL_BYTES", "Routes", "Waiting"]

PAIR_BYTES: Final = 64 << 20
"""Bytes in flight between two sites, both directions together."""

TOTAL_BYTES: Final = 512 << 20
"""Bytes in flight between all sites."""


class Waiting:
    """What a relay holds of others, by pair."""

    def __init__(self, *, pair_bytes: int = PAIR_BYTES, total_bytes: int = TOTAL_BYTES) -> None:
        self._pair_bytes, self._total_bytes = pair_bytes, total_bytes
        self._lock = threading.Lock()
        self._held: Counter[frozenset[str]] = Counter()
        self.total = 0

    def take(self, sender: str, receiver: str, size_bytes: int) -> Callable[[], None] | None:
        """Room for a frame, to be given back by calling the answer; None where there is none."""
        pair, size_bytes = frozenset((sender, receiver)), size_bytes + _EACH_BYTES
        with self._lock:
            if self._held[pair] + size_bytes > self._pair_bytes or self.total + size_bytes > self._total_bytes:
                return None
            self._held[pair] += size_bytes
            self.total += size_bytes
        return lambda: self._give_back(pair, size_bytes)

    def _give_back(self, pair: frozenset[str], size_bytes: int) -> None:
        with self._lock:
            self._held[pair] -= size_bytes
            self.total -= size_bytes
            if not self._held[pair]:
                del self._held[pair]


class Routes:
    """Who reaches whom, as the relays say."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reach: dict[str, frozenset[str]] = {}

    def heard(self, relay: str, sites: Sequence[str]) -> bool:
        """A relay has said whom it reaches now; whether that is anything new."""
        with self._lock:
            before, self._reach[relay] = self._reach.get(relay), frozenset(sites)
            return before != self._reach[relay]

    def lost(self, relay: str) -> None:
        """The streams to a relay have ended."""
        with self._lock:
            self._reach.pop(relay, None)

    def via(self, peer: str, *, preferred: Sequence[str]) -> str:
        """The relay to reach a peer through: the first preferred one, else the first by name; empty if none does."""
        with self._lock:
            able = {relay for relay, sites in self._reach.items() if peer in sites}
        return next((relay for relay in (*preferred, *sorted(able)) if relay in able), "")
