"""`GroupGuard`: two sums a round, each over a fixed half of the sites under masks of its own (seam `Guard`).

A liar's vector is in the sum of its half only, so a merge that bounds each half's mean bounds what it can do
(`strategies.clipped`). What is paid: the sum of each half is visible, and fewer sites may be lost, because each half
keeps the threshold and the least number of sites that the whole run's colluders ask for.

Two is all there can be: a sum that may be opened holds c + 2 sites or more, c = floor(N/3) of the whole run, and three
times that are more than N. The halves never change in a run, or sums of overlapping ones could be subtracted: of every
two sites in order of approval one goes into each, by a coin from the run's own names, so that one who joins late
changes nobody else's. Design: privacy.md section 3.4, rule 7; decision 14.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from cohortium.core.exchange import Context, Received, Recipe
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Update
from cohortium.errors import PeerError
from cohortium.privacy.secagg.context import Binding
from cohortium.privacy.secagg.guard import MaskedGuard
from cohortium.privacy.secagg.halves import halves_of
from cohortium.privacy.secagg.leader import open_sum
from cohortium.privacy.secagg.messages import Answer, seen_digest
from cohortium.privacy.secagg.reading import Reader
from cohortium.privacy.secagg.scratch import Scratch

__all__ = ["GroupGuard"]


class GroupGuard:
    """A masked guard whose sums are those of the two halves."""

    def __init__(self, guard: MaskedGuard) -> None:
        self._guard = guard
        self._reader, self._scratch = (Reader(), Reader()), Scratch()

    @property
    def recipe(self) -> Recipe:
        """The inner guard's."""
        return self._guard.recipe

    def check(self, update: Update) -> None:
        """The inner guard's."""
        self._guard.check(update)

    def step(self, step: str, context: Context, *, own: Update, received: Received) -> Parameters:
        """The inner guard's payload, among the sites of the own half."""
        mine = next((half for half in halves_of(context) if self._guard.site in half), ())
        return self._guard.step(step, _within(context, mine), own=own, received=_of(received, mine))

    def open(self, context: Context, *, survivors: Sequence[str], received: Received) -> Aggregate:
        """The sum over all survivors, and of each half. Raises PeerError where one half's does not open."""
        layout = self._guard.layout_of(context)
        opened = []
        for reader, half in zip(self._reader, halves_of(context), strict=True):
            within, held = _within(context, half), _of(received, half)
            binding = Binding(context=within, layout=layout, largest_weight=self._guard.largest_weight)
            opened.append(
                open_sum(
                    binding,
                    survivors=tuple(sorted(set(survivors) & set(half))),
                    keys=reader.keys(binding, held),
                    shares=reader.shares(binding, held),
                    masked=held.get("masked", {}),
                    answers={
                        site: Answer.from_parameters(arrays, binding, site=site)
                        for site, arrays in sorted(held.get("unmask", {}).items())
                        if site in survivors
                    },
                    seen=seen_digest(held["keys"], held["shares"]),
                    scratch=self._scratch,
                )
            )
        one, other = opened
        return Aggregate(
            total=Parameters({name: np.add(array, other.total[name]) for name, array in one.total.items()}),
            weight=one.weight + other.weight,
            contributors=tuple(sorted((*one.contributors, *other.contributors))),
            groups=(one, other),
        )

    def memory(self) -> Parameters:
        """The inner guard's."""
        return self._guard.memory()

    def restore(self, memory: Parameters) -> None:
        """The inner guard's."""
        self._guard.restore(memory)

    def finish(self, round: int) -> None:
        """The inner guard's."""
        self._guard.finish(round)


def _within(context: Context, half: tuple[str, ...]) -> Context:
    """The same attempt, over this half only; the colluders are those of the whole run."""
    if not half:
        raise PeerError("asked to mask for a set without this site's half")
    return replace(context, frozen=half)


def _of(received: Received, half: tuple[str, ...]) -> Mapping[str, Mapping[str, Parameters]]:
    return {step: {site: arrays for site, arrays in held.items() if site in half} for step, held in received.items()}
