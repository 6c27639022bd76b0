"""A bell that wakes whoever follows the ledger: rung after a transaction, heard by every waiting node.

In a simulation all nodes share one bell, so nobody polls; a deployed node has its own and polls besides.
"""

from __future__ import annotations

import asyncio

__all__ = ["Bell"]


class Bell:
    """Counts its rings, so that one between looking and waiting is not missed."""

    def __init__(self) -> None:
        self.rings = 0
        self._waiting: dict[asyncio.Future[None], None] = {}  # in order, so that simulations repeat

    def ring(self) -> None:
        """Wake everybody who waits."""
        self.rings += 1
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self, since: int, *, timeout_s: float) -> None:
        """Return once the bell rang after ring number `since`, or when the time is up."""
        if self.rings != since:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(timeout_s, _wake, future)
        self._waiting[future] = None
        try:
            await future
        finally:
            timer.cancel()
            self._waiting.pop(future, None)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
