"""Pinning: whatever the data suggested is written down, and reads back as the same layout without any data."""

import os
import tomllib
from pathlib import Path

import numpy as np
import pytest

from cohortium.core.study_text import parse_study
from cohortium.data.partition import by_column, take
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import DataError, StudyError, UsageError
from cohortium.sim.cohorts import schema_of
from cohortium.sim.pinning import pin, write_pinned

SHARED = Path(os.environ.get("COHORTIUM_DATA", "/work/shared/data"))
PLAIN = {"study": {"name": "little", "outcome": "label"}, "model": {"name": "logistic"}}


def table(n=60, **more):
    rng = np.random.default_rng(n)
    return Table.from_columns(
        {
            "age": rng.normal(60, 9, n),
            "sex": np.where(rng.random(n) < 0.5, "f", "m"),
            "stage": np.where(rng.random(n) < 0.5, "I", np.where(rng.random(n) < 0.5, "II", "III")),
            "label": (rng.random(n) < 0.5).astype(float),
            **more,
        }
    )


def test_a_pinned_study_reads_the_same_layout_from_no_table_at_all():
    tables = {"bonn": table(60), "lund": table(70)}
    made = pin(PLAIN, tables)
    assert schema_of(made.study, {}).layout() == schema_of(parse_study(made.text), tables).layout()
    assert schema_of(made.study, {}).layout() == made.schema.layout()
    assert made.study.digest == parse_study(made.text).digest


def test_what_the_study_said_of_its_columns_is_kept_in_other_words():
    tables = {"bonn": table(60, ward=np.arange(60.0), code=np.array([f"p{i}" for i in range(60)]))}
    content = {
        **PLAIN,
        "study": {"name": "little", "outcome": "label", "exclude": ["ward"]},
        "cohort": {"patient": "code", "fill": "gaussian", "subgroups": ["sex", "age:<50,>=50"]},
    }
    made = pin(content, tables)
    said = tomllib.loads(made.text)
    assert said["study"] == {"name": "little", "outcome": "label"}
    assert said["cohort"]["patient"] == "code"
    assert said["cohort"]["fill"] == "gaussian"
    assert said["cohort"]["bad_records"] == "refuse"
    assert said["cohort"]["columns"]["ward"] == {"excluded": "excluded by the study"}
    assert "code" not in said["cohort"]["columns"]
    assert [s.name for s in schema_of(made.study, {}).subgroups] == ["sex", "age"]


def test_features_by_name_leave_the_other_columns_out():
    made = pin({**PLAIN, "study": {"name": "a", "outcome": "label", "features": ["age"]}}, {"bonn": table()})
    assert schema_of(made.study, {}).layout().features == ("age",)


def test_a_survival_outcome_keeps_the_time_cells_the_data_suggested():
    rng = np.random.default_rng(3)
    tables = {"bonn": table(follow_up=rng.integers(1, 28, 60).astype(float), died=(rng.random(60) < 0.4) * 1.0)}
    content = {
        "study": {"name": "s", "outcome": {"time": "follow_up", "event": "died"}, "exclude": ["label"]},
        "model": {"name": "cox"},
    }
    made = pin(content, tables)
    layout = schema_of(made.study, {}).layout()
    assert layout == made.schema.layout()
    assert layout.outcome == "survival"
    assert layout.resolution == 1.0


@pytest.mark.parametrize("name", ['a "quoted" name', "tab\tin it", "ünï", "with.dot", "del\x7f"])
def test_any_column_name_can_be_pinned(name):
    tables = {"bonn": table(60).with_column(name, np.arange(60.0))}
    assert name in schema_of(pin(PLAIN, tables).study, {}).layout().features


def test_values_of_hardly_anybody_are_told_before_all_sites_read_them():
    rare = np.array(["common"] * 57 + ["rare"] * 3)
    assert pin(PLAIN, {"bonn": table()}).warnings == ()
    (said,) = pin(PLAIN, {"bonn": table(kind=np.where(rare == "rare", "III", rare), other=rare)}).warnings[:1]
    assert said.startswith("column 'kind': the study now names a value that fewer than 5 patients here have")
    assert "III" not in said


def test_an_outcome_that_is_not_there_is_refused():
    with pytest.raises(DataError, match="no column 'label'"):
        pin(PLAIN, {"bonn": table().without(["label"])})


def test_the_new_file_stands_beside_the_old_one_and_replaces_nothing(tmp_path):
    path = tmp_path / "heart.toml"
    path.write_text('[study]\nname = "heart"\noutcome = "label"\n[model]\nname = "logistic"\n')
    written, _ = write_pinned(path, {"bonn": table()}, out=None)
    assert written == tmp_path / "heart-pinned.toml"
    with pytest.raises(UsageError, match="exists already"):
        write_pinned(path, {"bonn": table()}, out=None)
    path.write_text('[study]\nname = "heart"\noutcome = "label"\n[model]\nname = "nope"\n')
    with pytest.raises(StudyError, match=r"heart.toml:5 model.name"):
        write_pinned(path, {"bonn": table()}, out=tmp_path / "other.toml")


@pytest.mark.skipif(not (SHARED / "heart_uci.parquet").exists(), reason="shared data are absent")
def test_the_four_hospitals_of_heart_uci_agree_on_thirteen_features():
    whole = read(SHARED / "heart_uci.parquet")
    tables = take(whole, by_column(whole, "site"), without=["site"])
    content = {**PLAIN, "study": {"name": "heart", "outcome": "label", "exclude": ["num"]}}
    assert len(schema_of(pin(content, tables).study, {}).layout().features) == 13
