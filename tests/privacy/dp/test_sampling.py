"""Poisson sampling over patients: each alone, with the same probability, never with two records."""

import hashlib

import numpy as np
import pytest
from scipy import stats

from cohortium.privacy.dp.noise import SecretStream
from cohortium.privacy.dp.sampling import PatientSampler, public_size


def stream(seed=0):
    return SecretStream(lambda n: hashlib.shake_256(f"sampling|{seed}".encode()).digest(n), use="test")


def test_batch_sizes_are_binomial_and_not_constant():
    sampler, chance = PatientSampler(np.arange(400)), stream()
    sizes = np.array([len(sampler.draw(0.05, chance)) for _ in range(4000)])
    assert sizes.mean() == pytest.approx(20, abs=0.3)
    assert sizes.var() == pytest.approx(19, rel=0.1)


def test_patients_are_drawn_independently_of_each_other():
    sampler, chance = PatientSampler(np.arange(2)), stream(1)
    drawn = [tuple(sampler.draw(0.5, chance).tolist()) for _ in range(4000)]
    counts = [drawn.count(one) for one in ((), (0,), (1,), (0, 1))]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_of_several_records_one_is_drawn_each_as_often_as_the_others():
    patient = np.array([7, 3, 7, 3, 7, 5])
    sampler, chance = PatientSampler(patient), stream(2)
    assert sampler.n_patients == 3
    seen = np.zeros(6)
    for _ in range(6000):
        rows = sampler.draw(1.0, chance)
        assert sorted(patient[rows].tolist()) == [3, 5, 7]
        seen[rows] += 1
    assert seen[5] == 6000
    assert stats.chisquare(seen[[0, 2, 4]]).pvalue > 1e-3
    assert stats.chisquare(seen[[1, 3]]).pvalue > 1e-3


def test_an_empty_draw_is_a_draw():
    chance = stream(3)
    assert any(len(PatientSampler(np.arange(3)).draw(0.1, chance)) == 0 for _ in range(20))
    assert len(PatientSampler(np.zeros(0, dtype=np.int64)).draw(1.0, chance)) == 0


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5])
def test_a_rate_that_is_no_probability_is_refused(rate):
    with pytest.raises(ValueError, match="sample rate"):
        PatientSampler(np.arange(3)).draw(rate, stream())


@pytest.mark.parametrize(("n", "told"), [(0, 10), (7, 10), (10, 10), (19, 10), (60, 60), (239, 230)])
def test_a_site_tells_its_size_in_tens(n, told):
    assert public_size(n) == told
