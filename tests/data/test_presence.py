"""Which columns are kept: by share of records, and by carriers."""

from __future__ import annotations

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.data.presence import Presence
from cohortium.errors import TrainingFailed


def site(x, features) -> Examples:
    return Examples(layout=Layout(features=features, outcome="number"), x=np.asarray(x, dtype=float))


def test_a_column_below_a_fifth_of_all_records_is_dropped_for_everybody(learn):
    features = ("held", "fifth", "less")
    x = np.ones((100, 3))
    x[20:, 1] = np.nan
    x[19:, 2] = np.nan
    parts = [site(x[:50], features), site(x[50:], features)]
    state = learn(Presence(), parts)
    assert state["present"].tolist() == [100, 20, 19]
    assert Presence().layout(state, parts[1].layout).features == ("held", "fifth")
    assert Presence().apply(state, parts[1], own=state).x.shape == (50, 2)


def test_columns_of_few_carriers_go_only_when_asked(learn):
    x = np.zeros((100, 4))
    x[:14, 0] = 1  # 14 carriers
    x[:15, 1] = 1
    x[:90, 2] = 1  # 10 without
    x[:3, 3] = 0.5  # not a 0/1 column
    parts = [site(x[::2], ("a", "b", "c", "d")), site(x[1::2], ("a", "b", "c", "d"))]
    assert learn(Presence(), parts)["keep"].tolist() == [1, 1, 1, 1]
    assert learn(Presence(min_carriers=15), parts)["keep"].tolist() == [0, 1, 0, 1]


def test_heart_loses_the_columns_one_hospital_has(learn):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(920, 2))
    x[rng.permutation(920)[: 920 - 120], 1] = np.nan  # about one hospital in seven
    assert learn(Presence(), [site(x, ("age", "ca"))])["keep"].tolist() == [1, 0]


def test_nothing_left_is_a_clear_failure(learn):
    x = np.full((50, 2), np.nan)
    with pytest.raises(TrainingFailed, match="no column is present in 20% of the 50 records; lower min_share"):
        learn(Presence(), [site(x, ("a", "b"))])


def test_images_pass_unchanged(learn):
    images = Examples(
        layout=Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 2, 2)),
        x=np.ones((3, 1, 2, 2), dtype=np.float32),
    )
    state = learn(Presence(), [images])
    assert Presence().apply(state, images, own=state) is images


@pytest.mark.parametrize(("option", "value"), [("min_share", 1.5), ("min_share", -0.1), ("min_carriers", -1)])
def test_impossible_options_are_refused(option, value):
    with pytest.raises(ValueError, match=option):
        Presence(**{option: value})
