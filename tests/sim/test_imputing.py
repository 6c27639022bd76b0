"""A file goes in with gaps and comes out without: known cells, other columns and row order as they were."""

import numpy as np
import pytest

from cohortium.core.study_text import study_of
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.mds_like import simulate
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import DataError, UsageError
from cohortium.sim.imputing import impute_file
from cohortium.sim.synthesis import fit

COLUMNS = ("age", "TP53", "SF3B1", "blasts", "hb", "ferritin", "os_years", "died")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imputing")
    whole = simulate(seed=0, sites={"a": 260}).table
    table = Table({name: whole.column(name) for name in COLUMNS})
    study = study_of(
        {
            "study": {"name": "gaps", "outcome": {"time": "os_years", "event": "died", "unit": "years"}},
            "synth": {
                "genes": ["TP53", "SF3B1"],
                "derived": {"either": "TP53 = 1 or SF3B1 = 1"},
                "rules": ["ferritin > 500"],
            },
            "privacy": {"secure_aggregation": False},
        }
    )
    halves = {"a": table.take(np.arange(260) < 130), "b": table.take(np.arange(260) >= 130)}
    fit(study, halves, out=folder / "generator")
    file = folder / "gaps.csv"
    file.write_bytes(csv_bytes(table.with_column("visit", np.arange(260.0))))
    return folder, file, table


def test_gaps_go_and_everything_else_stays(saved):
    folder, file, table = saved
    found = impute_file(folder / "generator", file, out=folder / "full.csv", sets=3, seed=1)
    assert [one.name for one in found.files] == ["full-1.csv", "full-2.csv", "full-3.csv"]
    assert found.filled == sum(int(np.isnan(table.column(name)).sum()) for name in COLUMNS)
    assert found.left == {}
    made = [read(one) for one in found.files]
    assert made[0].names == (*COLUMNS, "visit")
    for one in made:
        assert (one.column("visit") == np.arange(260)).all()
        for name in COLUMNS:
            known = ~np.isnan(table.column(name))
            assert one.column(name)[known] == pytest.approx(table.column(name)[known])
            assert not np.isnan(one.column(name)).any()
    assert (made[0].column("ferritin") != made[1].column("ferritin")).any()


def test_a_filled_value_that_breaks_a_rule_is_counted_and_a_real_one_is_not(saved):
    folder, file, table = saved
    found = impute_file(folder / "generator", file, out=folder / "ruled.csv", sets=2, seed=1)
    gap = np.isnan(table.column("ferritin"))
    expected = sum(int((read(one).column("ferritin")[gap] <= 500).sum()) for one in found.files)
    assert found.broken == found.document()["broken_rules"] == {"ferritin > 500": expected}
    assert expected > 0
    assert (table.column("ferritin")[~gap] <= 500).any()


def test_the_same_seed_fills_the_same(saved):
    folder, file, _ = saved
    for name in ("once.csv", "again.csv"):
        impute_file(folder / "generator", file, out=folder / name, sets=1, seed=5)
    assert (folder / "once.csv").read_bytes() == (folder / "again.csv").read_bytes()


def test_the_table_that_is_filled_is_not_written_over(saved):
    folder, file, _ = saved
    before = file.read_bytes()
    with pytest.raises(UsageError, match=r"gaps\.csv' is what is read"):
        impute_file(folder / "generator", file, out=folder / "." / "gaps.csv", sets=1, seed=0)
    assert file.read_bytes() == before


def test_a_table_without_a_column_is_refused(saved):
    folder, _, table = saved
    short = folder / "short.csv"
    short.write_bytes(csv_bytes(Table({"age": table.column("age")})))
    with pytest.raises(DataError, match=r"short\.csv': column 'TP53' is missing"):
        impute_file(folder / "generator", short, out=folder / "no.csv", sets=1, seed=0)
    assert not (folder / "no.csv").exists()
