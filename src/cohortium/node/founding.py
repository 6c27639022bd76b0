"""`Founding`: how a consortium begins. Its founders' cards, the genesis made of them, and their signatures.

    founding = propose_founding(cards, engine="local", host="porto", time=now, chain_id=7001)
    founding = founding.signed("porto", key)            each founder, in any order; `merged` joins what was signed apart
    founding.complete                                   all have signed: the chain may be founded

`consortium.json` is canonical JSON. The consortium's identity is `genesis.consortium`, the SHA-256 of founders (sorted
by name), contract code, chain id, time and engine; every founder compares its fingerprint on the telephone before
signing. The signatures also cover the cards and the host of engine `local`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, get_args

from cohortium.core.foreign_json import read_json
from cohortium.core.identity import LedgerKey, fingerprint, recover_message
from cohortium.errors import FrameError, SignatureError, UsageError
from cohortium.ledger.genesis import MAX_FOUNDERS, Genesis
from cohortium.ledger.rules import Founder
from cohortium.node.cards import MAX_CARD_BYTES, Card
from cohortium.node.settings import Engine

__all__ = ["MAX_FOUNDING_BYTES", "Founding", "propose_founding"]

FORMAT: Final = "cohortium-consortium-1"
MAX_FOUNDING_BYTES: Final = MAX_FOUNDERS * (MAX_CARD_BYTES + 1024) + 4096
_FIELDS = {"cards", "format", "genesis", "host", "signatures"}


@dataclass(frozen=True, kw_only=True)
class Founding:
    """The agreed beginning. Cards are sorted by site and are the genesis' founders; host: of engine `local`.

    Raises ValueError when they do not belong together.
    """

    genesis: Genesis
    cards: tuple[Card, ...]
    host: str = ""
    signatures: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if tuple(_founder(card) for card in self.cards) != self.genesis.founders:
            raise ValueError("the cards are not those of the founders")
        if self.genesis.engine == "local" and self.host not in self.sites:
            raise ValueError(f"engine 'local' is hosted by one of the founders, got {self.host!r:.40}")
        if self.genesis.engine != "local" and self.host:
            raise ValueError(f"engine '{self.genesis.engine}' has no host")

    @property
    def sites(self) -> tuple[str, ...]:
        """The founders' names, sorted."""
        return tuple(card.site for card in self.cards)

    @property
    def missing(self) -> tuple[str, ...]:
        """Founders who have not signed yet."""
        return tuple(site for site in self.sites if site not in self.signatures)

    @property
    def complete(self) -> bool:
        """Whether every founder has signed."""
        return not self.missing

    @property
    def fingerprint(self) -> str:
        """Of the consortium's identity, to be compared on the telephone."""
        return fingerprint(self.genesis.consortium)

    def card_of(self, site: str) -> Card | None:
        """A founder's card, None for others."""
        return next((card for card in self.cards if card.site == site), None)

    def signed(self, site: str, key: LedgerKey) -> Founding:
        """The same with this founder's signature. Raises UsageError when the key is not the founder's."""
        card = self.card_of(site)
        if card is None:
            raise UsageError(f"'{site}' is no founder here; founders: {', '.join(self.sites)}")
        if card.address != key.address:
            raise UsageError(
                f"the card of '{site}' in this consortium is of another ledger key than this home's",
                hint="found it again with the request file of this home",
            )
        return replace(self, signatures={**self.signatures, site: key.sign_message(self._digest)})

    def merged(self, other: Founding) -> Founding:
        """The same with the signatures of both. Raises UsageError when the two differ in anything else."""
        if other._digest != self._digest:
            raise UsageError(
                f"two different consortia: {self.fingerprint} and {other.fingerprint}",
                hint="agree on one consortium.json and let every founder sign that",
            )
        return replace(self, signatures={**self.signatures, **other.signatures})

    def to_bytes(self) -> bytes:
        """`consortium.json`."""
        given = {site: signature.hex() for site, signature in self.signatures.items()}
        return _canonical({**self._facts, "signatures": given}) + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes) -> Founding:
        """A `consortium.json`, every card and signature checked. Raises FrameError or SignatureError."""
        founding = _read(raw)
        for site, signature in founding.signatures.items():
            card = founding.card_of(site)
            if card is None or recover_message(founding._digest, signature) != card.address:
                raise SignatureError(f"consortium.json: the signature of '{site}' is not its own")
        return founding

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return {
            "cards": [json.loads(card.to_bytes()) for card in self.cards],
            "format": FORMAT,
            "genesis": self.genesis.facts(),
            "host": self.host,
        }

    @cached_property
    def _digest(self) -> bytes:
        return hashlib.sha256(FORMAT.encode() + b"\n" + _canonical(self._facts)).digest()


def propose_founding(cards: Iterable[Card], *, engine: str, host: str = "", chain_id: int, time: int) -> Founding:
    """A beginning nobody has signed yet. Raises UsageError for cards that cannot found a consortium together."""
    if engine not in get_args(Engine):
        raise UsageError(f"unknown ledger engine '{engine}'; available: {', '.join(get_args(Engine))}")
    ordered = tuple(sorted(cards, key=lambda card: card.site))
    try:
        founders = tuple(_founder(card) for card in ordered)
        genesis = Genesis(founders=founders, chain_id=chain_id, time=time, engine=engine)
        return Founding(genesis=genesis, cards=ordered, host=host)
    except ValueError as error:
        raise UsageError(f"these sites cannot found a consortium: {error}") from None


def _founder(card: Card) -> Founder:
    return Founder(card.address, card.site, card.tls, card.seal_digest)


def _read(raw: bytes) -> Founding:
    if len(raw) > MAX_FOUNDING_BYTES:
        raise FrameError(f"consortium.json has at most {MAX_FOUNDING_BYTES} bytes, got more")
    try:
        said = read_json(raw, max_depth=5)
        if not isinstance(said, dict) or set(said) != _FIELDS or said["format"] != FORMAT:
            raise ValueError("its fields are not those of a consortium")
        cards, signatures, host = said["cards"], said["signatures"], said["host"]
        if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
            raise ValueError("cards must be a list of tables")
        if not isinstance(signatures, dict) or not all(isinstance(one, str) for one in signatures.values()):
            raise ValueError("signatures must be texts by site")
        if not isinstance(said["genesis"], dict) or not isinstance(host, str):
            raise ValueError("genesis must be a table, host a text")
        return Founding(
            genesis=Genesis.from_facts(said["genesis"]),
            cards=tuple(Card.from_bytes(_canonical(card)) for card in cards),
            host=host,
            signatures={site: bytes.fromhex(one) for site, one in signatures.items()},
        )
    except (ValueError, TypeError) as error:
        raise FrameError(f"this is no consortium.json: {error}") from None


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
