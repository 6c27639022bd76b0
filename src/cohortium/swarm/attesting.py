"""Decisions about a published merge: attest, dispute, depose a leader, adopt what is final.

The first k attestors speak at once, the others only if the merge is not final soon after, so that an ordinary
round costs N + 1 + k transactions. Whoever computes something else disputes, keeps the evidence and never
adopts it. The watchdog for a lost leader runs in every node on its own clock; the contract counts.
"""

from __future__ import annotations

from cohortium.swarm.actions import Adopt, Fact, Fetch, Halt
from cohortium.swarm.desk import Desk
from cohortium.swarm.exchanging import contributors_of, merging_sites, root_of
from cohortium.swarm.reasons import REASONS
from cohortium.swarm.view import FinalMerge, Phase, Published, RoundView, RunState
from cohortium.swarm.waiting import leader_is_lost

__all__ = ["decide_adoption", "decide_attestation", "decide_leader"]


def decide_attestation(desk: Desk, round: RoundView) -> None:
    """This node's word on the leader's merge, once it has made its own."""
    published, me = round.published, desk.me
    if published is None or round.phase is not Phase.ATTEST or desk.own.halted:
        return
    if me not in published.contributors or me == round.leader or me not in desk.view.live or me in round.judged:
        return
    merging = merging_sites(desk, round)
    if me not in merging:
        return
    attempt = round.attempt if desk.recipe.masked else 0
    mine = desk.own.merges.get((round.number, attempt, published.contributors))
    if mine is None:
        return
    honest_inputs = published.inputs_root == root_of(round, published.contributors)
    if mine == published.digest and honest_inputs:
        _attest_in_turn(desk, round, published, merging.index(me) - 1)
    else:
        _dispute(desk, round, published, mine, honest_inputs)


def _attest_in_turn(desk: Desk, round: RoundView, published: Published, rank: int) -> None:
    due_s = desk.since_s + desk.policy.stagger_s * max(0, rank - published.votes_needed + 1)
    if desk.now_s < due_s:
        desk.wake(due_s)
        return
    if (round.number, published.term) not in desk.own.attested:
        desk.persist(
            Fact(kind="attested", run=desk.run, round=round.number, term=published.term, digest=published.digest)
        )
    desk.submit(
        "attest", round.number, published.term, published.digest, round=round.number, slot=(published.term,)
    )  # fmt: skip


def _dispute(desk: Desk, round: RoundView, published: Published, mine: bytes, honest_inputs: bool) -> None:
    if desk.once(round.number, "evidence", published.term):
        desk.persist(
            Fact(
                kind="evidence",
                run=desk.run,
                round=round.number,
                term=published.term,
                digest=mine,
                data=published.digest,
                step="merge" if honest_inputs else "inputs",
            )
        )
    if mine != published.digest:
        desk.submit("attest", round.number, published.term, mine, round=round.number, slot=(published.term,))
    else:
        reason = REASONS["inputs"]
        desk.submit("dispute", round.number, published.term, mine, reason, round=round.number, slot=(published.term,))


def decide_leader(desk: Desk, round: RoundView) -> None:
    """Vote for the next leader when this one is lost, and for the next round when this one cannot end."""
    view, me, number = desk.view, desk.me, round.number
    if me not in view.live:
        return
    if me == round.leader and desk.own.leaving:
        desk.submit("failover", number, round.term, round=number, slot=(round.term,))
    if desk.age_s <= desk.policy.leader_timeout_s:
        return
    present = [site for site in round.frozen if site in view.live]
    silent = desk.pulse(round.leader).silent(desk.now_s, desk.policy)
    lost = desk.in_majority and leader_is_lost(desk.policy, age_s=desk.age_s, silent=silent)
    if len(present) < view.least and (round.phase is Phase.EXCHANGE or lost):
        desk.submit("vote_void", number, REASONS["quorum"], round=number)  # too few for another leader
    elif me != round.leader and lost:
        if desk.recipe.masked and round.attempt >= desk.policy.max_attempts and not contributors_of(desk, round):
            desk.submit("vote_end", int(RunState.FAILED), REASONS["attempts"], round=number)
        else:
            desk.submit("failover", number, round.term, round=number, slot=(round.term,))


def decide_adoption(desk: Desk, final: FinalMerge) -> None:
    """Make the newest final merge this node's state: its own recomputation, or a copy fetched by digest."""
    own = desk.own
    if own.adopted[0] >= final.round or own.halted:
        return
    made = {
        digest
        for (number, _, sites), digest in own.merges.items()
        if (number, sites) == (final.round, final.contributors)
    }
    if made and final.digest not in made:
        own.halted = True
        desk.persist(
            Fact(kind="evidence", run=desk.run, round=final.round, step="final", digest=min(made), data=final.digest)
        )
        if not desk.view.ended:
            desk.submit("withdraw", REASONS["differs"])
        desk.out.append(Halt("a final merge differs from the one made here", (final.digest, min(made))))
        return
    if final.digest in own.held:
        trained = own.trained.get(final.round)
        mine = trained.digest if trained and desk.me in final.contributors else b""
        if desk.once(final.round, "adopt", final.digest):
            desk.out.append(Adopt(final.round, final.digest, mine))
    elif desk.once(final.round, "fetch", "merge", final.digest):
        holders = (final.leader, *(site for site in final.contributors if site != final.leader))
        others = tuple(site for site in holders if site and site != desk.me)
        desk.out.append(Fetch("", final.round, 0, "merge", final.digest, others))
