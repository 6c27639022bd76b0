"""Who may call what: the same first checks for every function; and the bitmap arithmetic under them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.ledger import rules
from cohortium.ledger.rules.case import first_from, has

D, S = b"\1" * 32, b"\2" * 65

MEMBERS = {
    "vote_admit": (b"\5" * 20, "varna", D, D),
    "vote_exclude": ("graz",),
    "vote_rekey": ("graz", b"\5" * 20, D, D),
    "rotate": (D, D),
    "leave": (),
    "heartbeat": (),
    "record_data": (D,),
    "propose": (D, 2, 1, 60, 60, 0, 0),
    "report_equivocation": (1, 1, 0, 1, D, S, b"\3" * 32, S),
}
ANSWERS = {"approve": (1, D), "decline": (1,), "join": (1,), "appeal": (1, 1)}
JOINERS = {"withdraw": (1, 1), "spend": (1, 1, D, b"{}", 0), "record_audit": (1, 0, 1, D)}
LIVE = {
    "close_approvals": (1,),
    "ready": (1, D),
    "vote_proceed": (1,),
    "vote_drop": (1, "bonn", 1),
    "commit": (1, 1, D, 1, 0),
    "vote_close": (1, 1),
    "post": (1, 1, 1, 1, D),
    "publish": (1, 1, D, D, 1, D),
    "attest": (1, 1, 0, D),
    "dispute": (1, 1, 0, D, 1),
    "failover": (1, 1, 0),
    "vote_void": (1, 1, 1),
    "vote_end": (1, 5, 1),
    "record_harm": (1, 1, "bonn", 4, D),
}
EVERY = {**MEMBERS, **ANSWERS, **JOINERS, **LIVE}


def test_every_function_stands_in_one_of_these_tables():
    assert set(EVERY) | {"sweep"} == set(rules.FUNCTIONS)


def test_no_function_but_sweep_takes_calls_of_strangers_or_of_who_left(court):
    court.start()
    court.do("porto", "leave")
    for function, args in EVERY.items():
        assert court.refused("stranger", function, *args) == "member", function
        assert court.refused("porto", function, *args) == "member", function


def test_runs_that_do_not_exist_are_refused_before_anything_else(court):
    for function, args in {**ANSWERS, **JOINERS, **LIVE}.items():
        for run in (0, 1, 2**256 - 1):
            assert court.refused("bonn", function, run, *args[1:]) == "run", function


def test_who_did_not_join_takes_no_part(court):
    run = court.propose()
    court.approve(run, *court.sites[:4])
    court.do("porto", "decline", run)
    court.ready(run, *court.sites[:4])
    for function, args in {**JOINERS, **LIVE}.items():
        assert court.refused("porto", function, *args) == "joiner", function


def test_who_withdrew_decides_nothing_more(court):
    run = court.start()
    court.do("porto", "withdraw", run, 1)
    for function, args in LIVE.items():
        assert court.refused("porto", function, *args) == "live", function


def test_nothing_of_a_round_happens_before_the_first_one(court):
    run = court.propose()
    court.approve(run)
    for function in ("commit", "vote_close", "post", "publish", "attest", "dispute", "failover", "vote_void"):
        args = LIVE[function]
        assert court.refused("bonn", function, run, 0, *args[2:]) == "phase", function
        assert court.refused("bonn", function, run, 1, *args[2:]) == "phase", function


def test_another_round_than_the_present_one_is_refused(court):
    run = court.start()
    court.play(run)
    for function in ("commit", "vote_close", "post", "publish", "attest", "dispute", "failover", "vote_void"):
        args = LIVE[function]
        for round in (0, 1, 3):
            assert court.refused("bonn", function, run, round, *args[2:]) == "phase", function


def test_a_run_that_ended_takes_records_only(court):
    run = court.start(n_rounds=1)
    court.play(run)
    for function in set(LIVE) - {"record_harm"} | {"withdraw", "join", "approve", "decline"}:
        assert court.refused("bonn", function, *EVERY[function]) == "phase", function
    for function in ("spend", "record_audit"):
        court.do("bonn", function, *JOINERS[function])


@pytest.mark.parametrize("site", ["", "x" * 32, "Bonn"])
def test_a_subject_that_does_not_exist_is_refused(court, site):
    run = court.start()
    assert court.refused("bonn", "vote_drop", run, site, 1) == "subject"
    assert court.refused("bonn", "sweep", run, site) == "subject"
    assert court.refused("bonn", "vote_exclude", site) == "subject"


@given(st.integers(1, 2**128 - 1), st.integers(0, 128))
def test_the_first_bit_from_an_index_on_goes_round(bits, index):
    walk = [i % 129 for i in range(index, index + 130)]
    assert first_from(bits, index) == next(i for i in walk if has(bits, i))
