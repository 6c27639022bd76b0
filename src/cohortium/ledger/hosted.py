"""Engine `local` in a deployment: one node hosts the chain, every other node replays each of its blocks.

    host = LedgerHost(ledger, key=key);  host.answer(request) -> bytes            at the host
    ledger = HostedLedger.found(genesis, clock=time.time, path=path, key=key, ask=ask)      everywhere else

Two requests travel: an entry to be put into a block, and "your blocks after this height". A follower executes every
block in its own replica, to the byte of the header, and only then has it. The host signs the last header of each
answer, which binds all headers before it; where one comes out differently here, that signed answer and the
replica's own header are the evidence of `LedgerForked`. A host that cannot be reached, or that is merely behind after
a restart, is `LedgerUnreachable` and no fork: asked again later, it goes on.

`ask` carries one request to the host and blocks for the answer; it raises LedgerUnreachable when none comes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeAlias

import msgspec

from cohortium.core.identity import SIGNATURE_BYTES, LedgerKey
from cohortium.core.seams import Head, LedgerEvent, Receipt
from cohortium.errors import FrameError, LedgerError, LedgerForked, LedgerRefused, LedgerUnreachable, SignatureError
from cohortium.ledger.blocks import Block, read_header
from cohortium.ledger.entries import MAX_ENTRY_BYTES, open_entry, sign_entry
from cohortium.ledger.export import SignedHead, sign_head
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.local import LocalLedger
from cohortium.ledger.replica import Replica
from cohortium.ledger.shared_replica import SharedReplica
from cohortium.ledger.transactions import MAX_TRANSACTION_BYTES, check_entry, once, open_transaction

__all__ = ["MAX_ANSWER_BYTES", "MAX_REQUEST_BYTES", "HostedLedger", "LedgerHost"]

MAX_REQUEST_BYTES: Final = MAX_ENTRY_BYTES + 64
_PAGE_BYTES: Final = 96 << 10
_PAGE_BLOCKS: Final = 64
MAX_ANSWER_BYTES: Final = 256 << 10
"""A page is closed once it holds 96 KiB, so its last block, of at most 64 KiB and a header, still fits."""

_Height = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class _Submit(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="submit"):
    entry: Annotated[bytes, msgspec.Meta(max_length=MAX_ENTRY_BYTES)]


class _Ask(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="blocks"):
    after: _Height


class _Done(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="done"):
    height: _Height


class _Refused(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="refused"):
    reason: Annotated[str, msgspec.Meta(max_length=64)]


class _Down(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="down"):
    """The host cannot write its chain now."""


class _Told(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    header: Annotated[bytes, msgspec.Meta(max_length=2048)]
    raw: Annotated[bytes, msgspec.Meta(max_length=MAX_TRANSACTION_BYTES)]


class _Page(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="page"):
    """Blocks in order. height, hash, signature: of the last of them, or of the host's head where there are none."""

    blocks: Annotated[tuple[_Told, ...], msgspec.Meta(max_length=_PAGE_BLOCKS)]
    height: _Height
    hash: _Digest
    signature: Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
    more: bool


_Answer: TypeAlias = _Done | _Refused | _Down | _Page

_ENCODER: Final = msgspec.msgpack.Encoder()
_REQUEST: Final = msgspec.msgpack.Decoder(_Submit | _Ask)
_ANSWER: Final = msgspec.msgpack.Decoder(_Answer)


class LedgerHost:
    """What the host says to followers. key: of the host's own site."""

    def __init__(self, ledger: LocalLedger, *, key: LedgerKey) -> None:
        self._ledger = ledger
        self._key = key

    def answer(self, request: bytes) -> bytes:
        """The answer to one request, whatever it holds; of at most `MAX_ANSWER_BYTES`."""
        try:
            if len(request) > MAX_REQUEST_BYTES:
                raise FrameError(f"request of {len(request)} bytes; at most {MAX_REQUEST_BYTES} are accepted")
            asked = _REQUEST.decode(request)
            answer: _Answer = self._take(asked) if isinstance(asked, _Submit) else self._page(asked.after)
        except LedgerRefused as refused:
            answer = _Refused(refused.reason)
        except (msgspec.MsgspecError, UnicodeDecodeError, FrameError, SignatureError):
            answer = _Refused("undecodable")
        except LedgerUnreachable:
            answer = _Down()
        return _ENCODER.encode(answer)

    def _take(self, asked: _Submit) -> _Done:
        return _Done(self._ledger.take(open_entry(asked.entry)).height)

    def _page(self, after: int) -> _Page:
        ledger, told, size = self._ledger, list[_Told](), 0
        found = ledger.blocks(after + 1, n=_PAGE_BLOCKS)
        for block in found:
            told.append(_Told(block.header, block.raw))
            size += len(block.header) + len(block.raw)
            if size >= _PAGE_BYTES:
                break
        head = _head_of(found[len(told) - 1]) if told else ledger.head()
        signed = sign_head(self._key, head, contract=ledger.contract, chain_id=ledger.chain_id)
        more = len(told) < len(found) or len(found) == _PAGE_BLOCKS
        return _Page(tuple(told), head.height, head.hash, signed.signature, more)


class HostedLedger:
    """A follower's ledger: everything is read from its own replica, only writing needs the host.

    One conversation with the host at a time (`_turn`). The chain's own lock is never held while the host is asked, so
    reading what is here waits for nobody: the event loop that carries the answer may read meanwhile.
    """

    def __init__(
        self, replica: Replica, *, clock: Callable[[], float], key: LedgerKey, ask: Callable[[bytes], bytes]
    ) -> None:
        self._chain = SharedReplica(replica)
        self._clock = clock
        self._key = key
        self._ask = ask
        self._turn = threading.RLock()

    @classmethod
    def found(
        cls,
        genesis: Genesis,
        *,
        clock: Callable[[], float],
        path: Path,
        key: LedgerKey,
        ask: Callable[[bytes], bytes],
    ) -> HostedLedger:
        """A new replica in a new file; the founding block is a function of the genesis. clock: of this site."""
        return cls(Replica.found(path, genesis), clock=clock, key=key, ask=ask)

    @classmethod
    def open(
        cls, path: Path, *, clock: Callable[[], float], key: LedgerKey, ask: Callable[[bytes], bytes]
    ) -> HostedLedger:
        """The replica in a file, at its last block."""
        return cls(Replica.open(path), clock=clock, key=key, ask=ask)

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
        """The number of an account's next transaction, after asking the host for news."""
        self.sync()
        return self._chain.nonce(address)

    def submit(self, signed: bytes) -> Receipt:
        """Have the host put a transaction into a block, and replay it. Refused before it travels, where possible.

        After LedgerUnreachable it may be in a block or not: submit the same bytes again, they count once.
        Raises LedgerRefused, LedgerUnreachable, LedgerForked.
        """
        return once(signed, lambda: self._put(signed), self._receipt_of)

    def call(self, function: str, args: tuple[object, ...] = ()) -> tuple[Any, ...]:
        """Read without changing anything, after asking the host for news."""
        self.sync()
        return self._chain.call(function, args)

    def events(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """All events from that height on, ordered, no gaps, after asking the host for news."""
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
        """Fetch and execute the host's newer blocks; whether there were any. Raises LedgerUnreachable, LedgerForked."""
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

    def _put(self, raw: bytes) -> Receipt:
        replica, genesis = self._chain.replica, self.genesis
        with self._turn:
            self.sync()
            transaction = open_transaction(raw, chain_id=genesis.chain_id)
            sender = transaction.sender
            with self._chain.lock:
                active, nonce = replica.is_active(sender), replica.nonce(sender)
            signer = self._key.address
            check_entry(transaction, contract=genesis.contract, active=active, nonce=nonce, signer=signer)
            entry = sign_entry(self._key, chain_id=genesis.chain_id, claimed_s=int(self._clock()), raw=raw)
            answer = self._answer(_Submit(entry))
            if isinstance(answer, _Refused):
                self.sync()  # an earlier attempt may have come through meanwhile
                raise LedgerRefused(answer.reason, function=transaction.function)
            if not isinstance(answer, _Done):
                raise _unusable()
            self.sync()
            receipt = self._receipt_of(raw)
            if receipt is None:
                raise LedgerUnreachable(
                    f"the host says block {answer.height} holds the transaction, but does not show it"
                )
            return receipt

    def _receipt_of(self, raw: bytes) -> Receipt | None:
        with self._chain.lock:
            return self._chain.replica.receipt_of(raw)

    def _follow(self) -> bool:
        """Execute one page of the host's blocks; whether there are more."""
        mine = self._chain.head()
        page = self._answer(_Ask(mine.height))
        if not isinstance(page, _Page):
            raise _unusable()
        for told in page.blocks:
            self._execute(page, told)
        known = self._chain.blocks(page.height, n=1) if page.height else []
        if not known:
            raise _unusable()
        if known[0].hash != page.hash:
            what = f"block {page.height} of the ledger is {page.hash.hex()[:16]} for the host"
            self._forked(page, known[0].header, f"{what} and {known[0].hash.hex()[:16]} here")
        self._check_signed(page)
        if page.height < mine.height:
            raise LedgerUnreachable(
                f"the host's chain ends at block {page.height}, here it has {mine.height}",
                hint="the host lost its newest blocks; it must start from a copy of a follower's chain.sqlite",
            )
        return page.more and bool(page.blocks)

    def _execute(self, page: _Page, told: _Told) -> None:
        replica = self._chain.replica
        (mine,) = self._chain.blocks(self._chain.head().height)
        here = read_header(mine.header)
        try:
            said = read_header(told.header)
            if said.parent != mine.hash:
                what = f"the host's block {said.height} follows another block {here.height}"
                raise LedgerForked(what, evidence=(mine.header,))
            with self._chain.lock:
                replica.apply(told.raw, time=said.time, header=told.header)
        except LedgerUnreachable:
            raise
        except LedgerForked as forked:
            self._forked(page, forked.evidence[-1], str(forked))
        except (FrameError, LedgerError) as wrong:
            self._forked(page, mine.header, f"what the host has as block {here.height + 1} is none: {wrong}")

    def _forked(self, page: _Page, mine: bytes, what: str) -> NoReturn:
        self._check_signed(page)
        raise LedgerForked(what, evidence=(_ENCODER.encode(page), mine))

    def _check_signed(self, page: _Page) -> None:
        """An answer that no member signed proves nothing, so it is no answer."""
        signed = SignedHead(page.height, page.hash, page.signature)
        try:
            signer = signed.signer(contract=self.contract, chain_id=self.chain_id)
        except SignatureError:
            raise _unusable() from None
        with self._chain.lock:
            member = self._chain.replica.membership().at(signer)
        if member is None:
            raise _unusable()

    def _answer(self, request: _Submit | _Ask) -> _Done | _Refused | _Page:
        packed = self._ask(_ENCODER.encode(request))
        try:
            answer: _Answer | None = _ANSWER.decode(packed) if len(packed) <= MAX_ANSWER_BYTES else None
        except (msgspec.MsgspecError, UnicodeDecodeError):
            answer = None
        if answer is None:
            raise _unusable()
        if isinstance(answer, _Down):
            raise LedgerUnreachable(
                "the host cannot write its chain", hint="look at the host's disk: cohortium node doctor"
            )
        return answer


def _head_of(block: Block) -> Head:
    said = read_header(block.header)
    return Head(said.height, block.hash, said.state_root)


def _unusable() -> LedgerUnreachable:
    return LedgerUnreachable(
        "the host of the ledger answers what is no answer", hint="compare the versions of both nodes"
    )
