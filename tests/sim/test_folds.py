"""Everybody outside the calibration part is predicted exactly once, by models that have not seen them."""

import numpy as np
import pytest

from cohortium.core.randomness import Chance
from cohortium.errors import DataError, StudyError
from cohortium.sim.cohorts import gather
from cohortium.sim.comparison import train_plainly
from cohortium.sim.folds import cross_validate, draw

CHANCE = Chance(0, secrets_from_system=False)


@pytest.fixture
def folded(make_study, tables):
    study = make_study(evaluation={"folds": 3, "leave_one_out": False})
    return study, gather(study, tables, chance=CHANCE)


def test_every_training_row_is_in_one_test_part_and_no_patient_in_both(folded):
    _, gathered = folded
    for one in gathered.rows():
        assert len(one.test) == 0, "with folds nobody is held out from the released model"
        tested = np.concatenate([fold.places[one.site] for fold in draw(gathered, 3, seed=0)])
        assert sorted(tested.tolist()) == list(range(len(one.training)))
    for fold in draw(gathered, 3, seed=0):
        for one in fold.rows:
            assert not set(one.training.patient.tolist()) & set(one.test.patient.tolist())


def test_rows_of_one_patient_stay_in_one_fold(make_study, make_table):
    tables = {}
    for seed, site in enumerate(("bonn", "lund")):
        table = make_table(60, seed=seed)
        visits = np.array([f"p{i // 3}" for i in range(60)])
        tables[site] = table.with_column("who", visits).with_column("label", np.repeat(np.arange(20) % 2, 3) * 1.0)
    study = make_study(cohort={"patient": "who", "rows": "visits"}, evaluation={"folds": 4})
    gathered = gather(study, tables, chance=CHANCE)
    for fold in draw(gathered, 4, seed=0):
        for one in fold.rows:
            assert not set(one.training.patient.tolist()) & set(one.test.patient.tolist())


@pytest.mark.slow
def test_each_prediction_comes_from_the_model_of_the_other_folds(folded):
    study, gathered = folded
    released = train_plainly(study, gathered.rows(), chance=CHANCE)
    found = cross_validate(study, gathered, released, chance=CHANCE).scored
    fold = draw(gathered, 3, seed=0)[1]
    model = train_plainly(study, fold.rows, chance=CHANCE)
    for one in fold.rows:
        assert np.array_equal(found.scores["swarm"][one.site][fold.places[one.site]], model.scores(one, one.test))
    assert all(np.isfinite(held).all() for sites in found.scores.values() for held in sites.values())
    assert not np.array_equal(found.scores["swarm"]["bonn"], released.scores(fold.rows[0], found.rows[0].test))


def test_a_model_missing_in_one_fold_is_missing_with_the_fold_named(folded, monkeypatch):
    study, gathered = folded
    released = train_plainly(study, gathered.rows(), chance=CHANCE)
    from cohortium.sim import folds

    real, calls = folds.compare, []

    def compare(*args, **kwargs):
        found = real(*args, **kwargs)
        calls.append(1)
        if len(calls) == 2:
            return type(found)(
                models={k: m for k, m in found.models.items() if k != "own/bonn"}, missing={"own/bonn": "x"}
            )
        return found

    monkeypatch.setattr(folds, "compare", compare)
    found = cross_validate(study, gathered, released, chance=CHANCE)
    assert found.missing == {"own/bonn": "fold 2: x"}
    assert "own/bonn" not in found.scored.scores
    assert "own/lund" in found.scored.scores


def test_a_site_too_small_for_folds_is_refused(make_study, tables, make_table):
    tables["bonn"] = make_table(1, seed=1)
    study = make_study(evaluation={"folds": 2, "calibration_fraction": 0.0})
    with pytest.raises(DataError, match="site 'bonn': 1 training rows cannot be shared out over 2 folds"):
        draw(gather(study, tables, chance=CHANCE), 2, seed=0)


def test_folds_and_a_published_split_contradict_each_other(make_study, tables):
    words = {site: np.array(["train", "test"] * (len(table) // 2)) for site, table in tables.items()}
    split = {site: table.with_column("set", words[site]) for site, table in tables.items()}
    study = make_study(cohort={"part": "set"}, evaluation={"folds": 3})
    with pytest.raises(StudyError, match=r"evaluation\.folds: column 'set' publishes a split"):
        gather(study, split, chance=CHANCE)
