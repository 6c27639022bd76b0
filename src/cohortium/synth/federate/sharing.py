"""Federation `sharing` (B): every round each site draws as many rows as it has patients, and gives them to the others.

A site learns from its own patients and from the rows it received - never from rows of its own that come back - and
what it draws passes its gate before it leaves. The last rows of every site are what remains: for a generator by sums
they are learned once more, together; for a network they are the pool patients are drawn from. Masks cannot carry single
rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import FrameError, TrainingFailed, UsageError
from cohortium.swarm.program import Stage
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.facts import Facts
from cohortium.synth.federate.carried import reserve_of
from cohortium.synth.federate.collect import Collect, answered, each_site
from cohortium.synth.federate.gate import GateVerdict, gate, rows_digest, too_few, wrong_seal
from cohortium.synth.federate.local import fit_with_received, none_too_large, train_further
from cohortium.synth.federate.mixture import pool_of
from cohortium.synth.federate.parcels import MOST_ROWS, packed_rows, unpacked_rows
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.rows import Rows, joined, rows_of_examples

__all__ = ["RowSharing", "Sharing", "shared_rows"]

_SIZES, _ROWS = 0, 1
_EMPTY = Parameters()


@dataclass(frozen=True, kw_only=True)
class RowSharing:
    """The learner: first everybody says how many rows it will share, then the rows go round."""

    generator: Any
    rounds: int
    attack_risk_max: float
    judge: Callable[..., GateVerdict] = gate

    learns_by: ClassVar[Literal["sums"]] = "sums"
    reads_columns: ClassVar[bool] = False

    @property
    def facts(self) -> Facts:
        """The columns."""
        found: Facts = self.generator.facts
        return found

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """Nothing shared yet."""
        return Parameters({"clock": np.array([_SIZES, 0], dtype=np.int64)})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """How many rows this site will share, or rows that passed its gate."""
        state, memory, own = start.under("state"), start.under("memory"), int(start["own"][0])
        training, reserve = self._rows(examples)
        if int(state["clock"][0]) == _SIZES:
            n = 0 if too_few(training, reserve) else min(len(training), MOST_ROWS)
            return answered(Parameters({"n": np.array([n], dtype=np.int64)}), memory, n_samples=len(training))
        received = [rows for place, rows in shared_rows(state, self.facts).items() if place != own]
        model, memory = self._model(memory, training, joined(received) if received else None, rng)
        agreed = np.asarray(state["n"])  # ends with the last site that said how many; others give nothing
        n, size = int(agreed[own]) if own < len(agreed) else 0, int(agreed.max())
        nothing = training.take(np.zeros(0, dtype=np.int64))
        if n == 0:
            sent = packed_rows(nothing, size=size) | Parameters({"verdict": np.zeros(33, dtype=np.uint8)})
            return answered(sent, memory, n_samples=len(training))
        table = self.generator.sample(model, n, rng=rng)
        verdict = self.judge(
            training, reserve, table, subject=rows_digest(table), seed=int(rng.integers(1 << 31)),
            attack_risk_max=self.attack_risk_max,
        )  # fmt: skip
        sent = packed_rows(table if verdict.passed else nothing, size=size) | verdict.seal()
        return answered(sent, memory, n_samples=len(training))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half: what everybody shared, side by side. total: by place of the site."""
        phase, done = (int(v) for v in start["clock"])
        if phase == _SIZES:
            counts = {place: int(arrays["n"][0]) for place, arrays in each_site(total)}
            if not any(counts.values()):
                raise TrainingFailed("no site may share rows", stage="merge", code="gate")
            n = np.zeros(max(counts) + 1, dtype=np.int64)
            for place, count in counts.items():
                n[place] = min(max(count, 0), MOST_ROWS)
            return Parameters({"clock": np.array([_ROWS, 0], dtype=np.int64), "n": n})
        found: dict[str, object] = dict(start.items())  # whose rows are refused this round stays with its last ones
        found["clock"] = np.array([_ROWS, done + 1], dtype=np.int64)
        for place, arrays in each_site(total):
            if n_rows := int(arrays["n"][0]):
                found[f"rows/{place}/n"] = np.array([n_rows], dtype=np.int64)
                found[f"rows/{place}/values"] = arrays["values"][:n_rows]
                found[f"rows/{place}/gaps"] = arrays["gaps"][:n_rows]
        if done + 1 >= self.rounds and not any(name.startswith("rows/") for name in found):
            raise TrainingFailed("no site's rows passed its gate", stage="merge", code="gate")
        return Parameters(found)

    def finished(self, parameters: Parameters) -> bool:
        """Whether the rows have gone round often enough."""
        return int(parameters["clock"][0]) == _ROWS and int(parameters["clock"][1]) >= self.rounds

    def refused(self, sent: Parameters) -> str:
        """What is wrong with one contribution; empty if nothing is."""
        if set(sent) == {"n"}:
            n = sent["n"]
            return "" if n.shape == (1,) and n.dtype == np.int64 else "one whole number of rows is expected"
        try:
            rows = unpacked_rows(sent, self.facts)
        except FrameError as error:
            return str(error)
        return wrong_seal(sent, rows_digest(rows)) if len(rows) else ""

    def predict(self, parameters: Parameters, examples: Examples) -> Any:
        """Nothing. Raises UsageError."""
        raise UsageError("shared rows predict nothing")

    def parts(self, parameters: Parameters) -> dict[str, tuple[str, ...]]:
        """None."""
        return {}

    def _rows(self, examples: Examples) -> tuple[Rows, Rows]:
        held = reserve_of(examples)
        training = rows_of_examples(examples, self.facts)
        reserve = training.take(np.zeros(0, dtype=np.int64)) if held is None else rows_of_examples(held, self.facts)
        return training, reserve

    def _model(
        self, memory: Parameters, own: Rows, received: Rows | None, rng: np.random.Generator
    ) -> tuple[Parameters, Parameters]:
        if self.generator.learns_by == "sums":
            return fit_with_received(self.generator, own, received, rng), _EMPTY
        return train_further(self.generator, memory, own, received, effort=1.0 / self.rounds, rng=rng)


def shared_rows(state: Parameters, facts: Facts) -> dict[int, Rows]:
    """What lies in the open, by place of the site that drew it."""
    return {place: unpacked_rows(arrays, facts) for place, arrays in each_site(state.under("rows"))}


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """One stage: sizes, then rounds of rows."""

    plan: FederationPlan
    judge: Callable[..., GateVerdict] = gate

    masks: ClassVar[bool] = False

    def stages(self, generator: Any) -> tuple[Stage, ...]:
        """Rows, side by side."""
        learner = RowSharing(
            generator=generator,
            rounds=self.plan.rounds,
            attack_risk_max=self.plan.attack_risk_max,
            judge=self.judge,
        )
        collect = Collect(refused=learner.refused)
        return (Stage(name="model", learner=learner, strategy=collect, max_rounds=self.plan.rounds + 1),)

    def result(self, generator: Any, state: Parameters) -> Parameters:
        """A generator by sums learned from the rows of the last round, or those rows themselves."""
        rows = joined(none_too_large(shared_rows(state.under("model/model"), generator.facts)))
        return fit_by_sums(generator, [rows]) if generator.learns_by == "sums" else pool_of(rows)

    def shared_by(self, state: Parameters) -> tuple[int, ...]:
        """Sites with rows in the open."""
        return tuple(place for place, _ in each_site(state.under("model/model/rows")))
