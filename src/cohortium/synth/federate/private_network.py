"""A network generator that learns so that no patient shows: one stage, every exchange a noisy sum.

Exchanges 0 and 1 are those of `marginal_dp`. Of patients drawn from it the leader half learns the foundation, so
tables, gaps and frequencies are private already; the first weights and their warm-up need nobody. The rest trains on
patients by DP-SGD: in mode `distributed` every exchange is one step of all sites; in mode `local` a training at each,
merged by public numbers of patients. What closes a network is learned from drawn patients as well and costs nothing.

Not every gradient of a step is of patients (`PrivatePatients.public`). Where a step is shared, each site sends those
others beside its noisy sum, and all take their mean: so the leader half needs no torch, and all take the same step.

The state holds how far the weights have come from the warmed start, not the weights: the start is torch's work, which
no two kinds of processor repeat bit for bit, so every site has its own, and only the way from there is shared.

State: `sums/...` of marginal_dp, `foundation/...`, `way/...` (float64), `moment.<k>/...`, `trained` (exchanges of
training so far). Guarantee: the events of `PrivacyTerms` with its `sums`. Design: synthetic-data.md 5.2 and 5.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivacyTerms, PrivateSteps
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import PeerError, TrainingFailed, UsageError
from cohortium.privacy.dp.distributed import PATIENTS, mean_gradient, site_sums
from cohortium.privacy.dp.grid import Grid
from cohortium.privacy.dp.noise import SecretStream
from cohortium.privacy.dp.sampling import PatientSampler, public_size
from cohortium.strategies.exact_sums import ExactSums
from cohortium.swarm.program import Stage
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.generators.network_training import warmed
from cohortium.synth.generators.private_steps import stepped, stepped_privately, still, together
from cohortium.synth.rows import Rows, rows_of_examples

__all__ = ["PrivateNetwork", "finished_private", "private_stages"]

LEAST_DRAWN = 20_000
"""Patients drawn from the noisy sums at least, so that drawing adds little noise of its own."""
MOST_DRAWN = 200_000
"""And at most: the number comes from sums in which a liar may write anything."""
_UNITS = 2.0**24
_MOST = 2.0**12
_NONE = Parameters()

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PrivateNetwork:
    """generator: of a network. terms: of the run."""

    generator: Any
    terms: PrivacyTerms
    warmed: dict[bytes, Parameters] = field(default_factory=dict, repr=False, compare=False)
    founded: dict[bytes, Parameters] = field(default_factory=dict, repr=False, compare=False)

    learns_by: ClassVar[Literal["sums"]] = "sums"
    reads_columns: ClassVar[bool] = False

    @property
    def max_rounds(self) -> int:
        """Exchanges of a whole run."""
        return len(self.terms.sums) + self.terms.steps // self.terms.steps_a_round

    def initial(self, layout: Layout | None, *, rng: np.random.Generator) -> Parameters:
        """The first question."""
        first: Parameters = self.generator.private_foundation().initial(layout, rng=rng)
        return first.prefixed("sums") | Parameters({"trained": np.zeros(1, dtype=np.int64)})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's noisy part. Raises UsageError without the terms of a private run."""
        steps = instructions.private
        if steps is None:
            raise UsageError("a private network learns with noise only; add [privacy.dp] to the study")
        rows = rows_of_examples(examples, self.generator.facts)
        answer, norm = self.answer(start, rows, examples.patient, steps=steps, rng=rng)
        n = public_size(len(np.unique(examples.patient)))
        return Fitted(parameters=answer, n_samples=n, steps=steps.steps, clipping_norm=norm)

    def answer(
        self, state: Parameters, rows: Rows, patient: Integers, *, steps: PrivateSteps, rng: np.random.Generator
    ) -> tuple[Parameters, float]:
        """(what the state asks for, with this site's part of the noise; the clipping norm, 0 where none moves).

        patient: of each row, of which one counts. rng: of codes and dropout.
        """
        if "foundation/n" not in state:
            chosen = PatientSampler(patient).draw(1.0, SecretStream(steps.entropy, use="sampling"))
            marginal = self.generator.private_foundation()
            return marginal.answer(state.under("sums"), rows.take(chosen), steps=steps), 0.0
        if self.terms.shared:
            return self._shared(state, rows, patient, steps, rng), 0.0
        return self._local(state, rows, patient, steps, rng)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half: of noisy sums alone."""
        if "foundation/n" not in start:
            return self._founded(start, total)
        way, moments = start.under("way"), _moments(start)
        weights: dict[str, NDArray[np.floating]] = {
            name: np.array(array, dtype=np.float64) for name, array in way.items()
        }
        trained = int(start["trained"][0]) + 1
        if self.terms.shared:
            mean = mean_gradient(
                total, sample_rate=self.terms.sample_rate, clipping_norm=self.terms.clipping_norm
            )  # fmt: skip
            whole = together(mean, _averaged(total, "public"))
            stepped(self.generator.private_plans, weights, whole, moments, number=trained)
        else:
            for name, away in _averaged(total, "way").items():
                weights[name] += away
        found = dict(start.items()) | dict(Parameters(weights).prefixed("way").items())
        for k, moment in enumerate(moments):
            found |= dict(Parameters(moment).prefixed(f"moment.{k}").items())
        return Parameters(found | {"trained": np.array([trained], dtype=np.int64)})

    def finished(self, parameters: Parameters) -> bool:
        """After all steps."""
        return int(parameters["trained"][0]) >= self.max_rounds - len(self.terms.sums)

    def predict(self, parameters: Parameters, examples: Examples) -> Any:
        """Nothing. Raises UsageError."""
        raise UsageError("a generator predicts nothing")

    def parts(self, parameters: Parameters) -> dict[str, tuple[str, ...]]:
        """None."""
        return {}

    def weights(self, state: Parameters) -> Parameters:
        """The warmed start, and the way from there."""
        way = state.under("way")
        found = {}
        for name, array in self._warmed(state.under("foundation")).items():
            found[name] = (np.asarray(array, np.float64) + np.asarray(way[name], np.float64)).astype(np.float32)
        return Parameters(found)

    # --- within ------------------------------------------------------------------------------------------------

    def _founded(self, start: Parameters, total: Parameters) -> Parameters:
        marginal = self.generator.private_foundation()
        sums: Parameters = marginal.advance(start.under("sums"), total)
        found = start.without([n for n in start if n.startswith("sums/")]) | sums.prefixed("sums")
        if not marginal.finished(sums):
            return found
        foundation = self._foundation(marginal, sums)
        first = self.generator.begin(foundation, rng=_stream(foundation))
        nowhere = Parameters({name: np.zeros(array.shape) for name, array in first.items()})
        found |= foundation.prefixed("foundation") | nowhere.prefixed("way")
        for k, moment in enumerate(still(self.generator.private_plans, first) if self.terms.shared else ()):
            found |= Parameters(moment).prefixed(f"moment.{k}")
        return found

    def _foundation(self, marginal: Any, sums: Parameters) -> Parameters:
        """Learned from drawn patients, worked out once where several sites share a process."""
        if sums.digest not in self.founded:
            self.founded.clear()
            n = min(max(LEAST_DRAWN, round(float(sums["n"][0]))), MOST_DRAWN)
            rows = marginal.sample(sums, n, rng=_stream(sums))
            self.founded[sums.digest] = fit_by_sums(self.generator.foundation(), [rows])
        return self.founded[sums.digest]

    def _warmed(self, foundation: Parameters) -> Parameters:
        key = foundation.digest
        if key not in self.warmed:
            self.warmed.clear()
            first = self.generator.begin(foundation, rng=_stream(foundation))
            budget = self.generator.budget(foundation).private_warm
            self.warmed[key] = warmed(self.generator, first, foundation, budget=budget, rng=_stream(foundation))
        return self.warmed[key]

    def _shared(
        self, state: Parameters, rows: Rows, patient: Integers, steps: PrivateSteps, rng: np.random.Generator
    ) -> Parameters:
        patients = self.generator.patients(state.under("foundation"), rows, rng=rng)
        weights = {name: np.array(array) for name, array in self.weights(state).items()}
        size = sum(weights[name].size for name in patients.names)
        sums = site_sums(
            steps, patient, size=size, names=patients.names,
            clipped=lambda chosen, norm: patients.clipped(weights, chosen, norm=norm, chance=rng),
        )  # fmt: skip
        norm = Grid(n=size, norm=steps.clipping_norm).clipped_to
        public = patients.public(weights, norm=norm, chance=rng)
        return Parameters(sums) | _in_units("public", public, n_patients=int(sums[PATIENTS][0]))

    def _local(
        self, state: Parameters, rows: Rows, patient: Integers, steps: PrivateSteps, rng: np.random.Generator
    ) -> tuple[Parameters, float]:
        weights = self.weights(state)
        trained, norm = stepped_privately(
            weights, patient, steps=steps, plans=self.generator.private_plans,
            patients=self.generator.patients(state.under("foundation"), rows, rng=rng), chance=rng,
        )  # fmt: skip
        n = public_size(len(np.unique(patient)))
        away = {n: np.asarray(a, np.float64) - np.asarray(weights[n], np.float64) for n, a in trained.items()}
        return Parameters({PATIENTS: np.array([n], dtype=np.int64)}) | _in_units("way", away, n_patients=n), norm


def _in_units(label: str, arrays: Mapping[str, NDArray[np.floating]], *, n_patients: int) -> Parameters:
    """What a site sends of arrays that are averaged over patients: whole numbers. Raises TrainingFailed."""
    found = {}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise TrainingFailed(f"array '{name}' is not finite after training", code="not_finite")
        units = np.rint(np.clip(np.asarray(array, np.float64), -_MOST, _MOST) * _UNITS).astype(np.int64)
        found[f"{label}/{name}"] = units * n_patients
    return Parameters(found)


def _averaged(total: Parameters, label: str) -> dict[str, NDArray[np.float64]]:
    """The means that sites' whole numbers add up to. Raises PeerError for a sum over nobody."""
    patients = int(total[PATIENTS][0])
    if patients < 1:
        raise PeerError(f"the sites' numbers of patients add up to {patients}, expected at least 1")
    whole = _UNITS * patients
    return {name: np.asarray(units, dtype=np.float64) / whole for name, units in total.under(label).items()}


def private_stages(generator: Any, terms: PrivacyTerms) -> tuple[Stage, ...]:
    """The only stage of a private run."""
    learner = PrivateNetwork(generator=generator, terms=terms)
    return (Stage(name="model", learner=learner, strategy=ExactSums(), max_rounds=learner.max_rounds),)


def finished_private(generator: Any, terms: PrivacyTerms, state: Parameters) -> Parameters:
    """The self-contained generator from the learner's last state; its closing from drawn patients. `n`: as noisy."""
    foundation = state.under("foundation")
    weights = PrivateNetwork(generator=generator, terms=terms).weights(state)
    learner = generator.closing(weights, foundation)
    closed = _NONE
    if learner is not None:
        n = int(foundation["n"][0])
        closed = fit_by_sums(learner, [generator.foundation().sample(foundation, n, rng=_stream(weights))])
    made: Parameters = generator.assembled(foundation, weights, closed)
    return made | Parameters({"n": state["sums/n"]})


def _moments(state: Parameters) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(held := state.under(f"moment.{len(found)}")):
        found.append({name: np.array(array) for name, array in held.items()})
    return found


def _stream(of: Parameters) -> np.random.Generator:
    """Public chance, the same at every site."""
    return np.random.default_rng([int(b) for b in of.digest[:8]])
