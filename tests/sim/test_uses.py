"""Files of real patients that cannot be judged are refused with what to do."""

import pytest

from cohortium.core.study_text import study_of
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.mds_like import simulate
from cohortium.data.partition import by_column, take
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import DataError, UsageError
from cohortium.sim.synthesis import fit
from cohortium.sim.uses import augment_files, balance_files, control_arm_files

COLUMNS = ("site", "age", "TP53", "hb", "os_years", "died")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("uses")
    whole = simulate(seed=0, sites={"a": 200, "b": 120}, missing=False).table
    table = Table({name: whole.column(name) for name in COLUMNS})
    study = study_of(
        {
            "study": {"name": "mds", "outcome": {"time": "os_years", "event": "died", "unit": "years"}},
            "synth": {"genes": ["TP53"]},
            "privacy": {"secure_aggregation": False},
        }
    )
    fit(study, take(table, by_column(table, "site"), without=["site"]), out=where / "generator")
    (where / "real.csv").write_bytes(csv_bytes(table))
    gone = table.with_column("os_years", ["" if row < 7 else str(t) for row, t in enumerate(table.column("os_years"))])
    (where / "gone.csv").write_bytes(csv_bytes(gone))
    return where


def test_the_three_uses_read_files(folder):
    real, generator = folder / "real.csv", folder / "generator"
    assert augment_files(generator, real=real, holdout=real, most=1, seed=0).points
    found = balance_files(generator, real=real, holdout=real, where="TP53 = 1", share=0.3, seed=0, out=None)
    assert found.n_drawn > 20
    arm = control_arm_files(generator, treated=real, eligible="", untreated="", match=["age", "hb"], sets=2, seed=0)
    assert arm.columns == ("age", "hb")


def test_real_patients_are_not_written_over_and_a_wrong_table_is_named(folder):
    real, generator = folder / "real.csv", folder / "generator"
    before = real.read_bytes()
    ask = {"where": "TP53 = 1", "share": 0.3, "seed": 0}
    for files in ({"real": real, "holdout": folder / "gone.csv"}, {"real": folder / "gone.csv", "holdout": real}):
        with pytest.raises(UsageError, match="is what is read"):
            balance_files(generator, **files, **ask, out=real)
    assert real.read_bytes() == before
    (folder / "short.csv").write_bytes(csv_bytes(Table({"age": read(real).column("age")})))
    with pytest.raises(DataError, match=r"short\.csv': column 'TP53' is missing"):
        augment_files(generator, real=real, holdout=folder / "short.csv", most=1, seed=0)


def test_patients_without_follow_up_are_counted_and_refused(folder):
    with pytest.raises(DataError, match="7 patients without a follow-up time"):
        control_arm_files(
            folder / "generator", treated=folder / "gone.csv", eligible="", untreated="", match=[], sets=2, seed=0
        )


def test_patients_who_are_not_eligible_are_left_out_and_counted(folder):
    ask = {"treated": folder / "real.csv", "untreated": "", "match": ["hb"], "sets": 2, "seed": 0}
    with pytest.raises(DataError, match="leave them out by --where"):
        control_arm_files(folder / "generator", eligible="age > 60", **ask)
    found = control_arm_files(folder / "generator", eligible="age > 60", where="age > 60", **ask)
    assert found.n_treated < 320
    assert found.notes[0].startswith(f"{320 - found.n_treated} of 320 patients")
    with pytest.raises(UsageError, match="'died' is known only after baseline"):
        control_arm_files(folder / "generator", eligible="", where="died = 1", **ask)
