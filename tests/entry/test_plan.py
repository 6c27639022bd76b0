"""A study as file, dict or object: one digest, the same refusals."""

import pytest

import cohortium as co
from cohortium.entry.plan import read_plan
from cohortium.errors import StudyError, UsageError

TEXT = """
[study]
name = "little"
outcome = "label"
[model]
name = "logistic"
"""
SECTIONS = {"study": {"name": "little", "outcome": "label"}, "model": {"name": "logistic"}}


def test_file_dict_and_object_are_one_study(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(TEXT)
    digests = {read_plan(one).digest for one in (path, str(path), SECTIONS, co.Study.model_validate(SECTIONS))}
    assert len(digests) == 1


def test_what_cannot_be_built_is_refused_in_every_form():
    wrong = {**SECTIONS, "model": {"name": "logistik"}}
    for one in (wrong, co.Study.model_validate(wrong)):
        with pytest.raises(StudyError, match="did you mean 'logistic'"):
            read_plan(one)


def test_a_missing_section_is_a_study_error():
    with pytest.raises(StudyError, match="model: is missing"):
        read_plan({"study": SECTIONS["study"]})


def test_one_site_is_no_swarm():
    with pytest.raises(StudyError, match="at least 2 sites"):
        read_plan(SECTIONS, n_sites=1)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read study .*none\.toml"):
        read_plan(tmp_path / "none.toml")


def test_a_loop_of_ones_own_is_not_audited_and_says_so():
    with pytest.raises(StudyError, match="trains without an audit"):
        read_plan({**SECTIONS, "quality": {"detector": "out-of-bag"}})
