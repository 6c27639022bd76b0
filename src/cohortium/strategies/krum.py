"""One site's change is taken as it is: the one nearest to its companions. f liars cannot pull it away.

Needs single updates, so it excludes masks. It forgets what all other sites learned, and punishes small and one-class
sites: told the true number of bad sites, its kin threw away up to 77 % of a minority's records.
Source: Blanchard et al. 2017, Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Fitted, Instructions, Turn, Update
from cohortium.strategies.krum_scores import changes, check_f, ranked, refuse_few, squared_distances, too_few
from cohortium.strategies.local_training import as_floats, ask, check_options, difference, moved

__all__ = ["Krum"]


@dataclass(frozen=True, kw_only=True)
class Krum:
    """The change with the lowest score, ties to the first site name. f: sites that may send anything; N >= 2f + 3."""

    f: int = 1
    local_epochs: int = 1
    sync_every: int | None = None

    sums: ClassVar[bool] = False
    learns_by: ClassVar[Literal["weights"]] = "weights"
    among_sites: ClassVar[bool] = True  # means nothing for one trainer alone

    def __post_init__(self) -> None:
        check_options(local_epochs=self.local_epochs, sync_every=self.sync_every)
        check_f(self.f)

    def too_few(self, n_sites: int) -> str:
        """Why so few sites do not do, else empty."""
        return too_few("krum", f=self.f, least=2 * self.f + 3, n_sites=n_sites)

    def init(self, start: Parameters) -> Parameters:
        """No shared state."""
        return Parameters()

    def instruct(self, turn: Turn) -> tuple[Instructions, ...]:
        """One ordinary training."""
        return (ask(local_epochs=self.local_epochs, sync_every=self.sync_every),)

    def conclude(self, turn: Turn, fitted: tuple[Fitted, ...]) -> Update:
        """What the training changed, with weight 1."""
        return Update(site=turn.site, parameters=difference(turn, fitted[0]), weight=1)

    def taken(self, n_sites: int) -> int:
        """How many changes are taken."""
        return 1

    def merge(self, turn: Turn, aggregate: Aggregate) -> tuple[Parameters, Parameters]:
        """The mean of the chosen changes, added in the order of site names; here of one."""
        vectors = changes(turn, aggregate)
        refuse_few(self.too_few(len(vectors)))
        m = self.taken(len(vectors))
        chosen = sorted(ranked(squared_distances(vectors), range(len(vectors)), f=self.f)[:m])
        floats = [as_floats(aggregate.updates[at].parameters) for at in chosen]
        step = {}
        for name in turn.start:
            total = np.array(floats[0][name])
            for one in floats[1:]:
                total += one[name]
            step[name] = np.divide(total, float(m))
        return moved(turn.start, step), turn.state

    def personal(self, turn: Turn) -> Parameters:
        """The shared model."""
        return turn.start
