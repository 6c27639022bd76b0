"""Going for want of budget: the others go on while they are enough; else the run ends with what is paid."""

import random

import pytest

from cohortium.swarm import actions as do
from cohortium.swarm import events as ev
from cohortium.swarm.reasons import REASONS


def broke_from(game, site: str, round: int) -> None:
    """From this round on the site's budget refuses to train."""
    original = game.do

    def act(who, action):
        if who == site and isinstance(action, do.Train) and action.round >= round:
            game.pending.append((who, ev.Failed("train", "budget", round=action.round)))
        else:
            original(who, action)

    game.do = act


def in_any_order(game, seed: int) -> None:
    """Everything in any order, but for each site's own calls: its clerk keeps them in line."""
    rng, submit = random.Random(seed), game.submit_one

    def first_of_its_site(choose):
        site = game.submissions[choose(len(game.submissions))][0]
        submit(lambda n: next(i for i, (who, _) in enumerate(game.submissions) if who == site))

    game.submit_one = first_of_its_site
    game.until_quiet(lambda n: rng.randrange(max(n, 1)))


@pytest.mark.parametrize("seed", range(5))
def test_one_site_goes_for_good_and_the_others_go_on(play, swarm, seed: int) -> None:
    game = play(4, rounds=4, min_sites=3)
    broke_from(game, "site-2", 2)
    in_any_order(game, seed)
    (gone,) = game.ledger.named("Withdrawn")
    assert (gone["site"], gone["reason"], gone["round"]) == ("site-2", REASONS["budget"], 2)
    assert not game.ledger.named("Joined")
    assert len(game.ledger.named("Final")) == 4
    assert set(game.outcomes.values()) == {"partial (3/4 sites)"}


@pytest.mark.parametrize("seed", range(5))
def test_when_all_run_out_together_the_run_ends_with_the_last_paid_merge(play, swarm, seed: int) -> None:
    game = play(4, rounds=9, min_sites=3)
    for site in game.sites:
        broke_from(game, site, 3)
    in_any_order(game, seed)
    assert len(game.ledger.named("Final")) == 2
    assert game.ledger.named("Ended")[0] == {"run": 1, "state": 4, "reason": REASONS["budget"]}
    assert set(game.outcomes.values()) == {"partial (4/4 sites, budget)"}


def test_when_too_few_are_left_they_end_the_run_at_once(play, swarm) -> None:
    game = play(4, rounds=9, min_sites=3)
    for site in game.sites[:2]:
        broke_from(game, site, 2)
    game.until_quiet()
    assert len(game.ledger.named("Final")) == 1
    assert set(game.outcomes.values()) == {"partial (4/4 sites, budget)"}
    assert {args["site"] for args in game.ledger.named("Withdrawn")} <= {"site-0", "site-1"}


def test_before_the_first_merge_the_run_fails_by_name(play, swarm) -> None:
    game = play(4, rounds=9, min_sites=3)
    for site in game.sites[1:3]:
        broke_from(game, site, 1)
    game.until_quiet()
    assert set(game.outcomes.values()) <= {"failed (site-1, train, budget)", "failed (site-2, train, budget)"}
    assert len(set(game.outcomes.values())) == 1


def test_a_restarted_site_without_budget_stays_away(play, swarm) -> None:
    game = play(4, rounds=3, min_sites=3)
    broke_from(game, "site-3", 2)
    game.until_quiet()
    machine = game.machines["site-3"]
    actions = machine.handle(ev.Tick(10_000.0))
    assert not [a for a in actions if isinstance(a, do.Submit) and a.function == "join"]
