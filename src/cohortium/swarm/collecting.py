"""Decisions while a round collects: train, commit, and how long to wait for whom.

Collecting needs no leader: the last live site that commits closes the round, or more than half of the live
sites vote to go on without the missing. Slow sites are waited for; silent ones are not.
"""

from __future__ import annotations

from cohortium.swarm.actions import Carry, Train
from cohortium.swarm.desk import Desk
from cohortium.swarm.reasons import REASONS, code_of
from cohortium.swarm.view import RoundView, RunState
from cohortium.swarm.waiting import should_close

__all__ = ["decide_collecting", "decide_drops"]


def decide_collecting(desk: Desk, round: RoundView) -> None:
    """Own contribution first, then the votes about those who are late."""
    view, me = desk.view, desk.me
    if me not in view.live:
        return
    if me not in round.commits:
        _contribute(desk, round)
        return
    missing = view.live - round.commits.keys()
    if not missing or desk.round_age_s < min(desk.policy.silence_s, desk.policy.round_timeout_s):
        return
    judges = desk.in_majority
    for site in sorted(missing):
        if judges and _silent_again(desk, round, site):
            desk.submit("vote_drop", site, REASONS["silent"], round=round.number, slot=(site,))
    committed = len(view.live) - len(missing)
    pulses = {site: desk.pulse(site) for site in missing}
    if (judges or desk.policy.wait == "quorum") and should_close(
        desk.policy,
        age_s=desk.round_age_s,
        n_committed=committed,
        min_sites=view.least,
        missing=pulses,
        now_s=desk.now_s,
    ):
        desk.submit("vote_close", round.number, round=round.number)
    elif committed < view.least and desk.round_age_s >= desk.policy.max_round_s:  # the longest anybody waits
        desk.submit("vote_end", int(RunState.FAILED), REASONS["quorum"], round=round.number)


def _silent_again(desk: Desk, round: RoundView, site: str) -> bool:
    """Whether a site was missing from the previous round already and is still silent: then it is dropped."""
    before = desk.view.missing.get(site, [-1])
    return before[-1] == round.number - 1 and desk.pulse(site).silent(desk.now_s, desk.policy)


def _contribute(desk: Desk, round: RoundView) -> None:
    own = desk.own
    trained = own.trained.get(round.number)
    if trained is not None:
        spent = int.from_bytes(trained.data, "big")
        weight = 1 if desk.recipe.hidden_weights else trained.number
        desk.submit("commit", round.number, trained.digest, weight, spent, round=round.number)
        return
    newest = desk.view.newest
    base = (newest.round, newest.digest) if newest is not None else (0, b"")
    if own.adopted != base or own.finished or own.absent or own.halted:
        return
    if own.late is not None:
        late, own.late, own.carried = own.late, None, round.number
        desk.out.append(Carry(round.number, *late))
    if own.carried == round.number or (own.running is not None and desk.policy.late == "carry"):
        return
    if desk.once(round.number, "train", own.failures):
        own.running = round.number
        desk.out.append(Train(round=round.number, turn=len(desk.view.finals) + 1, base=base[1], retry=own.failures > 0))


def decide_drops(desk: Desk, round: RoundView) -> None:
    """Vote out, by name and reason, live sites that have given up (two troubles in a row without progress)."""
    if desk.me not in desk.view.live:
        return
    for site, pulse in desk.pulses.items():
        if pulse.troubles > 1 and site in desk.view.live and site != desk.me:
            desk.submit("vote_drop", site, code_of(pulse.trouble), round=round.number, slot=(site,))
