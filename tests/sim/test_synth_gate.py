import json

import numpy as np
import pytest

from cohortium.core.study_text import study_of
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.mds_like import simulate
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import DataError, UsageError, VerificationFailed
from cohortium.sim.synth_gate import ask_gate, check_verdict

NAMES = ("age", "TP53", "SF3B1", "complex", "blasts", "hb", "platelets", "os_years", "died")
STUDY = study_of(
    {
        "study": {"name": "mds", "outcome": {"time": "os_years", "event": "died", "unit": "years"}},
        "synth": {"genes": ["TP53", "SF3B1", "complex"]},
    }
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Training, reserve and other patients of one hospital, and the training rows again."""
    folder = tmp_path_factory.mktemp("gate")
    whole = simulate(seed=4, sites={"a": 1100}, missing=False).table
    table = Table({name: whole.column(name) for name in NAMES})
    parts = {"training": (0, 500), "reserve": (500, 620), "others": (600, 1100), "copy": (0, 500), "few": (500, 521)}
    for name, (start, end) in parts.items():
        (folder / f"{name}.csv").write_bytes(csv_bytes(table.take(np.arange(start, end))))
    return folder


def asked(files, table, *, reserve="reserve"):
    return ask_gate(
        STUDY, training=files / "training.csv", reserve=files / f"{reserve}.csv", table=files / f"{table}.csv"
    )  # fmt: skip


def test_a_copy_is_stopped_and_nothing_but_pass_or_fail_leaves(files):
    found = asked(files, "copy")
    assert not found.verdict.passed
    assert "identical_rows" in found.document()["reason"]
    assert set(json.loads(found.file())) == {"format", "table", "study", "passed"}


def test_a_verdict_opens_for_its_table_and_study_only(files):
    found = asked(files, "others")
    assert found.verdict.passed
    path = files / "verdict.json"
    path.write_bytes(found.file())
    check_verdict(STUDY, table=files / "others.csv", verdict=path)
    with pytest.raises(VerificationFailed, match="was given to another table"):
        check_verdict(STUDY, table=files / "copy.csv", verdict=path)
    with pytest.raises(VerificationFailed, match="was given under another study"):
        check_verdict(STUDY.with_seed(9), table=files / "others.csv", verdict=path)
    path.write_bytes(asked(files, "copy").file())
    with pytest.raises(VerificationFailed, match="did not pass"):
        check_verdict(STUDY, table=files / "copy.csv", verdict=path)


def test_too_few_reserve_rows_are_told(files):
    assert asked(files, "others", reserve="few").verdict.reason == "too few reserve rows to judge: 21 of 30"


def test_what_is_no_verdict_is_refused(files):
    path = files / "wrong.json"
    path.write_text("{}")
    with pytest.raises(DataError, match="is no verdict"):
        check_verdict(STUDY, table=files / "copy.csv", verdict=path)
    with pytest.raises(UsageError, match="cannot read verdict"):
        check_verdict(STUDY, table=files / "copy.csv", verdict=files / "nowhere.json")


def test_wrong_files_are_refused_in_place_of_a_verdict(files):
    same = {"training": files / "training.csv", "reserve": files / "copy.csv"}
    with pytest.raises(
        DataError, match=r"half or more of its rows also stand in .*; give patients that trained nothing"
    ):
        ask_gate(STUDY, **same, table=files / "others.csv")
    with pytest.raises(DataError, match=r"half or more of its rows stand in .*reserve\.csv'; is it the right file"):
        asked(files, "reserve")


def test_a_column_with_the_hospital_that_was_not_named_is_guessed(files):
    real = {}
    for name in ("training", "reserve"):
        table = read(files / f"{name}.csv")
        named = Table(dict(table.columns) | {"ward": np.where(np.arange(len(table)) % 2, "a", "b")})
        real[name] = files / f"{name}-named.csv"
        real[name].write_bytes(csv_bytes(named))
    with pytest.raises(DataError, match="table: column 'ward' is missing") as caught:
        ask_gate(STUDY, **real, table=files / "others.csv")
    assert caught.value.hint == "if it names the hospital, add --site-column ward"
    assert ask_gate(STUDY, **real, table=files / "others.csv", site_column="ward").verdict is not None
