"""Going for good, and ending a run that too many have left for good.

A site whose budget is spent withdraws in the middle of the run; the others go on while they are enough. When they are
not, the run ends at once: as `partial` with the model of the last merge, which is paid for, or as `failed` without one.
"""

from __future__ import annotations

from cohortium.swarm.desk import Desk
from cohortium.swarm.reasons import REASONS
from cohortium.swarm.view import RoundView, RunState

__all__ = ["FOR_GOOD", "decide_end", "leave_without_budget"]

FOR_GOOD = ("left", "consent", "budget")
"""Reasons after which a site does not come back to the run by itself."""


def leave_without_budget(desk: Desk, round: RoundView) -> None:
    """Withdraw. Should all go in the same round, the last one's vote ends the run; a leaver's vote leaves with it."""
    _vote_end(desk, round)
    desk.submit("withdraw", REASONS["budget"])


def decide_end(desk: Desk, round: RoundView) -> None:
    """Vote the run ended when those who may still take part are too few, for want of budget."""
    view = desk.view
    if desk.me not in view.live:
        return
    here = view.live | view.pending
    gone = {one.site: one.reason for one in view.departures if one.site not in here and one.reason in FOR_GOOD}
    if "budget" in gone.values() and len(view.joiners) - len(gone) < view.least:
        _vote_end(desk, round)


def _vote_end(desk: Desk, round: RoundView) -> None:
    state = RunState.FINISHED if desk.view.newest is not None else RunState.FAILED
    desk.submit("vote_end", int(state), REASONS["budget"], round=round.number)
