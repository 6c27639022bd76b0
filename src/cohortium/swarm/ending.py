"""How a run ended, from ledger events alone: `complete`, `partial (k/n sites)` or `failed (site, stage, reason)`.

complete: finished, and every site that approved contributed to at least the study's share of the final rounds
since it was first expected. partial: finished otherwise, or early because the sites' budgets were spent. failed:
ended by vote or for want of approvals; named is the first cause, not the last. There is no fourth word. Design:
swarm.md section 8.
"""

from __future__ import annotations

from collections import Counter

from cohortium.swarm.actions import Outcome
from cohortium.swarm.view import RunState, RunView

__all__ = ["outcome_of"]


def outcome_of(view: RunView, *, complete_share: float) -> Outcome:
    """The outcome of an ended run; equal at every node, because views are."""
    merged: Counter[str] = Counter(dict.fromkeys(view.joiners, 0))
    for final in view.finals:
        merged.update(final.contributors)
    if view.state is not RunState.FINISHED:
        return _failed(view, merged)
    satisfied = tuple(
        sorted(site for site in view.joiners if merged[site] and merged[site] >= complete_share * _expected(view, site))
    )
    early = view.end_reason if view.end_reason == "budget" else ""
    return Outcome(
        status="complete" if len(satisfied) == len(view.joiners) and not early else "partial",
        rounds=len(view.finals),
        merged=dict(sorted(merged.items())),
        satisfied=satisfied,
        reasons={site: _reasons(view, site) for site in sorted(view.joiners) if site not in satisfied or early},
        reason=early,
    )


def _expected(view: RunView, site: str) -> int:
    """Final rounds since the site was first expected to contribute."""
    first = view.first_round.get(site, 1)
    return sum(final.round >= first for final in view.finals)


def _reasons(view: RunView, site: str) -> tuple[str, ...]:
    """Why a site fell short: reasons of its departures, then rounds that closed without it."""
    words = [f"{gone.stage}, {gone.reason}" for gone in view.departures if gone.site == site]
    if late := view.missing.get(site):
        words.append(f"late in {len(late)} rounds")
    return tuple(dict.fromkeys(words))


def _failed(view: RunView, merged: Counter[str]) -> Outcome:
    if view.departures:
        first = view.departures[0]
        site, stage, reason = first.site, first.stage, first.reason
    elif view.declined:
        site, stage, reason = view.declined[0], "approve", "declined"
    else:
        stage = "merge" if view.round else "ready" if view.ready else "approve"
        site, reason = "ledger", view.end_reason or "quorum"
    return Outcome(
        status="failed",
        rounds=len(view.finals),
        merged=dict(sorted(merged.items())),
        site=site,
        stage=stage,
        reason=reason,
    )
