"""Geometric median by sums: against Weiszfeld in one process, against theorems, and with a liar."""

import numpy as np
import pytest

from cohortium.core.exact import weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.core.update import Turn
from cohortium.strategies.geometric_median import GeometricMedian


def cycle(strategy, start, points, fitted, *, rounds=None, missing=()):
    """One training and the passes after it; points: what each site's training would give."""
    state, memory, sites = strategy.init(start), {site: Parameters() for site in points}, tuple(sorted(points))
    model, trainings = start, 0
    for number in range(rounds or strategy.passes + 1):
        updates = []
        for site, point in points.items():
            if (number, site) in missing:
                continue
            turn = Turn(round=number, sites=sites, start=model, state=state, site=site, memory=memory[site])
            (asked,) = strategy.instruct(turn)
            trainings += asked.max_steps is None
            first = model if asked.start is None else asked.start
            moved = Parameters({"w": first["w"] + point}) if asked.max_steps is None else first
            updates.append(strategy.conclude(turn, (fitted(moved),)))
        leader = Turn(round=number, sites=sites, start=model, state=state)
        model, state = strategy.merge(leader, weighted_sum(updates))
        memory |= {u.site: u.memory for u in updates}
    return model["w"], trainings


def weiszfeld(points, passes):
    points = np.array(points)
    v = points.mean(0)
    for _ in range(passes):
        w = 1 / np.maximum(np.linalg.norm(points - v, axis=1), 1e-6)
        v = (w[:, None] * points).sum(0) / w.sum()
    return v


START = Parameters({"w": np.zeros(3)})


@pytest.mark.parametrize("passes", [1, 3, 10])
def test_passes_equal_weiszfeld_in_one_process(fitted, passes):
    rng = np.random.default_rng(2)
    points = {site: rng.normal(size=3) for site in "abcdefg"}
    found, _ = cycle(GeometricMedian(passes=passes), START, points, fitted)
    np.testing.assert_allclose(found, weiszfeld(list(points.values()), passes), atol=1e-5)  # weights have 20 bits


def test_sites_train_once_a_cycle(fitted):
    points = {site: np.ones(3) for site in "abc"}
    assert cycle(GeometricMedian(passes=3), START, points, fitted, rounds=8)[1] == 2 * 3


def test_a_liar_moves_the_mean_but_hardly_the_median(fitted):
    points = {
        "a": np.array([1.0, 0, 0]),
        "b": np.array([0, 1.0, 0]),
        "c": np.array([0, 0, 1.0]),
        "liar": np.full(3, 1e3),
    }
    found, _ = cycle(GeometricMedian(passes=10), START, points, fitted)
    assert np.linalg.norm(found) < 5
    assert np.linalg.norm(np.mean(list(points.values()), axis=0)) > 400


def test_more_than_half_at_one_point_is_the_median(fitted):
    points = {"a": np.ones(3), "b": np.ones(3), "c": np.ones(3), "d": np.full(3, -9.0), "e": np.zeros(3)}
    found, _ = cycle(GeometricMedian(passes=10), START, points, fitted)
    np.testing.assert_allclose(found, np.ones(3), atol=0.1)  # the mean is at -1.2


def test_a_site_that_missed_the_training_round_trains_in_the_next_pass(fitted):
    points = {site: np.array([float(at), 0, 0]) for at, site in enumerate("abc")}
    found, trainings = cycle(GeometricMedian(passes=3), START, points, fitted, missing={(0, "c")})
    assert trainings == 3
    assert found[0] == pytest.approx(1.0, abs=0.05)


def test_all_sites_alike_move_the_model_by_their_change(fitted):
    found, _ = cycle(GeometricMedian(), START, {s: np.array([1.0, 2.0, 3.0]) for s in "ab"}, fitted)
    np.testing.assert_allclose(found, [1, 2, 3], atol=1e-12)


@pytest.mark.parametrize("options", [{"passes": 0}, {"passes": 11}, {"nu": 0.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        GeometricMedian(**options)
