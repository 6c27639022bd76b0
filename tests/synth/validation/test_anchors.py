import numpy as np
import pytest

from cohortium.synth.validation.anchors import Scored, interval, score_all, shuffled


@pytest.fixture(scope="module")
def scores(world):
    mixed = shuffled(world.training, np.random.default_rng(5))
    tables = {"bn": world.synthetic, "shuffled": mixed, "real": world.training}
    return score_all(world.training, world.reserve, tables, draws=3, seed=0)


def test_a_shuffled_table_has_no_skill_and_the_real_one_all(scores):
    for key in ("csf", "gsf"):
        assert abs(np.mean(scores["shuffled"][key].skill)) < 0.25
        assert abs(np.mean(scores["real"][key].skill) - 1.0) < 0.25


def test_the_generator_stands_near_the_ceiling(scores):
    assert np.mean(scores["bn"]["csf"].skill) > 0.6
    assert np.mean(scores["bn"]["gsf"].skill) > 0.6


def test_floor_and_ceiling_are_shared(scores):
    assert np.array_equal(scores["bn"]["csf"].floor, scores["real"]["csf"].floor)


def test_skill_is_not_clipped_and_needs_room():
    one = Scored(score=np.array([1.2, 0.1]), floor=np.array([0.2, 0.5]), ceiling=np.array([1.0, 0.5]), parts={},
                 floor_parts={}, ceiling_parts={})  # fmt: skip
    assert one.skill[0] == pytest.approx(1.25)
    assert np.isnan(one.skill[1])


def test_shuffling_keeps_columns_and_the_outcome_in_one_piece(world):
    mixed = shuffled(world.training, np.random.default_rng(0))
    assert np.array_equal(np.sort(mixed["age"]), np.sort(world.training["age"]))
    pairs = {(t, e) for t, e in zip(world.training["os_years"], world.training["died"], strict=True)}
    assert all(pair in pairs for pair in zip(mixed["os_years"], mixed["died"], strict=True))


def test_intervals_leave_out_what_is_not_there():
    assert interval(np.array([1.0, np.nan, 3.0]))[0] == 2.0
    assert np.isnan(interval(np.array([np.nan]))[0])
