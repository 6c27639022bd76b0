"""Private training of any learner that has clipped gradients: at one site, or one step shared by all.

`fit_privately` is a learner's `fit` where its instructions say `private`. `SharedSteps` turns the same learner into one
by sums: every exchange is one step, a site's part is a noisy integer sum, and the leader half takes the step with an
optimiser that every node repeats bit for bit. Loss and true numbers of patients are never told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Learner
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import InvariantBroken, TrainingFailed
from cohortium.models import exact_optimiser
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.patient_gradients import PatientGradients, PrivateLearner
from cohortium.privacy.dp.clipping import Clipped
from cohortium.privacy.dp.distributed import mean_gradient, site_sums
from cohortium.privacy.dp.local import train
from cohortium.privacy.dp.sampling import public_size

__all__ = ["SharedSteps", "fit_each", "fit_privately", "pull", "with_outcome"]

Floats = NDArray[np.float64]
Gradients = dict[str, NDArray[np.floating]]


def fit_privately(
    gradients: PatientGradients,
    start: Parameters,
    examples: Examples,
    *,
    instructions: Instructions,
    rng: np.random.Generator,
) -> Fitted:
    """One local training in which no patient shows. Weighs as many patients as the site tells, in tens.

    rng: for dropout and augmentation. Raises TrainingFailed where no row has an outcome.
    """
    steps = instructions.private
    if steps is None:
        raise InvariantBroken("private training was asked for without its terms")
    rows, plan = with_outcome(examples), gradients.plan
    rows = rows.with_x(rows.x.astype(gradients.reads, copy=False), rows.layout)
    weights = {name: np.array(array) for name, array in start.items()}
    names = [name for name in weights if name not in instructions.frozen]
    moments = [{name: np.zeros(weights[name].shape) for name in names} for _ in range(plan.n_moments)]
    taken = 0

    def clipped(chosen: NDArray[np.int64], norm: float) -> Clipped:
        found = gradients.clipped(weights, rows.take(chosen), norm=norm, chance=rng)
        return Clipped(sums={name: found.sums[name] for name in names}, n_whole=found.n_whole)

    def learn(mean: Gradients) -> None:
        nonlocal taken
        taken += 1
        pull(mean, weights, gradients.decay, start, instructions)
        factor = instructions.learning_rate_factor
        exact_optimiser.step(plan, weights, mean, moments, number=taken, factor=factor)

    size = sum(weights[name].size for name in names)
    norm = train(steps, rows.patient, size=size, clipped=clipped, learn=learn)
    return Fitted(
        parameters=Parameters(weights),
        n_samples=public_size(len(np.unique(rows.patient))),
        steps=taken,
        learning_rate=plan.learning_rate * instructions.learning_rate_factor if plan.plain else 0.0,
        clipping_norm=norm,
    )


def fit_each(
    fit: Callable[..., Fitted],
    starts: Sequence[Parameters],
    examples: Sequence[Examples],
    *,
    instructions: Sequence[Instructions],
    rngs: Sequence[np.random.Generator],
) -> list[Fitted]:
    """A learner's `fit` for one site after the other: private trainings are never stacked."""
    together = zip(starts, examples, instructions, rngs, strict=True)
    return [fit(start, rows, instructions=asked, rng=rng) for start, rows, asked, rng in together]


def pull(
    mean: Gradients,
    weights: Mapping[str, NDArray[np.generic]],
    decay: Mapping[str, float],
    start: Parameters,
    instructions: Instructions,
) -> None:
    """What is added to a gradient after the noise: decay w, mu (w - anchor), the correction."""
    anchor = instructions.anchor if instructions.anchor is not None else start
    for name, gradient in mean.items():
        if decay.get(name, 0.0):
            gradient += np.multiply(weights[name], decay[name])
        if instructions.proximal:
            gradient += np.multiply(np.subtract(weights[name], anchor[name]), instructions.proximal)
        if instructions.correction is not None:
            gradient += instructions.correction[name].astype(gradient.dtype)


def with_outcome(examples: Examples) -> Examples:
    """The rows whose outcome is known. Raises TrainingFailed for none."""
    if examples.y is None:
        return examples
    known = np.isfinite(examples.y)
    if not known.any():
        raise TrainingFailed("no training row has a known outcome", code="empty")
    return examples if known.all() else examples.take(known)


@dataclass(frozen=True, kw_only=True)
class SharedSteps:
    """DP-SGD of all sites together, one step an exchange. inner: the model; plan: its optimiser; steps: in all.

    Parameters: `model/...`, `moment.<k>/...` of the optimiser in float64, `decay` of each array, and `step`, how many
    were taken.
    """

    inner: Learner
    plan: OptimiserPlan
    steps: int
    sample_rate: float
    clipping_norm: float

    learns_by: ClassVar[Literal["sums"]] = "sums"

    @property
    def max_rounds(self) -> int:
        """As many as steps."""
        return self.steps

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """The model's own beginning, moments of zero."""
        model = self.inner.initial(layout, rng=rng)
        state = model.prefixed("model")
        for k in range(self.plan.n_moments):
            state |= Parameters({name: np.zeros(array.shape) for name, array in model.items()}).prefixed(f"moment.{k}")
        decay = self._gradients(layout).decay
        told = {"decay": np.array([decay.get(name, 0.0) for name in model]), "step": np.zeros(1, dtype=np.int64)}
        return state | Parameters(told)

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's part of the step's sum, with its part of the noise."""
        if instructions.private is None:
            raise InvariantBroken("a shared private step was asked for without its terms")
        rows, weights = with_outcome(examples), start.under("model")
        gradients = self._gradients(examples.layout)

        def clipped(chosen: NDArray[np.int64], norm: float) -> Clipped:
            writeable = {name: np.array(array) for name, array in weights.items()}
            return gradients.clipped(writeable, rows.take(chosen), norm=norm, chance=rng)

        size = sum(array.size for array in weights.values())
        sums = site_sums(instructions.private, rows.patient, size=size, names=tuple(weights), clipped=clipped)
        return Fitted(parameters=Parameters(sums), n_samples=public_size(len(np.unique(rows.patient))))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The step, from the opened sum over sites."""
        model = start.under("model")
        weights = {name: np.array(array) for name, array in model.items()}
        mean = mean_gradient(total, sample_rate=self.sample_rate, clipping_norm=self.clipping_norm)
        for name, decay in zip(model, start["decay"].tolist(), strict=True):
            if decay:
                mean[name] += decay * weights[name].astype(np.float64)
        moments = [
            {name: np.array(array) for name, array in start.under(f"moment.{k}").items()}
            for k in range(self.plan.n_moments)
        ]
        number = int(start["step"][0]) + 1
        exact_optimiser.step(self.plan, weights, mean, moments, number=number)
        state = start | Parameters(weights).prefixed("model") | Parameters({"step": np.array([number])})
        for k, moment in enumerate(moments):
            state |= Parameters(moment).prefixed(f"moment.{k}")
        return state

    def finished(self, parameters: Parameters) -> bool:
        """After all steps."""
        return int(parameters["step"][0]) >= self.steps

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """As the model itself."""
        return self.inner.predict(parameters.under("model"), examples)

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None: nothing of a shared step stays at a site."""
        return {}

    def _gradients(self, layout: Layout) -> PatientGradients:
        if not isinstance(self.inner, PrivateLearner):
            raise InvariantBroken("only a learner with clipped gradients can share private steps")
        return self.inner.patient_gradients(layout)
