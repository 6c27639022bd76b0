"""What is printed: nothing small, nothing that gives something small back."""

from __future__ import annotations

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.data.release import describe, join_cells, show_correlations
from cohortium.data.statistics import Correlations, CrossTable, Describe
from cohortium.data.suppression import HIDDEN, Policy, show_row

POLICY = Policy()
LAYOUT = Layout(features=("crp", "male", "rare", "gaps", "alone"), outcome="binary", classes=("no", "yes"))


def sites(n=100, n_sites=3):
    """A number, a 0/1 column, one with 9 carriers, one with 3 gaps, one that a single site has."""
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(5, 2, n), np.arange(n) % 2, np.arange(n) < 9, np.arange(n) % 3 == 0, np.arange(n)])
    x = x.astype(float)
    x[:3, 3] = np.nan
    x[np.arange(n) % n_sites != 0, 4] = np.nan
    y = (np.arange(n) < 3).astype(float)
    subgroups = {"sex": (np.arange(n) % 2).astype(np.int8)}
    whole = Examples(layout=LAYOUT, x=x, y=y, subgroups=subgroups)
    return [whole.take(np.arange(n) % n_sites == s) for s in range(n_sites)], x


def test_columns_show_what_they_may(learn):
    parts, x = sites()
    found = describe(learn(Describe(), parts), LAYOUT, POLICY)
    crp, male, rare, gaps, alone = found.columns
    assert (found.records, found.sites) == (100, 3)
    assert (crp.present, crp.missing, crp.mean) == (100, 0, pytest.approx(x[:, 0].mean()))
    assert crp.sd == pytest.approx(x[:, 0].std(ddof=1))
    assert crp.quantiles == pytest.approx(np.quantile(x[:, 0], [0.25, 0.5, 0.75]), abs=0.2)
    assert (male.present, male.missing, male.ones, male.mean) == (100, 0, 50, 0.5)
    assert (rare.present, rare.ones, rare.mean, rare.reason) == (HIDDEN, None, None, "fewer carriers than may be shown")
    assert (gaps.missing, gaps.present, gaps.mean) == (HIDDEN, HIDDEN, None)
    assert (alone.present, alone.mean, alone.reason) == (HIDDEN, None, "too few sites or records have it")


def test_small_classes_are_hidden_with_their_complement(learn):
    parts, _ = sites()
    assert describe(learn(Describe(), parts), LAYOUT, POLICY).classes.tolist() == [HIDDEN, HIDDEN]


def test_tables_come_suppressed(learn):
    parts, _ = sites()
    tables = (CrossTable(rows="sex", columns="outcome"),)
    shown = describe(learn(Describe(tables=tables), parts), LAYOUT, POLICY, tables=tables).tables[0]
    assert (shown.cells == HIDDEN).all()


@pytest.mark.parametrize(("n", "n_sites"), [(100, 2), (49, 3)])
def test_too_few_sites_or_records_show_nothing_at_all(learn, n, n_sites):
    parts, _ = sites(n, n_sites)
    found = describe(learn(Describe(), parts), LAYOUT, POLICY)
    assert (found.records, found.columns, found.classes) == (HIDDEN, (), None)
    assert found.reason == "needs at least 3 sites and 50 records"


def test_rows_that_add_up_to_a_known_number():
    assert show_row(np.array([3, 50, 47]), POLICY).tolist() == [HIDDEN, 50, HIDDEN]
    assert show_row(np.array([3, 4, 50]), POLICY).tolist() == [HIDDEN, HIDDEN, 50]
    assert show_row(np.array([1, 2, 50]), POLICY).tolist() == [HIDDEN, HIDDEN, HIDDEN]
    assert show_row(np.array([0, 5, 50]), POLICY).tolist() == [0, 5, 50]
    assert show_row(np.array([2, 98, 0]), POLICY).tolist() == [HIDDEN, HIDDEN, 0]


def test_time_cells_join_until_none_is_small():
    events = np.array([1, 2, 0, 3, 0, 7, 0, 0])
    leaving = events + np.array([0, 3, 0, 2, 6, 0, 4, 0])
    found = join_cells(events, leaving + np.eye(8, dtype=int)[7] * 30, POLICY, resolution=0.5)
    assert (found.events.tolist(), found.censored.tolist()) == ([6, 0, 7, 0], [5, 6, 0, 34])
    assert found.start.tolist() == [0, 2, 2.5, 3]
    assert found.end.tolist() == [2, 2.5, 3, 4]
    assert found.at_risk.tolist() == [58, 47, 41, 34]


def test_the_tail_of_few_patients_is_not_shown():
    events = np.array([6, 0, 6, 5])
    found = join_cells(events, events, POLICY, resolution=1.0, least_at_risk=10)
    assert found.at_risk.tolist() == [17, 11]
    leftover = np.array([6, 6, 3])
    assert join_cells(leftover, leftover, POLICY, resolution=1.0).at_risk.tolist() == [15]  # not 9, then 3 left
    assert len(join_cells(np.array([2]), np.array([9]), POLICY, resolution=1.0).events) == 0


def test_survival_statistics_are_described_over_time(learn):
    rng = np.random.default_rng(0)
    layout = Layout(features=("age",), outcome="survival", resolution=0.25, horizon=5)
    parts = [
        Examples(
            layout=layout,
            x=rng.normal(size=(80, 1)),
            time=rng.exponential(2, 80),
            event=(rng.random(80) < 0.6).astype(np.int8),
        )
        for _ in range(3)
    ]
    times = describe(learn(Describe(), parts), layout, POLICY).times
    assert times.at_risk[0] == 240
    assert ((times.events == 0) | (times.events >= 5)).all()
    assert ((times.censored == 0) | (times.censored >= 5)).all()
    assert times.at_risk.tolist() == [240, *(240 - np.cumsum(times.events + times.censored))[:-1]]


def test_images_are_described_by_channel(learn):
    layout = Layout(features=(), outcome="binary", classes=("0", "1"), image=(1, 3, 3))
    x = np.random.default_rng(0).random((60, 1, 3, 3)).astype(np.float32)
    whole = Examples(layout=layout, x=x, y=np.arange(60) % 2.0)
    found = describe(learn(Describe(), [whole.take(np.arange(60) % 3 == s) for s in range(3)]), layout, POLICY)
    assert [c.name for c in found.columns] == ["channel 0"]
    assert found.columns[0].mean == pytest.approx(x.mean())
    assert found.classes.tolist() == [30, 30]


def test_correlations_of_few_pairs_are_not_shown(learn):
    parts, _ = sites(120)
    shown = show_correlations(learn(Correlations(), parts), POLICY)
    assert np.isnan(shown[4]).all()
    assert shown[0, 0] == pytest.approx(1)
