"""Decisions outside of a round: consent, readiness, coming back after trouble, leaving nobody's vote uncast.

Registered is not ready is not training: a run starts when every site that approved is ready, or when more than
half vote, after the time-out and by name, to start without the rest.
"""

from __future__ import annotations

from cohortium.swarm.actions import Consent, Prepare
from cohortium.swarm.desk import Desk
from cohortium.swarm.parting import FOR_GOOD
from cohortium.swarm.reasons import REASONS
from cohortium.swarm.view import RunState

__all__ = ["decide_entry", "decide_return", "decide_sweep"]


def decide_entry(desk: Desk) -> None:
    """What this node owes a run that has not started. At the end of the waiting time it starts with those who are
    there, or ends for want of a quorum: nobody waits for ever."""
    view, own, me = desk.view, desk.own, desk.me
    overdue = desk.age_s >= desk.policy.answer_timeout_s
    n_ready = len(view.ready & view.live)
    if view.state is RunState.APPROVING:
        if me not in view.answered and view.members.is_active(me):
            _answer(desk)
        elif me in view.joiners and overdue:
            desk.submit("close_approvals") if len(view.live) >= view.least else _give_up(desk)
    elif view.state is RunState.READYING and me in view.live:
        if len(view.live) < view.least or (overdue and n_ready < view.least):
            _give_up(desk)  # who goes before the start does not come back
        elif me in view.ready and overdue:
            desk.submit("vote_proceed")
        elif me not in view.ready and own.prepared and own.consent is not None:
            desk.submit("ready", own.consent[2])
        elif not own.prepared:
            _prepare(desk)
    decide_sweep(desk)


def _give_up(desk: Desk) -> None:
    desk.submit("vote_end", int(RunState.FAILED), REASONS["quorum"])


def _answer(desk: Desk) -> None:
    consent = desk.own.consent
    if consent is None:
        if desk.once(0, "consent"):
            desk.out.append(Consent())
    elif consent[0]:
        desk.submit("approve", consent[1])
    else:
        desk.submit("decline")


def _prepare(desk: Desk) -> None:
    if desk.once(0, "prepare"):
        desk.out.append(Prepare())


def decide_return(desk: Desk) -> None:
    """Join a running run: late, or again after being dropped, once the node is well and has consented."""
    view, own, me = desk.view, desk.own, desk.me
    if me in view.live or me in view.pending or not view.members.is_active(me) or own.halted:
        return
    left = sum(gone.site == me for gone in view.departures)
    if own.consent is None:
        if desk.once(0, "consent"):
            desk.out.append(Consent())
    elif not own.consent[0]:
        return
    elif not own.prepared:
        _prepare(desk)
    elif any(gone.site == me and gone.reason in FOR_GOOD for gone in view.departures):
        return
    else:
        desk.submit("join", slot=(left,))


def decide_sweep(desk: Desk) -> None:
    """Clear the live bit of sites that are no longer members."""
    for site in sorted((desk.view.live | desk.view.pending) - desk.view.members.active):
        desk.submit("sweep", site, slot=(site,))
