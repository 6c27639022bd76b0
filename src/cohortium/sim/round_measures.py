"""The few figures a site shows each round, on its own held-out patients."""

from __future__ import annotations

from collections.abc import Mapping

from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Learner
from cohortium.reports.observed import Observed
from cohortium.reports.panel import measure_values

__all__ = ["cause_of", "measure_round"]

_FEW = ("auroc", "c_index", "accuracy", "brier", "rmse")


def cause_of(learner: Learner) -> int:
    """The code of the event a survival model learns, 1 unless it says otherwise: figures must count the same one."""
    return int(getattr(learner, "cause", 1))


def measure_round(learner: Learner, parameters: Parameters, examples: Examples) -> Mapping[str, float]:
    """Measures without intervals; those that cannot be computed are left out, all of them before there is a model."""
    if not len(examples):
        return {}
    try:
        predicted = learner.predict(parameters, examples)
    except KeyError:  # a model by sums may have no answer before its first exchange
        return {}
    values = measure_values(predicted, Observed.of({"site": examples}, cause=cause_of(learner)))
    return {name: values[name] for name in _FEW if values.get(name) is not None}  # type: ignore[misc]
