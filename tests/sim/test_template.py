"""A new study can be read back, and never takes the place of an old one."""

import re
from typing import get_args

import pytest

from cohortium.core.study import CohortPlan
from cohortium.core.study_text import parse_study
from cohortium.errors import StudyError, UsageError
from cohortium.sim.template import study_text, write_study


def test_a_new_study_parses_and_names_what_was_asked():
    study = parse_study(study_text(name="heart", outcome="label"))
    assert (study.name, study.study.outcome, study.model.name) == ("heart", "label", "logistic")


def test_two_columns_make_a_survival_study_with_cox():
    study = parse_study(study_text(name="aml", outcome="os_days, os_event"))
    assert (study.study.outcome.time, study.study.outcome.event) == ("os_days", "os_event")
    assert study.model.name == "cox"


def test_the_lines_for_agreed_ranges_are_a_study_once_they_are_no_comments():
    text = study_text(name="heart", outcome="label")
    assert set(get_args(CohortPlan.model_fields["scale"].annotation)) == set(
        re.findall(r"\w+", text.split("# scale = ")[1].splitlines()[0].split("#")[1].split(":")[0].replace(";", ","))
    )
    study = parse_study(text.replace('# scale = "standard"', 'scale = "public"').replace("# ranges", "ranges"))
    assert (study.cohort.scale, study.cohort.ranges) == ("public", {"age": [18, 100]})


def test_quotes_in_a_column_name_stay_text():
    assert parse_study(study_text(name="x", outcome='a"b\\')).study.outcome == 'a"b\\'


@pytest.mark.parametrize("outcome", ["", ",event", "time,"])
def test_half_an_outcome_is_refused(outcome):
    with pytest.raises(UsageError, match="outcome must be a column or TIME,EVENT"):
        study_text(name="x", outcome=outcome)


def test_a_name_the_study_would_refuse_is_refused_before_writing(tmp_path):
    with pytest.raises(StudyError, match=r"study\.name"):
        write_study(tmp_path / "s.toml", outcome="y", model="", name="no spaces!")
    assert not (tmp_path / "s.toml").exists()


def test_an_existing_file_is_never_overwritten(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_study(path, outcome="y", model="", name="x")
    assert path.read_text() == "mine"
