"""Equal rows and near-duplicate images: found where made, not where by chance."""

from __future__ import annotations

import numpy as np
import pytest

from cohortium.data import duplicates as du


def test_equal_rows_are_paired_with_the_first_of_their_group():
    x = np.array([[1, np.nan], [2, 3], [1, np.nan], [2, 3.0000001], [1, np.nan], [-0.0, 5], [0.0, 5]])
    assert du.equal_rows(du.row_keys(x)).tolist() == [[0, 2], [0, 4], [5, 6]]


def test_rows_without_any_value_are_nobody():
    assert len(du.equal_rows(du.row_keys(np.full((5, 3), np.nan)))) == 0


def test_keys_of_coarse_rows_do_not_collide():
    """0/1 values differ in few, high bits; keys must still tell all 2^14 rows apart."""
    x = ((np.arange(2**14)[:, None] >> np.arange(14)) & 1).astype(float)
    assert len(np.unique(du.row_keys(x))) == 2**14
    assert len(np.unique(du.row_keys(np.arange(50_000.0)[:, None]))) == 50_000


def test_blocks_do_not_change_the_keys(monkeypatch):
    x = np.random.default_rng(0).normal(size=(100, 7))
    whole = du.row_keys(x)
    monkeypatch.setattr(du, "_BLOCK", 20)
    assert np.array_equal(du.row_keys(x), whole)


def test_rare_values_tell_and_common_or_missing_ones_do_not():
    x = np.zeros((100, 4))
    x[:, 0] = np.arange(100)
    x[:3, 1] = 7
    x[0, 2] = np.nan
    x[:50, 3] = 1
    assert du.telling_values(x, np.array([0, 50])).tolist() == [2, 1]


def chests(n, seed=0):
    """Smooth random images, alike in layout as X-rays are."""
    rng = np.random.default_rng(seed)
    base = np.sin(np.linspace(0, 6, 28))[:, None] * np.cos(np.linspace(0, 9, 28))
    return (base + 0.6 * rng.normal(size=(n, 1, 28, 28))).astype(np.float32)


def test_copies_survive_brightness_contrast_and_a_little_noise():
    x = chests(40)
    x[31] = x[3] * 0.8 + 0.1
    x[32] = x[4] + 0.01 * np.random.default_rng(1).normal(size=(1, 28, 28))
    assert du.near_images(x).tolist() == [[3, 31], [4, 32]]


def test_images_that_share_a_hash_but_not_their_pixels_are_no_pair():
    ramp = np.tile(np.arange(27.0) * 0.1, (24, 1))
    x = np.stack([ramp + 5 * np.random.default_rng(seed).normal(size=(24, 1)) for seed in range(6)])[:, None]
    assert len(np.unique(du.difference_hash(x))) == 1
    assert len(du.near_images(x)) == 0


def test_hash_counts_the_steps_of_block_means():
    rising = np.tile(np.arange(27.0), (16, 1))[None, None]
    assert int(du.difference_hash(rising)[0]) == 2**64 - 1
    assert int(du.difference_hash(-rising)[0]) == 0


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="at least 8 x 9 pixels, got 8 x 8"):
        du.difference_hash(np.zeros((1, 1, 8, 8)))
