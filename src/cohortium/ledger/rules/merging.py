"""From the closed round to the final merge: posts, publication, attestation, dispute, fail-over, and the ends of a run.

Once survivors are agreed no new attempt of the round exists: unmask answers may be out, and a second sum over
a smaller set would uncover the missing site by subtraction. What is left then is the next leader with the same
survivors, or `vote_void`: no merge, on to the next round.
"""

from __future__ import annotations

from cohortium.core.identity import keccak
from cohortium.ledger.rules.case import Case, first_from, has
from cohortium.ledger.rules.rounds import freeze, open_round
from cohortium.ledger.rules.state import key_of
from cohortium.ledger.rules.words import (
    ATTEST,
    DRAWN,
    END,
    EXCHANGE,
    FAILED,
    FAILOVER,
    FINAL,
    FINISHED,
    MAX_ATTEMPTS,
    POST,
    SURVIVORS,
    VECTORS,
    VOID,
)

__all__ = [
    "attest",
    "dispute",
    "end",
    "failover",
    "lead",
    "post",
    "publish",
    "torn",
    "vote_end",
    "vote_void",
]

_ZERO = bytes(32)


def post(case: Case, run: int, round: int, attempt: int, step: int, digest: bytes) -> None:
    """What one site holds after a step. `threshold` equal posts are agreed; step 3 under masks is who survived."""
    index = case.live_in(run, round)
    present = case.round(run)
    case.require(case.working(run) and attempt == present.attempt, "phase")
    case.require(has(present.frozen, index), "frozen")
    case.code(step)
    case.require(digest != _ZERO, "value")
    survivors = step == SURVIVORS and case.masked(run)
    if survivors:
        bits = int.from_bytes(digest, "big")
        case.require(present.phase == EXCHANGE, "phase")
        case.require(bits & ~present.frozen == 0 and bits.bit_count() >= present.need, "survivors")
    slot = key_of(POST, run, round, attempt << 8 | step, _ZERO)
    case.require(case.cast(slot, index), "once")
    tally = keccak(slot + digest)
    case.cast(tally, index)
    case.say("Posted", run=run, round=round, attempt=attempt, step=step, site=case.name(run, index), digest=digest)
    if case.state.get("agreements", slot) != _ZERO:
        return
    if (case.ballots(tally) & case.run(run).live).bit_count() >= present.threshold:
        case.state.put("agreements", slot, digest)
        if survivors:
            case.set_round(run, survivors=int.from_bytes(digest, "big"))
        case.say("Agreed", run=run, round=round, attempt=attempt, step=step, digest=digest)


def publish(
    case: Case, run: int, round: int, digest: bytes, inputs_root: bytes, contributors: int, transcript: bytes
) -> None:
    """The leader's merge. Contributors are who was frozen and is live, or under masks the agreed survivors."""
    index = case.live_in(run, round)
    present = case.round(run)
    case.require(present.phase == EXCHANGE, "phase")
    case.require(index == present.leader, "leader")
    case.require(digest != _ZERO, "value")
    expected = present.survivors if case.masked(run) else present.frozen & case.run(run).live
    case.require(contributors == expected, "contributors")
    m = contributors.bit_count()
    case.require(m >= present.need, "quorum")
    k = min(m // 3 + 1, m - 1) if case.plan(run).flags & DRAWN else (m + 1) // 2
    case.set_round(run, phase=ATTEST, digest=digest, contributors=contributors, k=k, disputed=0)
    case.set_run(run, since=case.now)
    case.say(
        "Published",
        run=run,
        round=round,
        term=present.term,
        site=case.name(run, index),
        digest=digest,
        inputs_root=inputs_root,
        transcript=transcript,
        contributors=contributors,
        k=k,
    )


def attest(case: Case, run: int, round: int, term: int, digest: bytes) -> None:
    """A contributor's own recomputation. k equal ones make the merge final; a different one is a dispute."""
    index = _judge(case, run, round, term)
    present = case.round(run)
    case.require(present.phase == ATTEST, "phase")
    case.require(has(present.contributors, index), "contributors")
    case.require(digest != _ZERO, "value")
    if digest != present.digest:
        _dispute(case, run, index, digest, 0)
        return
    attested = present.attested | 1 << index
    case.set_round(run, attested=attested)
    case.say("Attested", run=run, round=round, term=term, site=case.name(run, index), digest=digest)
    if (attested & case.run(run).live).bit_count() < present.k:
        return
    merged = case.run(run).merged + 1
    case.state.put("finals", (run, round), digest)
    case.set_run(run, head=digest, merged=merged)
    case.say("Final", run=run, round=round, term=term, digest=digest, contributors=present.contributors)
    if merged == case.plan(run).n_rounds:
        case.set_round(run, phase=FINAL)
        end(case, run, FINISHED, 0)
    else:
        open_round(case, run)


def dispute(case: Case, run: int, round: int, term: int, digest: bytes, reason: int) -> None:
    """The leader does wrong: left out a site, sends nothing, cannot be recomputed. Enough of them depose it."""
    index = _judge(case, run, round, term)
    case.require(case.working(run), "phase")
    case.require(has(case.round(run).frozen, index), "frozen")
    case.code(reason)
    _dispute(case, run, index, digest, reason)


def failover(case: Case, run: int, round: int, term: int) -> None:
    """The leader steps down at once; others need the time-out and two different signers."""
    index = case.live_in(run, round)
    present = case.round(run)
    case.require(term == present.term and case.working(run), "phase")
    if index != present.leader:
        case.waited(run, case.plan(run).leader_timeout_s)
        if not case.run_vote(FAILOVER, run, index, number=term, need=2):
            return
    case.require(_depose(case, run), "quorum")


def vote_void(case: Case, run: int, round: int, reason: int) -> None:
    """More than half of the live sites: no merge from this round, on to the next; what was spent stays spent."""
    index = case.live_in(run, round)
    case.require(case.working(run), "phase")
    case.code(reason)
    if case.run_vote(VOID, run, index, need=case.majority(run)):
        case.say("Void", run=run, round=round, reason=reason)
        open_round(case, run)


def vote_end(case: Case, run: int, state: int, reason: int) -> None:
    """More than half of the live sites: finished early (4) by the study's stopping rule, or failed (5)."""
    index = case.live(run)
    case.alive(run)
    case.require(state in (FAILED, FINISHED), "value")
    case.code(reason)
    case.require(state == FAILED or case.run(run).merged != 0, "phase")
    if case.run_vote(END, run, index, number=state, need=case.majority(run)):
        end(case, run, state, reason)


def end(case: Case, run: int, state: int, reason: int) -> None:
    """The run is over."""
    case.set_run(run, state=state, since=case.now)
    case.say("Ended", run=run, state=state, reason=reason)


def torn(case: Case, run: int, left: int) -> bool:
    """Under masks a site that goes while shares are dealt leaves them incomplete, and they are dealt anew. Once a
    masked vector is posted all shares were dealt, and a loss only shrinks the survivors."""
    present = case.round(run)
    vectors = key_of(POST, run, present.number, present.attempt << 8 | VECTORS, _ZERO)
    return case.masked(run) and left != present.frozen and case.ballots(vectors) == 0 and present.survivors == 0


def lead(case: Case, run: int, heirs: int) -> bool:
    """A new term, led by the first heir from the present leader on. Before survivors are agreed it is a new attempt
    over who is still there; afterwards never, because unmask answers may be out. False where nobody can follow."""
    if heirs == 0:
        return False
    present = case.round(run)
    frozen = present.frozen
    if present.survivors == 0:
        frozen &= case.run(run).live
        spent = case.masked(run) and present.attempt == MAX_ATTEMPTS
        if spent or frozen.bit_count() < case.needed(run):
            return False
        freeze(case, run, frozen)
    leader = first_from(heirs, present.leader)
    case.set_round(run, leader=leader, term=present.term + 1, phase=EXCHANGE, attested=0, disputed=0)
    case.set_run(run, since=case.now)
    present = case.round(run)
    case.say(
        "Failover",
        run=run,
        round=present.number,
        term=present.term,
        attempt=present.attempt,
        frozen=frozen,
        leader=case.name(run, leader),
        threshold=present.threshold,
    )
    return True


def _judge(case: Case, run: int, round: int, term: int) -> int:
    """A live site other than the leader, which has not judged this leader's work yet."""
    index = case.live_in(run, round)
    present = case.round(run)
    case.require(term == present.term, "phase")
    case.require(index != present.leader, "leader")
    case.require(not has(present.attested | present.disputed, index), "once")
    return index


def _dispute(case: Case, run: int, index: int, digest: bytes, reason: int) -> None:
    present, live = case.round(run), case.run(run).live
    disputed = present.disputed | 1 << index
    case.set_round(run, disputed=disputed)
    site = case.name(run, index)
    case.say("Disputed", run=run, round=present.number, term=present.term, site=site, digest=digest, reason=reason)
    if present.phase == ATTEST:
        bench = present.contributors & live
        need = max(present.k, 2)  # nobody is deposed by a single word
    else:
        bench = present.frozen & live
        need = bench.bit_count() // 2 + 1
    if (disputed & bench).bit_count() >= need:
        _depose(case, run)


def _depose(case: Case, run: int) -> bool:
    """The next live joiner of the frozen set leads."""
    present = case.round(run)
    return lead(case, run, present.frozen & case.run(run).live & ~(1 << present.leader))
