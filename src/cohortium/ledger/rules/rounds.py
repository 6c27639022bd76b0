"""A round until it is closed: its leader, the commitments, and who is frozen into it."""

from __future__ import annotations

from cohortium.core.identity import keccak
from cohortium.ledger.rules.case import Case, first_from, has
from cohortium.ledger.rules.state import key_of
from cohortium.ledger.rules.words import CLOSE, COLLECT, EXCHANGE

__all__ = ["commit", "freeze", "open_round", "try_close", "vote_close"]

_ZERO = bytes(32)


def open_round(case: Case, run: int) -> None:
    """The next round: who waited to join is live, and the rotation names the first leader."""
    record = case.run(run)
    live, number = record.live | record.pending, case.round(run).number + 1
    leader = first_from(live, (record.start + number) % record.n_joiners)
    case.set_run(run, live=live, pending=0, since=case.now)
    case.set_round(
        run,
        number=number,
        phase=COLLECT,
        leader=leader,
        term=0,
        attempt=0,
        committed=0,
        survivors=0,
        attested=0,
        disputed=0,
    )
    case.say("RoundOpened", run=run, round=number, live=live, leader=case.name(run, leader))


def commit(case: Case, run: int, round: int, digest: bytes, weight: int, eps_micro: int) -> None:
    """The digest of the own update. The last of the live sites closes the round."""
    index = case.live_in(run, round)
    present = case.round(run)
    case.require(present.phase == COLLECT, "phase")
    case.require(not has(present.committed, index), "once")
    case.require(digest != _ZERO and weight != 0, "value")
    case.require(case.state.get("spent", (run, index)) <= eps_micro <= case.plan(run).budget, "budget")
    case.state.put("spent", (run, index), eps_micro)
    case.state.put("commits", (run, round, index), digest)
    case.set_round(run, committed=present.committed | 1 << index)
    site = case.name(run, index)
    case.say("Committed", run=run, round=round, site=site, digest=digest, weight=weight, eps_micro=eps_micro)
    try_close(case, run)


def vote_close(case: Case, run: int, round: int) -> None:
    """More than half of the live sites, all of them committed: go on without the missing."""
    index = case.live_in(run, round)
    committed = case.round(run).committed & case.run(run).live
    case.require(case.round(run).phase == COLLECT, "phase")
    case.require(has(committed, index), "committed")
    case.require(committed.bit_count() >= case.needed(run), "quorum")
    if case.run_vote(CLOSE, run, index, need=case.majority(run)):
        _close(case, run)


def try_close(case: Case, run: int) -> None:
    """Close when all live sites have committed, or when those who voted to close are a majority by now."""
    live = case.run(run).live
    committed = case.round(run).committed & live
    if committed.bit_count() < case.needed(run):
        return
    key = key_of(CLOSE, run, case.round(run).number, 0, keccak(b""))
    if committed == live or (case.ballots(key) & live).bit_count() >= case.majority(run):
        _close(case, run)


def freeze(case: Case, run: int, frozen: int) -> None:
    """A new generation of round keys over `frozen`; two survivor sets would need 2 t > n + c posts."""
    colluders = case.run(run).n_joiners // 3
    case.set_round(
        run,
        attempt=case.round(run).attempt + 1,
        frozen=frozen,
        need=case.needed(run),
        threshold=(frozen.bit_count() + colluders) // 2 + 1,
    )


def _close(case: Case, run: int) -> None:
    live = case.run(run).live
    frozen = case.round(run).committed & live
    leader = first_from(frozen, case.round(run).leader)
    freeze(case, run, frozen)
    case.set_round(run, phase=EXCHANGE, leader=leader)
    case.set_run(run, since=case.now)
    present = case.round(run)
    case.say(
        "Closed",
        run=run,
        round=present.number,
        attempt=present.attempt,
        frozen=frozen,
        missing=live & ~frozen,
        leader=case.name(run, leader),
        threshold=present.threshold,
    )
