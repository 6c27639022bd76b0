import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.data.cohort import build_cohort
from cohortium.data.inference import infer_schema
from cohortium.data.parts import Split
from cohortium.data.size_classes import check_sizes, pools, size_class, size_of
from cohortium.data.table import Table


@pytest.mark.parametrize(
    ("n", "smallest", "expected"),
    [
        (0, 0, "empty"), (1, None, "tiny"), (9, 4, "tiny"), (10, 5, "small"), (49, 20, "small"),
        (50, 9, "small"), (50, 10, "full"), (50, None, "full"), (5000, 0, "small"),
    ],
)  # fmt: skip
def test_classes_of_the_design(n, smallest, expected):
    assert size_class(n, smallest) == expected


def cohort_of(outcome, **columns):
    table = Table.from_columns({"x": np.arange(len(next(iter(columns.values())))) + 0.5, **columns})
    schema = infer_schema({"a": table}, outcome=outcome)
    return build_cohort(table, schema, site="a", secret=b"s", split=Split(test=0.2, calibration=0.0))


def test_a_cohort_is_classed_by_its_training_part():
    y = np.arange(100) % 2
    assert size_of(cohort_of("y", y=y)) == "full"
    assert size_of(cohort_of("y", y=y[:60])) == "small"  # 48 of 60 train
    assert size_of(cohort_of("y", y=(np.arange(100) < 10).astype(float))) == "small"  # 8 cases train
    assert size_of(cohort_of("y", y=np.arange(100) / 7)) == "full"
    few = {"t": np.arange(100) + 1.0, "e": (np.arange(100) < 12).astype(float)}
    assert size_of(cohort_of({"time": "t", "event": "e"}, **few)) == "full"  # 10 events train
    rare = {"t": np.arange(100) + 1.0, "e": (np.arange(100) < 11).astype(float)}
    assert size_of(cohort_of({"time": "t", "event": "e"}, **rare)) == "small"


def test_a_tiny_site_is_told_what_it_needs():
    found = check_sizes({"x": 7, "y": 60, "z": 0}, masks=False)
    assert [check.found for check in found] == [
        "site 'x': 7 records; without secure aggregation at least 10 are needed",
        "site 'z': no training records",
    ]
    (alone,) = check_sizes({"x": 1}, masks=True)
    assert alone.found == "site 'x': 1 record; pools need 3 sites and 30 records together"


def test_tiny_sites_pool_when_they_are_enough():
    many = {f"s{i}": 9 for i in range(8)}
    assert check_sizes(many, masks=True) == ()
    assert len(pools(many)) == 2
    assert pools({"a": 9, "b": 9}) == ()
    assert pools({"a": 9, "b": 9, "c": 9}) == ()  # 27 records
    assert pools({"a": 9, "b": 9, "c": 9, "d": 3, "big": 500}) == (("a", "b", "c", "d"),)


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 12), max_size=30))
def test_every_pool_has_enough_sites_and_records_and_no_site_twice(sizes):
    found = pools(sizes)
    members = [site for pool in found for site in pool]
    assert len(members) == len(set(members))
    for pool in found:
        assert len(pool) >= 3
        assert sum(sizes[site] for site in pool) >= 30
        assert all(1 <= sizes[site] <= 9 for site in pool)
    assert pools(dict(reversed(sizes.items()))) == found
    if found:
        assert set(members) == {site for site, n in sizes.items() if 1 <= n <= 9}
