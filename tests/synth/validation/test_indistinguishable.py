import numpy as np

from cohortium.synth.validation.anchors import shuffled
from cohortium.synth.validation.indistinguishable import boosted_scores, separability


def test_real_rows_are_not_told_from_real_rows(world):
    assert abs(separability(world.reserve, world.training.take(np.arange(240)), seed=0) - 0.5) < 0.08


def test_a_shuffled_table_is_told(world):
    assert separability(world.reserve, shuffled(world.training, np.random.default_rng(0)), seed=0) > 0.57


def test_copies_are_not_scored_below_chance_by_lying_in_two_folds(world):
    assert separability(world.training, world.training, seed=0) > 0.42


def test_rows_in_blocks_are_shuffled_first(world):
    ordered = world.training.take(np.argsort(world.training["age"]))
    assert (
        abs(separability(world.training, ordered, seed=0) - separability(world.training, world.training, seed=0)) < 0.06
    )


def test_a_column_nobody_has_is_no_obstacle():
    x = np.column_stack([np.arange(40.0), np.full(40, np.nan)])
    y = (x[:, 0] > 20).astype(float)
    assert boosted_scores(x, y, x).shape == (40,)


def test_fifty_rows_repeated_are_told(world):
    few = world.synthetic.take(np.random.default_rng(0).integers(50, size=240))
    assert separability(world.reserve, few, seed=0) > 0.8
