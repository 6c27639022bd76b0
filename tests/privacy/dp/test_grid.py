"""Sums on a grid: rounding is in the sensitivity, and the noise is as wide as it asks for."""

import hashlib
import math

import numpy as np
import pytest

from cohortium.errors import TrainingFailed
from cohortium.privacy.dp.grid import Grid
from cohortium.privacy.dp.noise import SecretStream


def stream(seed=0):
    return SecretStream(lambda n: hashlib.shake_256(f"grid|{seed}".encode()).digest(n), use="noise")


@pytest.mark.parametrize(("n", "norm"), [(10, 1.0), (1_000_000, 1.0), (2_700_000, 0.3), (50_000, 17.0)])
def test_the_grid_is_a_power_of_two_fine_enough_for_rounding_to_cost_a_hundredth(n, norm):
    grid = Grid(n=n, norm=norm)
    assert math.log2(grid.units).is_integer()
    assert grid.units * norm >= 100 * math.sqrt(n)
    assert grid.units * norm >= 2**14
    assert grid.sensitivity == grid.units * norm + math.sqrt(n)
    assert grid.sensitivity <= 1.01 * grid.units * norm


def test_one_patient_more_moves_the_rounded_sum_by_less_than_the_sensitivity():
    rng = np.random.default_rng(0)
    grid = Grid(n=2000, norm=1.0)
    for _ in range(20):
        base, patient = rng.normal(size=2000), rng.normal(size=2000)
        patient *= grid.clipped_to / np.linalg.norm(patient)
        moved = np.rint((base + patient) * grid.units) - np.rint(base * grid.units)
        assert np.linalg.norm(moved) <= grid.sensitivity


@pytest.mark.parametrize("multiplier", [0.7, 3.0])
def test_noise_is_the_multiplier_times_the_sensitivity_and_not_two_thirds(multiplier):
    grid = Grid(n=200_000, norm=2.0)
    sums = {"a": np.linspace(-1, 1, 150_000), "b": np.zeros((50, 1000))}
    noisy = grid.noisy(sums, multiplier=multiplier, stream=stream())
    away = np.concatenate([(noisy[n] - np.rint(v * grid.units)).ravel() for n, v in sums.items()])
    assert noisy["b"].shape == (50, 1000)
    assert noisy["b"].dtype == np.int64
    assert away.std() == pytest.approx(multiplier * grid.sensitivity, rel=0.01)
    assert away.std() > 1.3 * (2 / 3) * multiplier * grid.sensitivity
    assert abs(np.corrcoef(away[:100_000], away[100_000:])[0, 1]) < 0.02


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sum_that_is_not_finite_never_becomes_whole_numbers(bad):
    with pytest.raises(TrainingFailed, match="the clipped sum of 'w' is not finite") as caught:
        Grid(n=3, norm=1.0).noisy({"w": np.array([0.5, bad, 0.0])}, multiplier=1.0, stream=stream())
    assert caught.value.code == "not_finite"
