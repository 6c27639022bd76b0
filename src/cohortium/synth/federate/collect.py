"""Single contributions side by side: what sharing rows and single-site models need, and what no mask can carry.

A site is handed the shared state under `state/`, what it remembers under `memory/` and its place under `own`; it
answers with arrays under `sent/`, of the same shapes at every site, and what it will remember under `memory/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.errors import PeerError

__all__ = ["Collect", "answered", "each_site", "handed"]


@dataclass(frozen=True, kw_only=True)
class Collect:
    """Every contribution as it is, under `<place of the site>/`. refused: what is wrong with one, in words."""

    refused: Callable[[Parameters], str]

    sums: ClassVar[bool] = False
    learns_by: ClassVar[Literal["sums"]] = "sums"

    def init(self, start: Parameters) -> Parameters:
        """No shared state."""
        return Parameters()

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One answer, from the state, this site's memory and its place."""
        return (Instructions(start=handed(turn)),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """What leaves, and what stays."""
        found = fitted[0].parameters
        return Update(site=turn.site, parameters=found.under("sent"), weight=1, memory=found.under("memory"))

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """All of them. Raises PeerError for one that is refused."""
        found: dict[str, object] = {}
        for update in aggregate.updates:
            if wrong := self.refused(update.parameters):
                raise PeerError(f"update of site '{update.site}': {wrong}", site=update.site)
            found |= dict(update.parameters.prefixed(str(turn.sites.index(update.site))).items())
        return Parameters(found), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared state."""
        return turn.start


def handed(turn: Turn) -> Parameters:
    """What a site is given."""
    own = Parameters({"own": np.array([turn.sites.index(turn.site), turn.round], dtype=np.int64)})
    return own | turn.start.prefixed("state") | turn.memory.prefixed("memory")


def answered(sent: Parameters, memory: Parameters, *, n_samples: int) -> Fitted:
    """What a site gives back."""
    return Fitted(parameters=sent.prefixed("sent") | memory.prefixed("memory"), n_samples=n_samples)


def each_site(collected: Parameters) -> Iterator[tuple[int, Parameters]]:
    """(place, arrays) of every site that contributed, in order."""
    for place in sorted({int(name.split("/", 1)[0]) for name in collected}):
        yield place, collected.under(str(place))
