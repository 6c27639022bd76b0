"""Federation `ensemble` (D): every site learns alone and gives its finished model once; all are drawn from by n_k.

A model leaves with its counts of patients rounded, and only after the rows drawn from it so passed the gate of its
site. Sites' models differ in shape, so they
travel as bytes: one exchange for their lengths, one for the models. Masks cannot carry single models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import CohortiumError, FrameError, TrainingFailed, UsageError
from cohortium.swarm.program import Stage
from cohortium.synth.exchange import fit_by_sums, fit_network
from cohortium.synth.federate.carried import reserve_of
from cohortium.synth.federate.collect import Collect, answered, each_site
from cohortium.synth.federate.gate import GateVerdict, gate, too_few, wrong_seal
from cohortium.synth.federate.mixture import mixture_of
from cohortium.synth.federate.parcels import packed_state, unpacked_state
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.federate.rounded import rounded_counts
from cohortium.synth.phases import at_phase, phase_of
from cohortium.synth.rows import rows_of_examples

__all__ = ["Ensemble", "SiteModels"]

_LENGTHS, _MODELS, _DONE = 0, 1, -1
_MOST_BYTES = 1 << 26
_MOST_PATIENTS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class SiteModels:
    """The learner: lengths of the sites' models that passed, then the models."""

    generator: Any
    attack_risk_max: float
    judge: Callable[..., GateVerdict] = gate

    learns_by: ClassVar[Literal["sums"]] = "sums"
    reads_columns: ClassVar[bool] = False

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """Nothing there yet."""
        return Parameters(at_phase(_LENGTHS))

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Learn alone, ask the gate, and say how long the model is; then give it."""
        state, memory = start.under("state"), start.under("memory")
        if phase_of(state) == _LENGTHS:
            memory = self._judged(examples, rng)
            sizes = np.array([len(memory["bytes"]) if "bytes" in memory else 0, len(examples)], dtype=np.int64)
            return answered(Parameters({"sizes": sizes}), memory, n_samples=len(examples))
        room = int(state["room"][0])
        if "bytes" not in memory:
            nothing = {"n": np.zeros(1, dtype=np.int64), "bytes": np.zeros(room, dtype=np.uint8),
                       "verdict": np.zeros(33, dtype=np.uint8)}  # fmt: skip
            return answered(Parameters(nothing), memory, n_samples=len(examples))
        content = np.zeros(room, dtype=np.uint8)
        content[: len(memory["bytes"])] = memory["bytes"]
        sent = Parameters({"n": memory["n"], "bytes": content, "verdict": memory["verdict"]})
        return answered(sent, memory, n_samples=len(examples))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half: room for the longest model, then the mixture."""
        if phase_of(start) == _LENGTHS:
            sizes = {place: [int(v) for v in arrays["sizes"]] for place, arrays in each_site(total)}
            room = max(length for length, _ in sizes.values())
            if room <= 0:
                raise TrainingFailed("no site's model passed its gate", stage="merge", code="gate")
            n = np.zeros(max(sizes) + 1, dtype=np.int64)
            for place, (_, patients) in sizes.items():
                n[place] = max(patients, 0)
            return Parameters(
                {**at_phase(_MODELS), "room": np.array([min(room, _MOST_BYTES)]), "n": n}
            )  # fmt: skip
        models = {place: unpacked_state(arrays) for place, arrays in each_site(total)}
        agreed = np.asarray(start["n"])  # ends with the last site that said a size; a model of another is left out
        weights = {place: int(agreed[place]) for place, model in models.items() if len(model) and place < len(agreed)}
        if not sum(weights.values()):
            raise TrainingFailed("no site's model passed its gate", stage="merge", code="gate")
        found = mixture_of([(models[place], weight) for place, weight in weights.items()])
        return found | Parameters({**at_phase(_DONE), "places": np.array(list(weights))})

    def finished(self, parameters: Parameters) -> bool:
        """Whether all models are there."""
        return phase_of(parameters) == _DONE

    def refused(self, sent: Parameters) -> str:
        """What is wrong with one contribution; empty if nothing is."""
        if set(sent) == {"sizes"}:
            sizes = sent["sizes"]
            if sizes.shape != (2,) or sizes.dtype != np.int64:
                return "two sizes are expected"
            length, patients = (int(v) for v in sizes)
            return "" if 0 <= length <= _MOST_BYTES and 0 <= patients <= _MOST_PATIENTS else "sizes nobody has"
        try:
            model = unpacked_state(sent)
        except FrameError as error:
            return str(error)
        if not len(model):
            return ""
        if wrong := wrong_seal(sent, model.digest):
            return wrong
        try:
            self.generator.sample(model, 3, rng=np.random.default_rng(0))
        except (CohortiumError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError):
            return "its model cannot be drawn from"
        return ""

    def predict(self, parameters: Parameters, examples: Examples) -> Any:
        """Nothing. Raises UsageError."""
        raise UsageError("a mixture of generators predicts nothing")

    def parts(self, parameters: Parameters) -> dict[str, tuple[str, ...]]:
        """None."""
        return {}

    def _judged(self, examples: Examples, rng: np.random.Generator) -> Parameters:
        """This site's model as bytes beside its verdict; empty when it may not leave."""
        facts, held = self.generator.facts, reserve_of(examples)
        training = rows_of_examples(examples, facts)
        reserve = training.take(np.zeros(0, dtype=np.int64)) if held is None else rows_of_examples(held, facts)
        if too_few(training, reserve):
            return Parameters()
        cell = self.generator.min_cell
        if self.generator.learns_by == "sums":
            model = fit_by_sums(self.generator, [training])
        else:  # rounded first: a network has an output for each mode that it finds in the counts
            foundation = rounded_counts(fit_by_sums(self.generator.foundation(), [training]), min_cell=cell)
            model = fit_network(self.generator, [training], rng=rng, foundation=foundation)
        model = rounded_counts(model, min_cell=cell)
        table = self.generator.sample(model, len(training), rng=rng)
        verdict = self.judge(
            training, reserve, table, subject=model.digest, seed=int(rng.integers(1 << 31)),
            attack_risk_max=self.attack_risk_max,
        )  # fmt: skip
        return packed_state(model) | verdict.seal() if verdict.passed else Parameters()


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """One stage of two exchanges."""

    plan: FederationPlan
    judge: Callable[..., GateVerdict] = gate

    masks: ClassVar[bool] = False

    def stages(self, generator: Any) -> tuple[Stage, ...]:
        """Models, side by side."""
        learner = SiteModels(generator=generator, attack_risk_max=self.plan.attack_risk_max, judge=self.judge)
        return (Stage(name="model", learner=learner, strategy=Collect(refused=learner.refused), max_rounds=2),)

    def result(self, generator: Any, state: Parameters) -> Parameters:
        """The mixture."""
        return state.under("model/model").without(["phase", "places"])

    def shared_by(self, state: Parameters) -> tuple[int, ...]:
        """Sites whose model is in the mixture."""
        return tuple(int(place) for place in state["model/model/places"])
