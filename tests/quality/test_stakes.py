"""Who holds part of a registered subgroup: totals by sums, one bit a site, a verdict that asks for a signature."""

from dataclasses import replace

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.quality.agreement import Agreement
from cohortium.quality.out_of_bag import OutOfBag
from cohortium.quality.stakes import STAKE, SUBGROUPS, counted, holds_a_stake, registered


def grouped(one, codes):
    return replace(one, subgroups={"sex": np.resize(np.array(codes, dtype=np.int8), len(one))})


def test_patients_are_counted_by_subgroup_and_code_and_unknown_ones_are_not(kit):
    sites = kit.consortium(sizes=(6, 4))
    held = [grouped(sites["a"], [0, 1, -1]), grouped(sites["b"], [1])]
    (row,) = counted(held)[SUBGROUPS]
    assert row[:3].tolist() == [2, 6, 0]
    assert row.sum() == 8
    assert counted(sites.values()) == {}


@pytest.mark.parametrize(("own", "total", "held"), [(5, 100, True), (4, 100, False), (1, 20, True), (0, 0, False)])
def test_a_twentieth_of_any_subgroup_is_a_stake(kit, own, total, held):
    assert STAKE == 0.05
    site = grouped(kit.consortium(sizes=(max(own, 1),))["a"], [2 if own else -1])
    totals = np.zeros((1, 128), dtype=np.int64)
    totals[0, 2] = total
    state = Parameters({SUBGROUPS: totals})
    assert registered(state)
    assert holds_a_stake(site, state) is held
    assert not holds_a_stake(site, Parameters({"clock": totals}))


def verdicts(sites, detector=None):
    found = (detector or OutOfBag()).run(sites, seed=1)
    return {one.site: one for one in (found.table if detector is None else found).verdicts}


def test_the_verdict_on_a_site_of_part_of_a_subgroup_asks_for_a_signature_and_no_other_does(kit):
    sites = kit.flipped(kit.consortium(strength=3.0), "a")
    plain = verdicts(sites)
    assert plain["a"].left_out
    assert not any(one.to_sign for one in plain.values())
    shared = verdicts({name: grouped(one, [0, 1]) for name, one in sites.items()})
    assert [name for name, one in shared.items() if one.to_sign] == ["a"]
    assert replace(shared["a"], to_sign=False) == plain["a"]
    many = {f"{name}{k}": one for name, one in kit.consortium(2, strength=3.0).items() for k in range(3)}
    small = {**many, **kit.flipped(kit.consortium(strength=3.0, sizes=(16,)), "a")}
    told = verdicts({name: grouped(one, [0, 1]) for name, one in small.items()})["a"]
    assert told.left_out
    assert not told.to_sign, "16 patients of many"


def test_by_agreement_every_site_is_taken_to_hold_one(kit):
    sites = kit.flipped(kit.consortium(strength=3.0, sizes=(60, 60, 60, 60)), "b")
    assert verdicts(sites, Agreement())["b"].left_out
    assert not verdicts(sites, Agreement())["b"].to_sign
    told = verdicts({name: grouped(one, [0]) for name, one in sites.items()}, Agreement())
    assert [name for name, one in told.items() if one.to_sign] == ["b"]
