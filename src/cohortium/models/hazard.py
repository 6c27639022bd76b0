"""`hazard`: survival by a hazard that is constant between agreed times: exp(baseline of the cell + x'b) per year.

Piecewise-exponential regression. Unlike Cox's partial likelihood its loss is a sum over patients, each term of one
patient alone: time at risk x hazard, less the log hazard at an event. So it can be clipped patient by patient: it is
the survival model of private studies. Late entry counts from entry on; other causes count as censored. Learned by
weights: plain gradient steps in numpy, for any averaging strategy. The risk it predicts is x'b, as Cox's is.

Parameters: `coefficients` (p,), `baseline` (one more than `cuts`), log hazards per year.
Source: Friedman 1982, Piecewise Exponential Models for Survival Data with Covariates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import DataError
from cohortium.models import exact_optimiser
from cohortium.models.families import check_layout
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.private_training import fit_privately, pull
from cohortium.models.row_sums import linear_predictor, refuse_unusable
from cohortium.models.torch_training import check_batch, no_sums
from cohortium.privacy.dp.clipping import Clipped

__all__ = ["Hazard", "HazardGradients"]

_DAYS_A_YEAR = 365.25
_LARGEST_LOG_HAZARD = 7.0  # a thousand a year: beyond, a step has gone astray and must not overflow

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Hazard:
    """Log risks by piecewise-exponential regression.

    cuts: days at which the hazard may change. start_hazard: per year, before the first step. l2: of l2/2 |b|^2.
    cause: the event counted. batch_size: patients a step, 0 = all of them.
    """

    cuts: tuple[float, ...] = (182.625, 365.25, 730.5, 1461.0)
    start_hazard: float = 0.2
    l2: float = 0.0
    learning_rate: float = 0.5
    batch_size: int = 0
    cause: int = 1

    learns_by: ClassVar[Literal["weights"]] = "weights"

    def __post_init__(self) -> None:
        if any(b <= a for a, b in zip((0.0, *self.cuts), self.cuts, strict=False)):
            raise ValueError(f"cuts must be positive days that rise, got {list(self.cuts)}")
        if not 1e-6 <= self.start_hazard <= 100:
            raise ValueError(f"start_hazard must be 0.000001 to 100 per year, got {self.start_hazard}")
        if not 0 <= self.l2 < float("inf"):
            raise ValueError(f"l2 must be at least 0 and finite, got {self.l2}")
        if self.cause < 1:
            raise ValueError(f"cause must be at least 1, got {self.cause}")
        check_batch(self.batch_size or None)
        _ = self.plan

    @property
    def plan(self) -> OptimiserPlan:
        """Plain SGD."""
        return OptimiserPlan(name="sgd", learning_rate=self.learning_rate)

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """Coefficients 0, the start hazard in every cell. Raises DataError for another outcome."""
        check_layout(layout, ("survival",), model="hazard")
        baseline = np.full(len(self.cuts) + 1, log(self.start_hazard))
        return Parameters({"coefficients": np.zeros(layout.n_features), "baseline": baseline})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """One local training."""
        gradients = self.patient_gradients(examples.layout)
        if instructions.private is not None:
            return fit_privately(gradients, start, examples, instructions=instructions, rng=rng)
        refuse_unusable(examples)
        weights = {name: np.array(array) for name, array in start.items()}
        loss = gradients.loss(weights, examples)
        size = self.batch_size or max(1, len(examples))
        steps = 0
        for _ in range(instructions.local_epochs):
            order = rng.permutation(len(examples))
            for at in range(0, len(order), size):
                if steps == instructions.max_steps:
                    break
                steps += 1
                rows = examples.take(order[at : at + size])
                sums = gradients.clipped(weights, rows, norm=float("inf"), chance=rng).sums
                mean: dict[str, NDArray[np.floating]] = {
                    n: g / len(rows) for n, g in sums.items() if n not in instructions.frozen
                }
                pull(mean, weights, gradients.decay, start, instructions)
                factor = instructions.learning_rate_factor
                exact_optimiser.step(self.plan, weights, mean, [], number=steps, factor=factor)
        return Fitted(
            parameters=Parameters(weights),
            n_samples=len(examples),
            steps=steps,
            learning_rate=self.learning_rate * instructions.learning_rate_factor,
            loss=loss,
        )

    def patient_gradients(self, layout: Layout) -> HazardGradients:
        """Gradients of single patients."""
        check_layout(layout, ("survival",), model="hazard")
        return HazardGradients(cuts=self.cuts, cause=self.cause, l2=self.l2, plan=self.plan)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Not by sums."""
        raise no_sums("hazard")

    def finished(self, parameters: Parameters) -> bool:
        """Never: the strategy's rounds decide."""
        return False

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Log risk x'b, (n,)."""
        return linear_predictor(examples, np.asarray(parameters["coefficients"], dtype=np.float64))

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """The baseline is what a site may keep to itself."""
        return {"head": ("baseline",)}


@dataclass(frozen=True, kw_only=True)
class HazardGradients:
    """Clipped sums of the loss's slopes (see `PatientGradients`); norm infinity cuts nobody."""

    cuts: tuple[float, ...]
    cause: int
    l2: float
    plan: OptimiserPlan
    reads: ClassVar[str] = "float64"

    @property
    def decay(self) -> Mapping[str, float]:
        """On the coefficients, not the baseline."""
        return {"coefficients": self.l2} if self.l2 else {}

    def clipped(
        self, weights: Mapping[str, NDArray[np.generic]], rows: Examples, *, norm: float, chance: np.random.Generator
    ) -> Clipped:
        """As `PatientGradients`."""
        refuse_unusable(rows)
        x = np.asarray(rows.x, dtype=np.float64)
        residual = self._terms(weights, rows)[1]
        whole = residual.sum(axis=1)
        length = np.sqrt((x * x).sum(axis=1) * whole * whole + (residual * residual).sum(axis=1))
        factor = np.minimum(1.0, norm / np.maximum(length, np.finfo(np.float64).tiny))
        sums = {"coefficients": x.T @ (whole * factor), "baseline": factor @ residual}
        return Clipped(sums=sums, n_whole=int(np.count_nonzero(length <= norm)))

    def loss(self, weights: Mapping[str, NDArray[np.generic]], rows: Examples) -> float:
        """Mean minus log-likelihood of these patients; NaN for none."""
        return float(self._terms(weights, rows)[0].mean()) if len(rows) else float("nan")

    def _terms(self, weights: Mapping[str, NDArray[np.generic]], rows: Examples) -> tuple[Floats, Floats]:
        """Loss of each patient, (n,), and its slope by the log hazard of every cell, (n, cells)."""
        at_risk, events = self._cells(rows)
        eta = linear_predictor(rows, np.asarray(weights["coefficients"], dtype=np.float64))
        log_hazard = np.minimum(eta[:, None] + np.asarray(weights["baseline"], dtype=np.float64), _LARGEST_LOG_HAZARD)
        expected = at_risk * np.exp(log_hazard)
        return (expected - events * log_hazard).sum(axis=1), expected - events

    def _cells(self, rows: Examples) -> tuple[Floats, Floats]:
        """Years at risk and events, patient by cell."""
        if rows.time is None or rows.event is None:
            raise DataError("model 'hazard' needs times and events")
        low = np.array([0.0, *self.cuts])
        high = np.array([*self.cuts, np.inf])
        entry = np.zeros(len(rows)) if rows.entry is None else rows.entry
        stay = np.minimum(rows.time[:, None], high) - np.maximum(entry[:, None], low)
        inside = (rows.time[:, None] > low) & (rows.time[:, None] <= high)
        events = (inside & (rows.event == self.cause)[:, None]).astype(np.float64)
        return np.maximum(stay, 0.0) / _DAYS_A_YEAR, events
