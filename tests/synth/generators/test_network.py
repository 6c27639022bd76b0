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


def test_a_pair_that_was_to_be_expected_and_never_seen_stays_all_but_unseen():
    """Of 400 patients 32 were to be expected with both flags, none is there, whatever a third flag says."""
    both = np.array([[130, 40, 70, 60], [60, 40, 0, 0]])  # child by (parent, third): none with child and parent
    counts = {0: np.array([[270], [130]]), 1: np.array([[260], [140]]), 2: both}
    apart = Network((Family(0), Family(1), Family(2, (0, 1))), counts, (2, 2, 2))
    found = apart.probabilities[2]
    assert (found[1, 2:] < 1e-5).all()
    assert np.allclose(found.sum(axis=0), 1.0)
    few = Network((Family(0), Family(1, (0,))), {0: np.array([[90], [10]]), 1: np.array([[80, 10], [10, 0]])}, (2, 2))
    assert few.probabilities[1][1, 1] > 0.005  # one patient is expected: not to see one tells nothing
