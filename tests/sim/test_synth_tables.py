import numpy as np
import pytest

from cohortium.data.csv_writer import csv_bytes
from cohortium.data.mds_like import simulate
from cohortium.data.table import Table
from cohortium.errors import DataError, UsageError
from cohortium.sim.synth_tables import bench_study, demo_study, validate_files


def picked(table, *names):
    return Table({name: table.column(name) for name in names})


def test_a_table_nobody_described_gives_a_study_by_its_names():
    rng = np.random.default_rng(0)
    flags = {"mut_TP53": rng.integers(0, 2, 300), "mut_RARE": (np.arange(300) == 0) * 1}
    table = Table.from_columns({
        "trial": ["a"] * 300, "center": ["x"] * 300, "age": rng.normal(60, 9, 300),
        "os_days": rng.exponential(500, 300),
        "os_event": rng.integers(0, 2, 300), "efs_days": rng.exponential(400, 300), **flags,
    })  # fmt: skip
    study = bench_study(table, site_column="trial", name="aml", seed=0)
    assert study.study.outcome.time == "os_days"
    assert study.study.outcome.unit == "d"
    assert study.synth.genes == ["mut_TP53"]
    assert study.study.exclude == ["center", "efs_days", "mut_RARE"]
    with pytest.raises(UsageError, match="no survival outcome"):
        bench_study(picked(table, "age"), site_column="trial", name="x", seed=0)


@pytest.mark.slow
def test_without_a_hold_out_the_reader_is_told_and_of_broken_rules(tmp_path):
    real, other = (simulate(seed=s, sites={"a": 300}, missing=False).table for s in (0, 1))
    anc = np.minimum(other.column("anc"), other.column("wbc"))
    anc[:3] = other.column("wbc")[:3] + 1
    other = other.with_column("anc", anc)
    for name, table in (("real", real), ("made", other)):
        (tmp_path / f"{name}.csv").write_bytes(csv_bytes(table))
    found = validate_files(
        demo_study(), real=tmp_path / "real.csv", synthetic=tmp_path / "made.csv", holdout=None, draws=2
    )
    assert "No held-out table" in found.judgement.notes[0]
    assert found.judgement.n["holdout"] == 60
    assert "No held-out table" in found.page()
    assert found.judgement.notes[1] == "3 of 300 synthetic patients break the study's rule 'wbc >= anc'."


def test_a_wrong_table_is_named(tmp_path):
    whole = simulate(seed=0, sites={"a": 1500}, missing=False).table
    (tmp_path / "real.csv").write_bytes(csv_bytes(whole))
    (tmp_path / "made.csv").write_bytes(csv_bytes(picked(whole, "age", "os_years", "died")))
    with pytest.raises(DataError, match="synthetic table: column 'male' is missing") as caught:
        validate_files(demo_study(), real=tmp_path / "real.csv", synthetic=tmp_path / "made.csv", holdout=None)
    assert not caught.value.hint


def test_a_hospital_that_was_not_named_is_guessed(tmp_path):
    whole = simulate(seed=0, sites={"a": 60, "b": 60}, missing=False).table
    (tmp_path / "real.csv").write_bytes(csv_bytes(whole))
    (tmp_path / "made.csv").write_bytes(csv_bytes(picked(whole, *(name for name in whole.names if name != "site"))))
    with pytest.raises(DataError, match="synthetic table: column 'site' is missing") as caught:
        validate_files(demo_study(), real=tmp_path / "real.csv", synthetic=tmp_path / "made.csv", holdout=None)
    assert caught.value.hint == "if it names the hospital, add --site-column site"


def test_another_column_is_not_taken_for_the_hospital_that_was_named(tmp_path):
    whole = simulate(seed=0, sites={"a": 60, "b": 60}, missing=False).table
    (tmp_path / "real.csv").write_bytes(csv_bytes(whole))
    (tmp_path / "made.csv").write_bytes(csv_bytes(picked(whole, *(name for name in whole.names if name != "TP53"))))
    tables = {"real": tmp_path / "real.csv", "synthetic": tmp_path / "made.csv", "holdout": None}
    with pytest.raises(DataError, match="synthetic table: column 'TP53' is missing") as caught:
        validate_files(demo_study(), **tables, site_column="site")
    assert not caught.value.hint
