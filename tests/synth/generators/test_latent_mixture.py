import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cohortium.core.parameters import Parameters
from cohortium.synth.generators.latent_mixture import LatentMixture, integer_layer

MIXTURE = LatentMixture(n_latent=3, n_components=8)


def clouds(n=600, seed=0):
    rng = np.random.default_rng(seed)
    middles = np.array([[2.0, 0, 0], [-2, 1, 0], [0, -2, 1]])
    return middles[rng.integers(0, 3, n)] + 0.3 * rng.normal(size=(n, 3))


def fitted(parts, mixture=MIXTURE):
    state = mixture.initial()
    while not mixture.finished(state):
        answers = [mixture.answer(state, part, np.full(part.shape, 0.01)) for part in parts]
        total = Parameters({name: sum(answer[name] for answer in answers) for name in answers[0]})
        state = mixture.advance(state, total)
    return state


WHOLE = fitted([clouds()])


@settings(max_examples=3, deadline=None)
@given(st.integers(1, 45), st.integers(0, 2**16))
@example(45, 0)
def test_any_partition_gives_the_same_bits(n_sites, seed):
    z = clouds()
    site = np.random.default_rng(seed).integers(0, n_sites, len(z))
    site[0] = n_sites  # one patient alone; some sites may have nobody
    assert fitted([z[site == k] for k in range(n_sites + 1)]).digest == WHOLE.digest


def test_one_patient_fewer_gives_another_mixture():
    assert fitted([clouds()[1:]]).digest != WHOLE.digest


def test_answers_are_whole_numbers_and_do_not_grow_with_the_patients():
    for state in (MIXTURE.initial(), fitted([clouds()])):
        small, large = (MIXTURE.answer(state, clouds(n), np.full((n, 3), 0.01)) for n in (50, 500))
        assert {array.dtype.kind for array in large.values()} == {"i"}
        assert small.like(large)


def test_it_finds_the_clouds_as_scikit_learn_does():
    mixture = pytest.importorskip("sklearn.mixture", reason="scikit-learn is not installed")
    oracle = mixture.GaussianMixture(4, random_state=0).fit(clouds())
    drawn = MIXTURE.sample(WHOLE, 5000, np.random.default_rng(1))
    single = mixture.GaussianMixture(1).fit(clouds())
    ours, best, poor = oracle.score(drawn), oracle.score(oracle.sample(5000)[0]), oracle.score(single.sample(5000)[0])
    assert ours > best - 2.0
    assert poor < best - 10.0


def test_moments_of_draws_are_those_of_the_codes():
    drawn = MIXTURE.sample(WHOLE, 20_000, np.random.default_rng(1))
    np.testing.assert_allclose(drawn.mean(axis=0), clouds().mean(axis=0), atol=0.06)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(clouds().T) + 0.01 * np.eye(3), atol=0.2)


def test_nobody_sends_zeros():
    answer = MIXTURE.answer(WHOLE, np.zeros((0, 3)), np.zeros((0, 3)))
    assert all(not np.asarray(array).any() for array in answer.values())


def test_few_patients_get_few_components():
    assert len(fitted([clouds(25)])["weights"]) == 2


def test_a_row_has_the_same_bits_in_any_company():
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(333, 40)), rng.normal(size=(17, 40)), rng.normal(size=17)
    whole = integer_layer(x, weight, bias)
    for rows in (slice(0, 1), slice(5, 12), slice(100, 333)):
        np.testing.assert_array_equal(integer_layer(x[rows], weight, bias), whole[rows])
    np.testing.assert_allclose(whole, x @ weight.T + bias, atol=0.02)
