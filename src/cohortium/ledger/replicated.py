"""Engine `replicated`: etcd orders signed transactions, and every site executes all of them in its own replica.

    ledger = ReplicatedLedger.found(genesis, clock=time.time, path=path, key=key, endpoints=[...], tls=tls)
    ledger = ReplicatedLedger.open(path, clock=time.time, key=key, endpoints=[...], tls=tls)

Nobody is trusted with more than the order. An entry of the log carries the transaction and the time its sender
claims, signed by the sender; every replica takes the entries number by number and skips, without a block and for the
same reason everywhere, what is: undecodable or larger than 64 KiB; for another chain or none, or another contract; of
no active member; not signed as an entry by its sender; out of its sender's order; with another gas limit than agreed.
The founding block is a function of the genesis and not in the log. Block time: `median_time.py`.

An entry is written under the next free number, and only there, until that number is known to be taken. So one that was
never answered is in the log once or not at all, and a submission repeated with the same bytes finds its own block.
Replicas keep what they executed. A log whose newest executed entry was replaced is a fork; one that ends before it
has lost entries and is waited for.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from cohortium.core.identity import LedgerKey
from cohortium.core.seams import Head, LedgerEvent, Receipt
from cohortium.errors import FrameError, LedgerForked, LedgerRefused, LedgerUnreachable, SignatureError
from cohortium.ledger.chain_file import Kept
from cohortium.ledger.entries import Entry, open_entry, pack_entry, sign_entry
from cohortium.ledger.etcd import EtcdClient, EtcdLog
from cohortium.ledger.export import SignedHead
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.http_json import ClientTls
from cohortium.ledger.median_time import Claims
from cohortium.ledger.replica import Replica
from cohortium.ledger.shared_replica import SharedReplica
from cohortium.ledger.transactions import Transaction, check_entry, once, open_transaction

__all__ = ["Log", "ReplicatedLedger"]

_PAGE: Final = 15
"""Entries asked for at once: even if each were as long as etcd takes, the answer stays below the client's limit."""


class Log(Protocol):
    """Entries numbered from 1, each written once; `etcd.EtcdLog`. Both calls raise LedgerUnreachable."""

    def append(self, number: int, entry: bytes) -> bytes | None:
        """Put an entry under a free number. None when it is there now, else what stands there."""
        ...

    def read(self, number: int, *, n: int) -> list[tuple[int, bytes]]:
        """At most n entries from a number on, in order; their numbers may have gaps."""
        ...

    def close(self) -> None: ...


class ReplicatedLedger:
    """One site's replica of the log. skipped: entries that made no block since this start, by reason.

    One conversation with etcd at a time (`_turn`); the chain's own lock is never held over it, so that reading what is
    here waits for nobody.
    """

    def __init__(self, replica: Replica, *, log: Log, clock: Callable[[], float], key: LedgerKey) -> None:
        self.skipped: Counter[str] = Counter()
        self._chain = SharedReplica(replica)
        self._log, self._clock, self._key = log, clock, key
        self._claims = Claims(genesis_s=replica.genesis.time)
        self._number = 0  # of the newest entry taken, skipped ones included
        self._last: bytes | None = None  # that entry; after a restart it is rebuilt from its block
        for kept in replica.newest_kept():
            self._claims.tell(kept.sender, kept.claimed_s)
            self._number = kept.number
        self._turn = threading.RLock()
        self._awaited, self._verdict = 0, ""  # number of the entry being submitted, why it was skipped

    @classmethod
    def found(
        cls,
        genesis: Genesis,
        *,
        clock: Callable[[], float],
        path: Path,
        key: LedgerKey,
        endpoints: Sequence[str],
        tls: ClientTls | None = None,
    ) -> ReplicatedLedger:
        """A new replica in a new file, before the first entry. clock: what this site claims; endpoints: of etcd."""
        log = _log(genesis, endpoints, tls)
        return cls(Replica.found(path, genesis), log=log, clock=clock, key=key)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        clock: Callable[[], float],
        key: LedgerKey,
        endpoints: Sequence[str],
        tls: ClientTls | None = None,
    ) -> ReplicatedLedger:
        """The replica in a file, at its last block; it catches up at the first call that needs the log."""
        replica = Replica.open(path)
        return cls(replica, log=_log(replica.genesis, endpoints, tls), clock=clock, key=key)

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
        """The number of an account's next transaction, after reading the log's news."""
        self.sync()
        return self._chain.nonce(address)

    def submit(self, signed: bytes) -> Receipt:
        """Have a transaction ordered, and execute up to it. Refused before it is written, where possible.

        After LedgerUnreachable it may be in the log or not: submit the same bytes again, they count once.
        Raises LedgerRefused, LedgerUnreachable, LedgerForked.
        """
        with self._turn:
            return once(signed, lambda: self._put(signed), self._receipt_of)

    def call(self, function: str, args: tuple[object, ...] = ()) -> tuple[Any, ...]:
        """Read without changing anything, after reading the log's news."""
        self.sync()
        return self._chain.call(function, args)

    def events(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """All events from that height on, ordered, no gaps, after reading the log's news."""
        self.sync()
        return self._chain.events(from_height)

    def events_here(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """All events from that height on that this site has executed so far; nobody is asked."""
        return self._chain.events(from_height)

    def head(self) -> Head:
        """The newest block that this site has executed itself."""
        return self._chain.head()

    def hash_at(self, height: int) -> bytes | None:
        """The hash of the block at a height, None where the chain here is shorter."""
        return self._chain.hash_at(height)

    def sync(self) -> bool:
        """Read and execute the log's newer entries; whether a block came of it.

        Raises LedgerUnreachable, LedgerForked.
        """
        with self._turn:
            before = self._chain.head().height
            while self._follow():
                pass
            return self._chain.head().height > before

    def export(self, path: Path, *, heads: Sequence[SignedHead] = ()) -> None:
        """Write all of it as JSON lines for `archive.verify`. heads: members' signatures under the head."""
        self._chain.export(path, heads)

    def close(self) -> None:
        """Let file and connection go; whoever waits for etcd gives up first."""
        self._log.close()
        with self._turn:
            self._chain.close()

    def _put(self, raw: bytes) -> Receipt:
        self.sync()
        transaction = self._check(raw, self._key.address)
        packed = sign_entry(self._key, chain_id=self.chain_id, claimed_s=int(self._clock()), raw=raw)
        number, self._verdict = self._number + 1, ""
        while self._log.append(number, packed) is not None:
            self.sync()  # somebody else's was first
            self._check(raw, self._key.address)
            if self._number < number:
                raise LedgerUnreachable(f"etcd says that entry {number} of the log exists, but does not show it")
            number = self._number + 1
        self._awaited = number
        self.sync()
        receipt = self._receipt_of(raw)
        if receipt is not None:
            return receipt
        if self._verdict:
            raise LedgerRefused(self._verdict, function=transaction.function)
        raise LedgerUnreachable(f"entry {number} was written to the log, but etcd does not show it")

    def _receipt_of(self, raw: bytes) -> Receipt | None:
        with self._chain.lock:
            return self._chain.replica.receipt_of(raw)

    def _check(self, raw: bytes, signer: bytes) -> Transaction:
        """What a transaction says, if it makes a block as things stand. Raises LedgerRefused."""
        replica, genesis = self._chain.replica, self.genesis
        transaction = open_transaction(raw, chain_id=genesis.chain_id)
        sender = transaction.sender
        with self._chain.lock:
            active, nonce = replica.is_active(sender), replica.nonce(sender)
        check_entry(transaction, contract=genesis.contract, active=active, nonce=nonce, signer=signer)
        return transaction

    def _follow(self) -> bool:
        """Execute one page of the log; whether there may be more."""
        found = self._log.read(max(self._number, 1), n=_PAGE)
        if self._number:
            self._check_last(found)
        for number, packed in found:
            if number == self._number + 1:
                self._take(number, packed)
                self._number, self._last = number, packed
        return len(found) == _PAGE and found[-1][0] == self._number

    def _check_last(self, found: Sequence[tuple[int, bytes]]) -> None:
        """The newest entry taken must still stand where it stood."""
        there = next((packed for number, packed in found[:1] if number == self._number), None)
        if there is None:
            raise LedgerUnreachable(
                f"etcd lost entry {self._number} of the log, which is executed here",
                hint="it was set up anew or from an old backup: restore its newest snapshot",
            )
        mine = self._executed() if self._last is None else self._last
        if there != mine and not _same(there, mine):
            raise LedgerForked(f"entry {self._number} of the log was replaced by another", evidence=(mine, there))

    def _executed(self) -> bytes:
        """The newest entry that became a block, as its sender signed it."""
        (block,) = self._chain.blocks(self._chain.head().height)
        if block.claim is None:
            raise LedgerUnreachable(f"block {self._chain.head().height} holds no entry of a log")
        return pack_entry(Entry(block.claim.claimed_s, block.raw, block.claim.signature))

    def _take(self, number: int, packed: bytes) -> None:
        """Make a block of an entry, or skip it."""
        try:
            entry = open_entry(packed)
            signer = _signer(entry, self.chain_id)
            transaction = self._check(entry.raw, signer)
            sender, replica = transaction.sender, self._chain.replica
            kept = Kept(number, sender, entry.claimed_s, entry.signature)
            with self._chain.lock:
                time = self._claims.block_time(sender, entry.claimed_s, active=replica.active(), last_s=replica.time())
                replica.apply(entry.raw, time=time, signer=signer, keep=kept)
        except FrameError:
            self._skip(number, "undecodable")
        except LedgerRefused as refused:
            self._skip(number, refused.reason)
        else:
            self._claims.tell(sender, entry.claimed_s)

    def _skip(self, number: int, reason: str) -> None:
        self.skipped[reason] += 1
        if number == self._awaited:
            self._verdict = reason


def _log(genesis: Genesis, endpoints: Sequence[str], tls: ClientTls | None) -> EtcdLog:
    return EtcdLog(EtcdClient(endpoints, tls=tls), name=genesis.consortium.hex()[:32])


def _same(there: bytes, mine: bytes) -> bool:
    """Whether two packings hold one entry."""
    try:
        return open_entry(there) == open_entry(mine)
    except FrameError:
        return False


def _signer(entry: Entry, chain_id: int) -> bytes:
    """Who signed an entry; nobody for a signature that is none."""
    try:
        return entry.signer(chain_id=chain_id)
    except SignatureError:
        return b""
