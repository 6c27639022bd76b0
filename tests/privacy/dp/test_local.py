"""DP-SGD at one site: the noise promised, the batch expected, the norm that follows the gradients."""

import hashlib
import math

import numpy as np
import pytest

from cohortium.core.private import PrivateSteps
from cohortium.privacy.dp.clipping import Clipped
from cohortium.privacy.dp.local import split_multiplier, train


def steps(**changes):
    plain = {"sample_rate": 0.2, "steps": 400, "clipping_norm": 1.0, "noise_multiplier": 1.5}
    entropy = lambda n: hashlib.shake_256(b"local").digest(n)  # noqa: E731
    return PrivateSteps(**{**plain, "entropy": entropy, **changes})


def run(asked, *, n=100, size=50, length=0.0, patient=None):
    """Every gradient points along the first axis with this length."""
    seen, sizes, norms = [], [], []

    def clipped(rows, norm):
        sizes.append(len(rows))
        norms.append(norm)
        total = np.zeros(size)
        total[0] = len(rows) * min(length, norm)
        return Clipped(sums={"w": total}, n_whole=len(rows) if length <= norm else 0)

    patient = np.arange(n) if patient is None else patient
    end = train(asked, patient, size=size, clipped=clipped, learn=lambda mean: seen.append(mean["w"]))
    return np.array(seen), sizes, norms, end


def test_noise_has_the_promised_scale_over_the_expected_batch_and_not_two_thirds_of_it():
    means, _, _, _ = run(steps())
    wanted = 1.5 / (0.2 * 100)
    assert means.std() == pytest.approx(wanted, rel=0.02)
    assert means.std() > 1.2 * 2 / 3 * wanted


def test_the_sum_is_divided_by_the_expected_batch_and_never_by_the_drawn_one():
    means, sizes, _, _ = run(steps(noise_multiplier=0.06, steps=50), n=107, length=0.5)
    expected = 0.2 * 100  # 107 patients are told as 100
    assert len(set(sizes)) > 5
    assert np.allclose(means[:, 0], np.array(sizes) * 0.5 / expected, atol=0.02)


def test_all_steps_are_taken_also_by_a_site_of_two_patients():
    means, sizes, _, _ = run(steps(steps=60), n=2)
    assert len(means) == 60
    assert 0 in sizes


def test_patients_are_clipped_a_little_below_the_norm():
    _, _, norms, end = run(steps(steps=3))
    assert norms == [1 - 2**-10] * 3
    assert end == 1.0


def test_records_of_one_patient_never_come_together():
    _, sizes, _, _ = run(steps(sample_rate=1.0, steps=5), patient=np.repeat(np.arange(7), 3))
    assert sizes == [7] * 5


@pytest.mark.parametrize("length", [0.01, 30.0])
def test_a_moving_norm_finds_the_length_of_the_gradients(length):
    _, _, _, end = run(steps(clip="quantile", sample_rate=0.5, noise_multiplier=1.0), n=1000, length=length)
    assert 0.6 * length < end < 1.7 * length


@pytest.mark.parametrize(("whole", "expected"), [(1.0, 20.0), (2.5, 6.0), (0.8, 500.0)])
def test_gradient_and_count_cost_together_what_was_agreed(whole, expected):
    gradient, count = split_multiplier(whole, expected=expected)
    assert gradient**-2 + count**-2 == pytest.approx(whole**-2)
    assert gradient < 1.04 * whole
    assert count >= 4 * whole


def test_the_count_is_told_with_its_own_noise():
    """Two runs over gradients that are all whole: the norm grows with a jitter, not on a smooth curve."""
    _, _, norms, _ = run(steps(clip="quantile", steps=100), n=100, length=0.0)
    growth = np.diff(np.log(norms))
    _, count = split_multiplier(1.5, expected=20.0)
    binomial = math.sqrt(0.2 * 0.8 * 100)
    assert growth.std() == pytest.approx(0.2 / (2 * 20) * math.hypot(count, binomial), rel=0.25)
