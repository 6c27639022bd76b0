"""Tables become cohorts under one schema, or every site's sentence comes at once."""

import numpy as np
import pytest

from cohortium.core.randomness import Chance
from cohortium.core.study_text import study_of
from cohortium.errors import DataError
from cohortium.sim.cohorts import flow_of, gather, schema_of

CHANCE = Chance(0, secrets_from_system=False)


def test_every_site_gets_the_same_layout(study, tables):
    rows = gather(study, tables, chance=CHANCE).rows()
    assert [one.site for one in rows] == ["bonn", "lund", "porto"]
    assert len({one.training.layout for one in rows}) == 1
    assert np.isnan(rows[2].training.x[:, rows[2].training.layout.features.index("b")]).all()


def test_no_patient_is_in_two_parts(study, tables):
    for one in gather(study, tables, chance=CHANCE).rows():
        parts = [set(part.patient.tolist()) for part in (one.training, one.calibration, one.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == len(tables[one.site])


def test_the_split_follows_the_seed(tables, make_study):
    def test_rows(seed):
        study = make_study(evaluation={"seed": seed})
        return gather(study, tables, chance=CHANCE).rows()[0].test.patient.tolist()

    assert test_rows(0) == test_rows(0)
    assert test_rows(0) != test_rows(1)


def test_features_and_exclusions_are_obeyed(tables, make_study):
    only = schema_of(make_study(study={"features": ["a"]}), tables).layout().features
    rest = schema_of(make_study(study={"exclude": ["a"]}), tables).layout().features
    assert only == ("a",)
    assert "a" not in rest
    assert "b" in rest


def test_problems_of_all_sites_come_at_once(study, tables, make_table):
    tables["bonn"] = make_table(60, seed=1).with_column("a", np.full(60, np.inf))
    tables["lund"] = make_table(5, seed=1).take(np.zeros(0, dtype=np.int64))
    with pytest.raises(DataError) as caught:
        gather(study, tables, chance=CHANCE)
    assert "bonn" in str(caught.value)
    assert "lund" in str(caught.value)


def test_a_study_of_one_class_only_is_refused(study, tables):
    ones = {site: table.with_column("label", np.ones(len(table))) for site, table in tables.items()}
    with pytest.raises(DataError):
        gather(study, ones, chance=CHANCE)


def test_the_flow_adds_up(study, tables):
    for site, flow in flow_of(gather(study, tables, chance=CHANCE)).items():
        assert flow.read == len(tables[site]) == flow.train + flow.calibration + flow.test
        assert flow.positive == int(tables[site].column("label").sum())


def test_what_the_short_form_says_of_rows_and_bad_records_is_obeyed(tables, make_study):
    one = schema_of(make_study(cohort={"patient": "a", "rows": "visits", "bad_records": "skip"}), tables)
    assert (one.rows, one.bad_records) == ("visits", "skip")
    other = schema_of(make_study(), tables)
    assert (other.rows, other.bad_records) == ("patients", "refuse")


def test_a_site_with_nobody_to_train_on_is_refused(study, tables, make_table):
    tables["oslo"] = make_table(30, seed=4).with_column("part", np.array(["test"] * 30))
    tables |= {s: t.with_column("part", np.array(["train"] * len(t))) for s, t in tables.items() if s != "oslo"}
    with pytest.raises(DataError, match="site 'oslo': none of its 30 rows is left for training"):
        gather(study, tables, chance=CHANCE)


def test_a_study_that_tests_on_nobody_is_refused(make_study, tables):
    split = {s: t.with_column("part", np.array(["train"] * len(t))) for s, t in tables.items()}
    with pytest.raises(DataError, match="no site has a patient held out for testing"):
        gather(make_study(), split, chance=CHANCE)


def test_in_a_private_generators_study_a_patient_more_moves_nobody_else(tables):
    study = study_of({
        "study": {"name": "little", "outcome": "label"},
        "synth": {"generator": "marginal_dp", "validation": {"reserve_share": 0.3}},
        "privacy": {"dp": {"epsilon": 4.0, "mode": "local"}, "secure_aggregation": False},
    })  # fmt: skip
    whole = dict(tables)
    n = len(whole["bonn"])
    fewer = {**whole, "bonn": whole["bonn"].take(np.arange(n - 1))}
    parts = [gather(study, one, chance=CHANCE).cohorts["bonn"].parts for one in (whole, fewer)]
    assert parts[0][: n - 1].tolist() == parts[1].tolist()
