"""Offline verification of an export of `evm-rpc`: every call signed, every outcome what the rules give.

Proved by the file alone, for anyone who knows which consortium to expect: who signed each transaction; that each did,
in this order and at these times, what the contract's rules say, to the last event; which runs, merges and members
follow. Signed heads prove that a member saw that hash at that height. A transaction in a form that cohortium does not
write is passed over as long as it changed nothing; one that did ends the proof, and its line is named.

Resting on the word of the exporting site's node: block hashes, heights, times and the state root, because headers of
such a chain are of its own form and not in the file; that no transaction was left out between two others of different
senders. Whoever has access to the chain compares them there; members did so in every message they signed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cohortium.core.identity import Membership, keccak
from cohortium.ledger.blocks import Happening, event_values
from cohortium.ledger.export import read_heads, read_hex
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.story import Story
from cohortium.ledger.witnessed import Witnessed

if TYPE_CHECKING:
    from cohortium.ledger.archive import Verified

__all__ = ["EvmReplay"]

_CALL = {"block", "events", "height", "ok", "position", "raw", "reason", "time", "transaction"}


class EvmReplay:
    """The state of a verification after some lines. `archive.verify` drives it."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self._rules: Witnessed | None = None
        self._hashes: dict[int, bytes] = {}
        self._place, self._time = (-1, -1), 0
        self._calls, self._refused = 0, 0
        self._story = Story()

    def block(self, record: Mapping[str, Any]) -> None:
        """One call."""
        if set(record) != _CALL:
            raise ValueError("not the record of a call")
        raw, block = read_hex(record["raw"], "raw"), read_hex(record["block"], "block")
        self._check_place(record, raw, block)
        if self._rules is None:
            self._begin(record, raw)
        else:
            self._follow(self._rules, record, raw)

    def finish(self, record: Mapping[str, Any]) -> Verified:
        """The end of the file."""
        from cohortium.ledger.archive import Verified

        if set(record) != {"hash", "heads", "last", "state_root"} or self._rules is None:
            raise ValueError("not the last record of a chain")
        height, head = record["last"], read_hex(record["hash"], "hash")
        if type(height) is not int or height < self._place[0] or len(head) != 32:
            raise ValueError("the head is before the last call")
        if self._hashes.setdefault(height, head) != head:
            raise ValueError("the head is not the last call's block")
        members = self._rules.membership()
        return Verified(
            engine=self._genesis.engine,
            consortium=self._genesis.consortium,
            chain_id=self._genesis.chain_id,
            contract=self._genesis.contract,
            height=height,
            head=head,
            state_root=read_hex(record["state_root"], "state_root"),
            began=self._genesis.time,
            time=self._time,
            calls=self._calls,
            refused=self._refused,
            members=members,
            runs=self._story.summaries(),
            privacy=self._story.privacy(),
            harm=self._story.harm(),
            commitments=dict(self._story.commitments),
            signed_by=tuple(sorted(self._signers(record["heads"], members))),
            evm=False,
        )

    def close(self) -> None:
        """Nothing to let go."""

    def _check_place(self, record: Mapping[str, Any], raw: bytes, block: bytes) -> None:
        """It comes after the call before, its block has one hash and one time, its transaction is the one named."""
        if any(type(record[key]) is not int for key in ("height", "position", "time")) or len(block) != 32:
            raise ValueError("height, position and time are whole numbers, a block is a hash")
        place = (record["height"], record["position"])
        if place <= self._place or place[0] < 0:
            raise ValueError(f"block {place[0]}, position {place[1]} does not come after the call before")
        same = place[0] == self._place[0]
        if record["time"] < self._time or (same and record["time"] != self._time):
            raise ValueError(f"its time {record['time']} does not fit the call before ({self._time})")
        if self._hashes.setdefault(place[0], block) != block:
            raise ValueError(f"block {place[0]} has two hashes")
        if raw and keccak(raw) != read_hex(record["transaction"], "transaction"):
            raise ValueError("the transaction has another hash")
        self._place, self._time = place, record["time"]

    def _begin(self, record: Mapping[str, Any], raw: bytes) -> None:
        self._rules = Witnessed(self._genesis, founded_s=record["time"])
        founding = self._rules.founding
        if raw != self._genesis.deployment or record["ok"] is not True or record["reason"] != "":
            raise ValueError("the first call is not the founding that the genesis gives")
        _check_events(record, founding)
        self._story.tell(founding)

    def _follow(self, rules: Witnessed, record: Mapping[str, Any], raw: bytes) -> None:
        if type(record["ok"]) is not bool:
            raise ValueError("ok is true or false")
        outcome = rules.follow(raw, ok=record["ok"], time=record["time"], height=record["height"])
        if outcome is None and record["events"] != []:
            raise ValueError("a transaction in a form that cohortium does not write changed the record")
        reason = outcome.reason if outcome is not None else "" if record["ok"] else "reverted"
        if record["reason"] != reason:
            raise ValueError(f"reason differs from what the rules give ({reason or 'accepted'})")
        events = () if outcome is None else outcome.events
        _check_events(record, events)
        self._calls += 1
        self._refused += not record["ok"]
        self._story.tell(events)

    def _signers(self, heads: object, members: Membership) -> Iterator[str]:
        """Names of the members whose signed heads are blocks of this file."""
        for signed in read_heads(heads):
            if self._hashes.get(signed.height) != signed.hash:
                raise ValueError(f"a signed head at height {signed.height} is no block of this file")
            site = members.at(signed.signer(contract=self._genesis.contract, chain_id=self._genesis.chain_id))
            if site is None:
                raise ValueError(f"the head at height {signed.height} is signed by no member")
            yield site.name


def _check_events(record: Mapping[str, Any], events: tuple[Happening, ...]) -> None:
    if record["events"] != event_values(events):
        raise ValueError("events differ from what the rules give")
