"""Federation `similarity` (C): a site counts the less, the further its patients are from the cohort's.

For generators by sums every answer is multiplied by the site's integer weight in steps of 1/1024, and the total is
rounded back; for networks the same weight multiplies the site's patients in the mean, and a proximal term holds
training near the shared weights. Masks may stay on: a site's own divergence is never seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import UsageError
from cohortium.strategies.exact_sums import ExactSums
from cohortium.strategies.fedprox import FedProx
from cohortium.swarm.program import Stage
from cohortium.synth.federate.carried import Carried, carried_by
from cohortium.synth.federate.divergence import UNIT, Portrait, weight_of_site
from cohortium.synth.federate.network_stages import finished_network, network_stages
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.federate.weighting import scaled_back
from cohortium.synth.rows import rows_of_examples

__all__ = ["Similarity", "Weighted"]


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """A generator by sums whose answers carry the weight of the site."""

    inner: Any

    learns_by: ClassVar[Literal["sums"]] = "sums"
    reads_columns: ClassVar[bool] = False

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """The first question."""
        first: Parameters = self.inner.initial(layout, rng=rng)
        return first

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """The site's answer times its weight."""
        rows = rows_of_examples(examples, self.inner.facts)
        weight = weight_of_site(carried_by(examples.layout).under("portrait"), rows)
        answer = self.inner.answer(start, rows)
        heavy = {name: np.asarray(array, dtype=np.int64) * np.int64(weight) for name, array in answer.items()}
        return Fitted(parameters=Parameters(heavy), n_samples=len(rows))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half of the generator, on the total rounded back."""
        state: Parameters = self.inner.advance(start, scaled_back(total, UNIT))
        return state

    def finished(self, parameters: Parameters) -> bool:
        """As the generator."""
        return bool(self.inner.finished(parameters))

    def predict(self, parameters: Parameters, examples: Examples) -> Any:
        """Nothing. Raises UsageError."""
        raise UsageError("a generator under way predicts nothing")

    def parts(self, parameters: Parameters) -> dict[str, tuple[str, ...]]:
        """None."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Histograms and divergences first, then the generator under weights."""

    plan: FederationPlan

    masks: ClassVar[bool] = True

    def stages(self, generator: Any) -> tuple[Stage, ...]:
        """Histograms, then the generator."""
        portrait = Portrait(facts=generator.facts, min_cell=self.plan.min_cell)
        carried = Carried(name="portrait", inner=portrait)
        first = Stage(name="portrait", learner=carried, strategy=ExactSums(), max_rounds=portrait.max_rounds)
        if generator.learns_by == "weights":
            merge, rounds = FedProx(mu=self.plan.proximal), self.plan.rounds
            return (first, *network_stages(generator, merge, trainings=rounds, max_rounds=rounds, similar=True))
        learner = Weighted(inner=generator)
        last = Stage(name="model", learner=learner, strategy=ExactSums(), max_rounds=generator.max_rounds)
        return (first, last)

    def result(self, generator: Any, state: Parameters) -> Parameters:
        """The finished generator."""
        return finished_network(generator, state) if generator.learns_by == "weights" else state.under("model/model")

    def shared_by(self, state: Parameters) -> tuple[int, ...]:
        """No site shows anything of its own."""
        return ()
