"""The model visits one site after the other; nothing is averaged.

One hop a round: the visited site trains, all others send no change. A new order is drawn every cycle from a seed that
all nodes share, and the learning rate falls by exp(-decay) a cycle. The next site sees the model its predecessor
made, so masks would hide nothing: single updates, and a word of warning in `study check`.
Source: Chang et al. 2018, Distributed deep learning networks among institutions for medical imaging.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from cohortium.core.fixed_point import exp
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.strategies.local_training import ask, check_options, difference, moved

__all__ = ["Cyclic", "visited"]


@dataclass(frozen=True, kw_only=True)
class Cyclic:
    """The model as it travels. decay: of the learning rate, by exp(-decay) after each cycle."""

    decay: float = 0.1
    local_epochs: int = 1
    sync_every: int | None = None

    sums: ClassVar[bool] = False
    learns_by: ClassVar[Literal["weights"]] = "weights"
    among_sites: ClassVar[bool] = True  # means nothing for one trainer alone

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every)
        if not 0 <= self.decay < float("inf"):
            raise ValueError(f"decay must be at least 0 and finite, got {self.decay}")

    def init(self, start: Parameters) -> Parameters:
        """No shared state: order and rate follow from the round."""
        return Parameters()

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """A training at the visited site; elsewhere none (no step, only the loss of the start)."""
        asked = ask(local_epochs=self.local_epochs, sync_every=self.sync_every)
        if turn.site != visited(turn):
            return (replace(asked, max_steps=0),)
        cycle = turn.round // len(turn.sites)
        return (replace(asked, learning_rate_factor=float(exp(-self.decay * cycle))),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """The change made here, or none."""
        change = difference(turn, fitted[0])
        if turn.site != visited(turn):
            change = change.map(np.zeros_like)
        return Update(site=turn.site, parameters=change, weight=1)

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """The model as the visited site left it; unchanged when that site did not contribute."""
        here = visited(turn)
        for update in aggregate.updates:
            if update.site == here:
                return moved(
                    turn.start, {name: update.parameters[name].astype("<f8") for name in turn.start}
                ), turn.state
        return turn.start, turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The model as it travels."""
        return turn.start


def visited(turn: Turn) -> str:
    """The site whose turn it is: position `round` in an order drawn anew for every cycle."""
    cycle, position = divmod(turn.round, len(turn.sites))

    def lot(site: str) -> bytes:
        return hashlib.sha256(f"cohortium-cyclic-1|{turn.draw}|{cycle}|{site}".encode()).digest()

    return sorted(turn.sites, key=lot)[position]
