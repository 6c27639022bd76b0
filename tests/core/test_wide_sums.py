"""Exact sums of doubles: against rational arithmetic, for every partition."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cohortium.core import wide_sums as ws
from cohortium.errors import TrainingFailed

values = st.floats(-1e15, 1e15, allow_subnormal=False).filter(lambda v: v == 0 or abs(v) > 1e-20)
columns = hnp.arrays(np.float64, st.integers(1, 30), elements=values)


def moments(column):
    x = np.asarray(column)[:, None]
    n = np.array([len(x)])
    total, squares = ws.wide_sums(x), ws.wide_square_sums(x)
    return ws.wide_mean(total, n)[0], ws.wide_variance(total, squares, n)[0]


@given(columns)
def test_mean_is_the_correctly_rounded_exact_mean(column):
    exact = [Fraction(v) for v in column.tolist()]
    assert moments(column)[0] == float(sum(exact, Fraction(0)) / len(exact))


@given(columns)
def test_variance_is_the_exact_variance_to_the_last_place(column):
    exact = [Fraction(v) for v in column.tolist()]
    mean = sum(exact, Fraction(0)) / len(exact)
    variance = float(sum((v - mean) ** 2 for v in exact) / len(exact))
    assert moments(column)[1] == pytest.approx(variance, rel=3e-16, abs=1e-40)


@settings(max_examples=60)
@given(
    hnp.arrays(np.float64, st.tuples(st.integers(0, 40), st.integers(1, 3)), elements=values),
    st.integers(1, 45),
    st.randoms(),
)
def test_every_partition_gives_the_same_integers(x, n_sites, random):
    site = np.array([random.randrange(n_sites) for _ in range(len(x))], dtype=int)
    parts = [x[site == s] for s in range(n_sites)]
    assert np.array_equal(sum(ws.wide_sums(part) for part in parts), ws.wide_sums(x))
    assert np.array_equal(sum(ws.wide_square_sums(part) for part in parts), ws.wide_square_sums(x))


def test_block_size_does_not_matter(monkeypatch):
    x = np.random.default_rng(0).normal(size=(500, 7)) * 1e9
    whole = ws.wide_sums(x)
    monkeypatch.setattr(ws, "_BLOCK", 21)
    assert np.array_equal(ws.wide_sums(x), whole)


def test_what_ordinary_sums_lose_is_kept():
    assert moments([1e17, 1.0, -1e17, 1.0])[0] == 0.5
    mean, variance = moments([1e9 + 1, 1e9 + 2, 1e9 + 3])
    assert (mean, variance) == (1e9 + 2, 2 / 3)


def test_equal_values_have_variance_zero():
    assert moments([0.1] * 7) == (0.1, 0.0)


def test_nothing_counted_gives_nan():
    empty = np.zeros((0, 2))
    total, squares, n = ws.wide_sums(empty), ws.wide_square_sums(empty), np.zeros(2, dtype=np.int64)
    assert total.shape == (ws.LIMBS, 2)
    assert np.isnan(ws.wide_mean(total, n)).all()
    assert np.isnan(ws.wide_variance(total, squares, n)).all()


def test_single_precision_images_are_summed_by_channel():
    x = np.random.default_rng(1).random((40, 3), dtype=np.float32)
    expected = [math.fsum(column) / 40 for column in x.T.tolist()]
    assert ws.wide_mean(ws.wide_sums(x), np.array([40, 40, 40])).tolist() == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.0**160])
def test_values_that_cannot_be_summed_are_refused_by_name(bad):
    with pytest.raises(TrainingFailed, match="column 'crp'"):
        ws.wide_sums(np.array([[1.0], [bad]]), what="column 'crp'")
    with pytest.raises(TrainingFailed, match="column 'crp'"):
        ws.wide_square_sums(np.array([[1.0], [bad]]), what="column 'crp'")


def test_the_largest_value_that_may_be_summed_is_summed_exactly():
    largest = np.nextafter(2.0**160, 0)
    assert moments([2.0**79, -(2.0**79)]) == (0.0, 2.0**158)
    assert ws.wide_mean(ws.wide_sums(np.array([[largest], [largest]])), np.array([2]))[0] == largest


def test_too_many_values_are_refused():
    with pytest.raises(TrainingFailed, match="at most 2\\^30"):
        ws.wide_mean(np.zeros((ws.LIMBS, 1), dtype=np.int64), np.array([2**30 + 1]))
