"""An audit as a learner by sums: one site's half and the leader's, for `swarm.program`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivateSteps
from cohortium.core.update import Fitted, Instructions
from cohortium.privacy.dp.sampling import public_size
from cohortium.quality.pool import Pool, pool_of
from cohortium.quality.slots import MAX_COLUMNS

__all__ = ["MAX_EXCHANGES", "Audit", "Auditing", "NoisyAuditing"]

MAX_EXCHANGES = 1000


class Auditing(Protocol):
    """What an audit asks in a state, what rows answer, and what the answers change; pure and bit-exact."""

    def initial(self, lot: int | bytes = 0) -> Parameters: ...

    def answer(self, state: Parameters, pool: Pool) -> Parameters: ...

    def advance(self, state: Parameters, total: Parameters) -> Parameters: ...

    def gather(self, state: Parameters, answers: Mapping[str, Parameters]) -> Parameters: ...

    def finished(self, state: Parameters) -> bool: ...


@runtime_checkable
class NoisyAuditing(Protocol):
    """An audit whose answers leave with noise only."""

    def noisy(self, state: Parameters, pool: Pool, *, steps: PrivateSteps) -> Parameters: ...


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The learner. sites: all, sorted; site: whose rows `fit` is given."""

    learns_by: ClassVar[Literal["sums"]] = "sums"
    max_rounds: ClassVar[int] = MAX_EXCHANGES

    auditor: Auditing
    sites: tuple[str, ...]
    site: str = ""
    _pools: dict[int, Pool] = field(default_factory=dict, repr=False, compare=False)

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """Before the first exchange; all draws follow from the ledger's seed, which the node puts in."""
        return self.auditor.initial()

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's part of what the state asks for."""
        if id(examples) not in self._pools:
            self._pools.clear()
            most = None if isinstance(self.auditor, NoisyAuditing) else MAX_COLUMNS
            self._pools[id(examples)] = pool_of({self.sites.index(self.site): examples}, most_columns=most)
        pool, steps = self._pools[id(examples)], instructions.private
        if isinstance(self.auditor, NoisyAuditing) and steps is not None:
            told = public_size(len(examples))
            return Fitted(parameters=self.auditor.noisy(start, pool, steps=steps), n_samples=told)
        return Fitted(parameters=self.auditor.answer(start, pool), n_samples=len(examples))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The next state."""
        return self.auditor.advance(start, total)

    def gather(self, parameters: Parameters, answers: Mapping[str, Parameters]) -> Parameters:
        """The rows that sites show."""
        return self.auditor.gather(parameters, answers)

    def finished(self, parameters: Parameters) -> bool:
        """Whether everything that verdicts rest on is there."""
        return self.auditor.finished(parameters)

    def predict(self, parameters: Parameters, examples: Examples) -> NDArray[np.float64]:
        """An audit predicts nothing: 0.5 for every row; its probes are never used for patients."""
        return np.full(len(examples), 0.5)

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}
