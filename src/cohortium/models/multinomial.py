"""Multinomial logistic regression: `Multinomial`, k classes with coefficients that add up to 0 over the classes.

Minimises minus the log-likelihood + (l2 n / 2) sum |w_k|^2 by damped Newton on exact sums, or takes gradient
steps by weights. Adding the same vector to all classes changes no probability; a term in that direction alone
is added to the second derivatives, which makes them invertible and leaves every step as it is.
Options and names of parameters as in `glm`; errors are those of the coefficients that add up to 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples, Layout, OutcomeKind
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.models import newton
from cohortium.models.families import one_hot, outcome_of, softmax, softmax_loss
from cohortium.models.glm import check_options, inference, learn_by_weights, linear_gradients, zeros
from cohortium.models.newton import Search
from cohortium.models.patient_gradients import LinearGradients
from cohortium.models.row_sums import (
    HESSIAN_WEIGHT_BITS,
    HESSIAN_X_BITS,
    LOSS_BITS,
    RESIDUAL_BITS,
    X_BITS,
    bound_site_total,
    coarser,
    fixed_features,
    linear_predictor,
    predictor,
    summed_gram,
    summed_products,
    unpacked,
)

__all__ = ["Multinomial"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Multinomial:
    """Probabilities of several classes. Options as `glm.Logistic`."""

    l2: float = 0.01
    max_rounds: int = 25
    learn: Literal["sums", "weights"] = "sums"
    learning_rate: float = 0.1
    batch_size: int = 0

    outcome: ClassVar[OutcomeKind] = "classes"

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def learns_by(self) -> Literal["sums", "weights"]:
        """As `learn` says."""
        return self.learn

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """All coefficients 0. Raises DataError for another outcome, or too many coefficients to learn by sums."""
        start = zeros(self, layout, name="multinomial")
        if self.learn == "weights":
            return start
        k, p = start["coefficients"].shape
        held = np.zeros(p + 1, dtype=np.uint8)
        return start | Parameters({"held": held, **Search.begin(np.zeros(k * (p + 1))).write()})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Loss, gradient and second derivatives at the start; or gradient steps."""
        if self.learn == "weights":
            return self.fit_many([start], [examples], instructions=[instructions], rngs=[rng])[0]
        newton.raise_if_failed(start, examples.layout)
        return Fitted(parameters=_sums(start, examples), n_samples=len(examples))

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
        k, p = start["coefficients"].shape
        table = _table(start)
        search = Search.read(start, table.ravel())
        n = int(total["rows"][0])
        penalty = np.full((k, p + 1), self.l2 * n)
        penalty[:, 0] = 0.0
        loss = float(fp.from_fixed(total["loss"], LOSS_BITS)[0])
        objective = loss + 0.5 * float(fp.ordered_sum((penalty * table * table).ravel()))
        tolerance = math.ldexp(n, -LOSS_BITS - 1) + abs(objective) * 2.0**-40
        if not search.falls(objective, tolerance=tolerance, rows=n):
            return _written(start, search.halved(max_rounds=self.max_rounds))
        plain = _hessian(total, k, p + 1)
        if search.rounds == 0:
            if np.count_nonzero(total["classes"]) < 2:
                return _written(start, replace(search, status=newton.ONE_CLASS))
            if self.l2 == 0:
                start |= Parameters({"held": newton.aliased(plain[: p + 1, : p + 1])})
        held = np.tile(np.asarray(start["held"], dtype=bool), k)
        invertible = plain + _common_direction(k, p + 1, n)
        gradient = fp.from_fixed(total["gradient"], RESIDUAL_BITS + X_BITS).T - penalty * table
        shrinking = np.diag(penalty.ravel())
        step = newton.newton_step(gradient.ravel(), invertible + shrinking, held=held, n=n)
        if newton.flat(plain + shrinking, held=held, n=n):
            step = None
        search = search.moved(step, objective=objective, rows=n, max_rounds=self.max_rounds)
        found = _written(start, search)
        if search.status in (newton.CONVERGED, newton.LIMIT):
            whole = newton.covariance(invertible, held=held)
            found |= Parameters(inference(_add_up_to_zero(whole, k, p + 1)))
        return found

    def finished(self, parameters: Parameters) -> bool:
        """By sums: converged, or out of rounds."""
        return self.learn == "sums" and newton.over(parameters)

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Probabilities, (n, k)."""
        table = np.asarray(parameters["coefficients"], dtype=np.float64)
        return softmax(linear_predictor(examples, table.T) + np.asarray(parameters["intercept"], dtype=np.float64))

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """The intercepts are what a site may keep to itself."""
        return {"head": ("intercept",)}


def _table(state: Parameters) -> Floats:
    """Intercept and coefficients of every class, (k, 1 + p)."""
    intercept = np.asarray(state["intercept"], dtype=np.float64)
    return np.concatenate([intercept[:, None], np.asarray(state["coefficients"], dtype=np.float64)], axis=1)


def _written(state: Parameters, search: Search) -> Parameters:
    table = search.point.reshape(len(state["intercept"]), -1)
    return state | Parameters({"coefficients": table[:, 1:], "intercept": table[:, 0], **search.write()})


def _sums(start: Parameters, examples: Examples) -> Parameters:
    table = _table(start)
    x, y = fixed_features(examples), outcome_of(examples)
    eta = predictor(x, table.T)
    chance, own = softmax(eta), one_hot(y, len(table))
    coarse = coarser(x)
    pairs = combinations_with_replacement(range(len(table)), 2)
    weights = [chance[:, a] * (float(a == b) - chance[:, b]) for a, b in pairs]
    sums = {
        "rows": np.array([len(x)], dtype=np.int64),
        "classes": own.sum(axis=0).astype(np.int64),
        "loss": fp.to_fixed(softmax_loss(eta, y), LOSS_BITS, what="loss").sum(keepdims=True),
        "gradient": summed_products(x, fp.to_fixed(own - chance, RESIDUAL_BITS), what="gradient"),
        "hessian": np.stack([summed_gram(coarse, fp.to_fixed(w, HESSIAN_WEIGHT_BITS)) for w in weights]),
    }
    bound_site_total(sums["loss"], what="loss")
    return Parameters(sums)


def _hessian(total: Parameters, k: int, q: int) -> Floats:
    whole = np.zeros((k, q, k, q))
    for (a, b), packed in zip(combinations_with_replacement(range(k), 2), total["hessian"], strict=True):
        block = fp.from_fixed(unpacked(np.asarray(packed), q), HESSIAN_WEIGHT_BITS + 2 * HESSIAN_X_BITS)
        whole[a, :, b] = whole[b, :, a] = block
    return whole.reshape(k * q, k * q)


def _common_direction(k: int, q: int, n: int) -> Floats:
    """n/k for every pair of classes and the same column: invisible to steps that add up to 0 over classes."""
    block = np.zeros((k, q, k, q))
    columns = np.arange(q)
    for a in range(k):
        for b in range(k):
            block[a, columns, b, columns] = n / k
    return block.reshape(k * q, k * q)


def _add_up_to_zero(covariance: Floats, k: int, q: int) -> Floats:
    """The covariance seen through the projection that takes the mean over classes away."""
    blocks = covariance.reshape(k, q, k, q)
    blocks = blocks - fp.ordered_sum(blocks, axis=0)[None] / k
    blocks = blocks - fp.ordered_sum(blocks, axis=2)[:, :, None] / k
    return blocks.reshape(k * q, k * q)
