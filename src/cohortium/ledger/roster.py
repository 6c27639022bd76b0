"""Who belongs, folded from the contract's `MemberChanged` events: the same for every engine and for an export."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from cohortium.core.identity import Membership, Site, Status
from cohortium.ledger.blocks import Happening

__all__ = ["Roster"]

_STATUS: Final[dict[int, Status]] = {1: "active", 2: "excluded", 3: "left"}


class Roster:
    """The sites as of the last event told."""

    def __init__(self) -> None:
        self._sites: dict[str, Site] = {}
        self._active: set[bytes] = set()
        self._epoch = 0

    def tell(self, events: Iterable[Happening]) -> None:
        """Follow what happened; other events than `MemberChanged` are passed over."""
        for event in events:
            if event.name == "MemberChanged":
                args = event.args
                self._sites[args["site"]] = Site(
                    name=args["site"],
                    address=args["account"],
                    tls=args["tls"],
                    seal=args["seal"],
                    status=_STATUS[args["status"]],
                )
                self._active = {site.address for site in self._sites.values() if site.active}
                self._epoch = args["epoch"]

    def active(self) -> frozenset[bytes]:
        """The addresses that may act now."""
        return frozenset(self._active)

    def is_active(self, address: bytes) -> bool:
        """Whether this address may act now."""
        return address in self._active

    def membership(self) -> Membership:
        """All sites that ever belonged."""
        return Membership(list(self._sites.values()), epoch=self._epoch)
