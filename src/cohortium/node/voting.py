"""What a member says about members: admit, exclude, new ledger key, new transport keys, leave.

    admit(ledger, key, card)      one signed transaction, refused in a sentence

Plain functions of an open ledger and the site's key, so that a command can use them while no node runs and the node
itself while one does. `perform` takes the same things as one JSON-able request, as they come over the control socket.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from cohortium.core.identity import LedgerKey, Membership, check_site_name, fingerprint
from cohortium.core.seams import LedgerEvent, Receipt
from cohortium.errors import LedgerRefused, UsageError
from cohortium.ledger.blocks import Happening
from cohortium.ledger.roster import Roster
from cohortium.ledger.transactions import sign_call
from cohortium.node.cards import Card
from cohortium.node.home import Home
from cohortium.node.keys import write_private
from cohortium.node.membership import MemberDirectory, open_ballots, runs_of
from cohortium.swarm.reasons import code_of

__all__ = [
    "Registrar",
    "admit",
    "cast",
    "exclude",
    "keep_evidence",
    "leave",
    "membership_of",
    "perform",
    "rekey",
    "rotate",
]

MAX_EVIDENCE_BYTES: Final = 16 * 1024 * 1024
_TRIES = 5  # a running node signs too: whose number was taken signs again
_WHY: Final = {
    "voted": "this site has voted on it; the votes of others are still needed (they start again after any change)",
    "member": "this site is no active member",
    "stranger": "this site is no active member",
    "name": "a site of this name is a member already",
    "address": "this ledger key belongs to another site already",
    "subject": "the site is no active member, or it is this site itself",
    "full": "255 sites have been members; there is no seat left",
}


class Registrar(Protocol):
    """What of a ledger is needed here; every engine has it."""

    @property
    def chain_id(self) -> int: ...

    @property
    def contract(self) -> bytes: ...

    def nonce(self, address: bytes) -> int: ...

    def submit(self, signed: bytes) -> Receipt: ...

    def events(self, from_height: int = 0) -> Iterable[LedgerEvent]: ...


def cast(ledger: Registrar, key: LedgerKey, function: str, *args: object) -> Receipt:
    """Sign and submit one call. Raises LedgerRefused with a sentence in `hint`."""
    for again in range(_TRIES, 0, -1):
        raw = sign_call(
            key,
            chain_id=ledger.chain_id,
            nonce=ledger.nonce(key.address),
            contract=ledger.contract,
            function=function,
            args=args,
        )
        try:
            receipt = ledger.submit(raw)
        except LedgerRefused as refused:
            if refused.reason == "nonce" and again > 1:
                continue
            raise _explained(refused) from None
        if not receipt.ok:
            raise _explained(LedgerRefused(receipt.reason, function=function))
        return receipt
    raise AssertionError("the last try returns or raises")


def admit(ledger: Registrar, key: LedgerKey, card: Card) -> Receipt:
    """A vote to admit the site on this card: more than half; two thirds where it was excluded before."""
    return cast(ledger, key, "vote_admit", card.address, card.site, card.tls, card.seal_digest)


def rekey(ledger: Registrar, key: LedgerKey, card: Card) -> Receipt:
    """A vote to give a member that lost its ledger key the keys on this card: two thirds."""
    return cast(ledger, key, "vote_rekey", card.site, card.address, card.tls, card.seal_digest)


def exclude(ledger: Registrar, key: LedgerKey, site: str) -> Receipt:
    """A vote to exclude a site: two thirds, the site itself counted but without a vote."""
    return cast(ledger, key, "vote_exclude", check_site_name(site))


def rotate(ledger: Registrar, key: LedgerKey, card: Card) -> Receipt:
    """Own new certificate and seal key, at once."""
    return cast(ledger, key, "rotate", card.tls, card.seal_digest)


def leave(ledger: Registrar, key: LedgerKey, *, site: str) -> Receipt:
    """Out of every run, then out of the consortium. The chain stays here for audit."""
    for run in runs_of(ledger.events(), site):
        cast(ledger, key, "withdraw", run, code_of("left"))
    return cast(ledger, key, "leave")


def membership_of(events: Iterable[LedgerEvent]) -> Membership:
    """Who belongs, as of the last event."""
    roster = Roster()
    roster.tell(Happening(event.name, event.args) for event in events)
    return roster.membership()


def keep_evidence(home: Home, raw: bytes, digest: str) -> Path:
    """A copy of the evidence in this home, by its digest."""
    path = home.evidence / digest
    write_private(path, raw)
    return path


def perform(
    ledger: Registrar, home: Home, request: Mapping[str, Any], *, directory: MemberDirectory | None = None
) -> dict[str, Any]:
    """One request about members: {"do": admit | exclude | rotate | leave | members, ...}; a JSON-able answer.

    directory: of the running node, which then knows the admitted site's card. admit takes `card` (the request file's
    text) and finds out whether it is a newcomer, a lost ledger key or a known member's newer card; exclude takes
    `site`, rotate takes `now`. Raises UsageError, PeerError or LedgerRefused.
    """
    key = home.keys.ledger
    match request.get("do"):
        case "admit":
            answer = _admit(ledger, home, Card.from_bytes(_text(request, "card").encode()))
            if directory is not None:
                directory.reload()
            return answer
        case "exclude":
            site = _text(request, "site")
            if re.fullmatch(r"[a-z0-9-]{1,32}", site) is None:
                raise UsageError(f"'{site:.40}' is no site's name")
            return _told(ledger, "exclude", site, exclude(ledger, key, site))
        case "rotate":
            card = home.stage_keys(float(_number(request, "now")))
            receipt = rotate(ledger, key, card)
            home.promote_keys()
            return {"did": "rotate", "site": card.site, "height": receipt.height, "card": card.to_bytes().decode()}
        case "leave":
            return {"did": "leave", "site": home.site, "height": leave(ledger, key, site=home.site).height}
        case "members":
            return _members(ledger)
        case other:
            raise UsageError(f"unknown request about members: {other!r:.40}")


def _admit(ledger: Registrar, home: Home, card: Card) -> dict[str, Any]:
    key = home.keys.ledger
    site = membership_of(ledger.events()).named(card.site)
    if site is not None and site.active and site.address == card.address:
        if not card.fits(site):
            raise UsageError(
                f"'{card.site}' is a member with other keys than on this card; it changes them itself",
                hint=f"ask {card.site} to run: cohortium node rotate",
            )
        home.cards().put(card)
        return {"did": "kept", "site": card.site, "decided": True}
    home.cards().put(card)
    if site is not None and site.active:
        return _told(ledger, "rekey", card.site, rekey(ledger, key, card))
    return _told(ledger, "admit", card.site, admit(ledger, key, card))


def _told(ledger: Registrar, did: str, site: str, receipt: Receipt) -> dict[str, Any]:
    """How the vote stands now."""
    events = list(ledger.events(receipt.height))
    votes = [event for event in events if event.name == "Voted"]
    decided = any(event.name == "MemberChanged" for event in events)
    answer: dict[str, Any] = {"did": did, "site": site, "height": receipt.height, "decided": decided}
    if votes:
        answer |= {"count": votes[0].args["count"], "need": votes[0].args["need"]}
    return answer


def _members(ledger: Registrar) -> dict[str, Any]:
    events = list(ledger.events())
    return {
        "did": "members",
        "members": [
            {
                "site": site.name,
                "status": site.status,
                "address": f"0x{site.address.hex()}",
                "certificate": fingerprint(site.tls),
            }
            for site in membership_of(events)
        ],
        "ballots": [
            {"about": one.kind, "site": one.subject, "count": one.count, "need": one.need, "by": list(one.by)}
            for one in open_ballots(events)
        ],
    }


def _explained(refused: LedgerRefused) -> LedgerRefused:
    refused.hint = _WHY.get(refused.reason, "")
    return refused


def _text(request: Mapping[str, Any], name: str) -> str:
    found = request.get(name)
    if not isinstance(found, str) or len(found) > 8192:
        raise UsageError(f"the request lacks its {name}")
    return found


def _number(request: Mapping[str, Any], name: str) -> float:
    found = request.get(name)
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise UsageError(f"the request lacks its {name}")
    return float(found)
