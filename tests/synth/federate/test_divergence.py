import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import UsageError
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.federate.divergence import Portrait, divergence, jensen_shannon, wasserstein, weight_of_site


def test_jensen_shannon_by_hand():
    same, other = np.array([3.0, 1.0]), np.array([0.0, 5.0])
    assert jensen_shannon(same, same * 7) == 0
    assert jensen_shannon(np.array([1.0, 0.0]), other) == pytest.approx(1.0)
    # p = (1/2, 1/2), q = (1, 0), m = (3/4, 1/4): (log2(2/3) + log2(2)) / 4 + log2(4/3) / 2
    by_hand = 0.25 * (np.log2(2 / 3) + 1) + 0.5 * np.log2(4 / 3)
    assert jensen_shannon(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(by_hand)


def test_wasserstein_of_shifted_points_is_the_shift():
    z, counts = np.array([-1.0, 0.0, 1.0]), np.array([1, 1, 1])
    assert wasserstein(z, z, counts) == 0
    assert wasserstein(z + 0.4, z, counts) == pytest.approx(0.4)
    assert wasserstein(np.array([2.0]), np.array([0.0]), np.array([9])) == pytest.approx(2.0)


def test_who_is_like_the_cohort_weighs_more_and_equal_sites_weigh_one(world, sites):
    portrait = Portrait(facts=world.facts)
    near, far = sites["a"][0], sites["b"][0]
    shifted = far.with_columns({"age": far["age"] - 25, "TP53": np.ones(len(far))})
    state = fit_by_sums(portrait, [near, shifted])
    assert portrait.finished(state)
    assert divergence(state, near) < divergence(state, shifted)
    weights = [weight_of_site(state, rows) for rows in (near, shifted)]
    assert weights[0] > 1024 > weights[1] >= 0
    assert sum(weights) == pytest.approx(2 * 1024, abs=2)
    nothing = Parameters({**state, "divergence": np.array([0, 2])})
    assert weight_of_site(nothing, near) == 1024
    with pytest.raises(UsageError):
        portrait.predict(state, None)


def test_only_hundredths_leave_a_site(world, sites):
    portrait = Portrait(facts=world.facts)
    state = portrait.initial(None, rng=None)
    for _ in range(2):
        state = portrait.advance(state, portrait.answer(state, sites["a"][0]))
    sent = portrait.answer(state, sites["b"][0])
    assert list(sent) == ["divergence"]
    assert sent["divergence"].tolist() == [divergence(state, sites["b"][0]), 1]
    assert sent["divergence"].dtype == np.int64


def test_a_portrait_of_impossible_counts_is_not_made(world):
    one = Portrait(facts=world.facts)
    start = one.initial(None, rng=None)
    told = one.answer(start, world.training)
    with pytest.raises(ValueError, match="no counts of patients"):
        one.advance(start, Parameters({name: -array for name, array in told.items()}))
