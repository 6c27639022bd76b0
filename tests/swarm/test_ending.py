import pytest

from cohortium.swarm.ending import outcome_of
from cohortium.swarm.membership import Members
from cohortium.swarm.view import Departure, FinalMerge, RoundView, RunState, RunView

ALL = ("a", "b", "c")


def view(*contributors: tuple[str, ...], state: RunState = RunState.FINISHED, **fields) -> RunView:
    finals = [FinalMerge(number, bytes(32), sites, "a") for number, sites in enumerate(contributors, start=1)]
    return RunView(run=1, members=Members(), state=state, joiners=list(ALL), finals=finals, **fields)


def test_complete_needs_every_approving_site_in_every_final_round() -> None:
    assert str(outcome_of(view(ALL, ALL), complete_share=1.0)) == "complete"
    short = outcome_of(view(ALL, ("a", "b")), complete_share=1.0)
    assert str(short) == "partial (2/3 sites)"
    assert short.merged == {"a": 2, "b": 2, "c": 1}


def test_complete_share_forgives_as_much_as_the_study_says() -> None:
    rounds = [ALL] * 9 + [("a", "b")]
    assert outcome_of(view(*rounds), complete_share=0.9).status == "complete"
    assert outcome_of(view(*rounds), complete_share=0.95).status == "partial"


def test_site_that_never_contributed_is_never_forgiven() -> None:
    late = {"first_round": {"c": 3}}
    assert outcome_of(view(("a", "b"), ("a", "b"), **late), complete_share=0.1).satisfied == ("a", "b")


def test_late_joiner_is_measured_from_its_join() -> None:
    rounds = (("a", "b"), ALL, ALL)
    assert outcome_of(view(*rounds, first_round={"c": 2}), complete_share=1.0).status == "complete"
    assert outcome_of(view(*rounds), complete_share=1.0).status == "partial"


def test_reasons_name_departures_and_late_rounds() -> None:
    gone = [Departure("c", 2, "train", "device"), Departure("c", 4, "train", "device")]
    fields = {"departures": gone, "missing": {"c": [1, 3]}}
    outcome = outcome_of(view(("a", "b"), ("a", "b"), **fields), complete_share=1.0)
    assert outcome.reasons == {"c": ("train, device", "late in 2 rounds")}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"departures": [Departure("b", 1, "train", "device"), Departure("c", 2, "exchange", "silent")]},
         "failed (b, train, device)"),
        ({"declined": ["c"]}, "failed (c, approve, declined)"),
        ({"end_reason": "attempts", "round": RoundView(number=2, leader="a")}, "failed (ledger, merge, attempts)"),
        ({}, "failed (ledger, approve, quorum)"),
    ],
)  # fmt: skip
def test_failure_names_the_first_cause_not_the_last(fields, words: str) -> None:
    assert str(outcome_of(view(state=RunState.FAILED, **fields), complete_share=1.0)) == words
