"""Cyclic: one hop a round, each site once a cycle, the same order for everybody."""

from dataclasses import replace

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.update import Turn
from cohortium.strategies.cyclic import Cyclic, visited

SITES = ("a", "b", "c", "d", "e")
TURN = Turn(round=0, sites=SITES, start=Parameters({"w": np.zeros(1)}), draw=3)


def hops(draw, rounds):
    return [visited(replace(TURN, round=number, draw=draw)) for number in rounds]


def test_each_cycle_visits_every_site_once_in_a_new_order():
    cycles = [hops(3, range(at, at + 5)) for at in range(0, 50, 5)]
    assert all(sorted(cycle) == list(SITES) for cycle in cycles)
    assert len({tuple(cycle) for cycle in cycles}) > 5


def test_the_order_depends_on_the_shared_draw_alone():
    assert hops(3, range(20)) == hops(3, range(20))
    assert hops(3, range(20)) != hops(4, range(20))


def test_every_site_comes_first_about_equally_often():
    first = [visited(replace(TURN, draw=draw)) for draw in range(2000)]
    assert all(320 < first.count(site) < 480 for site in SITES)  # 400 expected, standard deviation 18


def test_only_the_visited_site_trains_and_its_model_goes_on(merged, fitted):
    here = visited(TURN)
    for site in SITES:
        (asked,) = Cyclic().instruct(replace(TURN, site=site))
        assert asked.max_steps == (None if site == here else 0)
    trained = {site: fitted([9.0 if site == here else 5.0]) for site in SITES}
    model, _, updates = merged(Cyclic(), [2.0], trained)
    assert model["w"].tolist() == [9.0]
    assert all(u.parameters["w"].tolist() == [0.0] for s, u in updates.items() if s != here)


def test_the_model_stays_where_it_is_when_the_visited_site_is_gone(merged, fitted):
    here = visited(TURN)
    trained = {site: fitted([5.0]) for site in SITES if site != here}
    assert merged(Cyclic(), [2.0], trained, sites=SITES)[0]["w"].tolist() == [2.0]


def test_the_rate_falls_by_a_tenth_in_the_exponent_each_cycle():
    for number, factor in ((0, 1.0), (4, 1.0), (5, np.exp(-0.1)), (12, np.exp(-0.2))):
        turn = replace(TURN, round=number)
        (asked,) = Cyclic().instruct(replace(turn, site=visited(turn)))
        assert asked.learning_rate_factor == pytest.approx(factor, abs=1e-15)


def test_a_negative_decay_is_refused():
    with pytest.raises(ValueError, match="decay"):
        Cyclic(decay=-0.1)
