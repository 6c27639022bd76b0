"""Exact moments of columns and channels."""

from __future__ import annotations

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.data import moments as mo
from cohortium.errors import TrainingFailed


def column_examples(x) -> Examples:
    x = np.asarray(x, dtype=float)
    return Examples(layout=Layout(features=tuple(f"c{i}" for i in range(x.shape[1])), outcome="number"), x=x)


def test_moments_by_hand_leave_missing_values_out():
    found = mo.moments(mo.moment_sums(column_examples([[1, 5, np.nan], [3, np.nan, np.nan], [8, 5, np.nan]])))
    assert found.count.tolist() == [3, 2, 0]
    assert found.mean[:2].tolist() == [4, 5]
    assert found.variance[:2].tolist() == [26 / 3, 0]
    assert np.isnan(found.mean[2])
    assert found.usable.tolist() == [True, False, False]


def test_moments_agree_with_numpy():
    x = np.random.default_rng(0).normal(size=(500, 4)) * [1, 1e-8, 1e8, 5] + [0, 1e-8, 1e9, -3]
    found = mo.moments(mo.moment_sums(column_examples(x)))
    assert np.allclose(found.mean, x.mean(axis=0), rtol=1e-13)
    assert np.allclose(found.variance, x.var(axis=0), rtol=1e-12)


def test_images_are_counted_by_channel():
    x = np.random.default_rng(1).random((7, 2, 3, 4), dtype=np.float32)
    examples = Examples(layout=Layout(features=(), outcome="binary", classes=("0", "1"), image=(2, 3, 4)), x=x)
    found = mo.moments(mo.moment_sums(examples))
    assert mo.n_columns(examples.layout) == 2
    assert found.count.tolist() == [84, 84]
    assert np.allclose(found.mean, x.astype(float).mean(axis=(0, 2, 3)), rtol=1e-14)


def test_blocks_do_not_change_a_bit(monkeypatch):
    examples = column_examples(np.random.default_rng(2).normal(size=(101, 3)))
    whole = mo.moment_sums(examples)
    monkeypatch.setattr(mo, "_BLOCK", 7)
    assert mo.moment_sums(examples) == whole


def test_infinite_values_are_refused():
    with pytest.raises(TrainingFailed, match="not finite"):
        mo.moment_sums(column_examples([[1.0], [np.inf]]))
