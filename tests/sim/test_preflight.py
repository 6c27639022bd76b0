"""What `study check` says before anybody trains; it changes nothing."""

import pytest

from cohortium.core.study_text import study_of
from cohortium.errors import DataError, StudyError
from cohortium.sim.pinning import pin
from cohortium.sim.preflight import preflight


def test_without_data_only_the_study_is_said(study):
    found = preflight(study, None)
    assert (found.columns, found.sites, found.checks) == ((), (), ())
    assert found.document()["digest"] == study.digest.hex()


def test_columns_sites_and_advice_come_from_the_data(study, tables):
    found = preflight(study, tables)
    assert ("sex", "category", "feature", "") in found.columns
    assert ("label", "flag", "outcome", "") in found.columns
    assert [row[:3] for row in found.sites] == [("bonn", "60", "60"), ("lund", "80", "80"), ("porto", "70", "70")]
    assert "site 'porto': no values for b" in found.advice


def test_two_sites_are_told_what_two_means(study, tables):
    del tables["porto"]
    assert any(
        sentence.startswith("two sites: nobody can be voted out") for sentence in preflight(study, tables).advice
    )


def test_a_quorum_that_can_never_act_is_said(make_study, tables, make_table):
    tables["oslo"] = make_table(50, seed=7)
    found = preflight(make_study(strategy={"min_sites": 2}), tables)
    assert any("such a quorum can never act" in sentence for sentence in found.advice)


def test_a_model_for_another_outcome_is_refused_before_training(make_study, tables):
    with pytest.raises(DataError, match="'cox' needs an outcome of kind survival, got binary"):
        preflight(make_study(model={"name": "cox"}), tables)


def generator_study(**synth):
    return study_of({"study": {"name": "drawn", "outcome": "label"}, "synth": synth})


def test_a_generator_is_checked_against_the_columns_and_its_reserve_is_told(tables):
    found = preflight(generator_study(), tables)
    assert [row[:5] for row in found.sites] == [
        ("bonn", "60", "60", "48", "12"), ("lund", "80", "80", "64", "16"), ("porto", "70", "70", "56", "14")
    ]  # fmt: skip
    assert ("sex", "category", "feature", "") in found.columns
    assert found.checks == ()


def test_a_generator_that_names_what_is_not_there_is_refused(tables):
    with pytest.raises(StudyError, match="no column 'TP53'"):
        preflight(generator_study(genes=["TP53"]), tables)
    with pytest.raises(StudyError, match=r"synth\.options\.depth"):
        preflight(generator_study(options={"depth": 3}), tables)


def test_who_asks_for_a_private_network_hears_of_the_better_generator(tables):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")
    numbers = preflight(generator_study(), tables).columns
    ranges = {name: [-1e4, 1e4] for name, kind, *_ in numbers if kind not in ("category", "flag")}
    study = generator_study(generator="ctgan", federation="fedavg")
    private = study_of(
        study.model_dump(exclude_none=True, include={"study", "synth"})
        | {"cohort": {"ranges": ranges}, "privacy": {"secure_aggregation": False, "dp": {"epsilon": 4.0}}}
    )
    advice = preflight(private, tables).advice
    assert any(sentence.startswith("generator 'ctgan' learns less than 'marginal_dp'") for sentence in advice)


def test_what_is_left_for_the_data_is_said_in_one_line(study, tables):
    assert preflight(study, tables).later == ""
    assert preflight(study, None).later.startswith("the columns, which the study leaves to the tables, and whether")
    pinned = pin(study.model_dump(exclude_none=True), tables).study
    assert preflight(pinned, None).later.startswith("the number of sites, how many patients each has")


def test_a_pinned_study_is_refused_without_data_for_what_its_columns_rule_out(make_study, tables):
    pinned = pin(make_study().model_dump(exclude_none=True), tables).study
    other = pinned.with_plans(model=pinned.model.model_copy(update={"name": "cox"}))
    with pytest.raises(DataError, match="'cox' needs an outcome of kind survival, got binary"):
        preflight(other, None)


def test_noise_that_nobody_can_account_for_is_refused_without_data(make_study):
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")
    private = {"cohort": {"scale": "none", "fill": "none"}, "privacy": {"dp": {"epsilon": 1.0, "sample_rate": 0.001}}}
    study = make_study(strategy={"rounds": 1000}, **private)
    with pytest.raises(StudyError, match="1000000 noisy steps; at most 200000 are accounted for"):
        preflight(study, None)
