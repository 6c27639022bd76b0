"""The integer noise has the promised distribution, and two thirds of it would be noticed."""

import hashlib
import math

import numpy as np
import pytest
from scipy import stats

from cohortium.privacy.dp.noise import MAX_STD, IntegerGaussian, SecretStream, _mass, _split, _Table

N = 1_000_000


def entropy(seed):
    return lambda n: hashlib.shake_256(f"noise|{seed}".encode()).digest(n)


def stream(seed):
    return SecretStream(entropy(seed), use="test")


def p_value(values, std):
    """Chi-square of integers against the discrete Gaussian, in some 60 cells of equal width."""
    width = max(1, round(std / 10))
    edges = np.arange(-30, 31) * width
    x = np.arange(math.floor(-12 * std), math.ceil(12 * std) + 1, dtype=np.float64)
    mass = np.exp(-(x**2) / (2 * std**2))
    mass /= mass.sum()
    cell = np.searchsorted(edges, x, side="right")
    expected = np.bincount(cell, weights=mass, minlength=len(edges) + 1) * len(values)
    found = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    used = expected > 5
    found = np.append(found[used], found[~used].sum())
    expected = np.append(expected[used], max(expected[~used].sum(), 1e-9))
    keep = expected > 1
    return stats.chisquare(found[keep], expected[keep] * found[keep].sum() / expected[keep].sum()).pvalue


@pytest.mark.parametrize("std", [8.0, 64.0, 1024.0, 5000.0, 263_787.0])
def test_the_distribution_is_the_discrete_gaussian(std):
    values = IntegerGaussian(std).draw(N, stream(std))
    assert p_value(values, std) > 1e-4
    assert values.std() == pytest.approx(std, rel=0.003)
    assert abs(values.mean()) < 4 * std / math.sqrt(N)


@pytest.mark.parametrize("std", [8.0, 64.0, 1024.0, 5000.0])
def test_two_thirds_of_the_noise_are_rejected(std):
    assert p_value(IntegerGaussian(2 / 3 * std).draw(N, stream(std)), std) < 1e-12


def low_digits(values):
    """p-value of the last three binary digits being uniform."""
    return stats.chisquare(np.bincount(values.astype(np.int64) & 7, minlength=8)).pvalue


def test_floating_point_noise_on_the_grid_is_betrayed_by_its_low_digits():
    std = 2e8
    assert low_digits(IntegerGaussian(std).draw(N, stream(9))) > 1e-4
    floats = np.random.default_rng(1).standard_normal(N, dtype=np.float32) * np.float32(std)
    assert low_digits(np.rint(floats)) < 1e-12


def test_a_table_holds_the_exact_masses():
    table = _Table(3.5)
    mass = _mass(3.5, 35)
    assert sum(mass) == 1 << 96
    bits = table._bits
    inside = [0] * (1 << bits)
    for column, packed in enumerate(table._packed.tolist()):
        threshold = (packed >> bits << 64) + int(table._lower[column])
        alias = packed & (1 << bits) - 1
        if alias == column:
            threshold = 1 << 96 - bits
        inside[column] += threshold
        inside[alias] += (1 << 96 - bits) - threshold
    assert inside == mass + [0] * ((1 << bits) - len(mass))


@pytest.mark.parametrize("std", [1.0, 20.0, 333.0])
def test_masses_are_those_of_the_formula(std):
    reach = math.ceil(10 * std)
    x = np.arange(-reach, reach + 1)
    expected = np.exp(-(x**2) / (2 * std**2))
    assert np.allclose(
        np.array([m / 2**96 for m in _mass(std, reach)]), expected / expected.sum(), rtol=1e-10, atol=2.0**-95
    )


@pytest.mark.parametrize("std", [1025.0, 3000.0, 1e5, 4.9e5, 6e5, 1e7, 2e8])
def test_wide_noise_is_made_of_narrow_ones_that_fill_the_lattice(std):
    parts = _split(std)
    assert math.sqrt(sum((step * s) ** 2 for step, s in parts)) == pytest.approx(std, rel=1e-12)
    assert all(s <= 1024.0 for _, s in parts)
    reached = 0.0
    for step, s in parts:  # what is already there is as wide as 2.1 steps of the next lattice
        assert reached == 0.0 or reached >= 2.09 * step
        reached = math.hypot(reached, step * s)


def test_two_widened_parts_have_the_mass_of_one():
    """X1 + 48 X2 against the discrete Gaussian of their standard deviation, exactly, within 6 of them."""
    (_, narrow), (step, _) = _split(5000.0)
    reach = math.ceil(10 * narrow)
    half = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * narrow**2))
    spread = np.zeros(2 * reach * step + 1)
    spread[::step] = half / half.sum()
    both = np.convolve(half / half.sum(), spread)
    x = np.arange(len(both)) - len(both) // 2
    near = np.abs(x) <= 6 * 5000
    exact = np.exp(-(x[near] ** 2) / (2 * 5000.0**2)) / (5000.0 * math.sqrt(2 * math.pi))
    assert np.max(np.abs(both[near] / exact - 1)) < 1e-9


def test_adding_in_place_and_drawing_are_the_same():
    values = np.arange(70_000, dtype=np.int64)
    noise = IntegerGaussian(3000.0)
    noise.add(values, stream(1))
    assert np.array_equal(values - np.arange(70_000), noise.draw(70_000, stream(1)))


def test_streams_of_other_keys_or_uses_differ_and_entropy_is_asked_once():
    asked = []

    def counted(n):
        asked.append(n)
        return bytes(n)

    one = SecretStream(counted, use="noise")
    assert one.bytes(64) != SecretStream(counted, use="sampling").bytes(64)
    assert one.bytes(64) != one.bytes(64)
    assert asked == [32, 32]
    assert stream(1).bytes(16) != stream(2).bytes(16)


def test_uniform_numbers_and_whole_ones_below_a_bound():
    uniform = stream(3).uniform(200_000)
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    below = stream(4).below(np.full(100_000, 7))
    assert stats.chisquare(np.bincount(below, minlength=7)).pvalue > 1e-3
    assert stream(5).below(np.ones(10, dtype=np.int64)).tolist() == [0] * 10


@pytest.mark.parametrize("std", [0.0, 0.01, -1.0, 2 * MAX_STD, math.inf, math.nan])
def test_noise_that_cannot_be_drawn_is_refused(std):
    with pytest.raises(ValueError, match="std of the noise must be"):
        IntegerGaussian(std)
