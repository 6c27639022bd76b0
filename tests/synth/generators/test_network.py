import numpy as np

from cohortium.synth.generators.climb import Family
from cohortium.synth.generators.network import Network

CHAIN = Network((Family(0), Family(1, (0,))), {0: np.array([[30], [70]]), 1: np.array([[27, 7], [3, 63]])}, (2, 2))


def test_tables_are_smoothed_towards_the_marginal_by_hand():
    found = CHAIN.probabilities[1]
    m = np.array([34.5, 66.5]) / 101
    assert np.allclose(found[:, 0], [(27 + m[0]) / 31, (3 + m[1]) / 31])
    assert np.allclose(found.sum(axis=0), 1.0)


def test_drawn_patients_have_the_frequencies_of_the_tables():
    codes = CHAIN.sample(40_000, np.random.default_rng(0))
    assert abs(codes[:, 0].mean() - 0.7) < 0.01
    assert abs(codes[codes[:, 0] == 0, 1].mean() - CHAIN.probabilities[1][1, 0]) < 0.02


def test_given_levels_are_not_drawn():
    codes = CHAIN.sample(500, np.random.default_rng(0), given={0: 0})
    assert (codes[:, 0] == 0).all()


def test_log_probabilities_are_those_of_the_tables():
    assert np.allclose(CHAIN.log_probability(np.array([[0, 1]]), 1), np.log(CHAIN.probabilities[1][1, 0]))


def test_edges_and_children_are_counted():
    assert CHAIN.n_edges == 1
    assert CHAIN.children(0) == [1]
