"""Noisy steps of networks that generate patients: what a network tells of its patients, and a training made of it.

A step has two gradients: one from patients, each cut to a norm and summed, which leaves with noise only, and one that
needs no patient (`public`), of arrays patients do not touch or of invented patients. Guarantee: that of
`privacy.dp.local`, resp. of `privacy.dp.distributed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivateSteps
from cohortium.models import exact_optimiser
from cohortium.models.optimisers import OptimiserPlan
from cohortium.models.patient_gradients import Weights
from cohortium.privacy.dp.clipping import Clipped
from cohortium.privacy.dp.local import train

__all__ = ["PrivatePatients", "stepped", "stepped_privately", "still", "together"]

Integers = NDArray[np.int64]
Floating = NDArray[np.floating]
Gradients = dict[str, Floating]
Moments = list[dict[str, NDArray[np.float64]]]
Plans = Mapping[str, OptimiserPlan]


class PrivatePatients(Protocol):
    """Patients of one site as a network sees them, each row one."""

    @property
    def names(self) -> Sequence[str]:
        """Arrays whose gradient is of patients, in order."""
        ...

    def clipped(self, weights: Weights, chosen: Integers, *, norm: float, chance: np.random.Generator) -> Clipped:
        """Sums over these patients. chance: of codes, dropout and questions, never of noise."""
        ...

    def public(self, weights: Weights, *, norm: float, chance: np.random.Generator) -> Gradients:
        """The mean gradient of what needs no patient, by array name; invented patients are cut to the norm as well."""
        ...


def still(plans: Plans, weights: Weights) -> Moments:
    """Moments before the first step."""
    most = max(plan.n_moments for plan in plans.values())
    return [{name: np.zeros(array.shape) for name, array in weights.items()} for _ in range(most)]


def together(of_patients: Mapping[str, Floating], public: Mapping[str, Floating]) -> Gradients:
    """The whole gradient of a step."""
    found = dict(of_patients)
    for name, gradient in public.items():
        found[name] = found[name] + gradient if name in found else gradient
    return found


def stepped(plans: Plans, weights: Gradients, gradients: Gradients, moments: Moments, *, number: int) -> None:
    """One step in place. plans: by the beginning of the names they are for. Gradients are used up."""
    for label, plan in plans.items():
        mine = {name: gradient for name, gradient in gradients.items() if name.startswith(label)}
        exact_optimiser.step(plan, weights, mine, moments, number=number)


def stepped_privately(
    weights: Parameters,
    patient: Integers,
    *,
    steps: PrivateSteps,
    plans: Plans,
    patients: PrivatePatients,
    chance: np.random.Generator,
) -> tuple[Parameters, float]:
    """(weights, clipping norm) after all noisy steps at one site. patient: of each row."""
    held: Gradients = {name: np.array(array) for name, array in weights.items()}
    moments = still(plans, held)
    taken, cut_to = 0, steps.clipping_norm

    def clipped(rows: Integers, norm: float) -> Clipped:
        nonlocal cut_to
        cut_to = norm
        return patients.clipped(held, rows, norm=norm, chance=chance)

    def learn(mean: Gradients) -> None:
        nonlocal taken
        taken += 1
        stepped(plans, held, together(mean, patients.public(held, norm=cut_to, chance=chance)), moments, number=taken)

    size = sum(held[name].size for name in patients.names)
    norm = train(steps, patient, size=size, clipped=clipped, learn=learn)
    return Parameters(held), norm
