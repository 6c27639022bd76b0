"""Mid-ranks and AUROC against scikit-learn and counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cohortium.data import ranks


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_area_is_the_share_of_ordered_pairs(rows):
    x, positive = np.array([float(v) for v, _ in rows]), np.array([p for _, p in rows])
    area = ranks.auroc(x[:, None], positive)[0]
    pairs = [(a > b) + (a == b) / 2 for a in x[positive] for b in x[~positive]]
    assert (np.isnan(area) and not pairs) or area == pytest.approx(np.mean(pairs))


def test_columns_are_independent_and_missing_values_leave_only_their_column():
    rng = np.random.default_rng(0)
    x, positive = rng.normal(size=(200, 3)), rng.random(200) < 0.4
    x[:, 2] = np.nan
    x[::3, 1] = np.nan
    known = ~np.isnan(x[:, 1])
    areas = ranks.auroc(x, positive)
    assert areas[0] == pytest.approx(roc_auc_score(positive, x[:, 0]))
    assert areas[1] == pytest.approx(roc_auc_score(positive[known], x[known, 1]))
    assert np.isnan(areas[2])


def test_mid_ranks_by_hand():
    assert ranks.mid_ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1, 3.5, 2]
