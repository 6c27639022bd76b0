import numpy as np

from cohortium.synth.validation.membership import membership, true_positive_rate


def test_members_of_a_copied_table_are_found(world):
    found = membership(world.training, world.reserve, world.training, np.random.default_rng(0))
    assert found.distance.value > 0.95
    assert found.found > 0.9


def test_members_of_a_synthetic_table_are_not(world):
    found = membership(world.training, world.reserve, world.synthetic, np.random.default_rng(0))
    assert found.worst.value < 0.58
    assert found.worst.interval[0] < 0.53


def test_the_rate_at_one_per_cent_needs_a_hundred_outsiders():
    assert true_positive_rate(np.ones(50), np.zeros(99)) is None
    assert true_positive_rate(np.ones(50), np.zeros(100)) == 1.0
