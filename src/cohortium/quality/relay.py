"""The way of a travelling model through the sites, in one process: free cycles first, then cycles under control.

Whoever learns (`Traveller`) and whoever counts errors is handed in, so that a script can play both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.strategies.travelling import Counts, Rates, Relay, RelayRules

__all__ = ["Journey", "Step", "Traveller", "control", "travel_freely"]

Floats = NDArray[np.float64]
Table = tuple[Floats, Floats]
Shuffle = Callable[[Sequence[str]], Sequence[str]]
ShuffleRows = Callable[[Sequence[int]], Sequence[int]]


class Traveller(Protocol):
    """Whoever learns on the way. `step` gives a new state and leaves the one it was given as it is."""

    def step(self, state: Parameters, x: Floats, y: Floats, *, learning_rate: float) -> Parameters: ...

    def predict(self, state: Parameters, x: Floats) -> Floats: ...


@dataclass(frozen=True)
class Step:
    """One try. phase: `batch`, `solo` (replayed alone), `revisit` (last try). records: row numbers at the site."""

    cycle: int
    phase: Literal["batch", "solo", "revisit"]
    site: str
    records: tuple[int, ...]
    false_positives: int
    false_negatives: int
    rates: Rates
    kept: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Journey:
    """The whole way: every try, the model at the end, and what the relay remembers."""

    steps: tuple[Step, ...]
    state: Parameters
    relay: Relay

    @property
    def evaluations(self) -> int:
        """Times that all sites counted errors."""
        return len(self.steps)


def travel_freely(
    rules: RelayRules,
    sites: Mapping[str, Table],
    traveller: Traveller,
    start: Parameters,
    *,
    shuffle: Shuffle,
    shuffle_rows: ShuffleRows,
    cycles: int,
    rate: Callable[[int], float],
    after_cycle: Callable[[int, Parameters], None] | None = None,
) -> Parameters:
    """The model after so many cycles in which nothing is undone. rate: learning rate of a cycle, from 1."""
    state = start
    for cycle in range(1, cycles + 1):
        for site in shuffle(sorted(sites)):
            x, y = sites[site]
            for batch in rules.batches(list(shuffle_rows(range(len(y))))):
                state = traveller.step(state, x[list(batch)], y[list(batch)], learning_rate=rate(cycle))
        if after_cycle is not None:
            after_cycle(cycle, state)
    return state


def control(
    rules: RelayRules,
    sites: Mapping[str, Table],
    traveller: Traveller,
    start: Parameters,
    *,
    count: Callable[[Parameters], Counts],
    shuffle: Shuffle,
    shuffle_rows: ShuffleRows,
    after_cycle: Callable[[int, Parameters], None] | None = None,
) -> Journey:
    """The controlled cycles, from a model that has travelled. count: errors of a model on all held-out records."""
    tries = _Tries(rules, sites, traveller, count, start)
    for cycle in range(1, rules.cycles + 1):
        for site in shuffle(sorted(sites)):
            for batch in rules.batches(list(shuffle_rows(tries.relay.free(site)))):
                tries.visit(site, batch)
        tries.last_tries()
        if after_cycle is not None:
            after_cycle(cycle, tries.state)
        tries.next_cycle()
    return Journey(steps=tuple(tries.steps), state=tries.state, relay=tries.relay)


class _Tries:
    """The model on its way, and the one place where it moves: `_try` keeps a step or leaves the state as it was."""

    def __init__(
        self,
        rules: RelayRules,
        sites: Mapping[str, Table],
        traveller: Traveller,
        count: Callable[[Parameters], Counts],
        start: Parameters,
    ) -> None:
        self._rules, self._sites, self._traveller, self._count = rules, sites, traveller, count
        self.state = start
        self.relay = Relay.begin({site: len(y) for site, (_, y) in sites.items()}, rules.rates(count(start)))
        self.steps: list[Step] = []

    def visit(self, site: str, batch: tuple[int, ...]) -> None:
        """A batch; where it is rejected, its records one by one, and those rejected again are listed."""
        if self._try("batch", site, batch):
            return
        for row in batch:
            if not self._try("solo", site, (row,)):
                self.relay = self.relay.listed(site, row, revisit=self._rules.revisit)

    def last_tries(self) -> None:
        """At the end of a cycle: every record listed for it, once."""
        for site, row in self.relay.waiting():
            self.relay = self.relay.tried(site, row, kept=self._try("revisit", site, (row,)))

    def next_cycle(self) -> None:
        self.relay = replace(self.relay, cycle=self.relay.cycle + 1)

    def _try(self, phase: Literal["batch", "solo", "revisit"], site: str, rows: tuple[int, ...]) -> bool:
        x, y = self._sites[site]
        rate = self._rules.rate_of_cycle(self.relay.cycle)
        candidate = self._traveller.step(self.state, x[list(rows)], y[list(rows)], learning_rate=rate)
        counts = self._count(candidate)
        found = self._rules.rates(counts)
        kept = self._rules.keeps(found, self.relay.reference, n_records=len(rows))
        self.steps.append(
            Step(self.relay.cycle, phase, site, rows, counts.false_positives, counts.false_negatives, found, kept)
        )
        if kept:
            self.state = candidate
            self.relay = replace(self.relay, reference=self._rules.next_reference(found, self.relay.reference))
        return kept
