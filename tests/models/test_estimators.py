import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.linear_model import LinearRegression as OracleLinear
from sklearn.linear_model import LogisticRegression as OracleLogistic
from sklearn.linear_model import PoissonRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cohortium.errors import DataError, TrainingFailed, UsageError
from cohortium.models import estimators
from cohortium.models.estimators import ElasticNet, Lasso, LinearRegression, LogisticRegression, PoissonRegression

SCALES = np.array([100.0, 1.0, 0.01, 5.0])


def raw(kit, kind, n=400):
    """Columns in different units, the outcome, and the same rows as three sites."""
    examples = getattr(kit, kind)(n)
    x = examples.x * SCALES + [7.0, 0.0, 0.0, -3.0]
    site = np.random.default_rng(0).integers(0, 3, n)
    sites = {name: (x[site == k], examples.y[site == k]) for k, name in enumerate(("porto", "bonn", "lund"))}
    return x, examples.y, sites


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (LogisticRegression(), "binary"),
        (LogisticRegression(), "classes"),
        (LinearRegression(), "numbers"),
        (PoissonRegression(), "counts"),
        (ElasticNet(l1=0.02, outcome="binary"), "binary"),
        (Lasso(l1=0.02), "numbers"),
        (ElasticNet(l1=0.02, outcome="count"), "counts"),
    ],
)
def test_sites_give_the_bits_of_the_whole_table(kit, model, kind):
    x, y, sites = raw(kit, kind)
    whole, parts = clone(model).fit(x, y), clone(model).fit(sites=sites)
    assert np.array_equal(whole.coef_, parts.coef_)
    assert np.array_equal(whole.standard_errors_, parts.standard_errors_, equal_nan=True)
    assert np.array_equal(whole.predict(x), parts.predict(x))
    assert whole.rounds_ == parts.rounds_ >= 1
    assert whole.score(x, y) > (0.1 if kind == "counts" else 0.3)


def test_logistic_coefficients_are_in_the_units_of_the_columns(kit):
    x, y, sites = raw(kit, "binary")
    labels = {name: (a, np.where(b == 1, "case", "control")) for name, (a, b) in sites.items()}
    model = LogisticRegression(l2=0.0).fit(sites=labels)
    oracle = OracleLogistic(C=np.inf, tol=1e-10, max_iter=5000).fit((x - x.mean(0)) / x.std(0), y == 0)
    assert model.classes_.tolist() == ["case", "control"]
    assert np.allclose(model.coef_ * x.std(0), oracle.coef_, atol=2e-5)
    assert model.intercept_ == pytest.approx(oracle.intercept_ - oracle.coef_[0] @ (x.mean(0) / x.std(0)), abs=1e-4)
    assert model.predict_proba(x).shape == (400, 2)
    assert np.allclose(model.predict_proba(x).sum(axis=1), 1)
    assert set(model.predict(x)) == {"case", "control"}
    design = np.column_stack([np.ones(400), x])
    p = model.predict_proba(x)[:, 1]
    errors = np.sqrt(np.diagonal(np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design)))
    assert np.allclose(model.standard_errors_[0], errors[1:], rtol=3e-3)


def test_several_classes_are_multinomial(kit):
    x, y, _ = raw(kit, "classes")
    model = LogisticRegression(l2=0.0).fit(x, y)
    oracle = OracleLogistic(C=np.inf, tol=1e-10, max_iter=5000).fit((x - x.mean(0)) / x.std(0), y)
    assert model.coef_.shape == model.standard_errors_.shape == (3, 4)
    assert np.allclose(model.predict_proba(x), oracle.predict_proba((x - x.mean(0)) / x.std(0)), atol=2e-5)


def test_linear_regression_needs_one_exchange_and_agrees_with_scikit_learn(kit):
    x, y, _ = raw(kit, "numbers")
    frame = pd.DataFrame(x, columns=["age", "b", "c", "d"])
    model = LinearRegression().fit(frame, y)
    oracle = OracleLinear().fit(x, y)
    assert model.rounds_ == 1
    assert model.feature_names_in_ == ("age", "b", "c", "d")
    assert np.allclose(model.coef_ * x.std(0), oracle.coef_ * x.std(0), atol=2e-5)
    assert model.intercept_ == pytest.approx(oracle.intercept_, abs=2e-4)
    assert model.score(x, y) == pytest.approx(oracle.score(x, y), abs=1e-6)


def test_poisson_agrees_with_scikit_learn(kit):
    x, y, _ = raw(kit, "counts")
    model = PoissonRegression(l2=0.1).fit(x, y)
    oracle = PoissonRegressor(alpha=0.1, tol=1e-12, max_iter=1000).fit((x - x.mean(0)) / x.std(0), y)
    assert np.allclose(model.coef_ * x.std(0), oracle.coef_, atol=2e-5)
    assert model.score(x, y) == pytest.approx(oracle.score((x - x.mean(0)) / x.std(0), y), abs=1e-5)


def test_constant_columns_get_zero_and_no_error(kit):
    x, y, _ = raw(kit, "binary")
    model = LogisticRegression(l2=0.0).fit(np.column_stack([x, np.full(400, 3.0)]), y)
    assert model.coef_[0, 4] == 0
    assert np.isnan(model.standard_errors_[0, 4])
    assert np.isfinite(model.standard_errors_[0, :4]).all()


def test_sparse_models_tell_binary_from_numbers(kit):
    x, y, _ = raw(kit, "binary")
    model = Lasso(l1=0.1, outcome="binary").fit(x, y)
    assert set(model.predict(x)) == {0.0, 1.0}
    assert np.allclose(model.predict_proba(x).sum(axis=1), 1)
    assert (model.coef_ == 0).any()
    assert np.isnan(model.standard_errors_).all()
    number = ElasticNet().fit(x, y)
    with pytest.raises(UsageError, match="predict_proba needs outcome = 'binary', got 'number'"):
        number.predict_proba(x)


@pytest.mark.parametrize("name", estimators.__all__)
def test_options_are_read_set_and_cloned_as_scikit_learn_does(name):
    model = getattr(estimators, name)()
    options = model.get_params()
    assert options
    changed = {key: value for key, value in options.items() if isinstance(value, int | float)}
    model.set_params(**{key: value + 1 for key, value in changed.items()})
    copied = clone(model)
    assert copied is not model
    assert copied.get_params() == model.get_params() != options
    with pytest.raises(UsageError, match=f"{name} has no option 'depth'; it takes: "):
        model.set_params(depth=3)
    with pytest.raises(UsageError, match=f"{name} is not fitted; call fit first"):
        _ = model.rounds_


def test_what_does_not_fit_is_said(kit):
    x, y, sites = raw(kit, "binary")
    model = LogisticRegression().fit(x, y)
    with pytest.raises(DataError, match="X has 3 columns, LogisticRegression was fitted to 4"):
        model.predict(x[:, :3])
    with pytest.raises(DataError, match="X has 400 rows, y has 399"):
        LogisticRegression().fit(x, y[:-1])
    with pytest.raises(DataError, match="y has 1 class, at least 2"):
        LogisticRegression().fit(x, np.ones(400))
    with pytest.raises(UsageError, match="either X and y, or sites"):
        LogisticRegression().fit(x, y, sites=sites)
    with pytest.raises(ValueError, match="l2 must be at least 0"):
        LogisticRegression(l2=-1).fit(x, y)
    with pytest.raises(TrainingFailed, match="separation"):
        LogisticRegression(l2=0.0).fit(x, x[:, 0] > 7)


def test_pipelines_and_searches_of_scikit_learn_take_them(kit):
    x, y, _ = raw(kit, "binary")
    whole = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    alone = LogisticRegression().fit(x, y)
    assert whole.score(x, y) == pytest.approx(alone.score(x, y))
    assert whole.predict_proba(x) == pytest.approx(alone.predict_proba(x), abs=1e-9)
    assert (cross_val_score(LogisticRegression(), x, y, cv=3) > 0.6).all()
    search = GridSearchCV(LogisticRegression(), {"l2": [0.01, 1e6]}, cv=3).fit(x, y)
    assert search.best_params_ == {"l2": 0.01}


@pytest.mark.parametrize(
    ("estimator", "kind"),
    [
        (LogisticRegression(), "classifier"), (Lasso(outcome="binary"), "classifier"),
        (ElasticNet(outcome="binary"), "classifier"), (LinearRegression(), "regressor"),
        (PoissonRegression(), "regressor"), (Lasso(), "regressor"), (ElasticNet(outcome="count"), "regressor"),
        (estimators.Cox(), "neither"), (estimators.KaplanMeier(), "neither"),
    ],
    ids=repr,
)  # fmt: skip
def test_scikit_learn_sorts_them_as_they_are(estimator, kind):
    assert (is_classifier(estimator), is_regressor(estimator)) == (kind == "classifier", kind == "regressor")
