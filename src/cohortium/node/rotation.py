"""New keys in company: peers hear of them before they count, and read that they count before they are used.

A certificate is pinned by the ledger, so a site changes it in three steps: it announces its new card, puts `rotate` on
the ledger, and uses the new keys once the peers have read that. Where the site hosts the ledger itself, a peer that has
not read it yet could reach nobody to read it from; so there is a moment for reading, and it is short.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from cohortium.errors import PeerError
from cohortium.node.replies import ANNOUNCE, HEAD
from cohortium.transport.switchboard import Switchboard

__all__ = ["announce", "until_read"]

_TELL_S = 5.0
_READ_S = 6.0


async def announce(board: Switchboard, peers: Iterable[str], card: bytes) -> None:
    """Tell every peer the keys this site will have; who is away asks the others later."""

    async def tell(peer: str) -> None:
        with contextlib.suppress(PeerError, TimeoutError):
            await board.ask(peer, ANNOUNCE, card, timeout_s=_TELL_S)

    async with asyncio.TaskGroup() as telling:
        for peer in peers:
            telling.create_task(tell(peer))


async def until_read(board: Switchboard, peers: Iterable[str], height: int) -> None:
    """Wait until every peer has the block of this height, at most a few seconds: one that is away is not waited for."""

    async def read(peer: str) -> None:
        there = 0
        while there < height:
            with contextlib.suppress(PeerError, TimeoutError):
                there = int.from_bytes((await board.ask(peer, HEAD, b"", timeout_s=_READ_S))[:8], "big")
            await asyncio.sleep(0.1)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_READ_S), asyncio.TaskGroup() as reading:
            for peer in peers:
                reading.create_task(read(peer))
