"""A network generator as stages: foundation by exact sums, weights by local training, closing by exact sums.

The foundation and the weights go on to later stages in the layout. The common start is warmed up at the sites, in their
first training, on rows drawn from the foundation, all by the same stream. Moments of the optimiser stay at the site:
the merge `Travelling` hands them in under `memory/` and takes them back. How many trainings the weights have behind
them travels with the weights, so that only the first one is warmed up.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Strategy
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.errors import UsageError
from cohortium.strategies.exact_sums import ExactSums
from cohortium.swarm.program import Stage
from cohortium.synth.federate.carried import Carried, CarryingLayout, carried_by
from cohortium.synth.federate.divergence import UNIT, weight_of_site
from cohortium.synth.generators.network_training import warmed
from cohortium.synth.rows import rows_of_examples

__all__ = ["Closing", "NetworkWeights", "Travelling", "finished_network", "network_stages"]

_AGE = "age"
_NONE = Parameters()
_MOST_CLOSING = 60


@dataclass(frozen=True, kw_only=True)
class Travelling:
    """A merge of weights that also hands each site its own memory, and lets a site without a turn rest."""

    inner: Strategy

    learns_by: ClassVar[Literal["weights"]] = "weights"

    @property
    def sums(self) -> bool:
        """As the merge inside."""
        return self.inner.sums

    def init(self, start: Parameters) -> Parameters:
        """As the merge inside."""
        return self.inner.init(start)

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One training, from the shared weights and this site's memory."""
        start = turn.start.prefixed("shared") | turn.memory.prefixed("memory")
        return tuple(replace(one, start=start) for one in self.inner.instruct(turn))

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """The contribution by the merge inside; what is under `memory/` stays."""
        trained = replace(fitted[0], parameters=fitted[0].parameters.under("shared"))
        update = self.inner.conclude(turn, (trained,))
        return replace(update, memory=fitted[0].parameters.under("memory"))

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """As the merge inside."""
        return self.inner.merge(turn, aggregate)

    def personal(self, turn: Turn) -> Parameters:
        """The shared weights."""
        return turn.start


@dataclass(frozen=True, kw_only=True)
class NetworkWeights:
    """The weights of a network generator. trainings: how many share the whole budget. similar: weighted by likeness."""

    generator: Any
    trainings: int
    similar: bool = False
    warmed: dict[bytes, Parameters] = field(default_factory=dict, repr=False, compare=False)

    learns_by: ClassVar[Literal["weights"]] = "weights"

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """The common start; only its age where nothing is known of the foundation yet."""
        foundation = carried_by(layout).under("foundation")
        begun = self.generator.begin(foundation, rng=rng) if len(foundation) else _NONE
        return begun.prefixed("net") | Parameters({_AGE: np.zeros(1, dtype=np.float32)})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """One training of the site, or none where it is not its turn."""
        shared, memory = start.under("shared"), start.under("memory")
        carried = carried_by(examples.layout)
        rows = rows_of_examples(examples, self.generator.facts)
        if instructions.max_steps == 0:
            return Fitted(parameters=_both(shared, memory), n_samples=len(rows), steps=0)
        foundation = carried.under("foundation")
        weights = shared.under("net")
        if float(shared[_AGE][0]) < 0.5:
            weights = self._warm(weights, foundation)
        trained = self.generator.train(
            weights, foundation, rows, budget=self.generator.budget(foundation).share(1.0 / self.trainings), rng=rng,
            proximal=instructions.proximal,
            moments=memory.under("moments") if len(memory) else None,
        )  # fmt: skip
        older = Parameters({_AGE: np.asarray([float(shared[_AGE][0]) + 1.0], dtype=np.float32)})
        kept = _NONE if trained.moments is None else trained.moments.prefixed("moments")
        weight = weight_of_site(carried.under("portrait"), rows) if self.similar else UNIT
        return Fitted(
            parameters=_both(trained.weights.prefixed("net") | older, kept),
            n_samples=max(1, round(len(rows) * weight / UNIT)),
            steps=trained.steps,
            loss=trained.loss,
        )

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """Weights are merged by the strategy."""
        return total

    def finished(self, parameters: Parameters) -> bool:
        """Never by itself."""
        return False

    def predict(self, parameters: Parameters, examples: Examples) -> Any:
        """Nothing. Raises UsageError."""
        raise UsageError("a generator predicts nothing")

    def parts(self, parameters: Parameters) -> dict[str, tuple[str, ...]]:
        """None."""
        return {}

    def own(self, parameters: Parameters, training: Examples) -> Parameters:
        """Nothing of the site is needed."""
        return _NONE

    def apply(self, parameters: Parameters, examples: Examples, *, own: Parameters) -> Examples:
        """The same rows, under the layout that carries the weights."""
        return examples.with_x(examples.x, self.layout(parameters, examples.layout))

    def layout(self, parameters: Parameters, layout: Layout) -> CarryingLayout:
        """The layout with the weights in it."""
        return Carried(name="weights", inner=self).layout(parameters.under("net"), layout)

    def _warm(self, weights: Parameters, foundation: Parameters) -> Parameters:
        """The warmed start, worked out once where several sites share a process."""
        key = weights.digest + foundation.digest
        if key not in self.warmed:
            self.warmed.clear()
            stream = np.random.default_rng([int(b) for b in key[:8]])  # the same at every site
            budget = self.generator.budget(foundation).warm
            self.warmed[key] = warmed(self.generator, weights, foundation, budget=budget, rng=stream)
        return self.warmed[key]


@dataclass(frozen=True, kw_only=True)
class Closing:
    """What a network generator learns by sums once its weights stand. Foundation and weights are part of its state."""

    generator: Any

    learns_by: ClassVar[Literal["sums"]] = "sums"
    reads_columns: ClassVar[bool] = False

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """Foundation, weights and the first question; nothing where they are not known yet."""
        carried = carried_by(layout)
        held = carried.under("foundation").prefixed("foundation") | carried.under("weights").prefixed("weights")
        if not len(held):
            return Parameters({"empty": np.zeros(1)})
        inner = self._inner(held)
        first: Parameters = Parameters() if inner is None else inner.initial(layout, rng=rng)
        return held | first.prefixed("closing")

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's sums."""
        rows = rows_of_examples(examples, self.generator.facts)
        inner = self._inner(start)
        nothing = Parameters({"nothing": np.zeros(1, dtype=np.int64)})
        answer = nothing if inner is None else inner.answer(start.under("closing"), rows)
        return Fitted(parameters=answer, n_samples=len(rows))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half."""
        kept = start.under("foundation").prefixed("foundation") | start.under("weights").prefixed("weights")
        inner = self._inner(start)
        closed: Parameters = Parameters() if inner is None else inner.advance(start.under("closing"), total)
        return kept | closed.prefixed("closing")

    def finished(self, parameters: Parameters) -> bool:
        """As the learner inside."""
        inner = None if "empty" in parameters else self._inner(parameters)
        return inner is None or bool(inner.finished(parameters.under("closing")))

    def predict(self, parameters: Parameters, examples: Examples) -> Any:
        """Nothing. Raises UsageError."""
        raise UsageError("a generator predicts nothing")

    def parts(self, parameters: Parameters) -> dict[str, tuple[str, ...]]:
        """None."""
        return {}

    def _inner(self, held: Parameters) -> Any:
        return self.generator.closing(held.under("weights"), held.under("foundation"))


def network_stages(
    generator: Any, strategy: Strategy, *, trainings: int, max_rounds: int, similar: bool = False
) -> tuple[Stage, ...]:
    """Foundation, weights and, where the generator has one, closing. max_rounds: of the weights."""
    base = generator.foundation()
    first = Carried(name="foundation", inner=base)
    learner = NetworkWeights(generator=generator, trainings=trainings, similar=similar)
    stages = [
        Stage(name="foundation", learner=first, strategy=ExactSums(), max_rounds=base.max_rounds),
        Stage(name="weights", learner=learner, strategy=Travelling(inner=strategy), max_rounds=max_rounds),
    ]
    if getattr(generator, "closes", True):
        closing = Closing(generator=generator)
        stages.append(Stage(name="closing", learner=closing, strategy=ExactSums(), max_rounds=_MOST_CLOSING))
    return tuple(stages)


def finished_network(generator: Any, state: Parameters) -> Parameters:
    """The self-contained generator from a program's last state."""
    foundation, weights = state.under("foundation/model"), state.under("weights/model/net")
    closed = state.under("closing/model/closing")
    made: Parameters = generator.assembled(foundation, weights, closed)
    return made


def _both(shared: Parameters, memory: Parameters) -> Parameters:
    return shared.prefixed("shared") | memory.prefixed("memory")
