"""`co.fit`: the same bits from tables that are all here and from sites that exchange sums."""

import numpy as np
import pytest

import cohortium as co
from cohortium.core.randomness import Chance
from cohortium.data.cohort import Cohort
from cohortium.data.table import Table
from cohortium.errors import DataError, StudyError, UsageError
from cohortium.sim.cohorts import gather


def rehearse(study, data, make):
    functions = {site: (lambda rows=rows: co.fit(make(), rows, study=study)) for site, rows in data.items()}
    return co.rehearse(study, sites=functions)


@pytest.fixture
def survival():
    def site(n, seed):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, 2))
        time = np.ceil(rng.exponential(200 * np.exp(-x[:, 0])))
        return x, (time, rng.random(n) < 0.7)

    return {"porto": site(50, 1), "bonn": site(70, 2)}


@pytest.fixture
def cox_study():
    return co.Study.model_validate(
        {
            "study": {"name": "months", "outcome": {"time": "t", "event": "e"}},
            "model": {"name": "cox", "l2": 0.0, "min_at_risk": 1},
        }
    )


def test_tables_that_are_all_here_are_fitted_by_the_estimator(data):
    ours = co.fit(co.models.LogisticRegression(), sites=data)
    theirs = co.models.LogisticRegression().fit(sites=data)
    assert ours.coef_.tolist() == theirs.coef_.tolist()


def test_a_swarm_gives_the_bits_of_the_pooled_fit(data, make_study):
    study = make_study(model="logistic")
    result = rehearse(study, data, co.models.LogisticRegression)
    pooled = co.models.LogisticRegression().fit(*(np.concatenate([data[s][k] for s in sorted(data)]) for k in (0, 1)))
    for fitted in result.values.values():
        assert fitted.coef_.tolist() == pooled.coef_.tolist()
        assert fitted.intercept_.tolist() == pooled.intercept_.tolist()
        assert fitted.standard_errors_.tolist() == pooled.standard_errors_.tolist()
        assert fitted.rounds_ == pooled.rounds_
        assert fitted.predict_proba(data["bonn"][0]).tolist() == pooled.predict_proba(data["bonn"][0]).tolist()
    assert result.outcome.status == "complete"


def test_cox_learns_on_one_grid_of_times_although_follow_up_differs(survival, cox_study):
    result = rehearse(cox_study, survival, co.models.Cox)
    pooled = co.fit(co.models.Cox(), sites=survival)
    assert result.values["porto"].coef_.tolist() == pooled.coef_.tolist()
    x, y = survival["bonn"]
    assert result.values["porto"].score(x, y) == pooled.score(x, y)
    assert result.values["porto"].baseline_[0].tolist() == pooled.baseline_[0].tolist()


def test_curves_of_groups_are_those_of_all_patients(survival):
    groups = {site: (np.where(x[:, 0] > 0, "high", "low"), y) for site, (x, y) in survival.items()}
    make = co.models.KaplanMeier
    study = co.Study.model_validate(
        {
            "study": {"name": "curves", "outcome": {"time": "t", "event": "e"}},
            "model": {"name": "kaplan-meier", "by": "group", "n_groups": 2, "tau": 0.0}
            | dict.fromkeys(("min_cell", "min_at_risk", "min_patients"), 1),
        }
    )
    swarm, pooled = rehearse(study, groups, make).values["bonn"], co.fit(make(), sites=groups)
    times = np.array([50.0, 200.0])
    assert swarm.predict_survival(["low"], times).tolist() == pooled.predict_survival(["low"], times).tolist()
    assert swarm.log_rank_ == pooled.log_rank_


def test_a_cohort_brings_its_training_part(data, make_study):
    study = make_study(model="logistic")
    tables = {
        site: Table.from_columns({**{f"x{k}": x[:, k] for k in range(3)}, "label": y}) for site, (x, y) in data.items()
    }
    cohorts = gather(study, tables, chance=Chance(0, secrets_from_system=False)).cohorts
    assert all(isinstance(one, Cohort) for one in cohorts.values())
    training = {site: (cohort.examples("train").x, cohort.examples("train").y) for site, cohort in cohorts.items()}
    fitted = rehearse(study, cohorts, co.models.LogisticRegression).values["lund"]
    assert fitted.coef_.tolist() == co.fit(co.models.LogisticRegression(), sites=training).coef_.tolist()


def test_estimator_and_study_must_say_the_same(data, make_study):
    study = make_study(model="logistic")
    with pytest.raises(
        UsageError, match=r"agrees on model\.l2 = 0\.01, the estimator has 0\.5; write the same in both"
    ):
        rehearse(study, data, lambda: co.models.LogisticRegression(l2=0.5))
    with pytest.raises(UsageError, match="agrees on model 'logistic', the estimator trains a Poisson"):
        rehearse(study, data, co.models.PoissonRegression)


def test_sites_with_other_labels_are_refused(data, make_study):
    study = make_study(model="logistic")
    words = {
        site: (x, np.where(y > 0, "ill", "well" if site == "bonn" else "healthy")) for site, (x, y) in data.items()
    }
    with pytest.raises(UsageError, match="site 'lund' has 2 labels, expected the 2 of site 'bonn'"):
        rehearse(study, words, co.models.LogisticRegression)


def test_rows_an_estimator_cannot_read_end_the_rehearsal(data, make_study):
    x, y = data["lund"]
    broken = x.copy()
    broken[0, 0] = np.nan
    with pytest.raises(DataError, match="X holds 1 missing"):
        rehearse(make_study(model="logistic"), {**data, "lund": (broken, y)}, co.models.LogisticRegression)


def test_estimators_and_loops_do_not_mix(data, make_study, make_site):
    rows, loops = make_study(model="logistic"), make_study()

    def fitting(study):
        return lambda: co.fit(co.models.LogisticRegression(), data["bonn"], study=study)

    with pytest.raises(StudyError, match="an own loop trains no 'logistic'"):
        co.rehearse(rows, sites={"bonn": fitting(rows), "lund": make_site(rows, *data["lund"])})
    with pytest.raises(UsageError, match="agrees on model 'own-loop', the estimator trains a Logistic"):
        co.rehearse(loops, sites={"bonn": fitting(loops), "lund": make_site(loops, *data["lund"])})


def test_a_cohort_of_follow_up_brings_times_and_events(survival, cox_study):
    tables = {
        site: Table.from_columns({"a": x[:, 0], "b": x[:, 1], "t": time, "e": event.astype(float)})
        for site, (x, (time, event)) in survival.items()
    }
    cohorts = gather(cox_study, tables, chance=Chance(0, secrets_from_system=False)).cohorts
    training = {site: cohort.examples("train") for site, cohort in cohorts.items()}
    pooled = co.fit(co.models.Cox(), sites={site: (one.x, (one.time, one.event)) for site, one in training.items()})
    fitted = rehearse(cox_study, cohorts, co.models.Cox).values["bonn"]
    assert fitted.coef_.tolist() == pooled.coef_.tolist()


def test_incomplete_calls_say_what_is_missing(data, make_study):
    model = co.models.LogisticRegression()
    with pytest.raises(UsageError, match="needs data and a study, or sites"):
        co.fit(model, data["bonn"])
    with pytest.raises(UsageError, match="either sites, or data and a study"):
        co.fit(model, data["bonn"], sites=data)
    with pytest.raises(UsageError, match=r"co\.fit needs a rehearsal"):
        co.fit(model, data["bonn"], study=make_study(model="logistic"))
    with pytest.raises(StudyError, match="unknown model"):
        co.fit(model, data["bonn"], study={"study": {"name": "s", "outcome": "y"}, "model": {"name": "forest"}})


def test_a_function_fits_once_in_a_rehearsal(data, make_study):
    study = make_study(model="logistic")

    def twice(rows):
        co.fit(co.models.LogisticRegression(), rows, study=study)
        co.fit(co.models.LogisticRegression(), rows, study=study)

    with pytest.raises(UsageError, match="has had its run already"):
        co.rehearse(study, sites={site: (lambda rows=rows: twice(rows)) for site, rows in data.items()})
