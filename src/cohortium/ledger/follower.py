"""What every follower's ledger is: reading from its own replica, after asking elsewhere for news.

One conversation with the outside at a time (`_turn`). The replica's own lock is never held over it, so that reading
what is here waits for nobody: the event loop that carries the answer may read meanwhile.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from cohortium.core.identity import LedgerKey
from cohortium.core.seams import Head, LedgerEvent, Receipt
from cohortium.ledger.export import SignedHead
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.replica import Replica
from cohortium.ledger.shared_replica import SharedReplica
from cohortium.ledger.transactions import Transaction, check_entry, open_transaction

__all__ = ["Follower"]


class Follower(ABC):
    """One site's replica. A subclass knows where newer blocks come from (`_follow`) and how one is submitted."""

    def __init__(self, replica: Replica, *, clock: Callable[[], float], key: LedgerKey) -> None:
        self._chain = SharedReplica(replica)
        self._clock, self._key = clock, key
        self._turn = threading.RLock()

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
        """The number of an account's next transaction, after asking for news."""
        self.sync()
        return self._chain.nonce(address)

    def call(self, function: str, args: tuple[object, ...] = ()) -> tuple[Any, ...]:
        """Read without changing anything, after asking for news."""
        self.sync()
        return self._chain.call(function, args)

    def events(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """All events from that height on, ordered, no gaps, after asking for news."""
        self.sync()
        return self._chain.events(from_height)

    def events_here(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """The same without asking anybody: of the blocks that this site has executed itself."""
        return self._chain.events(from_height)

    def head(self) -> Head:
        """The newest block that this site has executed itself."""
        return self._chain.head()

    def hash_at(self, height: int) -> bytes | None:
        """The hash of the block at a height, None where the chain here is shorter."""
        return self._chain.hash_at(height)

    def sync(self) -> bool:
        """Fetch and execute what is newer; whether a block came of it. Raises LedgerUnreachable, LedgerForked."""
        with self._turn:
            before = self._chain.head().height
            while self._follow():
                pass
            return self._chain.head().height > before

    def export(self, path: Path, *, heads: Sequence[SignedHead] = ()) -> None:
        """Write all of it as JSON lines for `archive.verify`. heads: members' signatures under the head."""
        self._chain.export(path, heads)

    def close(self) -> None:
        """Let the file go."""
        self._chain.close()

    @abstractmethod
    def _follow(self) -> bool:
        """Execute one page of what is newer; whether there may be more."""

    def _receipt_of(self, raw: bytes) -> Receipt | None:
        with self._chain.lock:
            return self._chain.replica.receipt_of(raw)

    def _check(self, raw: bytes, signer: bytes) -> Transaction:
        """What a transaction says, if it makes a block as things stand. Raises LedgerRefused."""
        replica = self._chain.replica
        transaction = open_transaction(raw, chain_id=self.chain_id)
        sender = transaction.sender
        with self._chain.lock:
            active, nonce = replica.is_active(sender), replica.nonce(sender)
        check_entry(transaction, contract=self.contract, active=active, nonce=nonce, signer=signer)
        return transaction
