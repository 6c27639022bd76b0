import json

import numpy as np
import pytest

from cohortium.data.csv_writer import csv_bytes
from cohortium.data.mds_like import simulate
from cohortium.data.table import Table
from cohortium.errors import DataError, UsageError
from cohortium.sim.synth_tables import bench, bench_study, demo_study, validate_files


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
def test_federated_equals_central_and_beats_single_sites(tmp_path):
    table = simulate(seed=0, sites={"a": 500, "b": 300, "c": 100}, missing=False).table
    path = tmp_path / "mds.csv"
    names = ("site", "age", "TP53", "SF3B1", "SRSF2", "blasts", "hb", "os_years", "died")
    path.write_bytes(csv_bytes(picked(table, *names)))
    found = bench(str(path), site_column="site", seeds=1, draws=2)
    document = found.document()["bn"]
    assert document["federated_equals_central"] is True
    assert document["federated"]["csf"]["skill"] == document["central"]["csf"]["skill"]
    assert document["federated"]["csf"]["score"] > document["isolated:c"]["csf"]["score"]
    assert json.dumps(document)
    assert {row[1] for row in found.rows()} >= {"central", "federated", "isolated"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"generators": ["gan"]}, "unknown generator 'gan'"),
        ({"settings": ["pooled"]}, "unknown setting 'pooled'"),
        ({"strategies": ["fedavg"]}, "unknown strategy 'fedavg'"),
        ({"seeds": 0}, "seeds must be"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(wrong, said):
    with pytest.raises(UsageError, match=said):
        bench("sim", site_column=None, **wrong)


def test_a_file_needs_its_site_column(tmp_path):
    with pytest.raises(UsageError, match="--site-column"):
        bench(str(tmp_path / "x.csv"), site_column=None)


def test_without_a_hold_out_the_reader_is_told(tmp_path):
    real, other = (simulate(seed=s, sites={"a": 300}, missing=False).table for s in (0, 1))
    for name, table in (("real", real), ("made", other)):
        (tmp_path / f"{name}.csv").write_bytes(csv_bytes(table))
    found = validate_files(
        demo_study(), real=tmp_path / "real.csv", synthetic=tmp_path / "made.csv", holdout=None, draws=2
    )
    assert "No held-out table" in found.judgement.notes[0]
    assert found.judgement.n["holdout"] == 60
    assert "No held-out table" in found.page()


def test_a_wrong_table_is_named(tmp_path):
    whole = simulate(seed=0, sites={"a": 1500}, missing=False).table
    (tmp_path / "real.csv").write_bytes(csv_bytes(whole))
    (tmp_path / "made.csv").write_bytes(csv_bytes(picked(whole, "age", "os_years", "died")))
    with pytest.raises(DataError, match="synthetic table: column 'male' is missing"):
        validate_files(demo_study(), real=tmp_path / "real.csv", synthetic=tmp_path / "made.csv", holdout=None)
