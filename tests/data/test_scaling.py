"""Scaling over all sites, by site, and in between: hand-made and scikit-learn answers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.data.scaling import PerSite, Shrunk, Standard


def site(x, features=None) -> Examples:
    x = np.asarray(x, dtype=float)
    features = features or tuple(f"c{i}" for i in range(x.shape[1]))
    return Examples(layout=Layout(features=features, outcome="number"), x=x)


def images(x) -> Examples:
    x = np.asarray(x, dtype=np.float32)
    return Examples(layout=Layout(features=(), outcome="binary", classes=("0", "1"), image=x.shape[1:]), x=x)


def test_standard_scaling_is_the_pooled_one_of_scikit_learn(learn):
    x = np.random.default_rng(0).normal(size=(300, 5)) * [1, 1e-7, 1e7, 3, 0.1] + [0, 1e-6, 1e9, -4, 2]
    x[::9, 2] = np.nan
    parts = [site(x[:7]), site(x[7:150]), site(x[150:])]
    state = learn(Standard(clip=100), parts)
    scaled = np.concatenate([Standard(clip=100).apply(state, part, own=Parameters()).x for part in parts])
    assert np.allclose(scaled, StandardScaler().fit_transform(x), rtol=0, atol=1e-9, equal_nan=True)


def test_scaled_values_are_clipped_and_missing_ones_stay(learn):
    x = np.zeros((101, 1))
    x[0], x[1] = 1000, np.nan
    state = learn(Standard(), [site(x)])
    scaled = Standard().apply(state, site(x), own=Parameters()).x
    assert scaled[0, 0] == 5
    assert np.isnan(scaled[1, 0])


def test_columns_with_one_value_are_dropped_by_name(learn):
    x = np.array([[0.1, 1, np.nan], [0.1, 2, np.nan], [0.1, 3, np.nan]])
    state = learn(Standard(), [site(x[:1], ("const", "age", "none")), site(x[1:], ("const", "age", "none"))])
    scaled = Standard().apply(state, site(x, ("const", "age", "none")), own=Parameters())
    assert scaled.layout.features == ("age",)
    assert scaled.x[:, 0].tolist() == [-np.sqrt(1.5), 0, np.sqrt(1.5)]


def test_site_scaling_gives_every_site_mean_zero_and_unit_sd(learn):
    rng = np.random.default_rng(1)
    parts = [site(rng.normal(size=(40, 3)) * scale + shift) for scale, shift in ((1, 0), (5, 100), (0.1, -3))]
    state = learn(PerSite(), parts)
    for part in parts:
        scaled = PerSite().apply(state, part, own=PerSite().own(state, part)).x
        assert np.allclose(scaled.mean(axis=0), 0, atol=1e-12)
        assert np.allclose(scaled.std(axis=0), 1, atol=1e-12)


def test_test_rows_are_scaled_by_the_training_moments_of_their_own_site(learn):
    training, other, test = site([[1.0], [3.0]]), site([[10.0], [30.0]]), site([[5.0]])
    state = learn(PerSite(), [training, other])
    assert PerSite().apply(state, test, own=PerSite().own(state, training)).x.tolist() == [[3.0]]
    assert PerSite().apply(state, test, own=PerSite().own(state, other)).x.tolist() == [[-1.5]]


def test_a_site_that_lacks_a_column_uses_the_global_moments(learn):
    parts = [site([[0.0, 2.0], [2.0, 4.0]]), site([[5.0, np.nan], [7.0, np.nan]])]
    state = learn(PerSite(), parts)
    own = PerSite().own(state, parts[1])
    assert own["mean"].tolist() == [6, 3]
    assert own["sd"].tolist() == [1, 1]


def test_a_column_constant_at_one_site_is_centred_there_and_keeps_the_global_sd(learn):
    parts = [site([[0.0], [4.0]]), site([[9.0], [9.0]])]
    state = learn(PerSite(), parts)
    own = PerSite().own(state, parts[1])
    assert own["mean"].tolist() == [9]
    assert own["sd"].tolist() == state["sd"].tolist()


def test_shrunk_moments_by_hand(learn):
    parts = [site([[0.0], [4.0]]), site([[10.0], [10.0]])]  # global mean 6, variance 18
    state = learn(Shrunk(weight=2), parts)
    own = Shrunk(weight=2).own(state, parts[0])  # site mean 2, variance 4, n = 2 = weight
    assert own["mean"].tolist() == [4]
    assert own["sd"].tolist() == pytest.approx([np.sqrt(11)])


def test_shrinking_lies_between_site_and_global_and_vanishes_with_many_records(learn):
    rng = np.random.default_rng(2)
    small, large = site(rng.normal(size=(5, 1)) + 3), site(rng.normal(size=(5000, 1)) - 3)
    state = learn(Shrunk(), [small, large])
    share = 5 / 15
    assert float(Shrunk().own(state, small)["mean"][0]) == pytest.approx(
        share * small.x.mean() + (1 - share) * float(state["mean"][0])
    )
    assert abs(float(Shrunk().own(state, large)["mean"][0]) - large.x.mean()) < 0.002


def test_a_new_site_without_training_rows_falls_back_to_the_global_moments(learn):
    parts = [site([[0.0], [4.0]]), site([[10.0], [2.0]])]
    nobody = site(np.zeros((0, 1)))
    for preparation in (PerSite(), Shrunk()):
        state = learn(preparation, parts)
        own = preparation.own(state, nobody)
        assert own["mean"].tolist() == state["mean"].tolist()
        assert np.allclose(own["sd"], state["sd"])


@pytest.mark.parametrize("preparation", [Standard(), PerSite(), Shrunk()])
def test_images_have_one_mean_and_sd_per_channel(learn, preparation):
    rng = np.random.default_rng(3)
    x = rng.random((30, 2, 4, 4)) * np.array([1, 50])[:, None, None] + np.array([0, 7])[:, None, None]
    parts = [images(x[:11]), images(x[11:])]
    state = learn(preparation, parts)
    assert np.allclose(state["mean"], x.astype(np.float32).mean(axis=(0, 2, 3)), rtol=1e-5)
    scaled = preparation.apply(state, images(x), own=preparation.own(state, images(x)))
    assert scaled.x.dtype == np.float32
    assert scaled.layout.image == (2, 4, 4)
    assert np.allclose(scaled.x.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    assert np.allclose(scaled.x.std(axis=(0, 2, 3)), 1, atol=1e-5)


@pytest.mark.parametrize("make", [Standard, PerSite, Shrunk])
def test_impossible_options_are_refused(make):
    with pytest.raises(ValueError, match="clip must be positive and finite, got 0"):
        make(clip=0)


def test_weight_must_be_positive():
    with pytest.raises(ValueError, match="weight must be positive"):
        Shrunk(weight=0)
