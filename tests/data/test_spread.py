"""Columns that vary too little to be summed are refused by name; all others pass untouched."""

from __future__ import annotations

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.data.spread import LEAST_SD, Spread
from cohortium.errors import TrainingFailed

FEATURES = ("age", "molar", "constant", "empty", "flag")


def sites(*, molar):
    rng = np.random.default_rng(0)
    x = np.column_stack(
        [rng.normal(size=60), molar * rng.normal(size=60), np.full(60, 3.0), np.full(60, np.nan), np.arange(60) % 2]
    )
    layout = Layout(features=FEATURES, outcome="number")
    return [Examples(layout=layout, x=x[:20]), Examples(layout=layout, x=x[20:])]


def test_a_column_in_too_large_a_unit_is_named(learn):
    parts = sites(molar=1e-6)
    state = learn(Spread(), parts)
    assert state["narrow"].tolist() == [0, 1, 0, 0, 0]
    with pytest.raises(TrainingFailed, match=r"column 'molar': sd below 0.0039, .* units of about a sd") as told:
        Spread().layout(state, parts[0].layout)
    assert (told.value.code, told.value.stage) == ("units", "spread")


def test_columns_that_vary_enough_or_not_at_all_pass_untouched(learn):
    parts = sites(molar=2 * LEAST_SD)
    state = learn(Spread(), parts)
    assert Spread().layout(state, parts[0].layout) == parts[0].layout
    assert Spread().apply(state, parts[0], own=state) is parts[0]
