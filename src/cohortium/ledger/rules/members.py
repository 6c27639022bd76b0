"""Who belongs: admission, exclusion and new keys by vote; rotation, leaving and signs of life by oneself."""

from __future__ import annotations

from collections.abc import Sequence

from cohortium.core.identity import keccak, recover
from cohortium.errors import LedgerRefused
from cohortium.ledger.rules.case import Case, has
from cohortium.ledger.rules.state import Event, Founder, Member, Standing, State
from cohortium.ledger.rules.words import (
    ACTIVE,
    ADMIT,
    EXCLUDE,
    EXCLUDED,
    LEFT,
    MAX_FOUNDERS,
    MAX_MEMBERS,
    REKEY,
)

__all__ = [
    "exclude",
    "genesis",
    "heartbeat",
    "leave",
    "record_data",
    "rotate",
    "vote_admit",
    "vote_exclude",
    "vote_rekey",
]

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_NOBODY = bytes(20)


def genesis(founders: Sequence[Founder], *, chain_id: int, contract: bytes, time: int) -> tuple[State, list[Event]]:
    """The constructor: every founder takes a seat, in the order given. Returns also what it made known.

    Raises LedgerRefused with the contract's reason (`value`, `name`, `address`) for impossible founders.
    """
    state = State(chain_id, contract)
    case = Case(state, _NOBODY, time, recover, "the founding")
    if len(founders) > MAX_FOUNDERS or any(len(founder.name.encode()) > 32 for founder in founders):
        raise LedgerRefused("reverted", function="the founding")
    case.require(len(founders) != 0, "value")
    for slot, founder in enumerate(founders):
        _check_name(case, founder.name)
        case.require(state.get("names", founder.name) == 0, "name")
        case.require(founder.address != _NOBODY and state.get("slots", founder.address) == 0, "address")
        _seat(case, slot, Member(founder.name, founder.address, ACTIVE, founder.tls, founder.seal, time))
    return state, case.events


def vote_admit(case: Case, account: bytes, name: str, tls: bytes, seal: bytes) -> None:
    """More than half of the active members; two thirds where the name was excluded before."""
    me = case.me()
    _check_name(case, name)
    slot, known, excluded = int(case.state.get("totals", "n_members")), case.state.get("names", name), False
    if known:
        slot = known - 1
        case.require(not has(case.active, slot), "name")
        excluded = case.member(slot).status == EXCLUDED
    else:
        case.require(slot < MAX_MEMBERS, "full")
    taken = case.state.get("slots", account)
    case.require(account != _NOBODY and taken in (0, known), "address")
    if _vote(case, ADMIT, me, name, _matter(account, name, tls, seal), two_thirds=excluded):
        _seat(case, slot, Member(name, account, ACTIVE, tls, seal, case.now))


def vote_exclude(case: Case, site: str) -> None:
    """Two thirds of the active members, the subject counted but without a vote."""
    me = case.me()
    slot = case.seated(case.state.get("names", site), "subject")
    case.require(slot != me, "subject")
    if _vote(case, EXCLUDE, me, site, keccak(site.encode()), two_thirds=True):
        exclude(case, slot)


def vote_rekey(case: Case, site: str, account: bytes, tls: bytes, seal: bytes) -> None:
    """A lost ledger key: same name, same slot, new address; two thirds."""
    me = case.me()
    slot = case.seated(case.state.get("names", site), "subject")
    case.require(account != _NOBODY and case.state.get("slots", account) == 0, "address")
    if _vote(case, REKEY, me, site, _matter(account, site, tls, seal), two_thirds=True):
        _seat(case, slot, Member(site, account, ACTIVE, tls, seal, case.now))


def rotate(case: Case, tls: bytes, seal: bytes) -> None:
    """New certificate and seal key at once; open votes are untouched."""
    me = case.me()
    case.state.change("members", me, tls=tls, seal=seal)
    _tell(case, me)


def leave(case: Case) -> None:
    """Out of the consortium, by oneself."""
    _unseat(case, case.me(), LEFT)


def heartbeat(case: Case) -> None:
    """A sign of life."""
    me = case.me()
    case.state.change("members", me, last_seen=case.now)
    case.say("Heartbeat", site=case.member(me).name)


def record_data(case: Case, dataset: bytes) -> None:
    """A new data version of the sender: its verdict and its lost appeals belong to the old one."""
    me = case.me()
    case.require(dataset != bytes(32), "value")
    case.state.put("standings", me, Standing())
    case.say("DataChanged", site=case.member(me).name, dataset=dataset)


def exclude(case: Case, slot: int) -> None:
    """Take a member's seat."""
    _unseat(case, slot, EXCLUDED)


def _check_name(case: Case, name: str) -> None:
    case.require(name != "" and _LETTERS.issuperset(name), "name")


def _matter(account: bytes, name: str, tls: bytes, seal: bytes) -> bytes:
    """What exactly is voted on: the same name with other keys is another matter."""
    return keccak(bytes(12) + account + keccak(name.encode()) + tls + seal)


def _vote(case: Case, kind: int, me: int, subject: str, matter: bytes, *, two_thirds: bool) -> bool:
    """Cast the sender's ballot of this epoch; whether it decides."""
    n = case.active.bit_count()
    return case.ballot(
        kind,
        run=0,
        round=case.epoch,
        number=0,
        matter=matter,
        index=me,
        electorate=case.active,
        need=(2 * n + 2) // 3 if two_thirds else n // 2 + 1,
        subject=subject,
        slot=me,
    )


def _seat(case: Case, slot: int, member: Member) -> None:
    """Give a slot to an active member; forgets the address it had."""
    if slot == case.state.get("totals", "n_members"):
        case.state.put("totals", "n_members", slot + 1)
    else:
        case.state.put("slots", case.member(slot).account, 0)
    case.state.put("names", member.name, slot + 1)
    case.state.put("slots", member.account, slot + 1)
    case.state.put("members", slot, member)
    case.state.put("totals", "active", case.active | 1 << slot)
    case.state.put("totals", "epoch", case.epoch + 1)
    _tell(case, slot)


def _unseat(case: Case, slot: int, status: int) -> None:
    case.state.put("totals", "active", case.active & ~(1 << slot))
    case.state.change("members", slot, status=status)
    case.state.put("totals", "epoch", case.epoch + 1)
    _tell(case, slot)


def _tell(case: Case, slot: int) -> None:
    member = case.member(slot)
    case.say(
        "MemberChanged",
        site=member.name,
        account=member.account,
        status=member.status,
        tls=member.tls,
        seal=member.seal,
        epoch=case.epoch,
    )
