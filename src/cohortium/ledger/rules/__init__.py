"""The contract's rules in plain Python: same functions, same order of checks, same events, no EVM.

    state, founding = genesis(founders, chain_id=7001, contract=address, time=now)
    events = apply(state, Call(sender, "commit", (run, round, digest, weight, 0), now))
    (record,) = read(state, "runs", (run,))

Oracle of the contract's tests and body of the engine `memory`. `apply` raises LedgerRefused with the
contract's one-word reason and leaves the state as it was. Functions lie in `members`, `opening`,
`rounds`, `merging`, `leaving` and `evidence`; what each may do stands in docs/reference/contract.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from cohortium.core import identity
from cohortium.errors import LedgerRefused
from cohortium.ledger.rules import evidence, leaving, members, merging, opening, rounds
from cohortium.ledger.rules.case import Case
from cohortium.ledger.rules.evidence import slot_digest
from cohortium.ledger.rules.members import genesis
from cohortium.ledger.rules.state import Call, Event, Founder, State, key_of

__all__ = [
    "FUNCTIONS",
    "READS",
    "Call",
    "Event",
    "Founder",
    "State",
    "apply",
    "genesis",
    "key_of",
    "read",
    "slot_digest",
    "state_root",
]


class _Function(NamedTuple):
    body: Callable[..., None]
    types: tuple[str, ...]


class _Read(NamedTuple):
    table: str
    types: tuple[str, ...]


_U, _D, _A, _S = "uint256", "bytes32", "address", "string32"

FUNCTIONS: Final = {
    "vote_admit": _Function(members.vote_admit, (_A, _S, _D, _D)),
    "vote_exclude": _Function(members.vote_exclude, (_S,)),
    "vote_rekey": _Function(members.vote_rekey, (_S, _A, _D, _D)),
    "rotate": _Function(members.rotate, (_D, _D)),
    "leave": _Function(members.leave, ()),
    "heartbeat": _Function(members.heartbeat, ()),
    "record_data": _Function(members.record_data, (_D,)),
    "propose": _Function(opening.propose, (_D, _U, _U, _U, _U, _U, _U)),
    "approve": _Function(opening.approve, (_U, _D)),
    "decline": _Function(opening.decline, (_U,)),
    "close_approvals": _Function(opening.close_approvals, (_U,)),
    "ready": _Function(opening.ready, (_U, _D)),
    "vote_proceed": _Function(opening.vote_proceed, (_U,)),
    "withdraw": _Function(leaving.withdraw, (_U, _U)),
    "vote_drop": _Function(leaving.vote_drop, (_U, _S, _U)),
    "sweep": _Function(leaving.sweep, (_U, _S)),
    "join": _Function(leaving.join, (_U,)),
    "commit": _Function(rounds.commit, (_U, _U, _D, _U, _U)),
    "vote_close": _Function(rounds.vote_close, (_U, _U)),
    "post": _Function(merging.post, (_U, _U, _U, _U, _D)),
    "publish": _Function(merging.publish, (_U, _U, _D, _D, _U, _D)),
    "attest": _Function(merging.attest, (_U, _U, _U, _D)),
    "dispute": _Function(merging.dispute, (_U, _U, _U, _D, _U)),
    "failover": _Function(merging.failover, (_U, _U, _U)),
    "vote_void": _Function(merging.vote_void, (_U, _U, _U)),
    "vote_end": _Function(merging.vote_end, (_U, _U, _U)),
    "report_equivocation": _Function(evidence.report_equivocation, (_U, _U, _U, _U, _D, "bytes65", _D, "bytes65")),
    "record_harm": _Function(evidence.record_harm, (_U, _U, _S, _U, _D)),
    "appeal": _Function(evidence.appeal, (_U, _U)),
    "spend": _Function(evidence.spend, (_U, _U, _D, "bytes1024", _U)),
    "record_audit": _Function(evidence.record_audit, (_U, _U, _U, _D)),
}
"""Every function that changes something, with its types; `string32`, `bytes65`, `bytes1024` are longest lengths."""

READS: Final = {
    "epoch": _Read("totals", ()),
    "active": _Read("totals", ()),
    "n_members": _Read("totals", ()),
    "n_runs": _Read("totals", ()),
    "members": _Read("members", (_U,)),
    "slots": _Read("slots", (_A,)),
    "names": _Read("names", (_S,)),
    "standings": _Read("standings", (_U,)),
    "plans": _Read("plans", (_U,)),
    "runs": _Read("runs", (_U,)),
    "rounds": _Read("rounds", (_U,)),
    "joiners": _Read("joiners", (_U, _U)),
    "indices": _Read("indices", (_U, _U)),
    "spent": _Read("spent", (_U, _U)),
    "commits": _Read("commits", (_U, _U, _U)),
    "finals": _Read("finals", (_U, _U)),
    "agreements": _Read("agreements", (_D,)),
    "ballots": _Read("ballots", (_D,)),
}
"""Every getter, with the types of its keys."""


def apply(state: State, call: Call, *, recover: Callable[[bytes, bytes], bytes] = identity.recover) -> list[Event]:
    """Do one call; what it made known. Raises LedgerRefused(reason) and changes nothing when the contract refuses.

    Calling a getter is allowed and does nothing, as on an EVM. Raises ValueError for a function that does not
    exist or arguments of other types; values too long for the contract are refused as `reverted`.
    """
    if call.function in READS:
        _check(call.function, call.args, READS[call.function].types)
        return []
    if call.function not in FUNCTIONS:
        raise ValueError(f"the contract has no function {call.function!r}")
    function = FUNCTIONS[call.function]
    _check(call.function, call.args, function.types)
    case = Case(state, call.sender, call.time, recover, call.function)
    with state.all_or_nothing():
        function.body(case, *call.args)
    return case.events


def read(state: State, function: str, args: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """What a getter returns, in a tuple of one: a number, bytes, or the fields of a record. Zero where nothing is."""
    if function not in READS:
        raise ValueError(f"the contract has no getter {function!r}")
    table, types = READS[function]
    _check(function, args, types)
    if table == "totals":
        return (state.get(table, function),)
    found = state.get(table, args if len(args) > 1 else args[0])
    return (tuple(found) if isinstance(found, tuple) else found,)


def state_root(state: State) -> bytes:
    """The digest of the whole state (32 bytes); equal states have equal roots."""
    return state.root()


def _check(function: str, args: tuple[Any, ...], types: tuple[str, ...]) -> None:
    if len(args) != len(types):
        raise ValueError(f"{function} takes {len(types)} arguments, got {len(args)}")
    for value, kind in zip(args, types, strict=True):
        if not _fits(value, kind):
            raise ValueError(f"{function}: a {kind} was due, got {type(value).__name__}")
        if kind in _LONGEST and len(value if isinstance(value, bytes) else value.encode()) > _LONGEST[kind]:
            raise LedgerRefused("reverted", function=function)


_LONGEST = {"string32": 32, "bytes65": 65, "bytes1024": 1024}
_LENGTH = {"bytes32": 32, "address": 20}


def _fits(value: object, kind: str) -> bool:
    if kind == "uint256":
        return type(value) is int and 0 <= value < 1 << 256
    if kind == "string32":
        return isinstance(value, str)
    return isinstance(value, bytes) and len(value) == _LENGTH.get(kind, len(value))
