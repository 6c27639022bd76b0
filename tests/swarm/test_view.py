import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.core.seams import LedgerEvent
from cohortium.ledger.interface import consortium
from cohortium.swarm.membership import Members
from cohortium.swarm.reasons import REASONS
from cohortium.swarm.view import _HANDLERS, Phase, RunState, RunView


def test_every_event_the_view_reads_is_the_contracts_own() -> None:
    events = consortium().interface.events
    assert set(_HANDLERS) <= set(events)
    harm = {"HarmRecorded", "HarmVerdict", "Appealed"}
    reports_only = harm | {"Heartbeat", "Voted", "Equivocated", "DataChanged", "Spent", "Audited"}
    assert set(events) - set(_HANDLERS) == reports_only


def test_view_of_a_whole_run_says_what_the_contract_says(play) -> None:
    game = play(4, rounds=3)
    game.until_quiet()
    view = game.ledger.view
    run = game.ledger.call("runs", (1,))[0]
    assert view.state is RunState.FINISHED == run[0]
    assert view.bitmap(view.live) == run[7]
    assert len(view.finals) == run[9] == 3
    assert view.newest is not None
    assert view.newest.digest == run[10]
    assert view.round is not None
    assert view.round.phase is Phase.FINAL


@given(cut=st.integers(0, 60))
def test_folding_in_two_parts_is_folding_once(swarm, cut: int) -> None:
    game = swarm.Play(swarm, 3, rounds=2)
    game.until_quiet()
    log = game.ledger.log
    once, twice = (RunView(run=1, members=Members()) for _ in range(2))
    for event in log:
        once.apply(event)
    for part in (log[:cut], log[cut:]):
        for event in part:
            twice.apply(event)
    assert once == twice == game.ledger.view


def test_other_runs_and_unknown_events_are_passed_over() -> None:
    view = RunView(run=1, members=Members())
    assert not view.apply(LedgerEvent(1, 0, "Voted", {"run": 1}))
    assert not view.apply(LedgerEvent(1, 0, "Declined", {"run": 2, "site": "porto"}))
    assert view == RunView(run=1, members=Members())


def test_bitmaps_count_in_order_of_approval_and_names_are_sorted() -> None:
    view = RunView(run=1, members=Members(), joiners=["porto", "aachen", "lund"])
    assert view.names(0b101) == ("lund", "porto")
    assert view.bitmap(("lund", "porto")) == 0b101
    assert view.names(1 << 40) == ()


@pytest.mark.parametrize(
    ("reason", "given"),
    [("stopped", False), ("consent", False), ("left", False), ("device", True), ("budget", True), ("silent", True)],
)
def test_who_goes_by_its_own_will_takes_no_part_until_it_is_back(swarm, reason: str, given: bool) -> None:
    game = swarm.Play(swarm, 4, rounds=3)
    while game.number < 2:
        game.step()
    view = game.ledger.view
    assert {site: view.takes_part(site) for site in (*game.sites, "stranger")} == {
        **dict.fromkeys(game.sites, True), "stranger": False
    }  # fmt: skip
    game.ledger.apply("site-3", "withdraw", 1, REASONS[reason])
    assert view.takes_part("site-3") is given
    assert view.takes_part("site-0")
    game.ledger.apply("site-3", "join", 1)
    assert view.takes_part("site-3")
    game.ledger.apply("site-3", "leave")
    assert not view.takes_part("site-3"), "no member any more"


def test_least_is_the_contracts_rule_for_masked_rounds() -> None:
    view = RunView(run=1, members=Members(), min_sites=2, joiners=list("abcdefghi"))
    assert view.least == 2
    view.flags = 2
    assert view.least == 9 // 3 + 2
