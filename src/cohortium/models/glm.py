"""Generalised linear models with one predictor: `Logistic` and `Poisson`, by exact sums or by weights.

By sums, minus the log-likelihood + (l2 n / 2)|w|^2 (intercept free) is minimised by damped Newton
(`newton`), one exchange a point; the result equals the pooled fit bit for bit. By weights
(`learn = "weights"`) each site takes plain gradient steps (`descent`), for any averaging strategy.
`Linear` is in `least_squares`, `Multinomial` in `multinomial`; all four share options and names:

Parameters: `coefficients` (p,), `intercept` (1,), for classes (k, p) and (k,); after the last exchange also
`standard_errors` (intercept first) and `covariance`, from second derivatives without the penalty. 0 = not
available: a column left out as a combination of earlier ones; covariances beyond 256 coefficients are (0, 0).
Design: clinical-learning.md 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples, Layout, OutcomeKind
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import DataError, Problem, StudyError
from cohortium.models import newton
from cohortium.models.derivatives import (
    derivative_sums,
    first_precision,
    gradient_of,
    point_of,
    precision,
    second_derivatives,
)
from cohortium.models.descent import Descent, check_descent, descend
from cohortium.models.families import FAMILIES, check_layout
from cohortium.models.newton import Search
from cohortium.models.patient_gradients import LinearGradients
from cohortium.models.private_training import fit_privately
from cohortium.models.row_sums import LOSS_BITS, linear_predictor

__all__ = [
    "MAX_COEFFICIENTS",
    "MAX_COVARIANCE",
    "GlmOptions",
    "Logistic",
    "Poisson",
    "check_options",
    "descent_of",
    "inference",
    "learn_by_weights",
    "linear_gradients",
    "predicted_mean",
    "zeros",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MAX_COEFFICIENTS = 2_001
"""Coefficients, intercept included, whose second derivatives are exchanged in full (16 MB)."""

MAX_COVARIANCE = 256
"""Coefficients up to which the covariance is kept with the model."""


class GlmOptions(Protocol):
    """What the four GLMs have in common. Source of the names: this module's first page."""

    @property
    def l2(self) -> float: ...
    @property
    def max_rounds(self) -> int: ...
    @property
    def learn(self) -> Literal["sums", "weights"]: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def outcome(self) -> OutcomeKind: ...


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """P(outcome = 1) by logistic regression.

    l2: penalty per patient. max_rounds: exchanges at most. learn: `sums` or `weights`; by weights also
    learning_rate and batch_size (0 = all rows).
    """

    l2: float = 0.01
    max_rounds: int = 25
    learn: Literal["sums", "weights"] = "sums"
    learning_rate: float = 0.1
    batch_size: int = 0

    outcome: ClassVar[OutcomeKind] = "binary"

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def learns_by(self) -> Literal["sums", "weights"]:
        """As `learn` says."""
        return self.learn

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """All coefficients 0. Raises DataError for another outcome, or too many columns to learn by sums."""
        return _initial(self, layout, model_name="logistic")

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Loss, gradient and second derivatives at the start; or gradient steps."""
        if self.learn == "weights":
            return self.fit_many([start], [examples], instructions=[instructions], rngs=[rng])[0]
        return _sums(start, examples)

    def fit_many(
        self,
        starts: Sequence[Parameters],
        examples: Sequence[Examples],
        *,
        instructions: Sequence[Instructions],
        rngs: Sequence[np.random.Generator],
    ) -> list[Fitted]:
        """Gradient steps of many sites at once."""
        return learn_by_weights(self, starts, examples, instructions=instructions, rngs=rngs)

    def patient_gradients(self, layout: Layout) -> LinearGradients:
        """Clipped gradients, where `learn` is `weights`."""
        return linear_gradients(self)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Judge the point, propose the next."""
        return _advance(self, start, total)

    def finished(self, parameters: Parameters) -> bool:
        """By sums: converged, or out of rounds."""
        return self.learn == "sums" and newton.over(parameters)

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """P(1), (n,)."""
        return predicted_mean(parameters, examples)

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """The intercept is what a site may keep to itself."""
        return {"head": ("intercept",)}


@dataclass(frozen=True, kw_only=True)
class Poisson:
    """Expected counts by Poisson regression with log link. Options as `Logistic`."""

    l2: float = 0.01
    max_rounds: int = 25
    learn: Literal["sums", "weights"] = "sums"
    learning_rate: float = 0.01
    batch_size: int = 0

    outcome: ClassVar[OutcomeKind] = "count"

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def learns_by(self) -> Literal["sums", "weights"]:
        """As `learn` says."""
        return self.learn

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """All coefficients 0. Raises DataError for another outcome, or too many columns to learn by sums."""
        return _initial(self, layout, model_name="poisson")

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Loss, gradient and second derivatives at the start; or gradient steps."""
        if self.learn == "weights":
            return self.fit_many([start], [examples], instructions=[instructions], rngs=[rng])[0]
        return _sums(start, examples)

    def fit_many(
        self,
        starts: Sequence[Parameters],
        examples: Sequence[Examples],
        *,
        instructions: Sequence[Instructions],
        rngs: Sequence[np.random.Generator],
    ) -> list[Fitted]:
        """Gradient steps of many sites at once."""
        return learn_by_weights(self, starts, examples, instructions=instructions, rngs=rngs)

    def patient_gradients(self, layout: Layout) -> LinearGradients:
        """Clipped gradients, where `learn` is `weights`."""
        return linear_gradients(self)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Judge the point, propose the next; the first step moves the intercept to the mean."""
        return _advance(self, start, total)

    def finished(self, parameters: Parameters) -> bool:
        """By sums: converged, or out of rounds."""
        return self.learn == "sums" and newton.over(parameters)

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Expected count, (n,)."""
        return predicted_mean(parameters, examples)

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """The intercept is what a site may keep to itself."""
        return {"head": ("intercept",)}


def check_options(model: GlmOptions) -> None:
    """Raise ValueError naming the option that is out of range."""
    if not 0 <= model.l2 < float("inf"):
        raise ValueError(f"l2 must be at least 0 and finite, got {model.l2}")
    if model.max_rounds < 1:
        raise ValueError(f"max_rounds must be at least 1, got {model.max_rounds}")
    check_descent(learn=model.learn, learning_rate=model.learning_rate, batch_size=model.batch_size)


def learn_by_weights(
    model: GlmOptions,
    starts: Sequence[Parameters],
    examples: Sequence[Examples],
    *,
    instructions: Sequence[Instructions],
    rngs: Sequence[np.random.Generator],
) -> list[Fitted]:
    """Gradient steps of many sites at once; private ones of one site after the other."""
    if all(one.private is None for one in instructions):
        return descend(descent_of(model), starts, examples, instructions=instructions, rngs=rngs)
    gradients = linear_gradients(model)
    together = zip(starts, examples, instructions, rngs, strict=True)
    return [fit_privately(gradients, s, rows, instructions=asked, rng=rng) for s, rows, asked, rng in together]


def linear_gradients(model: GlmOptions) -> LinearGradients:
    """The model's clipped gradients. Raises StudyError where it learns by sums."""
    if model.learn != "weights":
        sentence = 'exact sums tell every patient\'s part; set model.learn = "weights" for noisy gradient steps'
        raise StudyError([Problem("model.learn", sentence)])
    return LinearGradients(descent=descent_of(model))


def descent_of(model: GlmOptions) -> Descent:
    """The options as local training takes them."""
    return Descent(outcome=model.outcome, l2=model.l2, learning_rate=model.learning_rate, batch_size=model.batch_size)


def zeros(model: GlmOptions, layout: Layout, *, name: str) -> Parameters:
    """Coefficients and intercept 0 for this layout; k of each for classes. Raises DataError if it does not fit."""
    check_layout(layout, (model.outcome,), model=name)
    p, k = layout.n_features, max(1, len(layout.classes)) if model.outcome == "classes" else 1
    if model.learn == "sums" and k * (p + 1) > MAX_COEFFICIENTS:
        raise DataError(f"model '{name}' has {k * (p + 1)} coefficients, at most {MAX_COEFFICIENTS} are learned by"
                        " sums", hint="choose model 'lasso', or set model.learn = 'weights'")  # fmt: skip
    shape = (k, p) if model.outcome == "classes" else (p,)
    return Parameters({"coefficients": np.zeros(shape), "intercept": np.zeros(k)})


def inference(covariance: Floats) -> dict[str, object]:
    """Standard errors and, up to 256 coefficients, the covariance as they stand in the parameters."""
    kept = covariance if len(covariance) <= MAX_COVARIANCE else np.zeros((0, 0))
    return {"standard_errors": np.sqrt(np.maximum(np.diagonal(covariance), 0.0)), "covariance": kept}


def _initial(model: Logistic | Poisson, layout: Layout, *, model_name: str) -> Parameters:
    start = zeros(model, layout, name=model_name)
    if model.learn == "weights":
        return start
    q = layout.n_features + 1
    held = {"held": np.zeros(q, dtype=np.uint8), **Search.begin(np.zeros(q)).write()}
    return start | Parameters(held) | first_precision(FAMILIES[model.outcome])


def predicted_mean(parameters: Parameters, examples: Examples) -> Floats:
    """The mean of the layout's family at each row's linear predictor, (n,)."""
    coefficients = np.asarray(parameters["coefficients"], dtype=np.float64)
    eta = linear_predictor(examples, coefficients) + float(parameters["intercept"][0])
    return FAMILIES[examples.layout.outcome].mean(eta)


def _sums(start: Parameters, examples: Examples) -> Fitted:
    newton.raise_if_failed(start, examples.layout)
    return Fitted(parameters=derivative_sums(start, examples), n_samples=len(examples))


def _advance(model: Logistic | Poisson, start: Parameters, total: Parameters) -> Parameters:
    theta = point_of(start)
    search = Search.read(start, theta)
    n, refused = (int(v) for v in total["rows"])
    penalty = np.full(len(theta), model.l2 * n)
    penalty[0] = 0.0
    loss = float(fp.from_fixed(total["loss"], LOSS_BITS)[0])
    objective = loss + 0.5 * float(fp.ordered_sum(penalty * theta * theta))
    tolerance = math.ldexp(n, -LOSS_BITS - 1) + abs(objective) * 2.0**-40
    if not search.falls(objective, tolerance=tolerance, rows=n, refused=refused):
        return _written(start, search.halved(max_rounds=model.max_rounds))
    gradient = gradient_of(start, total) - penalty * theta
    plain = second_derivatives(start, total, len(theta))
    if search.rounds == 0:
        y = int(total["outcome"][0])
        if y == 0 or (model.outcome == "binary" and y == n):
            return _written(start, replace(search, status=newton.ONE_CLASS))
        if model.l2 == 0:
            start |= Parameters({"held": newton.aliased(plain)})
        if model.outcome == "count":
            start |= precision(FAMILIES["count"], events=y)
            to_mean = np.zeros_like(theta)
            to_mean[0] = float(fp.log(y / n))
            moved = search.moved(to_mean, objective=objective, rows=n, max_rounds=model.max_rounds, converged=False)
            return _written(start, moved)
        start |= precision(FAMILIES[model.outcome], rows=n)
    held = np.asarray(start["held"], dtype=bool)
    step = newton.newton_step(gradient, plain + np.diag(penalty), held=held, n=n)
    search = search.moved(step, objective=objective, rows=n, max_rounds=model.max_rounds)
    found = _written(start, search)
    if search.status in (newton.CONVERGED, newton.LIMIT):
        found |= Parameters(inference(newton.covariance(plain, held=held)))
    return found


def _written(state: Parameters, search: Search) -> Parameters:
    point = {"coefficients": search.point[1:], "intercept": search.point[:1]}
    return state | Parameters({**point, **search.write()})
