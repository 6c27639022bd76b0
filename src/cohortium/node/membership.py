"""Who belongs, and how to reach them: the ledger's members joined with the cards they sent around.

The ledger says who is a member and by which keys (digests only); a card brings the keys themselves and the address. A
card is believed when it is of the keys on the ledger, or announced: signed by the address the ledger has for its site,
with keys that will be there once the site has rotated. A member without a fitting card cannot be reached yet; any
other member may send its card (`MemberDirectory.without_card`, `card_of`, `learn`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cohortium.core.identity import Membership
from cohortium.core.seams import LedgerEvent
from cohortium.errors import PeerError
from cohortium.ledger.blocks import Happening
from cohortium.ledger.roster import Roster
from cohortium.ledger.rules.words import ADMIT, EXCLUDE, REKEY
from cohortium.node.cards import Card, CardBook
from cohortium.node.home import Home
from cohortium.transport.directory import Contact

__all__ = ["Ballot", "MemberDirectory", "open_ballots", "runs_of"]

_KINDS: Final = {ADMIT: "admit", EXCLUDE: "exclude", REKEY: "rekey"}


class MemberDirectory:
    """A `transport.Directory` that follows the ledger. May be used from any thread."""

    def __init__(self, home: Home, *, now: float) -> None:
        self._home, self._site, self._issued = home, home.site, now
        self._lock = threading.Lock()
        self._cards = self._read_cards()
        self._roster = Roster()
        self._contacts: Mapping[str, Contact] = {}

    def follow(self, events: Iterable[LedgerEvent]) -> bool:
        """Take in what the ledger recorded, in order; whether anybody is to be reached otherwise than before."""
        found = [Happening(event.name, event.args) for event in events if event.name == "MemberChanged"]
        if not found:
            return False
        with self._lock:
            self._roster.tell(found)
            self._cards = self._read_cards()  # who was voted in may have been approved here by a command
            return self._changed()

    def reload(self) -> bool:
        """Look again at the own keys and the cards in `peers`; whether anybody is to be reached otherwise."""
        with self._lock:
            self._cards = self._read_cards()
            return self._changed()

    def contacts(self) -> Mapping[str, Contact]:
        """Every active member whose card is known, by name; the own site also while it waits for admission."""
        return self._contacts

    @property
    def membership(self) -> Membership:
        """All sites that ever belonged."""
        with self._lock:
            return self._roster.membership()

    def without_card(self) -> tuple[str, ...]:
        """Active members that cannot be reached, because no card of their keys is known here."""
        return tuple(site.name for site in self.membership.active if site.name not in self._contacts)

    def learn(self, raw: bytes) -> bool:
        """Keep a card that a peer sent; whether anybody is to be reached otherwise than before.

        Raises PeerError for what is no card, and for a card of a site that the ledger does not know by its address.
        """
        card = Card.from_bytes(raw)
        with self._lock:
            site = self._roster.membership().named(card.site)
            if site is None or not site.active or site.address != card.address:
                raise PeerError(
                    f"a card of '{card.site}' that is not signed by the ledger's address of it", site=card.site
                )
            if card.site != self._site:
                self._cards.put(card)
            return self._changed()

    def card_of(self, site: str) -> bytes | None:
        """The card of an active member, for a peer that asks; None where there is none."""
        with self._lock:
            known = self._roster.membership().named(site)
            card = self._cards.fitting(known) if known is not None and known.active else None
            return card.to_bytes() if card is not None else None

    def own(self, staged: bytes | None) -> str:
        """How the ledger knows this site: `active`, `rotated` (to the staged certificate), `other keys`, or its status.

        staged: SHA-256 of a certificate that waits to take over.
        """
        site = self.membership.named(self._site)
        if site is None:
            return "unknown"
        if not site.active:
            return site.status
        if staged is not None and site.tls == staged:
            return "rotated"
        contact = self._contacts.get(self._site)
        return "active" if contact is not None and contact.fingerprint == site.tls else "other keys"

    def _read_cards(self) -> CardBook:
        cards = self._home.cards()
        self._own = self._home.card(self._issued)
        cards.add(self._own)
        return cards

    def _changed(self) -> bool:
        members = self._roster.membership()
        found = {site.name: card for site in members.active if (card := self._cards.fitting(site)) is not None}
        known = members.named(self._site)
        if known is None or not known.active or known.address != self._own.address:
            found[self._site] = (
                self._own
            )  # whoever was admitted, again or by new keys, reads of it only once it may dial
        contacts = {name: card.to_contact() for name, card in found.items()}
        changed = contacts != self._contacts
        self._contacts = contacts
        return changed


@dataclass(frozen=True, kw_only=True)
class Ballot:
    """An open vote about a member. count of need have voted; by: who."""

    kind: str
    subject: str
    count: int
    need: int
    by: tuple[str, ...]


def open_ballots(events: Iterable[LedgerEvent]) -> tuple[Ballot, ...]:
    """Votes that are not decided. Any change of membership closes them all: who voted must vote again."""
    found: dict[tuple[str, str], Ballot] = {}
    epoch = 0
    for event in events:
        args = event.args
        if event.name == "MemberChanged" and args["epoch"] != epoch:
            epoch = int(str(args["epoch"]))
            found.clear()
        elif event.name == "Voted" and args["kind"] in _KINDS:
            kind, subject = _KINDS[int(str(args["kind"]))], str(args["subject"])
            before = found.get((kind, subject))
            found[kind, subject] = Ballot(
                kind=kind,
                subject=subject,
                count=int(str(args["count"])),
                need=int(str(args["need"])),
                by=(*(before.by if before else ()), str(args["site"])),
            )
    return tuple(found.values())


def runs_of(events: Iterable[LedgerEvent], site: str) -> tuple[int, ...]:
    """Runs a site takes part in now."""
    present: set[int] = set()
    for event in events:
        args = event.args
        if event.name == "Ended":
            present.discard(int(str(args["run"])))
        elif args.get("site") == site and event.name in ("Approved", "Joined"):
            present.add(int(str(args["run"])))
        elif args.get("site") == site and event.name in ("Withdrawn", "Dropped", "Swept"):
            present.discard(int(str(args["run"])))
    return tuple(sorted(present))
