"""The integer noise has the promised distribution, and two thirds of it would be noticed."""

import hashlib
import math

import numpy as np
import pytest
from scipy import stats

from cohortium.privacy.dp.noise import MAX_STD, IntegerGaussian, SecretStream, _boxes, _Cells, _mass, _table

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


@pytest.mark.parametrize("std", [8.0, 64.0, 1024.0, 1025.0, 5000.0, 263_787.0])
def test_the_distribution_is_the_discrete_gaussian(std):
    values = IntegerGaussian(std).draw(N, stream(std))
    assert p_value(values, std) > 1e-4
    assert values.std() == pytest.approx(std, rel=0.003)
    assert abs(values.mean()) < 4 * std / math.sqrt(N)


@pytest.mark.parametrize("std", [8.0, 64.0, 1024.0, 5000.0, 263_787.0])
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
    table = _table(3.5)
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


@pytest.mark.parametrize("std", [1025.0, 3000.0, 5000.0])
def test_boxes_and_what_stands_above_them_have_the_mass_of_one_gaussian(std):
    """Every integer within 6 standard deviations, against the formula."""
    cells = _Cells(std)
    x = np.arange(-cells._reach * cells._size, cells._reach * cells._size)
    boxes = _boxes(std, cells._size, cells._reach)
    above, rise = (2**96 - sum(boxes)) / 2**96, cells._rise(x)
    assert (rise >= 0).all()
    assert above < 1e-3
    mass = np.repeat(np.array([box / 2**96 for box in boxes]) / cells._size, cells._size) + above * rise / rise.sum()
    exact = np.exp(-(x**2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))
    near = np.abs(x) <= 6 * std
    assert np.max(np.abs(mass[near] / exact[near] - 1)) < 1e-13


@pytest.mark.parametrize("std", [1025.0, 5000.0, 1e5])
def test_no_value_rises_above_what_its_cell_is_proposed_with(std):
    cells = _Cells(std)
    x = np.arange(-cells._reach * cells._size, cells._reach * cells._size)
    cell = x >> cells._bits
    assert (cells._rise(x) <= cells._tops[np.where(cell >= 0, cell, -1 - cell)]).all()


def test_what_stands_above_the_boxes_is_drawn_by_its_height():
    cells = _Cells(5000.0)
    values = cells._above(400_000, stream(11))
    x = np.arange(-cells._reach * cells._size, cells._reach * cells._size)
    group = ((x // 1000).clip(-15, 15) + 15) * cells._size + (x & cells._size - 1)  # where, and the place in the cell
    expected = np.bincount(group, weights=cells._rise(x))
    expected *= len(values) / expected.sum()
    found = np.bincount(group[values - x[0]], minlength=len(expected))
    used = expected > 5
    assert stats.chisquare(found[used], expected[used] * found[used].sum() / expected[used].sum()).pvalue > 1e-4
    flat = np.full(used.sum(), found[used].sum() / used.sum())
    assert stats.chisquare(found[used], flat).pvalue < 1e-12


def test_places_in_a_cell_are_even():
    values = IntegerGaussian(263_787.0).draw(N, stream(12))
    assert stats.chisquare(np.bincount(values & 511, minlength=512)).pvalue > 1e-4


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
