"""Offline verification of an exported chain: replay all of it, alone, and name the first bad record.

    verify(Path("ledger.jsonl")) -> Verified(height=214, runs=(...), ...)

For every block: the link of its line, its header's hash, parent, time and transaction; signature,
sender and nonce; then the transaction itself through the rules (`interpreter.py`), whose verdict and
events must be those of the file. With `replicated`, every block's time must follow from the clocks that
the members claimed and signed. With the extra `evm`, exports of an engine on an EVM are also run through
the contract, which must give the same header to the byte, state root included. What the export of a
chain that is not ours (`evm-rpc`) proves is less, and stands in `evm_archive.py`.

A forger can compute links and hashes anew, but not signatures of members, nor another genesis with
the same identity: say which consortium you expect. A chain cut at its end and closed anew is seen only
through a later head: one signed in the file, or one you hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cohortium.core.identity import Membership, keccak
from cohortium.errors import LedgerError, MissingExtra, PeerError, VerificationFailed
from cohortium.ledger.blocks import NO_PARENT, Header, binding, event_values, memory_header, read_header
from cohortium.ledger.entries import MAX_CLAIMED_S, Entry
from cohortium.ledger.evm_archive import EvmReplay
from cohortium.ledger.export import FIRST_LINK, FORMAT, MAX_FILE_BYTES, MAX_LINE_BYTES, open_line, read_heads, read_hex
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.interpreter import Interpreter, Outcome
from cohortium.ledger.median_time import Claims
from cohortium.ledger.story import HarmSaid, PrivacySummary, RunSummary, Story
from cohortium.ledger.transactions import open_transaction

if TYPE_CHECKING:
    from cohortium.ledger.replica import Replica

__all__ = ["Verified", "verify"]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What an export proves. evm: whether the contract itself was replayed, not only the rules.

    began, time: of the first and the last block, seconds. calls, refused: transactions after the founding, and how many
    of them the contract refused. commitments: digests by run, round and site. signed_by: members whose signature stands
    under one of its heads, sorted.
    """

    engine: str
    consortium: bytes
    chain_id: int
    contract: bytes
    height: int
    head: bytes
    state_root: bytes
    began: int
    time: int
    calls: int
    refused: int
    members: Membership
    runs: tuple[RunSummary, ...]
    privacy: PrivacySummary
    harm: tuple[HarmSaid, ...]
    commitments: Mapping[tuple[int, int, str], bytes]
    signed_by: tuple[str, ...]
    evm: bool


def verify(path: Path, *, consortium: bytes | None = None, evm: bool | None = None) -> Verified:
    """Replay an export and compare everything in it.

    consortium: the identity it must have (32 bytes). evm: None replays the contract where its engine
    had one and the extra is installed; True insists; False leaves it to the rules.
    Raises VerificationFailed that names the first bad line and the reason, MissingExtra for `evm=True` without it.
    """
    if path.stat().st_size > MAX_FILE_BYTES:
        raise VerificationFailed(f"{path.name}: larger than {MAX_FILE_BYTES} bytes")
    number, link = 0, FIRST_LINK
    replay: _Replay | EvmReplay | None = None
    verified: Verified | None = None
    try:
        for number, line in _lines(path):  # noqa: B007 - the number is said when something is wrong
            record, link = open_line(line, link)
            if verified is not None:
                raise ValueError("a record after the last one")
            if replay is None:
                replay = _begin(record, consortium, evm)
            elif "last" in record:
                verified = replay.finish(record)
            else:
                replay.block(record)
    except (ValueError, LedgerError, PeerError) as error:
        raise VerificationFailed(f"{path.name}: line {number}: {error}") from error
    finally:
        if replay is not None:
            replay.close()
    if verified is None:
        raise VerificationFailed(f"{path.name}: line {number + 1}: the file ends before its last record")
    return verified


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, never more of one than the limit and a byte."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            yield number, line


@dataclass
class _Replay:
    """The state of a verification after some lines."""

    genesis: Genesis
    rules: Interpreter
    contract: Replica | None
    hashes: list[bytes] = field(default_factory=list)
    state_root: bytes = b""
    time: int = 0
    refused: int = 0
    story: Story = field(default_factory=Story)
    claims: Claims | None = None

    def block(self, record: Mapping[str, Any]) -> None:
        claimed = {"claimed_s", "entry"} if self.claims is not None and self.hashes else set()
        if set(record) != claimed | {"events", "hash", "header", "height", "ok", "raw", "reason", "time"}:
            raise ValueError("not the record of a block")
        header, raw = _bytes(record, "header"), _bytes(record, "raw")
        said = read_header(header)
        self._check_place(record, said, keccak(header), raw)
        if claimed:
            self._check_claim(record, said, raw)
        outcome = self._outcome(raw, said)
        for key, found in (("ok", outcome.ok), ("reason", outcome.reason), ("events", event_values(outcome.events))):
            if record[key] != found:
                raise ValueError(f"{key} differ from what the rules give ({outcome.reason or 'accepted'})")
        if not said.evm:
            self._check_memory_header(header, said, raw, outcome)
        else:
            self._check_contract_header(header, said, raw)
        self.hashes.append(keccak(header))
        self.state_root, self.time = said.state_root, said.time
        self.refused += not outcome.ok
        self.story.tell(outcome.events)

    def finish(self, record: Mapping[str, Any]) -> Verified:
        if set(record) != {"hash", "heads", "last", "state_root"} or not self.hashes:
            raise ValueError("not the last record of a chain")
        if record["last"] != len(self.hashes) or _bytes(record, "hash") != self.hashes[-1]:
            raise ValueError("the head is not the last block")
        if _bytes(record, "state_root") != self.state_root:
            raise ValueError("the state root is not the last block's")
        members = self.rules.membership()
        return Verified(
            engine=self.genesis.engine,
            consortium=self.genesis.consortium,
            chain_id=self.genesis.chain_id,
            contract=self.genesis.contract,
            height=len(self.hashes),
            head=self.hashes[-1],
            state_root=self.state_root,
            began=self.genesis.time,
            time=self.time,
            calls=len(self.hashes) - 1,
            refused=self.refused,
            members=members,
            runs=self.story.summaries(),
            privacy=self.story.privacy(),
            harm=self.story.harm(),
            commitments=dict(self.story.commitments),
            signed_by=tuple(sorted(self._signers(record["heads"], members))),
            evm=self.contract is not None,
        )

    def close(self) -> None:
        if self.contract is not None:
            self.contract.close()

    def _check_place(self, record: Mapping[str, Any], said: Header, found: bytes, raw: bytes) -> None:
        """The header is the record's, of this engine, follows the block before, and holds this transaction."""
        height = len(self.hashes) + 1
        if said.evm != (self.genesis.engine != "memory"):
            raise ValueError(f"a header that engine {self.genesis.engine!r} does not write")
        if found != _bytes(record, "hash"):
            raise ValueError("the hash is not the header's")
        if record["height"] != height or said.height != height or record["time"] != said.time:
            raise ValueError(f"height or time are not the header's; height {height} was due")
        if height > 1 and said.parent != self.hashes[-1]:
            raise ValueError("its parent is not the block before")
        if said.time <= self.time:
            raise ValueError(f"its time {said.time} is not later than {self.time}")
        if said.binds != binding(raw, evm=said.evm):
            raise ValueError("the header belongs to another transaction")

    def _check_claim(self, record: Mapping[str, Any], said: Header, raw: bytes) -> None:
        """The sender signed the time he claimed, and the block's time follows from all claims."""
        claimed_s, chain_id = record["claimed_s"], self.genesis.chain_id
        if type(claimed_s) is not int or not 0 <= claimed_s <= MAX_CLAIMED_S or self.claims is None:
            raise ValueError("claimed_s is no time")
        sender = open_transaction(raw, chain_id=chain_id).sender
        if Entry(claimed_s, raw, _bytes(record, "entry")).signer(chain_id=chain_id) != sender:
            raise ValueError("the entry is not signed by the transaction's sender")
        due = self.claims.block_time(sender, claimed_s, active=self.rules.active(), last_s=self.time)
        if said.time != due:
            raise ValueError(f"its time {said.time} is not {due}, which follows from the members' clocks")
        self.claims.tell(sender, claimed_s)

    def _outcome(self, raw: bytes, said: Header) -> Outcome:
        if said.height > 1:
            return self.rules.execute(raw, time=said.time, height=said.height)
        if raw != self.genesis.deployment or said.time != self.genesis.time:
            raise ValueError("block 1 is not the founding that the genesis gives")
        return self.rules.founding

    def _check_memory_header(self, header: bytes, said: Header, raw: bytes, outcome: Outcome) -> None:
        if said.state_root != self.rules.state_root():
            raise ValueError("the state root is not what the rules give")
        if header != memory_header(
            parent=self.hashes[-1] if self.hashes else NO_PARENT,
            height=said.height,
            time=said.time,
            raw=raw,
            result=[outcome.ok, outcome.reason, event_values(outcome.events)],
            state_root=said.state_root,
        ):
            raise ValueError("the header is not that of this result")

    def _check_contract_header(self, header: bytes, said: Header, raw: bytes) -> None:
        if self.contract is None:
            return
        if said.height > 1:
            self.contract.apply(raw, time=said.time)
        (block,) = self.contract.blocks(said.height)
        if block.header != header:
            what = "header" if read_header(block.header).state_root == said.state_root else "state root"
            raise ValueError(f"the {what} is not what the contract gives")

    def _signers(self, heads: object, members: Membership) -> Iterator[str]:
        """Names of the members whose signed heads are blocks of this chain."""
        for signed in read_heads(heads):
            if not 1 <= signed.height <= len(self.hashes) or self.hashes[signed.height - 1] != signed.hash:
                raise ValueError(f"a signed head at height {signed.height} is no block of this chain")
            address = signed.signer(contract=self.genesis.contract, chain_id=self.genesis.chain_id)
            site = members.at(address)
            if site is None:
                raise ValueError(f"the head at height {signed.height} is signed by no member")
            yield site.name


def _begin(record: Mapping[str, Any], consortium: bytes | None, evm: bool | None) -> _Replay | EvmReplay:
    """A replay for the engine that the first record names."""
    if set(record) != {"consortium", "contract", "format", "genesis"} or record["format"] != FORMAT:
        raise ValueError(f"not the first record of the form {FORMAT}")
    if not isinstance(record["genesis"], dict):
        raise ValueError("the genesis is no table")
    genesis = Genesis.from_facts(record["genesis"])
    if _bytes(record, "consortium") != genesis.consortium or _bytes(record, "contract") != genesis.contract:
        raise ValueError("consortium and contract are not those of the genesis")
    if consortium is not None and consortium != genesis.consortium:
        raise ValueError(
            f"another consortium: 0x{genesis.consortium.hex()[:16]}..., expected 0x{consortium.hex()[:16]}..."
        )
    if genesis.engine == "evm-rpc":
        return EvmReplay(genesis)
    claims = Claims(genesis_s=genesis.time) if genesis.engine == "replicated" else None
    return _Replay(genesis, Interpreter(genesis), _contract(genesis, evm), claims=claims)


def _contract(genesis: Genesis, evm: bool | None) -> Replica | None:
    if evm is False or genesis.engine == "memory":
        return None
    try:
        from cohortium.ledger.chain_file import IN_MEMORY
        from cohortium.ledger.replica import Replica
    except MissingExtra:
        if evm:
            raise
        return None
    return Replica.found(IN_MEMORY, genesis)


def _bytes(record: Mapping[str, Any], key: str) -> bytes:
    return read_hex(record[key], key)
