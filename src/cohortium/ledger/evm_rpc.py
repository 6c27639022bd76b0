"""Engine `evm-rpc`: the contract on an Ethereum chain that the hospitals run themselves, reached by JSON-RPC.

    ledger = EvmRpcLedger.found(genesis, path=path, endpoints=["http://127.0.0.1:8545"], clock=time.time)

Meant for Hyperledger Besu with QBFT, one validator a hospital; any node that speaks the seven methods will do. Whoever
comes first deploys the contract: the transaction and its address are functions of the genesis. From then on every
block is followed, link by link (`evm_chain.py`); what concerns the contract is kept, and executed again by the rules
(`witnessed.py`), so that a node may withhold but not invent. Height, block hash and time are the chain's own: several
transactions may share a block, and many blocks hold none of ours. A block that was followed and then replaced is
LedgerForked; a node that is merely behind is not.

The entry rules of the other engines are applied before a transaction is sent; the chain itself would also take other
forms. The contract's time-outs are judged by the chain's clock.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from cohortium.core.identity import keccak
from cohortium.core.seams import Head, LedgerEvent, Receipt
from cohortium.errors import FrameError, LedgerError, LedgerForked, LedgerRefused, LedgerUnreachable
from cohortium.ledger import rlp
from cohortium.ledger.blocks import Happening, event_values
from cohortium.ledger.evm_chain import EvmChain
from cohortium.ledger.evm_export import write_evm_export
from cohortium.ledger.evm_file import EvmFile, KeptCall
from cohortium.ledger.export import SignedHead
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.http_json import ClientTls
from cohortium.ledger.interface import consortium
from cohortium.ledger.json_rpc import JsonRpc
from cohortium.ledger.transactions import check_entry, once, open_transaction
from cohortium.ledger.witnessed import Witnessed

__all__ = ["EvmRpcLedger"]


class EvmRpcLedger:
    """One site's view of the contract on the chain.

    One conversation with the node at a time (`_turn`). The file's lock is never held while the node is asked, so
    reading what is here waits for nobody.
    """

    def __init__(self, chain: EvmChain, file: EvmFile, genesis: Genesis) -> None:
        self.genesis = genesis
        self._chain, self._rpc, self._file = chain, chain.rpc, file
        self._turn, self._lock = threading.RLock(), threading.RLock()
        self._rules, (founding, *_) = _witnessed(genesis, file.calls())
        self._founded_at = founding.height

    @classmethod
    def found(
        cls,
        genesis: Genesis,
        *,
        clock: Callable[[], float],
        path: Path,
        endpoints: Sequence[str],
        tls: ClientTls | None = None,
    ) -> EvmRpcLedger:
        """Deploy the contract unless it is there, and begin to follow. clock: not used, time is the chain's.

        Raises LedgerUnreachable; LedgerError for another chain, or one that does not take the contract.
        """
        del clock
        rpc = JsonRpc(endpoints, tls=tls)
        try:
            chain = EvmChain(rpc, genesis)
            begun = chain.deployed()
            _, calls = _witnessed(genesis, begun.calls)
            facts = json.dumps(genesis.facts(), sort_keys=True)
            return cls(chain, EvmFile.create(path, facts, calls, begun.heads[0]), genesis)
        except BaseException:
            rpc.close()
            raise

    @classmethod
    def open(
        cls, path: Path, *, clock: Callable[[], float], endpoints: Sequence[str], tls: ClientTls | None = None
    ) -> EvmRpcLedger:
        """What the file holds, at the last block followed; the chain is asked at the first call that needs it."""
        del clock
        file = EvmFile.open(path)
        try:
            genesis = Genesis.from_facts(json.loads(file.genesis()))
            return cls(EvmChain(JsonRpc(endpoints, tls=tls), genesis), file, genesis)
        except (ValueError, FrameError, LedgerForked) as error:
            file.close()
            raise LedgerError(f"{path} cannot be used: {error}", hint="delete it; it is fetched anew") from error
        except BaseException:
            file.close()
            raise

    @property
    def chain_id(self) -> int:
        """What every transaction is bound to."""
        return self.genesis.chain_id

    @property
    def contract(self) -> bytes:
        """The contract's address (20 bytes)."""
        return self.genesis.contract

    @property
    def unfollowed(self) -> str:
        """Why outcomes are no longer checked against the rules; empty while they are."""
        return self._rules.unfollowed

    def nonce(self, address: bytes) -> int:
        """The number of an account's next transaction, those still under way included."""
        with self._turn:
            return self._rpc.count(address)

    def submit(self, signed: bytes) -> Receipt:
        """Send a transaction and follow the chain until it is in a block. Refused before it is sent, where possible.

        After LedgerUnreachable it may come into a block or not: submit the same bytes again, they count once.
        Raises LedgerRefused, LedgerUnreachable, LedgerForked.
        """
        return once(signed, lambda: self._put(signed), self._receipt_of)

    def call(self, function: str, args: tuple[object, ...] = ()) -> tuple[Any, ...]:
        """Read without changing anything, at the newest block followed."""
        interface = consortium().interface
        if not interface.function(function).view:
            raise ValueError(f"{function} changes the ledger; submit a signed transaction instead")
        data = interface.encode_call(function, args)
        with self._turn:
            self.sync()
            found = self._rpc.call(self.contract, data, height=self.head().height)
        try:
            return interface.decode_result(function, found)
        except FrameError as error:
            raise LedgerUnreachable(f"the chain's node answers {function} with something else: {error}") from error

    def events(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """All events from that height on, ordered, no gaps, after following the chain."""
        self.sync()
        return self._events_from(from_height)

    def events_here(self, from_height: int = 0) -> Iterable[LedgerEvent]:
        """All events from that height on that were followed so far; nobody is asked."""
        return self._events_from(from_height)

    def _events_from(self, height: int) -> list[LedgerEvent]:
        with self._lock:
            calls = self._file.calls(height)
        found: list[LedgerEvent] = []
        for call in calls:
            for event in _events(call):
                index = found[-1].index + 1 if found and found[-1].height == call.height else 0
                found.append(LedgerEvent(call.height, index, event.name, event.args))
        return found

    def head(self) -> Head:
        """The newest block that was followed."""
        with self._lock:
            return self._file.head()

    def hash_at(self, height: int) -> bytes | None:
        """The hash of the block at a height, None for one that was not followed. The node is asked for an old one."""
        with self._lock:
            if not self._founded_at <= height <= self._file.head().height:
                return None
            if (known := self._file.hash_at(height)) is not None:
                return known
        with self._turn:
            block = self._rpc.block(height)
        return None if block is None else block.hash

    def sync(self) -> bool:
        """Follow the chain to its newest block; whether it had grown. Raises LedgerUnreachable, LedgerForked."""
        with self._turn:
            before = self.head().height
            while self._follow():
                pass
            return self.head().height > before

    def export(self, path: Path, *, heads: Sequence[SignedHead] = ()) -> None:
        """Write the calls as JSON lines for `archive.verify`. heads: members' signatures under blocks of the file."""
        with self._lock:
            calls, head = self._file.calls(), self._file.head()
        write_evm_export(path, self.genesis, [(call, _events(call)) for call in calls], head, heads=heads)

    def close(self) -> None:
        """Let file and connection go; whoever waits for the node gives up first."""
        self._rpc.close()
        with self._turn, self._lock:
            self._file.close()

    def _put(self, raw: bytes) -> Receipt:
        with self._turn:
            self.sync()
            transaction = open_transaction(raw, chain_id=self.chain_id)
            sender = transaction.sender
            check_entry(
                transaction,
                contract=self.contract,
                active=self._is_active(sender),
                nonce=min(transaction.nonce, self._rpc.count(sender)),  # one in use may be this very one, under way
            )
            if self._rpc.send(raw) == "used":
                self.sync()
                raise LedgerRefused("nonce", function=f"{transaction.function} with number {transaction.nonce}")
        included_s = self._chain.included_s
        until, pause_s = time.monotonic() + included_s, 0.01
        while True:
            self.sync()
            if (receipt := self._receipt_of(raw)) is not None:
                return receipt
            if time.monotonic() >= until:
                raise LedgerUnreachable(
                    f"{transaction.function} is in no block after {included_s:g} s",
                    hint="with a third of the validators away the chain stands still",
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.5)

    def _is_active(self, address: bytes) -> bool:
        with self._lock:
            return self._rules.is_active(address)

    def _receipt_of(self, raw: bytes) -> Receipt | None:
        with self._lock:
            call = self._file.call_of(keccak(raw))
        return None if call is None else Receipt(call.height, call.ok, call.reason)

    def _follow(self) -> bool:
        """Follow one stretch of blocks; whether there are more."""
        stretch = self._chain.after(self.head(), hash_at=self._hash_here)
        if not stretch.heads:
            return False
        with self._lock:
            try:
                self._file.append([_tell(self._rules, call) for call in stretch.calls], stretch.heads)
            except BaseException:
                self._rules, _ = _witnessed(self.genesis, self._file.calls())  # as far as the file goes
                raise
        return stretch.more

    def _hash_here(self, height: int) -> bytes | None:
        with self._lock:
            return self._file.hash_at(height)


def _witnessed(genesis: Genesis, calls: Sequence[KeptCall]) -> tuple[Witnessed, list[KeptCall]]:
    """The rules after the deployment and the calls that followed it, and these with their reasons."""
    founding, *later = calls
    rules = Witnessed(genesis, founded_s=founding.time)
    try:
        as_agreed = event_values(_events(founding)) == event_values(rules.founding)
    except FrameError:
        as_agreed = False
    if founding.raw != genesis.deployment or not as_agreed:
        raise _contradiction(founding, "the founding is not the one of the genesis")
    return rules, [founding, *(_tell(rules, call) for call in later)]


def _tell(rules: Witnessed, call: KeptCall) -> KeptCall:
    """The call with the rules' reason. Raises LedgerForked when they come to another result than the chain's node."""
    try:
        reason = rules.tell(call.raw, ok=call.ok, events=_events(call), time=call.time, height=call.height)
    except (ValueError, FrameError) as error:
        raise _contradiction(call, str(error)) from error
    return call._replace(reason=reason)


def _contradiction(call: KeptCall, what: str) -> LedgerForked:
    """Evidence: the transaction, and what the node said became of it."""
    said = {
        "block": call.block.hex(),
        "height": call.height,
        "logs": call.logs.hex(),
        "ok": call.ok,
        "position": call.position,
        "time": call.time,
    }
    return LedgerForked(
        f"block {call.height} of the chain: {what}", evidence=(call.raw, json.dumps(said, sort_keys=True).encode())
    )


def _events(call: KeptCall) -> tuple[Happening, ...]:
    interface = consortium().interface
    logs = cast("list[tuple[list[bytes], bytes]]", rlp.decode(call.logs))
    return tuple(Happening(*interface.decode_log(topics, data)) for topics, data in logs)
