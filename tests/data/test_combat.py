"""ComBat over sites against the pooled algorithm, and what it must and must not remove."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.data.combat import ComBat
from cohortium.errors import TrainingFailed

GENES = 12


def scanners(sizes=(40, 25, 60), seed=0):
    """(x, site): age in column 0, older at later sites; measures that depend on age, with site shifts and stretches."""
    rng = np.random.default_rng(seed)
    site = np.repeat(np.arange(len(sizes)), sizes)
    age = rng.normal(50, 10, len(site)) + 5 * site
    slope = rng.normal(size=GENES) * 0.2
    shift, stretch = rng.normal(size=(len(sizes), GENES)) * 2 + 1, rng.uniform(0.5, 2, (len(sizes), GENES))
    genes = 7 + age[:, None] * slope + shift[site] + stretch[site] * rng.normal(size=(len(site), GENES))
    return np.column_stack([age, genes]), site


def sites(x, site):
    layout = Layout(features=("age", *(f"g{i}" for i in range(GENES))), outcome="number")
    return [Examples(layout=layout, x=x[site == s]) for s in np.unique(site)]


def pooled_combat(x, site):
    """The published algorithm on one table: dummies and covariate by least squares, parametric priors."""
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    age, y = z[:, :1], z[:, 1:]
    dummies = (site[:, None] == np.unique(site)).astype(float)
    design = np.hstack([dummies, age])
    b, *_ = np.linalg.lstsq(design, y, rcond=None)
    k = dummies.shape[1]
    grand = dummies.mean(axis=0) @ b[:k]
    noise = np.sqrt(((y - design @ b) ** 2).mean(axis=0))
    mean = grand + age @ b[k:]
    s = (y - mean) / noise
    result = np.empty_like(y)
    for one in range(k):
        rows = s[site == one]
        n, g, d = len(rows), rows.mean(axis=0), rows.var(axis=0, ddof=1)
        g_bar, t2, m, v = g.mean(), g.var(ddof=1), d.mean(), d.var(ddof=1)
        a, th = (2 * v + m**2) / v, (m * v + m**3) / v
        g_star, d_star = g, d
        for _ in range(1000):
            g_star = (n * t2 * g + d_star * g_bar) / (n * t2 + d_star)
            d_star = (th + 0.5 * ((rows - g_star) ** 2).sum(axis=0)) / (n / 2 + a - 1)
        result[site == one] = (rows - g_star) / np.sqrt(d_star)
    return result * noise + mean


def test_sums_over_sites_give_the_pooled_algorithm(learn):
    x, site = scanners()
    preparation = ComBat(covariates=("age",), clip=100)
    parts = sites(x, site)
    state = learn(preparation, parts)
    found = np.concatenate([preparation.apply(state, p, own=preparation.own(state, p)).x for p in parts])
    assert np.abs(found[:, 1:] - pooled_combat(x, site)).max() < 2e-4
    assert np.allclose(found[:, 0], (x[:, 0] - x[:, 0].mean()) / x[:, 0].std(), atol=1e-12)


def test_site_differences_vanish_and_age_effects_stay(learn):
    x, site = scanners((200, 150, 250))
    preparation = ComBat(covariates=("age",))
    parts = sites(x, site)
    state = learn(preparation, parts)
    found = np.concatenate([preparation.apply(state, p, own=preparation.own(state, p)).x for p in parts])
    for gene in range(1, GENES + 1):
        design = np.column_stack([np.ones(len(x)), found[:, 0], site == 1, site == 2])
        _, age, second, third = np.linalg.lstsq(design, found[:, gene], rcond=None)[0]
        assert max(abs(second), abs(third)) < 0.08
        pure = np.linalg.lstsq(
            np.column_stack([site[:, None] == np.arange(3), found[:, 0]]), found[:, gene], rcond=None
        )
        assert age == pytest.approx(pure[0][-1], abs=1e-9)
        residual = found[:, gene] - design[:, :2] @ np.linalg.lstsq(design[:, :2], found[:, gene], rcond=None)[0]
        spread = [residual[site == s].std() for s in range(3)]
        assert max(spread) / min(spread) < 1.15


def test_without_the_covariate_a_real_difference_between_sites_is_removed_too(learn):
    x, site = scanners((200, 150, 250))
    parts = sites(x, site)
    state = learn(ComBat(), parts)
    ages = [ComBat().apply(state, p, own=ComBat().own(state, p)).x[:, 0].mean() for p in parts]
    assert max(ages) - min(ages) < 0.05


def test_a_missing_value_changes_only_its_own_cell_and_the_moments(learn):
    x, site = scanners()
    x[3, 4] = np.nan
    parts = sites(x, site)
    preparation = ComBat(covariates=("age",))
    state = learn(preparation, parts)
    found = preparation.apply(state, parts[0], own=preparation.own(state, parts[0])).x
    assert np.argwhere(np.isnan(found)).tolist() == [[3, 4]]


def test_a_site_of_fewer_than_ten_rows_is_only_scaled(learn):
    x, site = scanners((40, 9, 60))
    parts = sites(x, site)
    state = learn(ComBat(clip=100), parts)
    own = ComBat().own(state, parts[1])
    assert not own["shift"].any()
    assert (own["stretch"] == 1).all()
    scaled = (parts[1].x - x.mean(axis=0)) / x.std(axis=0)
    assert np.allclose(ComBat(clip=100).apply(state, parts[1], own=own).x, scaled, atol=1e-6)


def test_the_outcome_or_an_unknown_column_cannot_be_a_covariate():
    layout = Layout(features=("age",), outcome="number")
    with pytest.raises(TrainingFailed, match="'label' is not one of the features"):
        ComBat(covariates=("label",)).initial(layout, rng=np.random.default_rng(0))


def test_the_result_ignores_the_outcome(learn):
    x, site = scanners()
    parts = sites(x, site)
    labelled = [dataclasses.replace(p, y=np.random.default_rng(1).random(len(p))) for p in parts]
    preparation = ComBat()
    assert learn(preparation, parts) == learn(preparation, labelled)
    state = learn(preparation, parts)
    assert preparation.own(state, parts[0]) == preparation.own(state, labelled[0])


def test_a_constant_covariate_is_refused(learn):
    x, site = scanners()
    x[:, 0] = 50
    with pytest.raises(TrainingFailed, match="covariate in column 1 has one value only"):
        learn(ComBat(covariates=("age",)), sites(x, site))


def test_images_are_refused():
    layout = Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 2, 2))
    with pytest.raises(TrainingFailed, match="not on images"):
        ComBat().initial(layout, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("option", "value"), [("clip", 0), ("tolerance", 0), ("min_rows", 1), ("covariates", ("age", "age"))]
)
def test_impossible_options_are_refused(option, value):
    with pytest.raises(ValueError, match=option):
        ComBat(**{option: value})
