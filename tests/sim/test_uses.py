"""Files of real patients that cannot be judged are refused with what to do."""

import numpy as np
import pytest

from cohortium.core.study_text import study_of
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.mds_like import simulate
from cohortium.data.partition import by_column, take
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import DataError, UsageError
from cohortium.sim.synthesis import fit, open_generator
from cohortium.sim.uses import augment_files, balance_files, control_arm_files
from cohortium.synth.conditions import parse
from cohortium.synth.sampling import draw
from cohortium.synth.uses import augment as augment_module
from cohortium.synth.uses import control_arm as control_arm_module
from cohortium.synth.uses.balance import balance

COLUMNS = ("site", "age", "TP53", "hb", "os_years", "died")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("uses")
    whole = simulate(seed=0, sites={"a": 400, "b": 240}, missing=False).table
    table = Table({name: whole.column(name) for name in COLUMNS})
    study = study_of(
        {
            "study": {"name": "mds", "outcome": {"time": "os_years", "event": "died", "unit": "years"}},
            "synth": {"genes": ["TP53"], "rules": ["hb >= 9"], "derived": {"frail": "hb < 10 and age > 70"}},
            "privacy": {"secure_aggregation": False},
        }
    )
    fit(study, take(table, by_column(table, "site"), without=["site"]), out=where / "generator")
    for name, start in (("real", 0), ("held", 1)):  # every other patient
        (where / f"{name}.csv").write_bytes(csv_bytes(table.take(np.arange(start, len(table), 2))))
    half = table.take(np.arange(0, len(table), 2))
    gone = half.with_column("os_years", ["" if row < 7 else str(t) for row, t in enumerate(half.column("os_years"))])
    (where / "gone.csv").write_bytes(csv_bytes(gone))
    return where


def test_the_three_uses_read_files(folder):
    real, held, generator = folder / "real.csv", folder / "held.csv", folder / "generator"
    assert augment_files(generator, real=real, holdout=held, most=1, seed=0).points
    found = balance_files(generator, real=real, holdout=held, where="TP53 = 1", share=0.3, seed=0, out=None)
    assert found.n_drawn > 20
    arm = control_arm_files(generator, treated=real, eligible="", untreated="", match=["age", "hb"], sets=2, seed=0)
    assert arm.columns == ("age", "hb")


def test_drawn_patients_keep_the_rules_of_the_study_in_every_use(folder, monkeypatch):
    real, held, generator = folder / "real.csv", folder / "held.csv", folder / "generator"
    saved = open_generator(generator)
    free = saved.generator.sample(saved.state, 500, rng=np.random.default_rng(0))
    assert (free["hb"] < 9).any()  # else nothing is shown
    ask = {"real": real, "holdout": held, "where": "TP53 = 1", "share": 0.5, "seed": 0}
    assert not balance_files(generator, **ask, out=folder / "drawn.csv").broken
    drawn = read(folder / "drawn.csv")
    assert drawn.column("hb").min() >= 9
    assert (drawn.column("frail") == ((drawn.column("hb") < 10) & (drawn.column("age") > 70))).all()

    asked = []
    for use in (augment_module, control_arm_module):
        monkeypatch.setattr(use, "draw", lambda *a, rules=(), **k: asked.append(rules) or draw(*a, rules=rules, **k))
    augment_files(generator, real=real, holdout=held, most=1, seed=0)
    control_arm_files(generator, treated=real, eligible="", untreated="", match=["hb"], sets=2, seed=0)
    assert len(asked) > 4
    assert {rules[0].text for rules in asked} == {"hb >= 9"}


def test_the_same_patients_on_both_sides_judge_nothing(folder):
    real, generator = folder / "real.csv", folder / "generator"
    with pytest.raises(DataError, match="half or more of its rows also stand in"):
        augment_files(generator, real=real, holdout=real, most=1, seed=0)
    with pytest.raises(DataError, match="nobody has learned from"):
        balance_files(generator, real=real, holdout=real, where="TP53 = 1", share=0.3, seed=0, out=None)


def test_a_rule_that_is_hard_to_keep_is_counted(folder):
    saved = open_generator(folder / "generator")
    rows = saved.generator.sample(saved.state, 400, rng=np.random.default_rng(1))
    never = (parse("hb > 30", saved.facts),)
    found = balance(saved.generator, saved.state, rows, rows, where="TP53 = 1", share=0.5, rules=never, seed=0)
    assert found.broken == {"hb > 30": found.n_drawn}
    assert "break the rule 'hb > 30'" in found.text()


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
