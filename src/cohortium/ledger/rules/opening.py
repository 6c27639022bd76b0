"""A run until its first round: proposal, consent, opened nonces, start. Nothing starts without a site in silence."""

from __future__ import annotations

from cohortium.core.identity import keccak
from cohortium.ledger.rules.case import Case, has
from cohortium.ledger.rules.merging import end
from cohortium.ledger.rules.rounds import open_round
from cohortium.ledger.rules.state import Plan, Run, key_of
from cohortium.ledger.rules.words import (
    APPROVING,
    DECLINED,
    DRAWN,
    FAILED,
    MASKED,
    MAX_JOINERS,
    MAX_ROUNDS,
    MAX_TIMEOUT_S,
    OPEN,
    PROCEED,
    READYING,
    RUNNING,
)

__all__ = [
    "approve",
    "close_approvals",
    "decline",
    "enter",
    "propose",
    "ready",
    "try_ready",
    "try_start",
    "vote_proceed",
]

_ZERO = bytes(32)


def propose(
    case: Case,
    spec: bytes,
    min_sites: int,
    n_rounds: int,
    answer_timeout_s: int,
    leader_timeout_s: int,
    budget: int,
    flags: int,
) -> None:
    """A new run. spec: the study's digest; budget: epsilon of a site, millionths; flags: 1 drawn, 2 masked."""
    me = case.me()
    least = 3 if flags & MASKED else 2
    case.require(spec != _ZERO and flags <= DRAWN | MASKED, "value")
    case.require(least <= min_sites <= MAX_JOINERS, "value")
    case.require(0 < n_rounds <= MAX_ROUNDS, "value")
    case.require(0 < answer_timeout_s <= MAX_TIMEOUT_S, "value")
    case.require(0 < leader_timeout_s <= MAX_TIMEOUT_S, "value")
    case.require(min_sites <= case.active.bit_count(), "quorum")
    run = case.state.get("totals", "n_runs") + 1
    plan = Plan(spec, me, min_sites, n_rounds, answer_timeout_s, leader_timeout_s, budget, flags)
    case.state.put("totals", "n_runs", run)
    case.state.put("plans", run, plan)
    case.state.put("runs", run, Run(state=APPROVING, since=case.now))
    terms = plan._asdict()
    del terms["proposer"]
    case.say("Proposed", run=run, site=case.member(me).name, **terms)


def approve(case: Case, run: int, commitment: bytes) -> None:
    """Consent to the study and keccak(abi(run, own address, nonce))."""
    me = _answer(case, run)
    case.require(commitment != _ZERO, "value")
    index = enter(case, run, me)
    case.state.put("commitments", (run, index), commitment)
    case.set_run(run, live=case.run(run).live | 1 << index)
    case.say("Approved", run=run, site=case.member(me).name, joiner=index, commitment=commitment)
    try_ready(case, run)


def decline(case: Case, run: int) -> None:
    """No."""
    me = _answer(case, run)
    case.say("Declined", run=run, site=case.member(me).name)
    try_ready(case, run)


def close_approvals(case: Case, run: int) -> None:
    """Two joiners, after the time-out: go on without the members who never answered."""
    index = case.live(run)
    record = case.run(run)
    case.require(record.state == APPROVING, "phase")
    case.waited(run, case.plan(run).answer_timeout_s)
    case.require(record.live.bit_count() >= case.needed(run), "quorum")
    if case.run_vote(OPEN, run, index, need=2):
        _to_ready(case, run)


def ready(case: Case, run: int, nonce: bytes) -> None:
    """Open the commitment; XOR of hashes, so that the order of arrival chooses nothing."""
    index = case.live(run)
    record = case.run(run)
    case.require(record.state == READYING, "phase")
    case.require(not has(record.ready, index), "once")
    sealed = keccak(run.to_bytes(32, "big") + bytes(12) + case.sender + nonce)
    case.require(sealed == case.state.get("commitments", (run, index)), "nonce")
    seed = bytes(a ^ b for a, b in zip(record.seed, keccak(nonce), strict=True))
    case.set_run(run, seed=seed, ready=record.ready | 1 << index)
    case.say("Ready", run=run, site=case.name(run, index), nonce=nonce)
    try_start(case, run)


def vote_proceed(case: Case, run: int) -> None:
    """More than half of the joiners, after the time-out: start without those who are not ready."""
    index = case.live(run)
    record = case.run(run)
    are_ready = record.ready & record.live
    case.require(record.state == READYING, "phase")
    case.require(has(are_ready, index), "ready")
    case.waited(run, case.plan(run).answer_timeout_s)
    case.require(are_ready.bit_count() >= case.needed(run), "quorum")
    if case.run_vote(PROCEED, run, index, need=case.majority(run)):
        _start(case, run)


def enter(case: Case, run: int, slot: int) -> int:
    """The next index of the run for a member who has none."""
    index = case.run(run).n_joiners
    case.require(index < MAX_JOINERS, "full")
    case.set_run(run, n_joiners=index + 1)
    case.state.put("joiners", (run, index), slot)
    case.state.put("indices", (run, slot), index + 1)
    return index


def try_ready(case: Case, run: int) -> None:
    """Every active member has answered: go on, or give up where too few approved."""
    record = case.run(run)
    if case.active & ~record.answered:
        return
    if record.live.bit_count() >= case.needed(run):
        _to_ready(case, run)
    else:
        end(case, run, FAILED, DECLINED)


def try_start(case: Case, run: int) -> None:
    """Start when all are ready, or when those who voted to proceed are a majority by now."""
    record = case.run(run)
    are_ready = record.ready & record.live
    if are_ready.bit_count() < case.needed(run):
        return
    votes = case.ballots(key_of(PROCEED, run, 0, 0, keccak(b""))) & record.live
    if are_ready == record.live or votes.bit_count() >= case.majority(run):
        _start(case, run)


def _answer(case: Case, run: int) -> int:
    me = case.me()
    case.known(run)
    record = case.run(run)
    case.require(record.state == APPROVING, "phase")
    case.require(not has(record.answered, me), "once")
    case.set_run(run, answered=record.answered | 1 << me)
    return me


def _to_ready(case: Case, run: int) -> None:
    case.set_run(run, state=READYING, since=case.now)
    case.say("Readying", run=run, live=case.run(run).live)


def _start(case: Case, run: int) -> None:
    record = case.run(run)
    live = record.live & record.ready
    drawn = keccak(record.seed + run.to_bytes(32, "big"))
    start = int.from_bytes(drawn, "big") % record.n_joiners
    case.set_run(run, live=live, state=RUNNING, start=start)
    case.say("Started", run=run, seed=record.seed, live=live, missing=record.live & ~live)
    open_round(case, run)
