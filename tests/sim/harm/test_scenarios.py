"""Scenarios: names, members of the families, and numbers for other sizes."""

import pytest

from cohortium.errors import UsageError
from cohortium.sim.harm.scenarios import SCENARIOS, cases, find_scenario


def test_a_scenario_is_found_by_number_and_by_title():
    assert [find_scenario(word) for word in ("S3", "s3", "mixed", "nothing", "s1+s2")] == [
        "S3",
        "S3",
        "S3",
        "S4",
        "S1+S2",
    ]


def test_an_unknown_scenario_lists_those_there_are():
    with pytest.raises(UsageError, match=r"unknown scenario 'S9'; available: S1 \(whole-sites\), S2"):
        find_scenario("S9")


def test_families_list_their_members():
    assert [c.label for c in cases("S5")][:3] == ["S5-8-a0", "S5-8-a3", "S5-16-a0"]
    assert len(cases("S5")) == 10
    assert [c.label for c in cases("S7")][-1] == "S7-S4-e0.5"
    assert [c.label for c in cases("S1")] == ["S1"]


def test_other_sizes_get_the_same_shares_and_at_least_one():
    mixed = SCENARIOS["S3"]
    assert [mixed.count("harmful", n) for n in (83, 12, 3)] == [14, 2, 1]
    assert SCENARIOS["S4"].count("harmful", 83) == 0
