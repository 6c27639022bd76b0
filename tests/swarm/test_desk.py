from cohortium.core.exchange import PLAIN
from cohortium.swarm.actions import Fact, Persist, Submit, Wake
from cohortium.swarm.desk import Desk
from cohortium.swarm.membership import Members
from cohortium.swarm.view import RunView
from cohortium.swarm.waiting import Policy


def desk() -> Desk:
    return Desk(run=5, me="porto", recipe=PLAIN, policy=Policy(), view=RunView(run=5, members=Members()))


def test_intention_is_issued_once_a_round_until_it_is_to_be_tried_again() -> None:
    at = desk()
    at.submit("commit", 2, b"d", round=2)
    at.submit("commit", 2, b"d", round=2)
    at.submit("commit", 3, b"d", round=3)
    assert at.take() == (
        Submit("commit", (5, 2, b"d"), (2, "commit")),
        Submit("commit", (5, 3, b"d"), (3, "commit")),
    )
    at.retry(2, ("commit",), at_s=10.0)
    assert at.take() == (Wake(10.0),)
    at.now_s = 9.0
    at.due_again()
    assert not at.once(2, "commit")
    at.now_s = 10.0
    at.due_again()
    assert at.once(2, "commit")


def test_fact_is_folded_and_written_in_one_go() -> None:
    at = desk()
    fact = Fact(kind="adopted", run=5, round=1, digest=b"x")
    at.persist(fact)
    assert at.own.adopted == (1, b"x")
    assert at.take() == (Persist(fact),)
    assert at.take() == ()


def test_ages_count_from_what_this_node_saw() -> None:
    at = desk()
    at.now_s, at.since_s, at.round_since_s = 100.0, 60.0, 20.0
    assert (at.age_s, at.round_age_s) == (40.0, 80.0)
    assert at.pulse("lund").heard_s == 100.0, "whoever was never heard of counts from now"


def test_forgetting_keeps_intentions_outside_of_rounds() -> None:
    at = desk()
    at.once(0, "consent")
    at.once(1, "train")
    at.forget_before(3)
    assert not at.once(0, "consent")
    assert at.once(1, "train")


def test_hearing_a_majority_again_restarts_everybodys_silence_and_the_age_of_the_phase() -> None:
    at = desk()
    at.view.live = {"bonn", "lund", "porto", "turin", "vienna"}
    assert at.in_majority, "whoever was never heard of counts from now"
    at.now_s = 1000.0
    assert not at.in_majority
    at.hear("bonn")
    assert not at.in_majority
    assert at.since_s == 0.0
    at.hear("lund")
    assert at.in_majority
    assert at.since_s == 1000.0
    assert {at.pulse(site).heard_s for site in ("turin", "vienna")} == {1000.0}
    at.now_s = 1060.0
    for site in ("bonn", "lund"):
        at.hear(site)
    at.now_s = 1130.0
    assert at.in_majority
    assert at.pulse("vienna").unheard(at.now_s, at.policy)


def test_a_single_silent_site_that_comes_back_restarts_nothing() -> None:
    at = desk()
    at.view.live = {"bonn", "lund", "porto"}
    at.now_s = 1000.0
    at.pulse("lund").heard_s = 0.0
    at.hear("lund")
    assert at.in_majority
    assert at.since_s == 0.0
