"""The one task of a node that signs transactions and owns the nonce.

Calls go to the ledger in the order the machine asked for them. A refusal is an answer, not an error: it goes back as
`Denied`. An unreachable ledger is given the same bytes again for as long as it takes: they count once, and get the
receipt of the attempt that got through.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable

from cohortium.errors import LedgerRefused, LedgerUnreachable
from cohortium.swarm.actions import Submit
from cohortium.swarm.egress import LEDGER, Sent
from cohortium.swarm.events import Denied
from cohortium.swarm.ports import Ports

__all__ = ["Clerk"]


class Clerk:
    """Submits calls one by one. denied: where refusals are told."""

    def __init__(self, ports: Ports, *, retry_s: float, denied: Callable[[Denied], None]) -> None:
        self._ports = ports
        self._retry_s = retry_s
        self._denied = denied
        self._waiting: asyncio.Queue[Submit] = asyncio.Queue()

    def submit(self, call: Submit) -> None:
        """Put a call at the end of the line."""
        self._waiting.put_nowait(call)

    async def run(self) -> None:
        """Work through the line; ends by being cancelled."""
        nonce = await self._next_nonce()
        while True:
            nonce = await self._submit(await self._waiting.get(), nonce)
            self._waiting.task_done()

    async def drain(self, *, timeout_s: float) -> None:
        """Wait until everything in the line is on the ledger, or the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._waiting.join()

    async def _next_nonce(self) -> int:
        while True:
            try:
                return await self._ports.blocking(self._ports.next_nonce)
            except LedgerUnreachable:
                await asyncio.sleep(self._retry_s)

    async def _submit(self, call: Submit, nonce: int) -> int:
        """Put one call on the ledger; returns the next nonce."""
        ports = self._ports
        raw = ports.sign_call(nonce, call.function, call.args)
        while True:
            ports.egress(_sent(call, raw))
            try:
                receipt = await ports.blocking(lambda raw=raw: ports.ledger.submit(raw))  # type: ignore[misc]
            except LedgerRefused as refused:
                fresh = await self._next_nonce()
                if refused.reason == "nonce" and fresh != nonce:
                    nonce, raw = fresh, ports.sign_call(fresh, call.function, call.args)
                    continue
                self._denied(Denied(call.key, refused.reason))
                return fresh
            except LedgerUnreachable:
                await asyncio.sleep(self._retry_s)
                continue
            if not receipt.ok:
                self._denied(Denied(call.key, receipt.reason))
            ports.bell.ring()
            return nonce + 1


def _sent(call: Submit, raw: bytes) -> Sent:
    """The line for a transaction; it is sent again where the ledger did not answer."""
    round = call.key[0] if isinstance(call.key[0], int) else 0
    digest = hashlib.sha256(raw).digest()
    return Sent(round=round, kind=LEDGER, what=call.function, receiver=LEDGER, n_bytes=len(raw), digest=digest)
