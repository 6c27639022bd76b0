"""What a service needs before it can begin: its store, and a way to ask the ledger's host."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import sqlite3
from collections.abc import Callable

from cohortium.errors import CohortiumError, LedgerUnreachable, PeerError
from cohortium.node.home import Home
from cohortium.node.membership import MemberDirectory
from cohortium.node.replies import LEDGER
from cohortium.swarm.store import DiskStore
from cohortium.transport.switchboard import Switchboard

__all__ = ["address_of", "asking", "open_store"]

ASK_S = 20.0


def open_store(home: Home) -> DiskStore:
    """The node's facts and payloads. Raises CohortiumError, with the command to type, for a file that is damaged."""
    path = home.store
    try:
        if path.is_file():
            with contextlib.closing(sqlite3.connect(path)) as rows:
                found = rows.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
        return DiskStore(home.path)
    except sqlite3.DatabaseError as error:
        hint = f"mv {path} {path}.damaged - the node then goes on without its unfinished rounds, and signs none twice"
        raise CohortiumError(f"the node's own facts, '{path}', are damaged ({error})", hint=hint) from None


def asking(loop: asyncio.AbstractEventLoop, board: Switchboard, host: str) -> Callable[[bytes], bytes]:
    """A blocking question to the host of the ledger, for worker threads."""

    def ask(request: bytes) -> bytes:
        asked = asyncio.run_coroutine_threadsafe(board.ask(host, LEDGER, request, timeout_s=ASK_S), loop)
        try:
            return asked.result(ASK_S + 5)
        except (TimeoutError, PeerError, RuntimeError, concurrent.futures.CancelledError) as error:
            why = str(error) or "the node is stopping"
            raise LedgerUnreachable(f"the host of the ledger, '{host}', does not answer: {why}") from None

    return ask


def address_of(directory: MemberDirectory, site: str) -> bytes:
    found = directory.membership.named(site)
    return b"" if found is None else found.address
