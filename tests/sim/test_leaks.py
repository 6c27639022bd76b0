"""Every leak stops the run with its sentence; the same finding of several sites is said once."""

import numpy as np
import pytest

from cohortium.core.check import Check
from cohortium.core.randomness import Chance
from cohortium.errors import DataError
from cohortium.sim.cohorts import gather
from cohortium.sim.leaks import leakage_checks, refuse_leaks

CHANCE = Chance(0, secrets_from_system=False)


def found(study, tables):
    return leakage_checks(study, gather(study, tables, chance=CHANCE))


def with_copy(tables):
    """A column that is the outcome itself, up to noise."""
    rng = np.random.default_rng(0)
    return {
        site: table.with_column("discharge", np.asarray(table.column("label")) + rng.normal(0, 0.01, len(table)))
        for site, table in tables.items()
    }


def test_a_clean_study_passes(study, tables):
    checks = found(study, tables)
    refuse_leaks(checks)
    assert {check.level for check in checks} <= {"ok", "warn", "skipped"}


def test_each_check_stands_once_in_its_order(study, tables):
    checks = found(study, tables)
    assert [check.id for check in checks] == sorted({check.id for check in checks})
    first = checks[0].found
    assert first == "no patient, row or image is in two parts; no undeclared column looks like a patient key"


def test_what_is_wrong_is_not_hidden_behind_what_is_right(study, tables):
    """Two columns give the outcome away: two sentences, in order, and none that says all is well."""
    twice = {site: table.with_column("again", table.column("discharge")) for site, table in with_copy(tables).items()}
    of_columns = [check for check in found(study, twice) if check.id == "L2"]
    assert [check.level for check in of_columns] == ["fail", "fail"]
    assert {check.found.split("'")[1] for check in of_columns} == {"again", "discharge"}


def test_a_column_that_gives_the_outcome_away_is_refused(study, tables):
    with pytest.raises(DataError, match="L2: column 'discharge' alone gives the outcome away"):
        refuse_leaks(found(study, with_copy(tables)))


def test_a_leak_a_person_has_accepted_is_no_refusal(make_study, tables):
    refuse_leaks(found(make_study(study={"acknowledged": {"discharge": "known at admission"}}), with_copy(tables)))


def test_all_refusals_come_at_once():
    checks = [Check(id=f"L{i}", level="fail", found=f"leak {i}", fix="mend") for i in (1, 2)]
    with pytest.raises(DataError) as caught:
        refuse_leaks([*checks, Check(id="L3", level="ok", found="fine")])
    assert str(caught.value).splitlines() == ["L1: leak 1; mend", "L2: leak 2; mend"]


def visits(table, *, shared):
    """Two rows a patient under a published split; `shared` puts a patient on both sides."""
    n = len(table)
    part = np.where(np.arange(n) // 2 % 4 == 0, "test", "train")
    part[:2] = ["train", "test"] if shared else ["test", "test"]
    return table.with_column("who", np.array([f"p{i // 2}" for i in range(n)])).with_column("part", part)


def test_a_finding_of_one_site_names_it(make_study, tables):
    split = {site: visits(table, shared=site == "bonn") for site, table in tables.items()}
    checks = found(make_study(cohort={"patient": "who", "rows": "visits"}), split)
    with pytest.raises(DataError, match=r"^L1: bonn: 1 patient"):
        refuse_leaks(checks)


def test_a_repeating_key_that_nobody_declared_is_refused(study, tables):
    split = {site: visits(table, shared=False).without(["part"]) for site, table in tables.items()}
    with pytest.raises(DataError, match="L1: bonn: column 'patient_id' looks like a patient key and repeats"):
        refuse_leaks(
            found(study, {s: t.with_column("patient_id", t.column("who")).without(["who"]) for s, t in split.items()})
        )
