"""What every key, share and mask of one attempt is bound to; a message made for anything else does not fit.

    ctx     SHA-256 over consortium, study, run, round, attempt, base, U, layout, word bits, number of joiners, largest
            hidden weight, group
    header  SHA-256 over ctx and each site's weight, range exponents and mask key

`ctx` is known once the set U is frozen, `header` once all of U's shares are here. `term` is in neither: another leader
changes nothing. Design: privacy.md section 3.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec

from cohortium.core.exchange import Context, n_colluders, threshold
from cohortium.errors import PeerError
from cohortium.privacy.secagg.fixed_point import FixedPoint
from cohortium.privacy.secagg.layout import WordLayout

__all__ = ["MAX_SITES", "Binding"]

MAX_SITES = 64
"""Complete graph of pairs up to here; more sites would need a sparse one."""


@dataclass(frozen=True, kw_only=True)
class Binding:
    """One attempt of one round, as every site of U computes it by itself.

    largest_weight: of a site, where weights are hidden; else 0. group: number of the group of sites that U is, from 1,
    where the run has several sums a round; else 0.
    """

    context: Context
    layout: WordLayout
    largest_weight: int = 0
    group: int = 0

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """U, sorted; holder x of a share is place x in it, counted from 1."""
        return tuple(sorted(self.context.frozen))

    @property
    def n(self) -> int:
        """Sites in U."""
        return len(self.sites)

    @property
    def n_joiners(self) -> int:
        """Sites of the run, absent ones too; never fewer than U."""
        return max(self.context.n_joiners, self.n)

    @property
    def threshold(self) -> int:
        """Shares that open a secret."""
        return threshold(self.n, self.n_joiners)

    @property
    def least(self) -> int:
        """Fewest survivors whose sum may be opened: at least two honest sites in it."""
        return max(3, n_colluders(self.n_joiners) + 2)

    @cached_property
    def weights(self) -> dict[str, int]:
        """Committed weights of U."""
        return {site: self.context.weights[site] for site in self.sites}

    @cached_property
    def point(self) -> FixedPoint:
        """How numbers become words here."""
        if self.largest_weight:
            return FixedPoint(word_bits=self.layout.word_bits, n=self.n, largest=self.largest_weight)
        return FixedPoint(word_bits=self.layout.word_bits, n=self.n, whole=sum(self.weights.values()))

    @cached_property
    def digest(self) -> bytes:
        """ctx, 32 bytes."""
        at = self.context
        fields = (at.consortium, at.study, at.run, at.round, at.attempt, at.base, self.sites, self.layout.digest)
        content = (*fields, self.layout.word_bits, self.n_joiners, self.largest_weight, self.group)
        return hashlib.sha256(b"cohortium-mask-1" + msgspec.msgpack.encode(content)).digest()

    def header(self, exponents: Mapping[str, bytes], mask_keys: Mapping[str, bytes]) -> bytes:
        """The salt of all stream keys, 32 bytes; both maps hold all of U."""
        each = [(site, self.weights[site], exponents[site], mask_keys[site]) for site in self.sites]
        return hashlib.sha256(b"cohortium-header-1" + self.digest + msgspec.msgpack.encode(each)).digest()

    def check(self, me: str) -> None:
        """Raise PeerError unless this site may take part: itself in U, and U neither too small nor too large."""
        if me not in self.sites:
            raise PeerError(f"site '{me}' is not in the frozen set it is asked to mask for")
        if len(set(self.context.frozen)) != len(self.context.frozen):
            raise PeerError("the frozen set names a site twice")
        if not self.least <= self.n <= MAX_SITES:
            raise PeerError(f"masks need {self.least} to {MAX_SITES} sites of {self.n_joiners}, the set has {self.n}")
        if missing := [site for site in self.sites if self.context.weights.get(site, 0) < 1]:
            raise PeerError(f"no committed weight of {', '.join(missing)}")

    def check_survivors(self, survivors: tuple[str, ...]) -> None:
        """Raise PeerError unless the sum over these sites may be opened."""
        if not set(survivors) <= set(self.sites) or len(set(survivors)) != len(survivors):
            raise PeerError("survivors must be different sites of the frozen set")
        needed = max(self.least, self.threshold)
        if len(survivors) < needed:
            raise PeerError(f"{len(survivors)} survivors of {self.n}, at least {needed} are needed to unmask")
