"""Collecting: commitments, closing by itself, closing by vote, and what is frozen."""

import pytest

D = b"\1" * 32


def test_a_commit_is_kept_and_told(court):
    run = court.start(budget=9)
    events = court.do("lund", "commit", run, 1, D, 77, 5)
    assert events == [
        ("Committed", {"run": run, "round": 1, "site": "lund", "digest": D, "weight": 77, "eps_micro": 5})
    ]
    assert court.read("commits", run, 1, court.index(run, "lund")) == D
    assert court.read("spent", run, court.index(run, "lund")) == 5


@pytest.mark.parametrize(
    ("args", "reason"),
    [((2, D, 1, 0), "phase"), ((0, D, 1, 0), "phase"), ((1, bytes(32), 1, 0), "value"), ((1, D, 0, 0), "value")],
)
def test_a_commit_names_the_round_and_says_something(court, args, reason):
    run = court.start()
    assert court.refused("bonn", "commit", run, *args) == reason


def test_a_second_commit_of_a_round_is_refused(court):
    run = court.start()
    court.commit(run, "bonn")
    assert court.refused("bonn", "commit", run, 1, D, 1, 0) == "once"


def test_epsilon_never_falls_and_stays_within_the_budget(court):
    run = court.start(budget=9)
    assert court.refused("bonn", "commit", run, 1, D, 1, 10) == "budget"
    court.commit(run, eps=4)
    court.publish(run)
    court.attest(run)
    assert court.refused("bonn", "commit", run, 2, D, 1, 3) == "budget"
    court.do("bonn", "commit", run, 2, D, 1, 9)
    assert court.read("spent", run, court.index(run, "bonn")) == 9


def test_without_a_budget_no_epsilon_is_spent(court):
    run = court.start()
    assert court.refused("bonn", "commit", run, 1, D, 1, 1) == "budget"


def test_the_last_live_site_closes_the_round(court):
    run = court.start()
    court.commit(run, "bonn", "graz", "lund", "oslo")
    assert court.phase(run) == 1
    court.commit(run, "porto")
    assert court.last("Closed") == {
        "run": run, "round": 1, "attempt": 1, "frozen": 0b11111, "missing": 0,
        "leader": court.last("RoundOpened")["leader"], "threshold": 4,
    }  # fmt: skip
    assert court.refused("bonn", "commit", run, 1, D, 1, 0) == "phase"
    assert court.refused("bonn", "vote_close", run, 1) == "phase"


def test_a_majority_of_those_who_committed_closes_without_the_missing(court):
    run = court.start()
    court.commit(run, "bonn", "graz", "lund")
    assert court.refused("porto", "vote_close", run, 1) == "committed"
    court.do("bonn", "vote_close", run, 1)
    assert court.refused("bonn", "vote_close", run, 1) == "voted"
    court.do("graz", "vote_close", run, 1)
    assert court.phase(run) == 1
    court.do("lund", "vote_close", run, 1)
    assert court.last("Closed")["missing"] == court.bits(run, "oslo", "porto")
    assert court.last("Closed")["frozen"] == court.bits(run, "bonn", "graz", "lund")
    assert court.live(run) == court.sites


def test_fewer_than_the_minimum_do_not_close(court):
    run = court.start(min_sites=4)
    court.commit(run, "bonn", "graz", "lund")
    assert court.refused("bonn", "vote_close", run, 1) == "quorum"


def test_votes_to_close_decide_as_soon_as_others_are_gone(court):
    """Two votes are too few of five and of four live sites, and enough of three."""
    run = court.start()
    court.commit(run, "bonn", "graz")
    court.do("bonn", "vote_close", run, 1)
    court.do("graz", "vote_close", run, 1)
    court.do("porto", "withdraw", run, 1)
    assert court.phase(run) == 1
    court.do("oslo", "withdraw", run, 1)
    assert court.phase(run) == 2
    assert court.last("Closed")["missing"] == court.bits(run, "lund")


def test_a_leader_who_did_not_commit_is_followed_by_the_next_who_did(court):
    run = court.start()
    leader = court.leader(run)
    others = [site for site in court.sites if site != leader]
    court.commit(run, *others)
    for site in others[:3]:
        court.do(site, "vote_close", run, 1)
    at = court.sites.index(leader)
    assert court.leader(run) == court.last("Closed")["leader"] == court.sites[(at + 1) % 5]


@pytest.mark.parametrize(("n", "threshold", "need"), [(3, 3, 3), (4, 3, 3), (5, 4, 3), (6, 5, 4), (7, 5, 4), (8, 6, 4)])
def test_thresholds_are_those_of_the_published_table(found, n, threshold, need):
    """privacy.md 3.1, row t; need = max(3, c + 2)."""
    court = found(n)
    run = court.start(min_sites=3, flags=2)
    court.commit(run)
    assert court.last("Closed")["threshold"] == threshold
    assert court.read("rounds", run)[7] == need


def test_colluders_are_counted_among_all_joiners_whoever_is_absent(found):
    """Eight joiners, c = 2; four of them frozen: t = (4 + 2) // 2 + 1 = 4. With c of the four it would be 3."""
    court = found(8)
    run = court.start(min_sites=3, flags=2)
    for site in court.sites[4:]:
        court.do(site, "withdraw", run, 1)
    court.commit(run)
    r = court.read("rounds", run)
    assert (r[6].bit_count(), r[7], r[8]) == (4, 4, 4)


def test_too_few_for_masks_are_not_frozen(found):
    """Six joiners, c = 2: three are too few even if the study says so."""
    court = found(6)
    run = court.start(min_sites=3, flags=2)
    for site in court.sites[3:]:
        court.do(site, "withdraw", run, 1)
    court.commit(run)
    assert court.phase(run) == 1
    assert court.refused("bonn", "vote_close", run, 1) == "quorum"


def test_everybody_leads_once_in_as_many_rounds_as_sites(court):
    run = court.start(n_rounds=5)
    leaders = []
    for _ in range(5):
        leaders.append(court.leader(run))
        court.play(run)
    assert sorted(leaders) == court.sites
    assert court.last("Ended") == {"run": run, "state": 4, "reason": 0}
