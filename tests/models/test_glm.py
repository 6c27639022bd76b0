from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, PoissonRegressor

from cohortium.core.parameters import Parameters
from cohortium.core.update import Instructions
from cohortium.errors import DataError, TrainingFailed
from cohortium.models.glm import Logistic, Poisson
from cohortium.models.penalised import ElasticNet

CLOSE = 2e-5  # per sd; the design asks for 2e-4


@pytest.mark.parametrize("l2", [0.0, 0.01, 0.5])
def test_logistic_agrees_with_scikit_learn(kit, l2):
    examples = kit.binary(500)
    state, rounds = kit.learn(Logistic(l2=l2), [examples])
    oracle = LogisticRegression(C=np.inf if l2 == 0 else 1 / (l2 * 500), tol=1e-10, max_iter=1000)
    oracle.fit(examples.x, examples.y)
    assert np.abs(oracle.coef_[0] - state["coefficients"]).max() < CLOSE
    assert abs(oracle.intercept_[0] - state["intercept"][0]) < CLOSE
    assert np.abs(oracle.predict_proba(examples.x)[:, 1] - Logistic().predict(state, examples)).max() < CLOSE
    assert rounds <= 7


def test_standard_errors_are_those_of_the_textbook_formula(kit):
    examples = kit.binary(500)
    state, _ = kit.learn(Logistic(l2=0.0), [examples])
    p = Logistic().predict(state, examples)
    design = np.column_stack([np.ones(500), examples.x])
    inverse = np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design)
    assert np.allclose(state["covariance"], inverse, rtol=0, atol=2e-3 * np.diagonal(inverse).max())
    assert np.allclose(state["standard_errors"], np.sqrt(np.diagonal(inverse)), rtol=2e-3)


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_poisson_agrees_with_scikit_learn(kit, l2):
    examples = kit.counts(400)
    state, rounds = kit.learn(Poisson(l2=l2), [examples])
    oracle = PoissonRegressor(alpha=l2, tol=1e-12, max_iter=1000).fit(examples.x, examples.y)
    assert np.abs(oracle.coef_ - state["coefficients"]).max() < CLOSE
    assert abs(oracle.intercept_ - state["intercept"][0]) < CLOSE
    assert rounds <= 8


def test_poisson_starts_from_the_mean_so_that_large_counts_do_not_overflow(kit):
    examples = kit.counts(200)
    large = replace(examples, y=examples.y * 5000)
    state, rounds = kit.learn(Poisson(l2=0.0), [large])
    oracle = PoissonRegressor(alpha=0.0, tol=1e-12, max_iter=1000).fit(large.x, large.y)
    assert np.abs(oracle.coef_ - state["coefficients"]).max() < CLOSE
    assert rounds <= 8


def test_penalty_grows_with_the_number_of_rows(kit):
    examples = kit.binary(200)
    doubled = examples.take(np.concatenate([np.arange(200), np.arange(200)]))
    once, _ = kit.learn(Logistic(l2=0.3), [examples])
    twice, _ = kit.learn(Logistic(l2=0.3), [doubled])
    assert np.abs(once["coefficients"] - twice["coefficients"]).max() < 1e-6


def test_separated_outcomes_stop_with_the_column_and_the_remedy(kit):
    x = np.column_stack([np.linspace(-2, 2, 60), np.tile([-1.0, 1.0], 30)])
    separated = kit.table(x, x[:, 0] > 0, "binary")
    with pytest.raises(
        TrainingFailed, match=r"separation: column 'x0' tells outcomes apart perfectly.*raise l2"
    ) as caught:
        kit.learn(Logistic(l2=0.0), [separated])
    assert caught.value.code == "separation"
    state, _ = kit.learn(Logistic(l2=0.01), [separated])
    assert np.abs(state["coefficients"]).max() < 15


@pytest.mark.parametrize("model", [Logistic(), Logistic(l2=0.0)])
def test_one_class_everywhere_is_said(kit, model):
    examples = kit.binary(50)
    with pytest.raises(TrainingFailed, match="all training rows have the same outcome") as caught:
        kit.learn(model, [replace(examples, y=np.ones(50))])
    assert caught.value.code == "one_class"


def test_constant_and_repeated_columns_are_left_at_zero_without_a_penalty(kit):
    examples = kit.binary(300)
    x = np.column_stack([examples.x, np.zeros(300), examples.x[:, 0]])
    wider = kit.table(x, examples.y, "binary")
    plain, _ = kit.learn(Logistic(l2=0.0), [examples])
    found, _ = kit.learn(Logistic(l2=0.0), [wider])
    assert found["coefficients"][4:].tolist() == [0, 0]
    assert found["standard_errors"][5:].tolist() == [0, 0]
    assert np.abs(found["coefficients"][:4] - plain["coefficients"]).max() < 1e-6


def test_a_search_out_of_rounds_ends_with_the_best_point(kit):
    state, rounds = kit.learn(Logistic(max_rounds=2), [kit.binary()])
    assert rounds == 2
    full, _ = kit.learn(Logistic(), [kit.binary()])
    assert 0 < np.abs(state["coefficients"] - full["coefficients"]).max() < 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l2": -1}, "l2 must be at least 0 and finite, got -1"),
        ({"l2": float("nan")}, "l2 must be"),
        ({"max_rounds": 0}, "max_rounds must be at least 1, got 0"),
        ({"learn": "both"}, "learn must be 'sums' or 'weights', got 'both'"),
        ({"learning_rate": 0}, "learning_rate must be positive"),
        ({"batch_size": -1}, "batch_size must be at least 0"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    for model in (Logistic, Poisson):
        with pytest.raises(ValueError, match=message):
            model(**options)


def test_wrong_outcomes_and_too_many_columns_are_refused(kit):
    with pytest.raises(DataError, match="model 'logistic' needs an outcome of kind binary, got count"):
        Logistic().initial(kit.counts(10).layout, rng=None)
    wide = kit.layout(2001, "binary")
    with pytest.raises(DataError, match="has 2002 coefficients, at most 2001"):
        Logistic().initial(wide, rng=None)
    assert Logistic(learn="weights").initial(wide, rng=None)["coefficients"].shape == (2001,)


def test_fedavg_with_one_full_step_is_central_gradient_descent(kit):
    examples = kit.binary(300)
    sites = kit.split(examples, 5)
    model = Logistic(learn="weights", learning_rate=0.5, l2=0.1)
    central = shared = model.initial(examples.layout, rng=None)
    for _ in range(20):
        rngs = [np.random.default_rng(0)] * 5
        central = model.fit(central, examples, instructions=Instructions(), rng=rngs[0]).parameters
        done = model.fit_many([shared] * 5, sites, instructions=[Instructions()] * 5, rngs=rngs)
        total = sum(f.n_samples for f in done)
        shared = Parameters({name: sum(f.parameters[name] * (f.n_samples / total) for f in done) for name in shared})
    assert np.abs(shared.vector() - central.vector()).max() < 1e-14


def test_gradient_steps_reach_the_newton_solution(kit):
    examples = kit.binary(300)
    model = Logistic(learn="weights", learning_rate=1.0)
    start = model.initial(examples.layout, rng=None)
    trained = model.fit(start, examples, instructions=Instructions(local_epochs=400), rng=np.random.default_rng(0))
    solved, _ = kit.learn(Logistic(), [examples])
    assert np.abs(trained.parameters["coefficients"] - solved["coefficients"]).max() < 1e-4
    assert not model.finished(trained.parameters)
    assert model.learns_by == "weights"
    assert model.parts(start) == {"head": ("intercept",)}


@pytest.mark.parametrize("l2", [0.0, 0.05])
def test_four_hospitals_learn_the_pooled_model(kit, l2):
    frame = kit.shared("heart_uci")
    columns = [c for c in frame if c not in ("site", "num", "label")]
    x = kit.standardised(frame, columns)
    examples = kit.table(x, frame["label"].astype(float), "binary")
    swarm, rounds = kit.learn(Logistic(l2=l2), kit.by(examples, frame["site"].to_numpy()))
    pooled, _ = kit.learn(Logistic(l2=l2), [examples])
    oracle = LogisticRegression(C=np.inf if l2 == 0 else 1 / (l2 * len(x)), tol=1e-10, max_iter=5000)
    oracle.fit(x, examples.y)
    assert swarm == pooled
    assert np.abs(oracle.coef_[0] - swarm["coefficients"]).max() < CLOSE
    assert rounds <= 8


def test_speech_features_beyond_patients_without_a_penalty_are_called_separation(kit):
    """751 columns, many nearly copies, of 252 people: the first step is in the millions, and must not overflow."""
    frame = kit.shared("parkinson_speech")
    columns = [c for c in frame.columns if c not in ("id", "label") and frame[c].dtype.kind in "fi"]
    x = kit.standardised(frame, columns)
    examples = kit.table(x, (frame["label"] == frame["label"].iloc[0]).to_numpy(dtype=float), "binary")
    with pytest.raises(TrainingFailed, match="separation"):
        kit.learn(Logistic(l2=0.0), [examples])


@pytest.mark.parametrize("learner", [Logistic(l2=0.01), ElasticNet(l1=0.0, l2=0.01)], ids=["logistic", "elastic-net"])
def test_one_site_may_hold_more_than_half_a_million_patients(kit, learner):
    """Second derivatives at full precision left int64 from 2^19 rows a site on."""
    n = 600_000
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 1))
    y = (rng.random(n) < 1 / (1 + np.exp(2.0 - x[:, 0]))).astype(float)
    state, _ = kit.learn(learner, [kit.table(x, y, "binary")])
    oracle = LogisticRegression(C=1 / (0.01 * n), tol=1e-10, solver="newton-cholesky").fit(x, y)
    assert abs(oracle.coef_[0, 0] - state["coefficients"][0]) < CLOSE
    assert abs(oracle.intercept_[0] - state["intercept"][0]) < CLOSE
