"""What the contract remembers: the same tables under the same names as in `Consortium.vy`.

Records are immutable tuples; a table maps keys to records, and every change goes through `State.put`, which
remembers what was there, so that a refused call leaves nothing behind. What is zero is absent, as on an EVM.
A record's fields stand in the order of the contract's structs: `tuple(record)` is what its getter returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cohortium.core.identity import keccak
from cohortium.errors import LedgerRefused
from cohortium.ledger.rules.root import Root

__all__ = ["Call", "Event", "Founder", "Member", "Plan", "Round", "Run", "Standing", "State", "key_of", "zero"]

_ZERO = bytes(32)


@dataclass(frozen=True)
class Founder:
    """A member from the beginning. tls, seal: digests of its certificate and of its seal key (32 bytes each)."""

    address: bytes
    name: str
    tls: bytes
    seal: bytes


@dataclass(frozen=True)
class Call:
    """One call that was put into a block. sender: 20 bytes; time: of the block, in seconds."""

    sender: bytes
    function: str
    args: tuple[Any, ...]
    time: int
    height: int = 0


@dataclass(frozen=True)
class Event:
    """What a call made known; args by name in the contract's order."""

    name: str
    args: dict[str, object]


class Member(NamedTuple):
    """One site of the consortium."""

    name: str = ""
    account: bytes = bytes(20)
    status: int = 0
    tls: bytes = _ZERO
    seal: bytes = _ZERO
    last_seen: int = 0


class Plan(NamedTuple):
    """What was proposed; proposer is a slot."""

    spec: bytes = _ZERO
    proposer: int = 0
    min_sites: int = 0
    n_rounds: int = 0
    answer_timeout_s: int = 0
    leader_timeout_s: int = 0
    budget: int = 0
    flags: int = 0


class Run(NamedTuple):
    """Where a run stands. answered: bitmap of slots; ready, live, pending: bitmaps of joiners."""

    state: int = 0
    since: int = 0
    seed: bytes = _ZERO
    start: int = 0
    n_joiners: int = 0
    answered: int = 0
    ready: int = 0
    live: int = 0
    pending: int = 0
    merged: int = 0
    head: bytes = _ZERO


class Round(NamedTuple):
    """A run's present round. From frozen to k, what the newest closing and publication said."""

    number: int = 0
    phase: int = 0
    leader: int = 0
    term: int = 0
    attempt: int = 0
    committed: int = 0
    frozen: int = 0
    need: int = 0
    threshold: int = 0
    survivors: int = 0
    contributors: int = 0
    digest: bytes = _ZERO
    k: int = 0
    attested: int = 0
    disputed: int = 0


class Standing(NamedTuple):
    """The verdict that stands against a site, and its appeals."""

    verdict: int = 0
    run: int = 0
    round: int = 0
    evidence: bytes = _ZERO
    appeal: int = 0
    lost: int = 0


_TABLES = (
    "totals",
    "members",
    "slots",
    "names",
    "standings",
    "plans",
    "runs",
    "rounds",
    "joiners",
    "indices",
    "commitments",
    "spent",
    "commits",
    "finals",
    "agreements",
    "ballots",
)
_RECORDS = {"members": Member(), "standings": Standing(), "plans": Plan(), "runs": Run(), "rounds": Round()}
_NOTHING = object()


@dataclass
class State:
    """All tables of one contract. Made by `members.genesis`, changed by `rules.apply` only."""

    chain_id: int
    contract: bytes
    tables: dict[str, dict[Any, Any]] = field(default_factory=lambda: {name: {} for name in _TABLES})
    _root: Root = field(default_factory=Root)
    _before: list[tuple[str, Any, Any]] = field(default_factory=list)

    def get(self, table: str, key: Any) -> Any:
        """The entry, or what a getter of the contract returns where there is none."""
        found = self.tables[table].get(key, _NOTHING)
        return zero(table) if found is _NOTHING else found

    def put(self, table: str, key: Any, value: Any) -> None:
        """Write one entry; zero removes it."""
        entries = self.tables[table]
        self._before.append((table, key, entries.get(key, _NOTHING)))
        self._write(table, key, _NOTHING if value == zero(table) else value)

    def change(self, table: str, key: Any, **fields: Any) -> None:
        """Write some fields of one record."""
        self.put(table, key, self.get(table, key)._replace(**fields))

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Undo every change made inside if the call is refused."""
        self._before.clear()
        try:
            yield
        except LedgerRefused:
            for table, key, before in reversed(self._before):
                self._write(table, key, before)
            raise
        finally:
            self._before.clear()

    def root(self) -> bytes:
        """The digest of all of it (32 bytes): equal states have equal roots."""
        return self._root.digest(self.tables)

    def _write(self, table: str, key: Any, value: Any) -> None:
        self._root.touch(table, key)
        if value is _NOTHING:
            self.tables[table].pop(key, None)
        else:
            self.tables[table][key] = value


def zero(table: str) -> Any:
    """What a getter returns for a key nobody has written."""
    if table in ("commitments", "commits", "finals", "agreements"):
        return _ZERO
    return _RECORDS.get(table, 0)


def key_of(kind: int, run: int, round: int, number: int, subject: bytes) -> bytes:
    """The key of a ballot: keccak(abi(kind, run, round, number, subject))."""
    return keccak(b"".join([word.to_bytes(32, "big") for word in (kind, run, round, number)]) + subject)
