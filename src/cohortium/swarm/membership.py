"""Who is in the consortium, folded from the ledger's member events: names, addresses, status.

A site keeps its name through every change of keys; addresses come and go. Messages and votes are attributed
through `name_of`; a name that is unknown, excluded or gone speaks for nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Members"]


@dataclass(slots=True)
class Members:
    """The sites by name and by address, as of the last event applied."""

    address_of: dict[str, bytes] = field(default_factory=dict)
    active: set[str] = field(default_factory=set)
    excluded: set[str] = field(default_factory=set)
    _name_of: dict[bytes, str] = field(default_factory=dict)

    def admit(self, name: str, address: bytes) -> None:
        """A founder, a newcomer, or an old site with a new ledger key."""
        old = self.address_of.get(name)
        if old is not None:
            self._name_of.pop(old, None)
        self.address_of[name] = address
        self._name_of[address] = name
        self.active.add(name)
        self.excluded.discard(name)

    def remove(self, name: str, *, excluded: bool) -> None:
        """Excluded (by vote, or convicted), else left."""
        self.active.discard(name)
        if excluded:
            self.excluded.add(name)

    def name_of(self, address: bytes) -> str:
        """The site with this ledger address, empty if there is none."""
        return self._name_of.get(address, "")

    def is_active(self, name: str) -> bool:
        """Whether the site may act now."""
        return name in self.active

    def addresses(self) -> Mapping[str, bytes]:
        """Ledger address by site name, of all sites ever admitted."""
        return self.address_of
