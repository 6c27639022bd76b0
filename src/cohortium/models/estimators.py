"""Estimators in the manner of scikit-learn: `LogisticRegression`, `LinearRegression`, `PoissonRegression`,
`ElasticNet`, `Lasso`, `Cox`, `KaplanMeier`.

The last two are in `survival_estimators`. `fit(X, y)` learns from one table; `fit(sites={name: (X, y), ...})`
simulates hospitals that exchange exact sums and gives the bits of the pooled table. Joining a real study is the
package's `fit`. Columns are put on one scale inside, penalties are per patient and per sd, coefficients come
back in the units of the columns; errors are NaN where not available.

    model = LogisticRegression(l2=0.01).fit(sites={"porto": (xa, ya), "bonn": (xb, yb)})
    model.coef_, model.standard_errors_, model.rounds_

Scikit-learn tells estimators by class, so these share one private parent (the only inheritance among models);
`get_params`, `set_params` and `clone` work, pipelines and searches, too, and without them scikit-learn is not
imported. Design: clinical-learning.md 2.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.seams import Learner
from cohortium.errors import DataError, UsageError
from cohortium.models import penalised
from cohortium.models.glm import Logistic, Poisson
from cohortium.models.least_squares import Linear
from cohortium.models.local_fit import Estimator, LocalFit, Sites, fit_sites, known_errors, sites_of, together
from cohortium.models.multinomial import Multinomial
from cohortium.models.survival_estimators import Cox, KaplanMeier

__all__ = [
    "Cox",
    "ElasticNet",
    "KaplanMeier",
    "Lasso",
    "LinearRegression",
    "LogisticRegression",
    "PoissonRegression",
]

Floats = NDArray[np.float64]


@dataclass(eq=False)
class LogisticRegression(Estimator):
    """Classes by logistic regression, multinomial for more than two. l2: penalty per patient and squared sd.

    coef_, standard_errors_: (1, p), or (k, p). intercept_: (1,), or (k,).
    """

    l2: float = 0.01
    max_rounds: int = 25

    @property
    def _kind(self) -> Literal["classifier", "regressor"]:
        return "classifier"

    def fit(self, X: Any = None, y: Any = None, *, sites: Sites | None = None) -> Self:
        """Learn from one table, or from several sites as if they exchanged sums."""
        names, tables, outcomes = together(sites_of(X, y, sites))
        self.classes_, codes = _encoded([np.asarray(one).ravel() for one in outcomes])
        binary = len(self.classes_) == 2
        learner = (Logistic if binary else Multinomial)(l2=self.l2, max_rounds=self.max_rounds)
        labels = tuple(str(c) for c in self.classes_)
        layout = Layout(features=names, outcome="binary" if binary else "classes", classes=labels)
        self.fitted_ = fit_sites(learner, _with_outcome(layout, tables, codes))
        coefficients, errors = _per_unit(self.fitted_)
        self.intercept_, self.coef_, self.standard_errors_ = coefficients[:, 0], coefficients[:, 1:], errors[:, 1:]
        return self

    def predict_proba(self, X: Any) -> Floats:
        """Probability of each of `classes_`, (n, k)."""
        return _both(self._predicted(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest class, (n,)."""
        chosen: NDArray[Any] = self.classes_[np.argmax(self.predict_proba(X), axis=1)]
        return chosen

    def score(self, X: Any, y: Any) -> float:
        """Accuracy."""
        return float(np.mean(self.predict(X) == np.asarray(y).ravel()))


@dataclass(eq=False)
class LinearRegression(Estimator):
    """A number by least squares. l2: penalty per patient and squared sd, 0 for none. coef_, standard_errors_: (p,)."""

    l2: float = 0.0

    @property
    def _kind(self) -> Literal["classifier", "regressor"]:
        return "regressor"

    def fit(self, X: Any = None, y: Any = None, *, sites: Sites | None = None) -> Self:
        """Learn from one table, or from several sites as if they exchanged sums."""
        _fit_one_predictor(self, Linear(l2=self.l2), "number", sites_of(X, y, sites))
        return self

    def predict(self, X: Any) -> Floats:
        """The expected number, (n,)."""
        return self._predicted(X)

    def score(self, X: Any, y: Any) -> float:
        """R squared."""
        return _r_squared(np.asarray(y, dtype=np.float64).ravel(), self.predict(X))


@dataclass(eq=False)
class PoissonRegression(Estimator):
    """Counts with log link. l2: penalty per patient and squared sd. coef_, standard_errors_: (p,)."""

    l2: float = 0.01
    max_rounds: int = 25

    @property
    def _kind(self) -> Literal["classifier", "regressor"]:
        return "regressor"

    def fit(self, X: Any = None, y: Any = None, *, sites: Sites | None = None) -> Self:
        """Learn from one table, or from several sites as if they exchanged sums."""
        learner = Poisson(l2=self.l2, max_rounds=self.max_rounds)
        _fit_one_predictor(self, learner, "count", sites_of(X, y, sites))
        return self

    def predict(self, X: Any) -> Floats:
        """The expected count, (n,)."""
        return self._predicted(X)

    def score(self, X: Any, y: Any) -> float:
        """Share of the deviance explained."""
        return _deviance_explained(np.asarray(y, dtype=np.float64).ravel(), self.predict(X))


@dataclass(eq=False)
class ElasticNet(Estimator):
    """A sparse model. outcome: `number`, `count` or `binary` (0/1). l1, l2: penalties per patient and per sd."""

    l1: float = 0.05
    l2: float = 0.01
    outcome: Literal["number", "count", "binary"] = "number"
    max_rounds: int = 40

    @property
    def _kind(self) -> Literal["classifier", "regressor"]:
        return "classifier" if self.outcome == "binary" else "regressor"

    def fit(self, X: Any = None, y: Any = None, *, sites: Sites | None = None) -> Self:
        """Learn from one table, or from several sites as if they exchanged sums."""
        learner = penalised.ElasticNet(l1=self.l1, l2=self.l2, max_rounds=self.max_rounds)
        _fit_one_predictor(self, learner, self.outcome, sites_of(X, y, sites))
        return self

    def predict(self, X: Any) -> Floats:
        """The expected number or count, or the likelier of 0 and 1; (n,)."""
        return _point_prediction(self._predicted(X), self.outcome)

    def predict_proba(self, X: Any) -> Floats:
        """Probabilities of 0 and 1, (n, 2)."""
        return _only_binary(self._predicted(X), self.outcome)

    def score(self, X: Any, y: Any) -> float:
        """R squared, share of the deviance explained, or accuracy."""
        return _score(np.asarray(y, dtype=np.float64).ravel(), self.predict(X), self.outcome)


@dataclass(eq=False)
class Lasso(Estimator):
    """`ElasticNet` without the quadratic penalty."""

    l1: float = 0.05
    outcome: Literal["number", "count", "binary"] = "number"
    max_rounds: int = 40

    @property
    def _kind(self) -> Literal["classifier", "regressor"]:
        return "classifier" if self.outcome == "binary" else "regressor"

    def fit(self, X: Any = None, y: Any = None, *, sites: Sites | None = None) -> Self:
        """Learn from one table, or from several sites as if they exchanged sums."""
        learner = penalised.Lasso(l1=self.l1, max_rounds=self.max_rounds)
        _fit_one_predictor(self, learner, self.outcome, sites_of(X, y, sites))
        return self

    def predict(self, X: Any) -> Floats:
        """The expected number or count, or the likelier of 0 and 1; (n,)."""
        return _point_prediction(self._predicted(X), self.outcome)

    def predict_proba(self, X: Any) -> Floats:
        """Probabilities of 0 and 1, (n, 2)."""
        return _only_binary(self._predicted(X), self.outcome)

    def score(self, X: Any, y: Any) -> float:
        """R squared, share of the deviance explained, or accuracy."""
        return _score(np.asarray(y, dtype=np.float64).ravel(), self.predict(X), self.outcome)


def _with_outcome(layout: Layout, tables: Sequence[Floats], outcomes: Sequence[Floats]) -> list[Examples]:
    for x, y in zip(tables, outcomes, strict=True):
        if len(x) != len(y):
            raise DataError(f"X has {len(x)} rows, y has {len(y)}")
    return [Examples(layout=layout, x=x, y=y) for x, y in zip(tables, outcomes, strict=True)]


def _encoded(labels: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], list[Floats]]:
    classes = np.unique(np.concatenate(labels))
    if len(classes) < 2:
        raise DataError(f"y has {len(classes)} class, at least 2 are needed")
    return classes, [np.searchsorted(classes, one).astype(np.float64) for one in labels]


def _fit_one_predictor(
    estimator: LinearRegression | PoissonRegression | ElasticNet | Lasso,
    learner: Learner,
    outcome: Literal["number", "count", "binary"],
    parts: Sequence[tuple[Any, Any]],
) -> None:
    names, tables, outcomes = together(parts)
    layout = Layout(features=names, outcome=outcome, classes=("0", "1") if outcome == "binary" else ())
    values = [np.asarray(one, dtype=np.float64).ravel() for one in outcomes]
    estimator.fitted_ = fit_sites(learner, _with_outcome(layout, tables, values))
    coefficients, errors = _per_unit(estimator.fitted_)
    estimator.intercept_ = float(coefficients[0, 0])  # type: ignore[union-attr]
    estimator.coef_, estimator.standard_errors_ = coefficients[0, 1:], errors[0, 1:]  # type: ignore[union-attr]


def _per_unit(fit: LocalFit) -> tuple[Floats, Floats]:
    """Intercept and coefficients in the units of the columns, and their standard errors; (k, 1 + p) each."""
    state, to_raw = fit.state, fit.to_raw
    scaled = np.atleast_2d(np.asarray(state["coefficients"], dtype=np.float64))
    intercept = np.asarray(state["intercept"], dtype=np.float64)
    table = np.concatenate([intercept[:, None], scaled], axis=1)
    k, q = table.shape
    errors = np.zeros((k, len(to_raw)))
    if "covariance" in state and state["covariance"].size:
        blocks = np.asarray(state["covariance"], dtype=np.float64).reshape(k, q, k, q)
        for c in range(k):
            errors[c] = np.sqrt(np.maximum(np.einsum("ij,jl,il->i", to_raw, blocks[c, :, c], to_raw), 0.0))
    elif "standard_errors" in state:
        errors = np.abs(np.asarray(state["standard_errors"], dtype=np.float64).reshape(k, q) @ to_raw.T)
        errors[:, 0] = 0.0
    return table @ to_raw.T, known_errors(errors)


def _both(found: Floats) -> Floats:
    return found if found.ndim == 2 else np.column_stack([1.0 - found, found])


def _point_prediction(mean: Floats, outcome: str) -> Floats:
    return (mean > 0.5).astype(np.float64) if outcome == "binary" else mean


def _only_binary(mean: Floats, outcome: str) -> Floats:
    if outcome != "binary":
        raise UsageError(f"predict_proba needs outcome = 'binary', got '{outcome}'")
    return _both(mean)


def _score(y: Floats, predicted: Floats, outcome: str) -> float:
    if outcome == "binary":
        return float(np.mean(y == predicted))
    return _deviance_explained(y, predicted) if outcome == "count" else _r_squared(y, predicted)


def _r_squared(y: Floats, predicted: Floats) -> float:
    return float(1.0 - np.sum((y - predicted) ** 2) / np.sum((y - y.mean()) ** 2))


def _deviance_explained(y: Floats, mean: Floats) -> float:
    def deviance(expected: Floats) -> float:
        ratio = np.where(y > 0, y * np.log(np.where(y > 0, y, 1.0) / expected), 0.0)
        return float(np.sum(ratio - (y - expected)))

    return 1.0 - deviance(mean) / deviance(np.full_like(mean, y.mean()))
