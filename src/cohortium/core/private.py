"""The terms of a private run, equal at all sites: what is promised, and which noise keeps the promise.

`PrivacyTerms` belongs to a program; `PrivateSteps` is what a learner is told of it for one training. Three parties are
told apart, because they may know a part of the noise in a sum: `outsiders` none, `colluders` that of c sites, `alone`
that of all sites but one. In mode `local` a site adds all the noise itself, so that all three are one.
Design: privacy.md sections 5 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from cohortium.core.parameters import Parameters
from cohortium.core.spending import MechanismEvent

__all__ = ["Against", "Clip", "PrivacyTerms", "PrivateSteps", "Release", "split_with_count"]

Against = Literal["outsiders", "colluders", "alone"]
Clip = Literal["fixed", "quantile"]

_COUNT = 4.0


@dataclass(frozen=True, kw_only=True)
class PrivateSteps:
    """Train so that no patient shows: DP-SGD, its plan, and a secret source of chance. A learner obeys or refuses.

    sample_rate: q, of each patient in each step. steps: all of them are taken. clipping_norm: C.
    noise_multiplier: std of this site's noise in units of the sensitivity. entropy: n secret bytes; asked once for
    each stream that is made of them.
    """

    sample_rate: float
    steps: int
    clipping_norm: float
    noise_multiplier: float
    entropy: Callable[[int], bytes]
    clip: Clip = "fixed"


class Release(Protocol):
    """What is done to every update of a stage before it leaves, and to the opened sum before it is merged.

    state: what all sites agree on about it; part of the run's state, so it travels with every merge.
    """

    def init(self) -> Parameters:
        """The state before the first round; may be empty."""
        ...

    def site(self, update: Parameters, state: Parameters, *, entropy: Callable[[int], bytes]) -> Parameters:
        """The update as it may leave."""
        ...

    def read(self, total: Parameters, state: Parameters, *, n_sites: int) -> tuple[Parameters, Parameters]:
        """The sum of n_sites such updates, as a merge takes it, and the next state; the same bits everywhere."""
        ...


def split_with_count(multiplier: float) -> tuple[float, float]:
    """Noise multipliers of updates and of a count beside them that cost together what `multiplier` costs alone.

    multiplier^-2 = updates^-2 + count^-2; the count has four times the noise, so the updates get 3 % more.
    """
    return multiplier / math.sqrt(1 - _COUNT**-2), multiplier * _COUNT


@dataclass(frozen=True, kw_only=True)
class PrivacyTerms:
    """What every site of a private run holds itself to.

    epsilon, delta: agreed, of the whole run. noise_multiplier: sigma of a released sum. steps: of a whole run, every
    round `steps_a_round` of them. n_sites, n_colluders, n_silent: of mode `distributed`, whose noise is whole although
    so many collude and so many are lost. unit `site`: one noisy sum of updates a round, no sampling. sums: multipliers
    of sums over all patients, one an exchange, that come before the first step. shown: after them, scales of Laplace
    noise in a number that every site shows, whole at each site.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    steps: int
    steps_a_round: int
    sample_rate: float = 1.0
    clipping_norm: float = 1.0
    clip: Clip = "fixed"
    unit: Literal["patient", "site"] = "patient"
    mode: Literal["local", "distributed"] = "local"
    n_sites: int = 1
    n_colluders: int = 0
    n_silent: int = 0
    sums: tuple[float, ...] = ()
    shown: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.n_sharing < 1:
            lost = f"{self.n_colluders} colluding and {self.n_silent} silent ones"
            raise ValueError(f"no site is left to add noise: {self.n_sites} sites with {lost}")

    @property
    def n_sharing(self) -> int:
        """Sites whose noise is counted on."""
        return self.n_sites - self.n_colluders - self.n_silent if self.shared else 1

    @property
    def shared(self) -> bool:
        """Whether only a sum over sites holds the whole noise, so that nothing else may ever be opened."""
        return self.mode == "distributed" or self.unit == "site"

    @property
    def counts_whole(self) -> bool:
        """Whether every opened sum also tells, with noise of its own, how many sites were not cut."""
        return self.unit == "site" and self.clip == "quantile"

    @property
    def least_survivors(self) -> int:
        """Sites a sum must hold before it may be opened."""
        return self.n_sites - self.n_silent if self.shared else 1

    @property
    def own_multiplier(self) -> float:
        """Std of one site's noise, in units of the sensitivity."""
        return self.noise_multiplier / math.sqrt(self.n_sharing)

    @property
    def _before_steps(self) -> int:
        """Exchanges that are no steps."""
        return len(self.sums) + len(self.shown)

    def asked(self, exchange: int, *, clipping_norm: float, entropy: Callable[[int], bytes]) -> PrivateSteps:
        """What a site is told in this exchange, counted from 0. clipping_norm: where its last training left it."""
        if exchange < len(self.sums):
            own = self.sums[exchange] / math.sqrt(self.n_sharing)
            return PrivateSteps(sample_rate=1.0, steps=1, clipping_norm=1.0, noise_multiplier=own, entropy=entropy)
        if exchange < self._before_steps:
            scale = self.shown[exchange - len(self.sums)]
            return PrivateSteps(sample_rate=1.0, steps=1, clipping_norm=1.0, noise_multiplier=scale, entropy=entropy)
        return PrivateSteps(
            sample_rate=self.sample_rate,
            steps=self.steps_a_round,
            clipping_norm=clipping_norm,
            noise_multiplier=self.own_multiplier,
            entropy=entropy,
            clip=self.clip,
        )

    def delivered(self, *, n_survivors: int | None = None, against: Against = "colluders") -> float:
        """The noise multiplier of a sum over these survivors (fewest allowed if not said) as a party sees it."""
        return self.noise_multiplier * self._delivered_share(n_survivors, against)

    def _delivered_share(self, n_survivors: int | None, against: Against) -> float:
        if not self.shared:
            return 1.0
        n = self.least_survivors if n_survivors is None else n_survivors
        known = {"outsiders": 0, "colluders": self.n_colluders, "alone": n - 1}[against]
        return math.sqrt(max(n - known, 1) / self.n_sharing)

    def of_exchange(
        self, exchange: int, *, n_survivors: int | None = None, against: Against = "colluders"
    ) -> tuple[MechanismEvent, ...]:
        """What this exchange costs, counted from 0."""
        if exchange >= self._before_steps:
            return self.events(n_survivors=n_survivors, against=against)
        if exchange >= len(self.sums):
            return (MechanismEvent.laplace(scale=self.shown[exchange - len(self.sums)]),)
        sigma = self.sums[exchange] * self._delivered_share(n_survivors, against)
        return (MechanismEvent.gaussian(sigma=sigma),)

    def of_first(self, exchanges: int, *, against: Against = "colluders") -> tuple[MechanismEvent, ...]:
        """What so many exchanges cost together."""
        before = range(min(exchanges, self._before_steps))
        steps = max(exchanges - self._before_steps, 0) * self.steps_a_round
        return (*(one for k in before for one in self.of_exchange(k, against=against)),
                *self.events(steps=steps, against=against))  # fmt: skip

    def events(
        self, *, steps: int | None = None, n_survivors: int | None = None, against: Against = "colluders"
    ) -> tuple[MechanismEvent, ...]:
        """What so many steps cost (of a round if not said)."""
        count = self.steps_a_round if steps is None else steps
        if not count:
            return ()
        sigma = self.delivered(n_survivors=n_survivors, against=against)
        if self.counts_whole:
            return tuple(MechanismEvent.gaussian(sigma=one, count=count) for one in split_with_count(sigma))
        if self.sample_rate >= 1:
            return (MechanismEvent.gaussian(sigma=sigma, count=count),)
        return (MechanismEvent.poisson_gaussian(q=self.sample_rate, sigma=sigma, count=count),)

    def planned(self, *, against: Against = "colluders") -> tuple[MechanismEvent, ...]:
        """What the whole run may cost at most."""
        before = (one for k in range(self._before_steps) for one in self.of_exchange(k, against=against))
        return (*before, *self.events(steps=self.steps, against=against))
