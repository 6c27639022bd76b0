from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet as OracleNet
from sklearn.linear_model import LogisticRegression

from cohortium.errors import DataError, TrainingFailed
from cohortium.models.glm import Logistic
from cohortium.models.penalised import ElasticNet, Lasso

CLOSE = 2e-5


def wide(kit, kind, n=300, p=30):
    rng = np.random.default_rng(5)
    few = getattr(kit, kind)(n)
    return kit.table(np.column_stack([few.x, rng.normal(size=(n, p - 4))]), few.y, few.layout.outcome)


@pytest.mark.parametrize(("l1", "l2"), [(0.02, 0.0), (0.02, 0.1), (0.1, 0.01)])
def test_logistic_net_agrees_with_scikit_learn(kit, l1, l2):
    examples = wide(kit, "binary")
    state, rounds = kit.learn(ElasticNet(l1=l1, l2=l2), kit.split(examples, 5))
    oracle = LogisticRegression(C=1 / (300 * (l1 + l2)), l1_ratio=l1 / (l1 + l2), solver="saga", tol=1e-10,
                                max_iter=20_000).fit(examples.x, examples.y)  # fmt: skip
    assert np.abs(oracle.coef_[0] - state["coefficients"]).max() < CLOSE
    assert np.array_equal(oracle.coef_[0] != 0, state["coefficients"] != 0)
    assert state["violation"][0] <= 1e-6
    assert rounds <= 8


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e5])
def test_a_number_needs_one_exchange_and_agrees_with_scikit_learn_in_any_unit(kit, unit):
    examples = wide(kit, "numbers")
    examples = replace(examples, y=examples.y * unit)
    state, rounds = kit.learn(ElasticNet(l1=0.1 * unit, l2=0.05), kit.split(examples, 5))
    alpha = 0.1 * unit + 0.05
    oracle = OracleNet(alpha=alpha, l1_ratio=0.1 * unit / alpha, tol=1e-12, max_iter=100_000)
    oracle.fit(examples.x, examples.y)
    assert rounds == 1
    assert np.abs(oracle.coef_ - state["coefficients"]).max() < CLOSE * unit
    assert np.array_equal(oracle.coef_ != 0, state["coefficients"] != 0)
    assert np.abs(oracle.predict(examples.x) - ElasticNet().predict(state, examples)).max() < 1e-4 * unit


def violation(examples, state, mean, l1):
    """The largest broken optimality condition, in float64 from scratch."""
    w = state["coefficients"]
    slope = -examples.x.T @ (examples.y - mean(examples.x @ w + state["intercept"][0])) / len(examples)
    return np.max(np.where(w != 0, np.abs(slope + l1 * np.sign(w)), np.maximum(np.abs(slope) - l1, 0)))


def test_counts_satisfy_the_optimality_conditions(kit):
    examples = wide(kit, "counts")
    state, rounds = kit.learn(Lasso(l1=0.1), kit.split(examples, 3))
    assert violation(examples, state, np.exp, 0.1) < 2e-5
    assert 0 < np.count_nonzero(state["coefficients"]) < 30
    assert rounds <= 10
    assert (Lasso().predict(state, examples) > 0).all()


def test_large_penalty_leaves_the_intercept_alone(kit):
    examples = wide(kit, "binary")
    state, _ = kit.learn(Lasso(l1=10.0), [examples])
    assert not state["coefficients"].any()
    assert Lasso().predict(state, examples)[0] == pytest.approx(examples.y.mean(), abs=1e-6)


def test_without_l1_it_is_the_ridge_of_logistic(kit):
    examples = kit.binary(300)
    net, _ = kit.learn(ElasticNet(l1=0.0, l2=0.1), [examples])
    ridge, _ = kit.learn(Logistic(l2=0.1), [examples])
    assert np.abs(net["coefficients"] - ridge["coefficients"]).max() < 1e-5


@pytest.mark.parametrize("l1", [0.1, *(pytest.param(l1, marks=pytest.mark.slow) for l1 in (0.2, 0.05, 0.01))])
def test_two_thousand_genes_of_72_patients_in_few_rounds(kit, l1):
    frame = kit.shared("leukaemia_golub")
    y = (frame["label"] == frame["label"].iloc[0]).astype(float)
    examples = kit.table(kit.standardised(frame, [c for c in frame if c != "label"]), y, "binary")
    sites = kit.by(examples, np.arange(72) % 3)
    state, rounds = kit.learn(Lasso(l1=l1), sites)
    pooled, _ = kit.learn(Lasso(l1=l1), [examples])
    assert state == pooled
    assert rounds <= 8
    assert violation(examples, state, lambda eta: 1 / (1 + np.exp(-eta)), l1) < 1.5e-6


def test_a_working_set_finds_the_same_genes_beyond_two_thousand_columns(kit, monkeypatch):
    examples = wide(kit, "binary", p=60)
    full, _ = kit.learn(Lasso(l1=0.05), [examples])
    monkeypatch.setattr("cohortium.models.penalised.MAX_WORKING", 20)
    state, rounds = kit.learn(Lasso(l1=0.05), kit.split(examples, 4))
    assert len(state["working"]) <= 20
    assert np.abs(state["coefficients"] - full["coefficients"]).max() < 1e-5
    assert rounds <= 10


def test_many_columns_exchange_no_square_of_them(kit):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2500))
    examples = kit.table(x, x[:, 0] + 0.5 * rng.normal(size=40) > 0, "binary")
    state = Lasso().initial(examples.layout, rng=rng)
    assert kit.answer(Lasso(), state, examples)["hessian"].shape == (1,)
    found, rounds = kit.learn(Lasso(l1=0.2), kit.split(examples, 3))
    assert found["coefficients"][0] > 0.1
    assert rounds <= 10


def test_refusals(kit):
    with pytest.raises(ValueError, match=r"l1 must be at least 0 and finite, got -0.1"):
        Lasso(l1=-0.1)
    with pytest.raises(ValueError, match="l2 must be"):
        ElasticNet(l2=float("inf"))
    with pytest.raises(ValueError, match="max_rounds must be at least 1"):
        ElasticNet(max_rounds=0)
    with pytest.raises(DataError, match="learns a number from at most 2000 columns, got 2001"):
        Lasso().initial(kit.layout(2001, "number"), rng=None)
    with pytest.raises(DataError, match="needs an outcome of kind binary or count or number, got survival"):
        Lasso().initial(kit.layout(3, "survival", resolution=1.0), rng=None)
    with pytest.raises(TrainingFailed, match="same outcome"):
        kit.learn(Lasso(), [replace(kit.binary(30), y=np.zeros(30))])
