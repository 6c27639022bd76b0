"""Shared suite of the seam `Preparation`: every registered one keeps these promises."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.examples import Examples, Layout
from cohortium.data import PREPARATIONS
from cohortium.data.combat import ComBat

LAYOUT = Layout(features=("age", "crp", "male", "gene", "empty"), outcome="binary", classes=("0", "1"))
BY_SITE = {"combat"}  # its question is about sites, so another partition is another question


def table(n: int, seed: int = 0) -> Examples:
    """Correlated columns of very different scales, a 0/1 column, missing values, one column nobody has."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, 4)) @ np.array([[1, 0.5, 0, 0.8], [0, 1, 0, 0.2], [0, 0, 1, 0], [0, 0, 0, 0.5]])
    x = np.column_stack([root[:, 0] * 12 + 60, root[:, 1] * 1e-9, root[:, 2] > 0, root[:, 3] * 1e6, np.zeros(n)])
    x[rng.random(x.shape) < 0.2] = np.nan
    x[:, 4] = np.nan
    return Examples(layout=LAYOUT, x=x, y=(rng.random(n) < 0.5).astype(float))


def split(examples: Examples, site: np.ndarray, n_sites: int) -> list[Examples]:
    return [examples.take(site == s) for s in range(n_sites)]


LEARNED = sorted(set(PREPARATIONS) - {"public"})  # public constants learn nothing; test_public_scale.py has them


@pytest.fixture(params=LEARNED)
def preparation(request):
    return PREPARATIONS.resolve(request.param)()


def test_options_have_defaults_and_cannot_be_changed(preparation):
    assert dataclasses.is_dataclass(preparation)
    assert preparation.learns_by == "sums"
    assert preparation.max_rounds >= 1
    for field in dataclasses.fields(preparation):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(preparation, field.name, 1)


@pytest.mark.parametrize("name", sorted(set(LEARNED) - BY_SITE))
@settings(max_examples=12, deadline=None)
@given(n=st.integers(2, 80), n_sites=st.integers(1, 45), seed=st.integers(0, 2**32 - 1))
def test_every_partition_gives_the_pooled_state_bit_for_bit(learn, name, n, n_sites, seed):
    examples = table(n, seed)
    rng = np.random.default_rng(seed)
    site = rng.integers(0, n_sites, n)
    order = rng.permutation(n)
    preparation = PREPARATIONS.resolve(name)()
    pooled = learn(preparation, [examples])
    assert learn(preparation, split(examples.take(order), site, n_sites)).digest == pooled.digest


def test_sites_without_rows_or_columns_change_nothing(preparation, learn):
    examples = table(120)
    site = np.arange(120) % 3
    parts = split(examples, site, 3)
    lacking = dataclasses.replace(parts[1], x=np.where(np.arange(5) == 1, np.nan, parts[1].x))
    parts[1] = lacking
    with_empty = [*parts, examples.take(np.zeros(0, dtype=int))]
    state = learn(preparation, with_empty)
    assert state == learn(preparation, parts)
    for part in with_empty:
        assert len(preparation.apply(state, part, own=preparation.own(state, part))) == len(part)


def test_layout_and_rows_agree(preparation, learn):
    examples = table(100)
    state = learn(preparation, [examples])
    prepared = preparation.apply(state, examples, own=preparation.own(state, examples))
    assert prepared.layout == preparation.layout(state, examples.layout)
    assert prepared.x.shape == (100, len(prepared.layout.features))
    assert np.array_equal(prepared.y, examples.y)
    assert not np.isinf(prepared.x).any()


def test_a_row_is_prepared_alike_alone_and_in_company(preparation, learn):
    examples = table(60)
    state = learn(preparation, [examples])
    own = preparation.own(state, examples)
    whole = preparation.apply(state, examples, own=own).x
    for row in (0, 17, 59):
        alone = preparation.apply(state, examples.take(np.array([row])), own=own).x
        assert np.array_equal(alone[0], whole[row], equal_nan=True)


def test_test_rows_move_nothing(preparation, learn):
    training, test = table(80, seed=1), table(30, seed=2)
    state = learn(preparation, [training])
    own = preparation.own(state, training)
    shifted = dataclasses.replace(test, x=test.x + 1e3)
    before = preparation.apply(state, training, own=own).x
    preparation.apply(state, shifted, own=own)
    assert np.array_equal(preparation.apply(state, training, own=own).x, before, equal_nan=True)
    assert preparation.own(state, training) == own


def test_shared_state_shows_neither_smallest_nor_largest_value(preparation, learn):
    examples = table(100)
    state = learn(preparation, [examples])
    extremes = {*np.nanmin(examples.x[:, [0, 1, 3]], axis=0), *np.nanmax(examples.x[:, [0, 1, 3]], axis=0)}
    assert extremes.isdisjoint(state.vector().tolist())


def test_a_preparation_has_no_prediction_and_no_named_parts(preparation, learn):
    examples = table(50)
    state = learn(preparation, [examples])
    with pytest.raises(Exception, match="predicts nothing"):
        preparation.predict(state, examples)
    assert preparation.parts(state) == {}


def test_combat_depends_on_sites_and_not_on_the_order_of_rows_or_sites(learn):
    examples = table(90)
    site = np.arange(90) % 3
    parts = split(examples, site, 3)
    state = learn(ComBat(covariates=("age",)), parts)
    turned = [part.take(np.arange(len(part))[::-1]) for part in parts[::-1]]
    assert learn(ComBat(covariates=("age",)), turned) == state
    assert learn(ComBat(covariates=("age",)), [examples]) != state
