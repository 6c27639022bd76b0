"""Engine `memory`: the contract's rules in plain Python, blocks signed and hash-linked, nothing on disk.

    ledger = MemoryLedger.found(genesis, clock=time.time)
    ledger.submit(sign_call(...)) -> Receipt

The default of the simulator and of most tests. Transactions are ordered as they are submitted, each
in a block of its own; block time is max(last + 1, clock()). Every transaction is the same signed raw
transaction that the engines on an EVM take, and is checked alike.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cohortium.core.seams import Head, LedgerEvent, Receipt
from cohortium.ledger.blocks import NO_PARENT, Block, event_values, memory_header
from cohortium.ledger.export import SignedHead, write_export
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.interpreter import Interpreter, Outcome
from cohortium.ledger.transactions import once

__all__ = ["MemoryLedger"]


class MemoryLedger:
    """A ledger in this process; nodes in several threads may share it."""

    def __init__(self, genesis: Genesis, *, clock: Callable[[], float]) -> None:
        self.genesis = genesis
        self._clock = clock
        self._lock = threading.Lock()
        self._rules = Interpreter(genesis)
        self._blocks: list[Block] = []
        self._time = genesis.time
        self._root = b""
        self._append(genesis.deployment, genesis.time, self._rules.founding)

    @classmethod
    def found(cls, genesis: Genesis, *, clock: Callable[[], float], path: Path | None = None) -> MemoryLedger:
        """A new ledger. clock: seconds, e.g. `time.time` or a virtual clock. path: not used, nothing is stored."""
        del path
        return cls(genesis, clock=clock)

    @property
    def chain_id(self) -> int:
        """What every transaction is bound to."""
        return self.genesis.chain_id

    @property
    def contract(self) -> bytes:
        """The contract's address (20 bytes)."""
        return self.genesis.contract

    def nonce(self, address: bytes) -> int:
        """The number of an account's next transaction."""
        with self._lock:
            return self._rules.nonce(address)

    def submit(self, signed: bytes) -> Receipt:
        """Put a signed transaction into a block. A refused call gives a receipt with `ok = False`.

        The same bytes again give the receipt they got. Raises LedgerRefused for what makes no block
        (`transactions.check_entry` lists the reasons).
        """
        with self._lock:
            return once(signed, lambda: self._put(signed), self._receipt_of)

    def call(self, function: str, args: tuple[object, ...] = ()) -> tuple[Any, ...]:
        """Read without changing anything."""
        with self._lock:
            return self._rules.call(function, args)

    def events(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """All events from that height on, ordered, no gaps."""
        start = max(from_height, 1)
        return [
            LedgerEvent(height, index, event.name, event.args)
            for height, block in enumerate(self._blocks[start - 1 :], start=start)
            for index, event in enumerate(block.events)
        ]

    def events_here(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """The same; nobody else has to be asked."""
        return self.events(from_height)

    def head(self) -> Head:
        """The newest block."""
        with self._lock:
            return Head(len(self._blocks), self._blocks[-1].hash, self._root)

    def hash_at(self, height: int) -> bytes | None:
        """The hash of the block at a height, None where the chain is shorter."""
        return self._blocks[height - 1].hash if 1 <= height <= len(self._blocks) else None

    def sync(self) -> bool:
        """Nothing to fetch: this is where blocks are made."""
        return False

    def export(self, path: Path, *, heads: Sequence[SignedHead] = ()) -> None:
        """Write all of it as JSON lines for `archive.verify`. heads: members' signatures under the head."""
        head = self.head()
        write_export(path, self.genesis, self._blocks[: head.height], head, heads=heads)

    def close(self) -> None:
        """Nothing to let go; as the other engines have it."""

    def _put(self, raw: bytes) -> Receipt:
        now = max(self._time + 1, int(self._clock()))
        outcome = self._rules.execute(raw, time=now, height=len(self._blocks) + 1)
        self._append(raw, now, outcome)
        return Receipt(len(self._blocks), outcome.ok, outcome.reason)

    def _receipt_of(self, raw: bytes) -> Receipt | None:
        found = (height for height in range(len(self._blocks), 0, -1) if self._blocks[height - 1].raw == raw)
        height = next(found, 0)
        return Receipt(height, self._blocks[height - 1].ok, self._blocks[height - 1].reason) if height else None

    def _append(self, raw: bytes, now: int, outcome: Outcome) -> None:
        self._root = self._rules.state_root()
        header = memory_header(
            parent=self._blocks[-1].hash if self._blocks else NO_PARENT,
            height=len(self._blocks) + 1,
            time=now,
            raw=raw,
            result=[outcome.ok, outcome.reason, event_values(outcome.events)],
            state_root=self._root,
        )
        self._blocks.append(Block(header, raw, outcome.ok, outcome.reason, outcome.events))
        self._time = now
