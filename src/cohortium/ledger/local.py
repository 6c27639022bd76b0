"""Engine `local`: the contract on an embedded EVM, the whole chain in one SQLite file of one host.

    ledger = LocalLedger.found(genesis, clock=time.time, path=home / "chain.sqlite")
    ledger = LocalLedger.open(home / "chain.sqlite", clock=time.time)

Default of a node: one machine, a demo, a first trial. The host may stop the chain but cannot forge it:
every transaction is signed, and everybody can replay an export. Block time is max(last + 1, clock()).
`submit` returns once the block is on disk; a kill at any moment leaves whole blocks. How the other nodes
of a deployment come to the host's chain is `hosted.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cohortium.core.seams import Head, LedgerEvent, Receipt
from cohortium.errors import UsageError
from cohortium.ledger.blocks import Block
from cohortium.ledger.entries import Entry
from cohortium.ledger.export import SignedHead
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.replica import Replica
from cohortium.ledger.shared_replica import SharedReplica
from cohortium.ledger.transactions import once

__all__ = ["LocalLedger"]


class LocalLedger:
    """A ledger in one file; nodes in several threads of its host may share it."""

    def __init__(self, replica: Replica, *, clock: Callable[[], float]) -> None:
        self._replica = replica
        self._chain = SharedReplica(replica)
        self._clock = clock

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
        return self._chain.genesis

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
        return self._chain.nonce(address)

    def submit(self, signed: bytes) -> Receipt:
        """Put a signed transaction into a block on disk. A refused call gives a receipt with `ok = False`.

        The same bytes again give the receipt they got. Raises LedgerRefused for what makes no block
        (`transactions.check_entry` lists the reasons).
        """
        return self._put(signed, None)

    def take(self, entry: Entry) -> Receipt:
        """`submit` of what another node handed on; its entry must be signed by the transaction's own sender."""
        return self._put(entry.raw, entry.signer(chain_id=self.chain_id))

    def call(self, function: str, args: tuple[object, ...] = ()) -> tuple[Any, ...]:
        """Read without changing anything."""
        return self._chain.call(function, args)

    def blocks(self, from_height: int, *, n: int) -> list[Block]:
        """At most n blocks from a height on, for nodes that replay them."""
        return self._chain.blocks(from_height, n=n)

    def events(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """All events from that height on, ordered, no gaps."""
        return self._chain.events(from_height)

    def events_here(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """The same; nobody else has to be asked."""
        return self.events(from_height)

    def head(self) -> Head:
        """The newest block."""
        return self._chain.head()

    def hash_at(self, height: int) -> bytes | None:
        """The hash of the block at a height, None where the chain is shorter."""
        return self._chain.hash_at(height)

    def sync(self) -> bool:
        """Nothing to fetch: this is where blocks are made."""
        return False

    def export(self, path: Path, *, heads: Sequence[SignedHead] = ()) -> None:
        """Write all of it as JSON lines for `archive.verify`. heads: members' signatures under the head."""
        self._chain.export(path, heads)

    def close(self) -> None:
        """Let the file go."""
        self._chain.close()

    def _put(self, raw: bytes, signer: bytes | None) -> Receipt:
        replica = self._replica
        with self._chain.lock:
            now = max(replica.time() + 1, int(self._clock()))
            return once(raw, lambda: replica.apply(raw, time=now, signer=signer), replica.receipt_of)
