"""Waiting for the slow, going on without the silent, dropping those who gave up."""

from cohortium.core.messages import Bye, Trouble
from cohortium.swarm import events as ev
from cohortium.swarm.waiting import Policy


def with_one_missing(play, *, policy=None):
    game = play(5, rounds=2)
    if policy:
        for machine in game.machines.values():
            machine._desk.policy = policy
    game.asleep.add("site-4")
    game.until_quiet()
    return game


def test_slow_site_that_shows_progress_is_waited_for(play, swarm) -> None:
    game = with_one_missing(play)
    game.beat(game.sites, 3600)
    assert game.phase == 1
    assert not game.ledger.named("Closed")


def test_silent_site_is_closed_out_by_majority_and_named(play, swarm) -> None:
    game = with_one_missing(play)
    game.beat(game.sites[:4], 590)
    assert game.number == 1
    game.beat(game.sites[:4], 60)
    closed = game.ledger.named("Closed")[0]
    assert game.ledger.view.names(closed["missing"]) == ("site-4",)


def test_who_was_cut_off_itself_waits_anew_for_everybody(play, swarm) -> None:
    game = with_one_missing(play)
    game.beat([], 3600)
    assert not game.ledger.named("Closed"), "who hears nobody votes about nobody"
    game.beat(game.sites[:4], 105)
    assert not game.ledger.named("Closed"), "site-4 may come back a little later than the others"
    game.beat(game.sites[:4], 30)
    closed = game.ledger.named("Closed")[0]
    assert game.ledger.view.names(closed["missing"]) == ("site-4",)


def test_silent_twice_is_dropped(play, swarm) -> None:
    game = with_one_missing(play)
    game.beat(game.sites[:4], 900)
    dropped = game.ledger.named("Dropped")
    assert [(d["site"], d["reason"]) for d in dropped] == [("site-4", 1)]


def test_goodbye_counts_as_silence(play, swarm) -> None:
    game = with_one_missing(play)
    game.beat(game.sites, 600)
    for site in game.sites[:4]:
        game.give(site, ev.Arrived("site-4", Bye(reason="stopping")))
    game.tick(1.0)
    assert game.ledger.named("Closed")


def test_trouble_told_twice_leads_to_a_drop_with_its_reason(play, swarm) -> None:
    game = with_one_missing(play)
    for _ in range(2):
        for site in game.sites[:4]:
            game.give(site, ev.Arrived("site-4", Trouble(stage="train", code="device")))
    game.until_quiet()
    dropped = game.ledger.named("Dropped")
    assert [(d["site"], d["reason"]) for d in dropped] == [("site-4", 3)]
    assert game.number > 1 or game.ledger.view.ended


def test_quorum_rule_closes_at_the_timeout_whoever_is_missing(play, swarm) -> None:
    game = with_one_missing(play, policy=Policy(wait="quorum", round_timeout_s=60.0))
    game.beat(game.sites, 75)
    assert game.ledger.named("Closed")


def test_round_that_never_gets_enough_sites_ends_the_run_at_the_longest_wait(play) -> None:
    game = play(5, rounds=2, min_sites=4)
    for machine in game.machines.values():
        machine._desk.policy = Policy(max_round_s=3600.0)
    game.asleep |= {"site-3", "site-4"}
    game.until_quiet()
    game.beat(game.sites[:3], 3585)
    assert not game.outcomes
    game.beat(game.sites[:3], 30)
    assert game.outcomes["site-0"] == "failed (ledger, merge, quorum)"


def test_late_training_of_a_closed_round_is_no_error_and_the_next_round_has_the_site(play, swarm) -> None:
    game = with_one_missing(play)
    game.beat(game.sites[:4], 700)
    game.asleep.clear()
    game.give("site-4", ev.Trained(1, swarm.sha("site-4", 1, b""), 10))
    base = swarm.finals(game)[0]
    game.give("site-4", ev.Trained(2, swarm.sha("site-4", 2, base), 10))
    game.until_quiet()
    assert not [r for r in game.refused if r[0] == "site-4"]
    assert set(game.outcomes.values()) == {"partial (4/5 sites)"}
    last = game.ledger.named("Final")[-1]
    assert game.ledger.view.names(last["contributors"]) == tuple(game.sites)


def test_stuck_fraction_becomes_silence_measured_by_the_sites_own_past(play) -> None:
    game = play(4, rounds=3)
    game.asleep.add("site-3")
    game.until_quiet()
    game.beat(game.sites, 300)
    game.asleep.clear()
    game.give("site-3", ev.Trained(1, bytes([1]) * 32, 10))
    game.until_quiet()
    assert game.machines["site-0"]._desk.pulses["site-3"].durations[0] == 300.0
