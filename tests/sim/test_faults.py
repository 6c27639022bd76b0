import errno
import math

import pytest

from cohortium.sim.faults import Crash, Cut, Failing, NotReady, Scenario, Shunned, Slow, Unwritable
from cohortium.swarm.waiting import Policy

TOY = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (Slow(site="a", round=2, for_s=90.0), "a trains 90 s for merge 2"),
        (
            Slow(site="a", round=2, for_s=90.0, heartbeats=False),
            "a trains 90 s for merge 2, and nothing is heard of it meanwhile",
        ),
        (Failing(site="a", round=4, back_s=400.0), "a cannot train from merge 4 on (device), until 400 s"),
        (Unwritable(site="a", from_s=70.0), "the disk of a is read-only from 70 s on"),
        (Unwritable(site="a", from_s=70.0, number=errno.ENOSPC), "the disk of a is full from 70 s on"),
        (Shunned(site="a"), "the certificate of a is not the one on the ledger"),
        (NotReady(site="a"), "a is never ready (data)"),
        (NotReady(site="a", for_s=10.0), "a is ready 10 s late (data)"),
        (Cut(groups=(("a", "b"), ("c",)), from_s=1.0, until_s=2.0), "cut off from 1 to 2 s: a, b | c"),
        (
            Crash(site="a", fact="stepped", step="unmask", round=2, back_after_s=None),
            "the node of a is killed in round 2 before it wrote 'stepped unmask', never started again",
        ),
    ],
)
def test_a_fault_is_a_sentence(fault, sentence) -> None:
    assert str(fault) == sentence


def test_a_scenario_moves_to_other_sites_by_their_place_and_into_rounds_they_have() -> None:
    cut = Cut(groups=(("a", "b"), ("c",), ("d",)), from_s=0.0, until_s=9.0)
    scenario = Scenario(name="x", sites=TOY, faults=(Slow(site="c", round=4, for_s=1.0), cut))
    slow, moved = scenario.moved_to(("porto", "rome"), n_rounds=3).faults
    assert slow == Slow(site="rome", round=3, for_s=1.0)
    assert moved == Cut(groups=(("porto",), ("rome",)), from_s=0.0, until_s=9.0)
    assert scenario.moved_to(TOY, n_rounds=9).faults == scenario.faults
    more = scenario.moved_to([f"s{i}" for i in range(8)], n_rounds=9).faults
    assert more[0] == Slow(site="s4", round=4, for_s=1.0)


def test_a_study_keeps_its_own_rules_but_for_those_the_scenario_needs() -> None:
    own = Policy(silence_s=33.0, wait="all", answer_timeout_s=99.0)
    scenario = Scenario(name="x", policy=Policy(wait="quorum", round_timeout_s=100.0))
    rules = scenario.rules(own)
    assert (rules.silence_s, rules.answer_timeout_s) == (33.0, 99.0)
    assert (rules.wait, rules.round_timeout_s) == ("quorum", 100.0)


def test_what_is_never_mended_is_never_mended() -> None:
    assert math.isinf(Failing(site="a", round=1).back_s)
    assert math.isinf(Shunned(site="a").until_s)
