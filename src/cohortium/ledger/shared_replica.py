"""One replica that several threads read while one of them writes: what engines on an embedded EVM have in common.

    chain = SharedReplica(Replica.open(path))
    chain.head(), chain.events(7), chain.call("n_members")
    with chain.lock: chain.replica.apply(...)

Every reading call of the seam is here, each behind the lock; where blocks come from is the engine's business.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cohortium.core.seams import Head, LedgerEvent
from cohortium.ledger.blocks import Block
from cohortium.ledger.export import SignedHead, write_export
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.replica import Replica

__all__ = ["SharedReplica"]


class SharedReplica:
    """A replica and its lock. Whoever writes holds `lock` over everything that must not be torn apart."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.lock = threading.RLock()

    @property
    def genesis(self) -> Genesis:
        """Where the consortium began."""
        return self.replica.genesis

    def nonce(self, address: bytes) -> int:
        """The number of an account's next transaction."""
        with self.lock:
            return self.replica.nonce(address)

    def call(self, function: str, args: tuple[object, ...]) -> tuple[Any, ...]:
        """Read without changing anything."""
        with self.lock:
            return self.replica.call(function, args)

    def blocks(self, from_height: int, *, n: int | None = None) -> list[Block]:
        """At most n blocks from a height on."""
        with self.lock:
            return list(self.replica.blocks(max(from_height, 1), n=n))

    def events(self, from_height: int) -> list[LedgerEvent]:
        """All events from that height on, ordered, no gaps."""
        start = max(from_height, 1)
        return [
            LedgerEvent(height, index, event.name, event.args)
            for height, block in enumerate(self.blocks(start), start=start)
            for index, event in enumerate(block.events)
        ]

    def head(self) -> Head:
        """The newest block."""
        with self.lock:
            return self.replica.head()

    def hash_at(self, height: int) -> bytes | None:
        """The hash of the block at a height, None where the chain is shorter."""
        with self.lock:
            return self.replica.hash_at(height)

    def export(self, path: Path, heads: Sequence[SignedHead]) -> None:
        """Write all of it as JSON lines for `archive.verify`."""
        with self.lock:
            write_export(path, self.genesis, self.replica.blocks(), self.replica.head(), heads=heads)

    def close(self) -> None:
        """Let the file go."""
        with self.lock:
            self.replica.close()
