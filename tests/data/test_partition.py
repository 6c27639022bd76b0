import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.data.partition import NATURE_2B, by_column, case_control, iid, label_skew, site_name, size_skew, take
from cohortium.data.table import Table
from cohortium.errors import DataError


def rng(seed=0):
    return np.random.default_rng(seed)


def covers(sites, n):
    rows = np.concatenate(list(sites.values()))
    return len(rows) == n and sorted(rows.tolist()) == list(range(n))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Long Beach VA", "long-beach-va"), ("7", "7"), ("São Paulo (2)", "sao-paulo-2"), ("__x__", "x"),
        ("A" * 40, "a" * 32), ("x" * 31 + " yz", "x" * 31),
    ],
)  # fmt: skip
def test_site_names_are_slugs(text, name):
    assert site_name(text) == name


def test_names_without_a_letter_and_names_that_meet_are_refused():
    with pytest.raises(DataError, match="a site name has no letter or digit"):
        site_name("東京")
    table = Table.from_columns({"site": ["St. Ann", "st ann", "x"]})
    with pytest.raises(DataError, match=r"site column 'site': 'St\. Ann' and 'st ann' both give"):
        by_column(table, "site")
    with pytest.raises(DataError, match="site column 'site': 1 rows name no site; fill or remove them"):
        by_column(Table.from_columns({"site": ["a", "", "b"]}), "site")
    with pytest.raises(DataError, match="no column 'ward'; found: site"):
        by_column(table, "ward")


def test_real_sites_come_from_their_column():
    table = Table.from_columns({"site": [2, 1, 2, 3], "age": [10, 20, 30, 40]})
    rows = by_column(table, "site")
    assert {site: numbers.tolist() for site, numbers in rows.items()} == {"1": [1], "2": [0, 2], "3": [3]}
    tables = take(table, rows, without=["site"])
    assert tables["2"].names == ("age",)
    assert tables["2"].column("age").tolist() == [10, 30]


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 200), st.integers(1, 5), st.integers(0, 9))
def test_every_row_goes_to_one_site_and_the_seed_decides(n, k, seed):
    labels = np.arange(n) % 3
    for draw in (
        lambda: iid(n, k, rng=rng(seed)),
        lambda: size_skew(n, k, alpha=0.7, rng=rng(seed)),
        lambda: label_skew(labels, k, alpha=5.0, rng=rng(seed)),
    ):
        first, second = draw(), draw()
        assert covers(first, n)
        assert list(first) == [f"site-{i}" for i in range(1, k + 1)]
        assert all((first[site] == second[site]).all() for site in first)


def test_iid_sites_are_equal_in_size_and_alike():
    labels = rng(1).random(9000) < 0.3
    sites = iid(9001, 9, rng=rng())
    assert {len(rows) for rows in sites.values()} == {1000, 1001}
    shares = [labels[rows[rows < 9000]].mean() for rows in sites.values()]
    assert max(shares) - min(shares) < 0.1


def test_small_alpha_makes_labels_uneven_and_large_alpha_does_not():
    labels = np.arange(4000) % 2

    def spread(alpha):
        return np.std([labels[rows].mean() for rows in label_skew(labels, 5, alpha=alpha, rng=rng(3)).values()])

    assert spread(0.1) > 0.2
    assert spread(1000.0) < 0.05


def test_label_shares_follow_the_dirichlet_distribution():
    labels = np.zeros(1000, dtype=int)
    shares = [len(label_skew(labels, 4, alpha=0.5, rng=rng(s), least=0)["site-1"]) / 1000 for s in range(600)]
    assert np.mean(shares) == pytest.approx(1 / 4, abs=0.03)
    assert np.var(shares) == pytest.approx(0.25 * 0.75 / 3, rel=0.2)  # a0 = 4 * 0.5, variance m (1 - m) / (a0 + 1)


def test_skewed_sizes_hold_their_least():
    sites = size_skew(500, 6, alpha=0.2, rng=rng(2), least=10)
    sizes = [len(rows) for rows in sites.values()]
    assert min(sizes) >= 10
    assert max(sizes) > 150


def test_the_papers_nodes_have_their_prevalence():
    cases = np.arange(6000) % 2 == 0
    sites = case_control(cases, rng=rng())
    prevalence = [cases[rows].mean() for rows in sites.values()]
    assert prevalence == pytest.approx([0.5, 0.01, 0.7], abs=0.005)
    sizes = np.array([len(rows) for rows in sites.values()])
    assert sizes / sizes.sum() == pytest.approx([0.1, 0.3, 0.6], abs=0.001)
    # cases 47.3 % and controls 52.7 % of the pool: the 3,000 controls are the narrower class
    assert sizes.sum() == pytest.approx(3000 / 0.527, abs=2)
    rows = np.concatenate(list(sites.values()))
    assert len(set(rows.tolist())) == len(rows)
    assert list(sites) == list(NATURE_2B)


def test_shares_may_ask_for_cases_only_and_never_for_more_than_there_are():
    cases = np.arange(30) < 7
    sites = case_control(cases, {"a": (50.0, 0.0), "b": (50.0, 0.0)}, rng=rng())
    assert sum(len(rows) for rows in sites.values()) <= 7
    assert all(cases[rows].all() for rows in sites.values())
    for shares in ({}, {"a": (-1.0, 5.0)}, {"a": (60.0, 50.0)}):
        with pytest.raises(DataError, match="shares of cases and controls"):
            case_control(cases, shares, rng=rng())


def test_impossible_requests_are_refused():
    with pytest.raises(DataError, match="3 rows cannot be shared out: at least 4 are needed"):
        iid(3, 4, rng=rng())
    with pytest.raises(DataError, match="at least 1 site is needed, got 0"):
        iid(3, 0, rng=rng())
    with pytest.raises(DataError, match="alpha must be positive"):
        size_skew(10, 2, alpha=0.0, rng=rng())
    with pytest.raises(DataError, match="no draw of Dirichlet"):
        label_skew(np.zeros(20), 10, alpha=0.001, rng=rng(), least=2)
