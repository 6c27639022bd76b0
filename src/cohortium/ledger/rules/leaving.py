"""Coming to a run and going from it: withdraw, drop by vote, sweep, join; and what then goes on without waiting."""

from __future__ import annotations

from cohortium.core.identity import keccak
from cohortium.ledger.rules.case import Case, has
from cohortium.ledger.rules.merging import lead, torn
from cohortium.ledger.rules.opening import enter, try_ready, try_start
from cohortium.ledger.rules.rounds import try_close
from cohortium.ledger.rules.state import key_of
from cohortium.ledger.rules.words import APPROVING, COLLECT, DROP, EXCHANGE, READYING, RUNNING

__all__ = ["join", "sweep", "vote_drop", "withdraw"]


def withdraw(case: Case, run: int, reason: int) -> None:
    """Out at once, by oneself."""
    index = case.joiner(run)
    case.alive(run)
    case.code(reason)
    case.require(_here(case, run, index), "live")
    _remove(case, run, index)
    case.say("Withdrawn", run=run, round=case.round(run).number, site=case.name(run, index), reason=reason)
    _settle(case, run)


def vote_drop(case: Case, run: int, site: str, reason: int) -> None:
    """More than half of the live sites, the subject counted but without a vote."""
    index = case.live(run)
    case.alive(run)
    subject = case.subject(run, site)
    case.require(subject != index and has(case.run(run).live, subject), "subject")
    case.code(reason)
    if case.run_vote(DROP, run, index, subject=site, need=case.majority(run)):
        _remove(case, run, subject)
        case.say("Dropped", run=run, round=case.round(run).number, site=site, reason=reason)
        _settle(case, run)


def sweep(case: Case, run: int, site: str) -> None:
    """Anyone: a site that is no longer an active member must not inflate the run's majorities, nor hold its start."""
    case.known(run)
    case.alive(run)
    seat = case.state.get("names", site)
    case.require(seat != 0 and not has(case.active, seat - 1), "subject")
    index = case.state.get("indices", (run, seat - 1))
    before = case.run(run).state
    here = index != 0 and _here(case, run, index - 1)
    if here:
        _remove(case, run, index - 1)
        case.say("Swept", run=run, round=case.round(run).number, site=site)
    _settle(case, run)
    case.require(here or case.run(run).state != before, "once")


def join(case: Case, run: int) -> None:
    """Late or again: in from the next round; at once where the present one could not close without."""
    me = case.me()
    case.known(run)
    case.require(case.run(run).state == RUNNING, "phase")
    seat = case.state.get("indices", (run, me))
    if seat == 0:
        index = enter(case, run, me)
    else:
        index = seat - 1
        case.require(not _here(case, run, index), "once")
    record, present = case.run(run), case.round(run)
    at_once = present.phase == COLLECT and record.live.bit_count() < case.needed(run)
    if at_once:
        case.set_run(run, live=record.live | 1 << index)
    else:
        case.set_run(run, pending=record.pending | 1 << index)
    case.say("Joined", run=run, round=present.number + (not at_once), site=case.member(me).name, joiner=index)
    if at_once:
        try_close(case, run)


def _here(case: Case, run: int, index: int) -> bool:
    """Takes part, now or from the next round on."""
    record = case.run(run)
    return has(record.live | record.pending, index)


def _remove(case: Case, run: int, index: int) -> None:
    """Out now and later; votes to drop it from this round are void, should it come back."""
    record = case.run(run)
    case.set_run(run, live=record.live & ~(1 << index), pending=record.pending & ~(1 << index))
    case.state.put("ballots", key_of(DROP, run, case.round(run).number, 0, keccak(case.name(run, index).encode())), 0)


def _settle(case: Case, run: int) -> None:
    """Somebody is gone: what waited for that site may go on, and its ballots count no more."""
    record, present = case.run(run), case.round(run)
    if record.state == APPROVING:
        try_ready(case, run)
    elif record.state == READYING:
        try_start(case, run)
    elif present.phase == COLLECT:
        try_close(case, run)
    elif present.phase == EXCHANGE:
        heirs = present.frozen & record.live
        if not has(heirs, present.leader) or torn(case, run, heirs):
            lead(case, run, heirs)
