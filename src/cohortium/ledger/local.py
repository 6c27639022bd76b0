"""Engine `local`: the contract on an embedded EVM, the whole chain in one SQLite file of one host.

    ledger = LocalLedger.found(genesis, clock=time.time, path=home / "chain.sqlite")
    ledger = LocalLedger.open(home / "chain.sqlite", clock=time.time)

Default of a node: one machine, a demo, a first trial. The host may stop the chain but cannot forge it:
every transaction is signed, and everybody can replay an export. Block time is max(last + 1, clock()).
`submit` returns once the block is on disk; a kill at any moment leaves whole blocks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cohortium.core.seams import Head, LedgerEvent, Receipt
from cohortium.errors import UsageError
from cohortium.ledger.export import SignedHead, write_export
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.replica import Replica

__all__ = ["LocalLedger"]


class LocalLedger:
    """A ledger in one file; nodes in several threads of its host may share it."""

    def __init__(self, replica: Replica, *, clock: Callable[[], float]) -> None:
        self._replica = replica
        self._clock = clock
        self._lock = threading.Lock()

    @classmethod
    def found(cls, genesis: Genesis, *, clock: Callable[[], float], path: Path | None = None) -> LocalLedger:
        """A new chain in a new file. Raises LedgerError when the file holds a chain already."""
        if path is None:
            raise UsageError("engine 'local' keeps its chain in a file; give its path")
        return cls(Replica.found(path, genesis), clock=clock)

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float]) -> LocalLedger:
        """The chain in a file, at its last block. Raises LedgerError, or LedgerUnreachable while another has it."""
        return cls(Replica.open(path), clock=clock)

    @property
    def genesis(self) -> Genesis:
        """Where the consortium began."""
        return self._replica.genesis

    @property
    def chain_id(self) -> int:
        """What every transaction is bound to."""
        return self._replica.genesis.chain_id

    @property
    def contract(self) -> bytes:
        """The contract's address (20 bytes)."""
        return self._replica.genesis.contract

    def nonce(self, address: bytes) -> int:
        """The number of an account's next transaction."""
        with self._lock:
            return self._replica.nonce(address)

    def submit(self, signed: bytes) -> Receipt:
        """Put a signed transaction into a block on disk. A refused call gives a receipt with `ok = False`.

        Raises LedgerRefused for what makes no block (`transactions.check_entry` lists the reasons).
        """
        with self._lock:
            return self._replica.apply(signed, time=max(self._replica.time() + 1, int(self._clock())))

    def call(self, function: str, args: tuple[object, ...] = ()) -> tuple[Any, ...]:
        """Read without changing anything."""
        with self._lock:
            return self._replica.call(function, args)

    def events(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """All events from that height on, ordered, no gaps."""
        start = max(from_height, 1)
        with self._lock:
            blocks = list(self._replica.blocks(start))
        return [
            LedgerEvent(height, index, event.name, event.args)
            for height, block in enumerate(blocks, start=start)
            for index, event in enumerate(block.events)
        ]

    def head(self) -> Head:
        """The newest block."""
        with self._lock:
            return self._replica.head()

    def export(self, path: Path, *, heads: Sequence[SignedHead] = ()) -> None:
        """Write all of it as JSON lines for `archive.verify`. heads: members' signatures under the head."""
        with self._lock:
            write_export(path, self.genesis, self._replica.blocks(), self._replica.head(), heads=heads)

    def close(self) -> None:
        """Let the file go."""
        with self._lock:
            self._replica.close()
