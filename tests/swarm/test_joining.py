"""Registered is not ready is not training: answers, readiness, late starts and returns."""

import random

from cohortium.swarm import actions as do
from cohortium.swarm import events as ev
from cohortium.swarm.reasons import REASONS
from cohortium.swarm.view import RunState


def test_nobody_approves_before_its_site_has_consented(play, swarm) -> None:
    game = play(3)
    assert [event for _, event in game.pending if isinstance(event, ev.Consented)]
    assert not game.submissions
    game.pending = [(s, e) for s, e in game.pending if s != "site-2"]
    game.give("site-2", ev.Consented(False))
    game.until_quiet()
    assert [args["site"] for args in game.ledger.named("Declined")] == ["site-2"]
    assert "site-2" not in game.outcomes.get("site-2", "")
    assert set(game.ledger.view.joiners) == {"site-0", "site-1"}


def test_unanswered_proposal_is_closed_by_two_joiners_after_the_time_out(play, swarm) -> None:
    game = play(4)
    game.pending = [(s, e) for s, e in game.pending if s != "site-3"]
    game.until_quiet()
    assert not game.ledger.named("Readying")
    game.tick(86_399.0)
    assert not game.ledger.named("Readying")
    game.tick(1.0)
    assert game.ledger.named("Readying")
    assert game.outcomes["site-0"] == "complete"


def test_start_waits_for_the_last_ready_site_and_then_for_a_vote_by_name(play, swarm) -> None:
    game = play(4)
    original = game.do
    game.do = lambda site, action: None if (site, type(action)) == ("site-3", do.Prepare) else original(site, action)
    game.until_quiet()
    game.tick(86_000.0)
    assert not game.ledger.named("Started")
    game.tick(400.0)
    started = game.ledger.named("Started")[0]
    assert game.ledger.view.names(started["missing"]) == ("site-3",)
    assert game.outcomes["site-0"] == "partial (3/4 sites)"


def test_dropped_site_joins_again_when_it_is_well_but_not_after_leaving(play, swarm) -> None:
    for reason, back in ((3, True), (16, False)):
        game = play(4, rounds=4)
        game.round_open(2)
        game.ledger.apply("site-3", "withdraw", 1, reason)
        rng = random.Random(5)
        game.until_quiet(lambda n, rng=rng: rng.randrange(max(n, 1)))
        assert [args["site"] for args in game.ledger.named("Joined")] == (["site-3"] if back else [])


def test_member_that_left_is_swept_from_the_run(play, swarm) -> None:
    game = play(4, rounds=3)
    game.round_open(2)
    game.ledger.apply("site-3", "leave")
    game.until_quiet()
    assert [args["site"] for args in game.ledger.named("Swept")] == ["site-3"]
    assert game.outcomes["site-0"] == "partial (3/4 sites)"


def test_run_that_can_never_start_any_more_is_ended_by_those_who_are_left(play) -> None:
    """Before the start nobody can come back, so waiting for the fewest sites would never end."""
    game = play(4, min_sites=3)
    while game.ledger.view.state < RunState.READYING:
        assert game.step()
    game.submissions.clear()
    for site in ("site-2", "site-3"):
        game.ledger.apply(site, "withdraw", 1, REASONS["consent"])
    game.until_quiet()
    assert game.outcomes["site-0"] == game.outcomes["site-1"] == "failed (site-2, ready, consent)"


def test_too_few_approvals_end_the_run_at_the_deadline(play) -> None:
    game = play(4, min_sites=3)
    game.pending = [(s, e) for s, e in game.pending if s in ("site-0", "site-1")]
    game.until_quiet()
    game.tick(86_399.0)
    assert not game.outcomes
    game.tick(1.0)
    assert game.outcomes["site-0"] == game.outcomes["site-1"] == "failed (ledger, approve, quorum)"


def test_too_few_ready_sites_end_the_run_at_the_deadline(play) -> None:
    game = play(4, min_sites=3)
    original, unready = game.do, ("site-2", "site-3")
    game.do = lambda site, action: (
        None if site in unready and isinstance(action, do.Prepare) else original(site, action)
    )
    game.until_quiet()
    game.tick(86_399.0)
    assert not game.outcomes
    game.tick(1.0)
    assert set(game.outcomes.values()) == {"failed (ledger, ready, quorum)"}
