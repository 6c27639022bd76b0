"""A site's table before a study: what does not fit is named with its fix, and small counts are not told."""

import re

import numpy as np
import pytest

from cohortium.core.check import Check
from cohortium.data.checks import check_file, cohort_checks, discreet
from cohortium.data.parts import Split
from cohortium.data.schema import CohortSchema, Column
from cohortium.data.table import Table

SECRET = b"s" * 32


def schema(**changes):
    return CohortSchema(
        columns=(
            Column(name="pid", kind="text", role="patient"),
            Column(name="age", kind="number", unit="years", range=(0, 120)),
            Column(name="marker", kind="number"),
            Column(name="label", kind="flag", role="outcome", values=("0", "1")),
            Column(name="set", kind="text", role="part"),
        ),
        **changes,
    )


def columns(n=60, **changes):
    rng = np.random.default_rng(7)
    held = {
        "pid": [f"P{i:04d}" for i in range(n)],
        "age": rng.normal(60, 8, n),
        "marker": rng.normal(size=n),
        "label": (np.arange(n) % 2).astype(float),
        "set": ["train" if i % 3 else "test" for i in range(n)],
    }
    return {**held, **changes}


def checked(held, plan=None):
    checks, _ = cohort_checks(
        Table.from_columns(held), plan or schema(), site="porto", secret=SECRET, split=Split(test=0.3, seed=1)
    )
    return {check.id: check for check in checks if check.level != "ok"}, checks


def test_a_fitting_table_has_nothing_against_it():
    wrong, checks = checked(columns())
    assert wrong == {}
    assert {check.id for check in checks} == {"schema", "duplicate-patients", "split"}


def test_a_missing_column_is_named():
    held = columns()
    del held["label"]
    wrong, _ = checked(held)
    assert wrong["schema"].level == "fail"
    assert "cohort.toml" in wrong["schema"].fix


def test_an_absent_feature_warns():
    held = columns()
    del held["marker"]
    wrong, _ = checked(held)
    assert (wrong["schema"].level, "absent here: marker" in wrong["schema"].found) == ("warn", True)


@pytest.mark.parametrize("bad_records", ["skip", "refuse"])
def test_a_patient_twice_is_found_whatever_the_study_does_with_it(bad_records):
    held = columns()
    held["pid"][1] = held["pid"][0]
    wrong, _ = checked(held, schema(bad_records=bad_records))
    check = wrong["duplicate-patients"]
    assert check.level == ("fail" if bad_records == "refuse" else "warn")
    assert "<5" in check.found
    assert 'cohort.rows = "visits"' in check.fix


def test_values_in_another_unit_are_found():
    wrong, _ = checked(columns(age=np.full(60, 720.0)))
    assert (wrong["units"].level, "60 values out of range" in wrong["units"].found) == ("warn", True)
    assert "unit" in wrong["units"].fix


def test_a_patient_on_both_sides_of_the_split_is_found():
    held = columns()
    held["pid"][1] = held["pid"][0]
    held["set"][0], held["set"][1] = "train", "test"
    wrong, _ = checked(held, schema(rows="visits"))
    assert wrong["split"].level == "fail"
    assert "<5 patients are in both" in wrong["split"].found
    assert wrong["split"].fix == "draw parts by patient"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("column 'a': 3 unknown values (rows 3, 8, 21, ...); x", "column 'a': <5 unknown values; x"),
        (
            "2 of 14 rows skipped (same_patient 2); at most 20 % may be",
            "<5 of 14 rows skipped (same_patient <5); at most 20 % may be",
        ),
        ("AUROC 1.00, level L1, 14 rows", "AUROC 1.00, level L1, 14 rows"),
        ("column 'ki-1' and stage-2", "column 'ki-1' and stage-2"),
    ],
)
def test_small_counts_and_row_numbers_are_not_told(text, shown):
    assert discreet(Check(id="x", level="warn", found=text)).found == shown


def test_no_value_and_no_patient_number_is_told():
    held = columns()
    held["pid"][1] = held["pid"][0] = "MARKER-77123"
    held["label"] = ["SECRETVALUE" if i == 5 else str(i % 2) for i in range(60)]
    held["age"][9] = 98765.0
    _, checks = checked(held)
    text = " ".join(f"{check.found} {check.fix}" for check in checks)
    assert not re.search("MARKER|77123|SECRETVALUE|98765", text)


def test_the_file_of_the_table(tmp_path):
    assert check_file(None).level == "warn"
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    assert check_file(tmp_path / "table.csv").level == "ok"
    assert (check_file(tmp_path / "none.csv").level, "node.toml" in check_file(tmp_path / "none.csv").fix) == (
        "fail",
        True,
    )
    assert ".parquet" in check_file(tmp_path / "table.xlsx").fix
