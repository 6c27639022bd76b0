import re

import numpy as np
import pytest

from cohortium.assembly import check_study
from cohortium.core.study_text import study_of
from cohortium.data.mds_like import simulate
from cohortium.errors import StudyError
from cohortium.sim.cohorts import schema_of
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.study import build_federation, build_generator, facts_of, limits_of, rules_of, with_derived


def study(**synth):
    return study_of(
        {
            "study": {"name": "s", "outcome": {"time": "os_years", "event": "died", "unit": "years"}},
            "synth": {"genes": ["TP53"], **synth},
        }
    )


@pytest.fixture(scope="module")
def schema():
    table = simulate(seed=0, sites={"a": 200}).table
    from cohortium.data.table import Table

    kept = ("age", "TP53", "SF3B1", "wbc", "anc", "os_years", "died")
    return schema_of(study(), {"a": Table({name: table.column(name) for name in kept})})


def test_the_generator_is_the_model_and_both_are_not_named():
    assert study().model.name == "bn"
    with pytest.raises(StudyError, match=r"leave \[model\] out"):
        study_of({"study": {"name": "s", "outcome": "y"}, "synth": {}, "model": {"name": "logistic"}})


def test_a_study_without_synthesis_keeps_its_digest():
    plain = study_of({"study": {"name": "s", "outcome": "y"}, "model": {"name": "logistic"}})
    assert b"synth" not in plain.canonical()
    assert b"synth" in study().canonical()


def test_rules_and_derived_columns_are_read_against_the_facts(schema):
    one = study(rules=["wbc >= anc"], derived={"splicing": "SF3B1 = 1"})
    facts = facts_of(one, schema)
    assert rules_of(one, facts)[0].columns == ("wbc", "anc")
    generator = build_generator(one, schema)
    assert generator.facts.names[-2:] == ("os_years", "died")
    from cohortium.synth.rows import Rows

    rows = Rows(facts, {name: np.array([1.0, np.nan]) for name in facts.names})
    found = with_derived(rows, one)
    assert found["splicing"][0] == 1
    assert np.isnan(found["splicing"][1])


@pytest.mark.parametrize(
    ("synth", "said"),
    [
        ({"rules": ["wbc > lymph"]}, "needs a number or another column, found 'lymph'"),
        ({"derived": {"x": "TP53 ="}}, "synth.derived.x"),
        ({"options": {"parents": 3}}, "generator 'bn' takes: max_climbs, max_parents, penalty"),
        ({"options": {"penalty": "bdeu"}}, "penalty must be"),
        ({"genes": ["age"]}, "a gene is a flag"),
    ],
)
def test_what_cannot_work_is_named(schema, synth, said):
    with pytest.raises(StudyError, match=said):
        build_generator(study(**synth), schema)


def test_impossible_studies_are_refused_before_anybody_trains():
    found = [problem.message for problem in check_study(study(generator="gan"))]
    assert len(found) == 1
    assert found[0].startswith("unknown generator 'gan'; available: bn")
    other = study_of({**study().model_dump(exclude={"model"}), "strategy": {"name": "fedavg"}})
    assert "federation 'exact' brings its own merge, not 'fedavg'" in check_study(other)[0].message


def test_an_unknown_option_is_named_before_any_column_is_known():
    (found,) = check_study(study(options={"parents": 3}))
    assert (found.key, found.message) == (
        "synth.options.parents",
        "generator 'bn' takes: max_climbs, max_parents, penalty",
    )


@pytest.mark.parametrize(
    ("options", "key", "said"),
    [
        ({"pac": 10}, "synth.options.pac", "pac = 10 judges patients together"),
        ({"steps": 0}, "synth.options.steps", "steps must be a whole number from 1"),
        ({"warm_steps": 5, "steps": 0}, "synth.options.steps", "steps must be"),
    ],
)
def test_an_option_of_a_wrong_value_is_refused_before_any_column_is_known(options, key, said):
    one = study_of(
        {
            "study": {"name": "s", "outcome": "y"},
            "cohort": {"columns": {"y": {"kind": "flag"}, "f": {"kind": "flag"}}},
            "synth": {"generator": "ctgan", "federation": "fedavg", "options": options},
            "privacy": {"dp": {"epsilon": 3.0}},
        }
    )
    for plan in (one, one.with_plans(cohort=one.cohort.model_copy(update={"columns": {}}))):
        assert [said in problem.message for problem in check_study(plan) if problem.key == key] == [True]


def test_rules_that_are_no_conditions_are_refused_before_any_column_is_known():
    found = check_study(study(rules=["wbc >= anc", "wbc anc 3"], derived={"old": "age >"}))
    assert [problem.key for problem in found] == ["synth.rules[1]", "synth.derived.old"]
    assert "expected one of = != < <= > >= after 'wbc'" in found[0].message


def test_columns_that_a_study_declares_are_checked_without_data():
    columns = {"y": {"kind": "flag"}, "age": {"kind": "number"}}
    content = {
        "study": {"name": "s", "outcome": "y"},
        "cohort": {"columns": columns},
        "synth": {"generator": "marginal_dp"},
        "privacy": {"dp": {"epsilon": 3.0}},
    }
    (found,) = check_study(study_of(content))
    assert (found.key, found.message) == (
        "cohort.ranges",
        "column 'age' has no range that everybody may know; agree on one under [cohort] ranges",
    )
    assert check_study(study_of({**content, "cohort": {"columns": columns, "ranges": {"age": [18, 100]}}})) == ()
    (found,) = check_study(study_of({**content, "synth": {"genes": ["TP53"]}, "privacy": {}}))
    assert (found.key, found.message) == ("synth.genes", "no column 'TP53'")


@pytest.mark.parametrize(
    ("federation", "masked", "said"),
    [
        ("fedavg", True, "generator 'bn' learns by sums; choose exact, sharing, similarity or ensemble"),
        ("isolated", False, "is a reference for simulations"),
        ("sharing", True, "shows the rows each site has drawn, but secure aggregation is on;"),
        ("ensemble", None, "shows single-site models, but secure aggregation is on by default; choose 'exact'"),
        ("union", False, "unknown federation 'union'; available: ensemble, exact, sharing, similarity"),
    ],
)
def test_a_federation_that_cannot_be_is_refused_in_one_sentence(federation, masked, said):
    plan = study(federation=federation)
    one = plan.with_plans(privacy=plan.privacy.model_copy(update={"secure_aggregation": masked}))
    assert [said in problem.message for problem in check_study(one, n_sites=3)] == [True]
    with pytest.raises(StudyError, match=re.escape(said)):
        build_federation(one, BayesianNetwork, n_sites=3)


def test_what_can_be_is_built_with_the_studys_terms():
    plan = study(federation="sharing", rounds=3, min_cell=7)
    one = plan.with_plans(privacy=plan.privacy.model_copy(update={"secure_aggregation": False}))
    assert check_study(one, n_sites=3) == ()
    found = build_federation(one, BayesianNetwork, n_sites=3)
    assert (found.plan.rounds, found.plan.min_cell) == (3, 7)


def test_studies_by_exact_sums_keep_the_digest_they_had():
    assert b"rounds" not in study().canonical().split(b'"synth"')[1]
    assert b'"rounds":5' in study(federation="similarity").canonical().split(b'"synth"')[1]


def test_limits_are_the_studys():
    assert limits_of(study(validation={"fidelity_pass": 0.5})).fidelity_pass == 0.5


def test_a_network_without_torch_has_its_sentence(monkeypatch):
    one = study(generator="vae_bgm", federation="fedavg")
    assert check_study(one, n_sites=3) == ()
    monkeypatch.setattr("cohortium.synth.study.find_spec", lambda name: None)
    assert "pip install 'cohortium[torch]'" in check_study(one, n_sites=3)[0].message
