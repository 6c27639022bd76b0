"""The ledger as this node has read it: one reader for all runs, events kept in order, everybody woken by one bell.

Each run's `Node` follows the ledger; so that a poll costs one question and not one for each run, they read what is
kept here, and only this node's service asks the engine. A transaction of ours also rings at the peers, in a frame of a
few bytes, so that nobody has to poll quickly; whoever misses it polls.
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cohortium.core.seams import Head, Ledger, LedgerEvent, Receipt, Transport
from cohortium.swarm.bell import Bell

__all__ = ["LANE", "Chronicle", "PeerBell"]

LANE = "bell"
_HINT = b"ring"
_PAUSE_S = 0.05


class Chronicle:
    """A `core.seams.Ledger` that answers `events` from what has been read, and asks the engine for all else."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._events: list[LedgerEvent] = []
        self._heights: list[int] = []

    def read_on(self) -> tuple[LedgerEvent, ...]:
        """Read what is new on the ledger. Blocks; raises LedgerUnreachable, LedgerForked."""
        known = (self._events[-1].height, self._events[-1].index) if self._events else (0, -1)
        read = self._ledger.events(known[0])  # the last block again, in case it was not whole
        fresh = tuple(event for event in read if (event.height, event.index) > known)
        self._events.extend(fresh)
        self._heights.extend(event.height for event in fresh)
        return fresh

    def events(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """What has been read, from that height on."""
        return self._events[bisect_left(self._heights, from_height) :]

    def submit(self, signed: bytes) -> Receipt:
        """As the engine does."""
        return self._ledger.submit(signed)

    def call(self, function: str, args: tuple[object, ...] = ()) -> tuple[object, ...]:
        """As the engine does."""
        return self._ledger.call(function, args)

    def head(self) -> Head:
        """As the engine does."""
        return self._ledger.head()

    def hash_at(self, height: int) -> bytes | None:
        """As the engine does."""
        return self._ledger.hash_at(height)

    def export(self, path: Path) -> None:
        """As the engine does."""
        self._ledger.export(path)


class PeerBell(Bell):
    """A bell that is also heard at the peers. peers: who belongs now."""

    def __init__(self, lane: Transport, peers: Callable[[], Sequence[str]]) -> None:
        super().__init__()
        self._lane, self._peers = lane, peers
        self._told: asyncio.TimerHandle | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def ring(self) -> None:
        """After a transaction of ours: wake everybody here, and before long at the peers."""
        super().ring()
        if self._told is None:
            self._told = asyncio.get_running_loop().call_later(_PAUSE_S, self._tell)

    def ring_here(self) -> None:
        """After something new was read: wake everybody here."""
        super().ring()

    async def listen(self) -> None:
        """Ring when a peer's bell rings, so often at most that nobody can keep this node busy. Ends by cancelling."""
        while True:
            await self._lane.receive()
            self.ring_here()
            await asyncio.sleep(_PAUSE_S)

    def _tell(self) -> None:
        self._told = None
        for peer in self._peers():
            task = asyncio.get_running_loop().create_task(self._tell_one(peer))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell_one(self, peer: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._lane.send(peer, _HINT)
