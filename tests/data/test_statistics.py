"""Federated statistics against pooled numpy, bit for bit over partitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.examples import Examples, Layout
from cohortium.data.statistics import Correlations, CrossTable, Describe
from cohortium.errors import InvariantBroken, TrainingFailed

LAYOUT = Layout(features=("crp", "male", "flat", "none"), outcome="binary", classes=("no", "yes"))
TABLES = (CrossTable(rows="sex", columns="outcome"), CrossTable(rows="male", columns="age", shape=(2, 3)))


def cohort(n, seed=0, scale=1.0) -> Examples:
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.lognormal(3, 1.5, n) * scale, rng.random(n) < 0.4, np.full(n, 0.1), np.full(n, np.nan)])
    x[rng.random(n) < 0.15, 0] = np.nan
    y = np.where(rng.random(n) < 0.1, np.nan, rng.random(n) < 0.3)
    subgroups = {"sex": rng.integers(-1, 2, n).astype(np.int8), "age": rng.integers(-1, 3, n).astype(np.int8)}
    return Examples(layout=LAYOUT, x=x.astype(float), y=y.astype(float), subgroups=subgroups)


def split(examples, n_sites, seed):
    rng = np.random.default_rng(seed)
    site = rng.integers(0, n_sites, len(examples))
    order = rng.permutation(len(examples))
    return [examples.take(order[site[order] == s]) for s in range(n_sites)]


@pytest.mark.parametrize("learner", [Describe(tables=TABLES, quantiles=(0.05, 0.5, 0.9)), Correlations()])
@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 150), n_sites=st.integers(1, 45), seed=st.integers(0, 2**32 - 1))
def test_every_partition_gives_the_pooled_statistics_bit_for_bit(learn, learner, n, n_sites, seed):
    examples = cohort(n, seed)
    pooled = learn(learner, [examples])
    swarm = learn(learner, split(examples, n_sites, seed))
    drop = ["sites", "rows"]  # how many sites there are is the one thing that differs
    assert swarm.without(drop).digest == pooled.without(drop).digest
    if "rows" in swarm:
        assert swarm["rows"].tolist()[0] == n


@pytest.mark.parametrize("scale", [1, 1e-9, 1e9])
def test_moments_and_quantiles_agree_with_numpy(learn, scale):
    examples = cohort(5000, scale=scale)
    state = learn(Describe(), split(examples, 4, 0))
    crp = examples.x[:, 0]
    known = crp[~np.isnan(crp)]
    assert state["mean"][0] == pytest.approx(known.mean(), rel=1e-14)
    assert state["variance"][0] == pytest.approx(known.var(), rel=1e-13)
    exact = np.quantile(known, [0.25, 0.5, 0.75], method="inverted_cdf")
    assert (np.abs(state["quantile"][:, 0] - exact) <= state["quantile_error"][:, 0] * 1.000001).all()


def test_split_bins_read_quantiles_a_thousand_times_finer(learn):
    rng = np.random.default_rng(1)
    x = np.column_stack([rng.normal(size=20_000)] * 4)
    examples = Examples(layout=LAYOUT, x=x)
    state = learn(Describe(), [examples])
    assert (state["quantile_error"][:, 0] < 2e-6).all()
    assert np.abs(state["quantile"][1, 0] - np.median(x[:, 0])) < 1e-4


def test_bins_of_few_patients_are_not_split(learn):
    examples = cohort(40)
    state = learn(Describe(), split(examples, 3, 0))
    coarse = state["inside"][:, 0] < 10
    assert coarse.any()
    width = state["width"][0]
    assert (state["quantile_error"][coarse, 0] == width / 2).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_the_range_that_follows_from_mean_and_sd_always_holds_the_quantile(learn, values, q):
    x = np.repeat(np.array(values)[:, None], 4, axis=1)
    state = learn(Describe(quantiles=(q,)), [Examples(layout=LAYOUT, x=x)])
    exact = np.quantile(x[:, 0], q, method="inverted_cdf")
    slack = 1e-9 * max(1.0, np.abs(values).max())
    assert abs(state["quantile"][0, 0] - exact) <= state["quantile_error"][0, 0] * (1 + 1e-6) + slack


def test_counts_and_tables_by_hand(learn):
    x = np.array([[1.0, 1, 0, 5], [2, 0, 1, np.nan], [3, 1, 1, np.nan], [4, np.nan, 0, np.nan]])
    y = np.array([0.0, 1, 1, np.nan])
    subgroups = {"sex": np.array([0, 1, 1, -1], dtype=np.int8), "age": np.array([0, 2, 1, 1], dtype=np.int8)}
    examples = Examples(layout=LAYOUT, x=x, y=y, subgroups=subgroups)
    state = learn(Describe(tables=TABLES), [examples.take(np.array([0, 2])), examples.take(np.array([1, 3]))])
    assert state["count"].tolist() == [4, 3, 4, 1]
    assert state["sites"].tolist() == [2, 2, 2, 1]
    assert state["ones"].tolist() == [1, 2, 2, 0]
    assert state["others"].tolist() == [3, 0, 0, 1]
    assert state["classes"].tolist() == [1, 2]
    assert state["table/0"].tolist() == [[1, 0], [0, 2]]
    assert state["table/1"].tolist() == [[0, 0, 1], [1, 1, 0]]


def test_events_and_leaving_rows_over_time(learn):
    layout = Layout(features=("a",), outcome="survival", resolution=1.0, horizon=3.0)
    time, event = np.array([0.0, 0.5, 1.0, 2.9, 7.0]), np.array([1, 0, 1, 2, 0], dtype=np.int8)
    examples = Examples(layout=layout, x=np.ones((5, 1)), time=time, event=event)
    tables = (CrossTable(rows="a", columns="outcome", shape=(2, 3)),)
    state = learn(Describe(quantiles=(), tables=tables), [examples.take(np.arange(2)), examples.take(np.arange(2, 5))])
    assert state["events"].tolist() == [1, 1, 1, 0]
    assert state["leaving"].tolist() == [2, 1, 1, 1]
    assert state["table/0"].tolist() == [[0, 0, 0], [2, 2, 1]]
    assert int(state["step"][0]) == 1


def test_no_state_holds_a_smallest_or_largest_value(learn):
    examples = cohort(300)
    state = learn(Describe(), split(examples, 3, 0))
    extremes = {np.nanmin(examples.x[:, 0]), np.nanmax(examples.x[:, 0])}
    assert extremes.isdisjoint(state.vector().tolist())


def test_images_and_wide_tables_get_moments_only(learn):
    layout = Layout(features=(), outcome="binary", classes=("0", "1"), image=(2, 3, 3))
    x = np.random.default_rng(0).random((20, 2, 3, 3)).astype(np.float32)
    state = learn(Describe(), [Examples(layout=layout, x=x, y=np.zeros(20))])
    assert np.allclose(state["mean"], x.mean(axis=(0, 2, 3)), rtol=1e-6)
    wide = Examples(layout=Layout(features=tuple(map(str, range(1001))), outcome="number"), x=np.ones((3, 1001)))
    assert "quantile" not in learn(Describe(), [wide])


def test_correlations_agree_with_numpy_over_pairs_that_are_present(learn):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4)) @ rng.normal(size=(4, 4)) * [1, 1e-6, 1e6, 1] + [0, 1, 0, -5]
    x[rng.random(x.shape) < 0.2] = np.nan
    examples = Examples(layout=LAYOUT, x=x)
    state = learn(Correlations(), split(examples, 5, 1))
    for i in range(4):
        for j in range(4):
            both = ~np.isnan(x[:, i]) & ~np.isnan(x[:, j])
            assert state["n"][i, j] == both.sum()
            assert state["r"][i, j] == pytest.approx(np.corrcoef(x[both, i], x[both, j])[0, 1], abs=2e-5)


def test_columns_of_one_value_correlate_with_nothing(learn):
    state = learn(Correlations(), [cohort(100)])
    assert (state["r"][2:] == 0).all()


def test_what_cannot_be_asked_is_refused(learn):
    with pytest.raises(TrainingFailed, match="no subgroup, outcome or 0/1 feature is called 'ward'"):
        learn(Describe(tables=(CrossTable(rows="ward", columns="outcome"),)), [cohort(10)])
    with pytest.raises(TrainingFailed, match="at most 1000 columns"):
        Correlations().initial(
            Layout(features=tuple(map(str, range(1001))), outcome="number"), rng=np.random.default_rng(0)
        )
    with pytest.raises(ValueError, match="quantiles must rise between 0 and 1"):
        Describe(quantiles=(0.5, 0.25))
    with pytest.raises(ValueError, match="must be 2 to 100 levels"):
        CrossTable(rows="a", columns="b", shape=(1, 2))
    for learner in (Describe(), Correlations()):
        with pytest.raises(InvariantBroken, match="predict nothing"):
            learner.predict(learner.initial(LAYOUT, rng=np.random.default_rng(0)), cohort(3))
        assert learner.parts(learner.initial(LAYOUT, rng=np.random.default_rng(0))) == {}
