"""Ranks over sites: equal to numpy bit for bit, and right for every input by the 0-1 principle."""

import numpy as np
import pytest

from cohortium.strategies.sorting_network import comparators, maximum, median, minimum, trimmed_mean

KS = range(1, 33)


def values(k, dtype, n=513, seed=0):
    rng = np.random.default_rng([k, seed])
    drawn = rng.normal(size=(k, n)).astype(dtype)
    drawn[:, ::7] = np.round(drawn[:, ::7])  # ties
    return list(drawn)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [*KS, 33, 40])
def test_median_has_the_bits_of_numpy(k, dtype):
    rows = values(k, dtype)
    wanted = np.median(np.stack(rows) + dtype(0), axis=0).astype(np.float64)
    assert median(rows).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("k", [*KS, 37])
def test_trimmed_mean_equals_the_sorted_one_added_in_order_of_rank(k):
    rows = values(k, np.float32)
    for dropped in {0, k // 4, (k - 1) // 2}:
        ordered = np.sort(np.stack(rows) + np.float32(0), axis=0)[dropped : k - dropped]
        total = ordered[0].astype(np.float64)
        for row in ordered[1:]:
            total = total + row
        assert trimmed_mean(rows, dropped=dropped).tobytes() == (total / (k - 2 * dropped)).tobytes()


@pytest.mark.parametrize("k", [*KS, 35])
def test_extremes_equal_numpy(k):
    rows = values(k, np.float64)
    assert np.array_equal(minimum(rows), np.min(rows, axis=0))
    assert np.array_equal(maximum(rows), np.max(rows, axis=0))


@pytest.mark.parametrize("k", range(1, 13))
def test_network_sorts_every_row_of_zeros_and_ones(k):
    """Knuth: a network that sorts all 2^k inputs of 0 and 1 sorts everything. Pruned: right at the wanted ranks."""
    inputs = ((np.arange(2**k)[:, None] >> np.arange(k)) & 1).T.astype(np.float32)
    ordered = np.sort(inputs, axis=0)
    for wanted in [tuple(range(k)), *((rank,) for rank in range(k))]:
        rows = [row.copy() for row in inputs]
        for i, j, need_min, need_max in comparators(k, wanted):
            low, high = np.minimum(rows[i], rows[j]), np.maximum(rows[i], rows[j])
            rows[i] = low if need_min else np.full_like(low, np.nan)
            rows[j] = high if need_max else np.full_like(high, np.nan)
        assert all(np.array_equal(rows[rank], ordered[rank]) for rank in wanted)


def test_pruning_leaves_out_what_nobody_reads():
    whole, only_median = comparators(16, tuple(range(16))), comparators(16, (7, 8))
    assert len(whole) == 63  # Batcher's network of 16
    assert sum(low + high for *_, low, high in only_median) < 2 * len(whole) - 10
    assert len(comparators(16, (0,))) == 15


def test_blocks_do_not_show():
    rows = values(5, np.float32, n=40_000)
    assert np.array_equal(median(rows), np.median(rows, axis=0).astype(np.float64))


def test_shapes_and_negative_zeros():
    rows = [np.full((2, 3), -0.0, np.float32)] * 3
    found = median(rows)
    assert found.shape == (2, 3)
    assert not np.signbit(found).any()
    assert median([np.float32(3)] * 4).shape == ()
    assert median([np.zeros(0, np.float32)] * 3).shape == (0,)


def test_inputs_are_not_changed():
    rows = values(6, np.float32)
    before = [row.copy() for row in rows]
    median(rows)
    assert all(np.array_equal(a, b) for a, b in zip(rows, before, strict=True))


def test_nothing_to_rank_is_refused():
    with pytest.raises(ValueError, match="at least one array"):
        median([])
    with pytest.raises(ValueError, match="dropped must leave at least one of 4"):
        trimmed_mean(values(4, np.float32), dropped=2)
