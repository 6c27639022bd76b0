"""`Card`: what one site says about itself to the others, signed by all three of its keys.

    porto.request.json    site, ledger address, certificate, seal key, endpoint, contact      < 4 KB, canonical JSON

A newcomer sends it by any channel; whoever approves compares the fingerprint on the telephone. The fingerprint covers
site, address, certificate and seal key: what the ledger will hold. Endpoint and contact may change later; the newest
card of the same keys counts. Possession of all keys is proved: the ledger key and the certificate's key sign, and the
seal key signs by its Edwards form (Bernstein et al. 2012, XEdDSA's map y = (u - 1) / (u + 1)).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from cohortium.core.foreign_json import read_json
from cohortium.core.identity import Site, check_site_name, fingerprint, recover_message
from cohortium.errors import FrameError, PeerError, SignatureError, UsageError
from cohortium.node.keys import Keys, write_private
from cohortium.node.settings import check_text
from cohortium.transport.certificates import has_our_form, server_name
from cohortium.transport.directory import Contact

__all__ = ["CARD_SUFFIX", "MAX_CARD_BYTES", "Card", "CardBook", "make_card", "read_card"]

MAX_CARD_BYTES: Final = 4096
CARD_SUFFIX: Final = ".request.json"
FORMAT: Final = "cohortium-card-1"
_FIELDS = {"address", "certificate", "contact", "endpoint", "format", "issued", "relays", "seal", "signatures", "site"}
_SIGNERS = ("ledger", "seal", "tls")
_PER_SITE = 4
_MAX_CERTIFICATE = 1600
_PRIME = 2**255 - 19
_FOREIGN = (UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


@dataclass(frozen=True, kw_only=True)
class Card:
    """One site's own words about its keys and address. Made by `make_card`, or checked by `Card.from_bytes`.

    address: of the ledger key (20 bytes); certificate: DER; seal: X25519 public (32 bytes); issued: unix seconds.
    """

    site: str
    address: bytes
    certificate: bytes
    seal: bytes
    endpoint: str = ""
    contact: str = ""
    relays: tuple[str, ...] = ()
    issued: int
    signatures: tuple[bytes, bytes, bytes] = (b"", b"", b"")

    @property
    def tls(self) -> bytes:
        """SHA-256 of the certificate (32 bytes), as on the ledger."""
        return hashlib.sha256(self.certificate).digest()

    @property
    def seal_digest(self) -> bytes:
        """SHA-256 of the seal key (32 bytes), as on the ledger."""
        return hashlib.sha256(self.seal).digest()

    @property
    def fingerprint(self) -> str:
        """Eight groups of four, read out on the telephone: site, address, certificate and seal key."""
        facts = self.site.encode() + b"\0" + self.address + self.tls + self.seal_digest
        return fingerprint(hashlib.sha256(b"cohortium-keys-1" + facts).digest())

    def fits(self, site: Site) -> bool:
        """Whether the ledger knows this site by these very keys."""
        ours = (self.site, self.address, self.tls, self.seal_digest)
        return ours == (site.name, site.address, site.tls, site.seal)

    def to_contact(self) -> Contact:
        """What a transport needs of it. Raises ValueError for an address or relays nobody could use."""
        return Contact(
            name=self.site,
            certificate=self.certificate,
            endpoint=self.endpoint,
            seal=self.seal,
            relays=self.relays,
        )

    def to_bytes(self) -> bytes:
        """The request file: canonical JSON and a line end."""
        given = {name: sign.hex() for name, sign in zip(_SIGNERS, self.signatures, strict=True)}
        return _canonical({**self._body(), "signatures": given}) + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes) -> Card:
        """A card from outside, every field and all three signatures checked. Raises FrameError or SignatureError."""
        card = _read(raw)
        _check_certificate(card)
        _check_signatures(card)
        return card

    def signed_bytes(self) -> bytes:
        """What the three keys sign."""
        return FORMAT.encode() + b"\n" + _canonical(self._body())

    def _body(self) -> dict[str, Any]:
        return {
            "address": self.address.hex(),
            "certificate": base64.b64encode(self.certificate).decode(),
            "contact": self.contact,
            "endpoint": self.endpoint,
            "format": FORMAT,
            "issued": self.issued,
            "relays": list(self.relays),
            "seal": self.seal.hex(),
            "site": self.site,
        }


def make_card(
    keys: Keys, *, site: str, issued: int, endpoint: str = "", contact: str = "", relays: Iterable[str] = ()
) -> Card:
    """This site's own card, signed by its three keys."""
    card = Card(
        site=check_site_name(site),
        address=keys.ledger.address,
        certificate=keys.certificate,
        seal=keys.seal_public,
        endpoint=endpoint,
        contact=check_text(contact),
        relays=tuple(relays),
        issued=issued,
    )
    card.to_contact()  # refuses what nobody could dial
    said = card.signed_bytes()
    by_ledger = keys.ledger.sign_message(hashlib.sha256(said).digest())
    return replace(card, signatures=(by_ledger, keys.sign_as_seal(said), keys.sign_as_tls(said)))


def read_card(path: Path) -> Card:
    """The card in a file. Raises UsageError where it cannot be read, FrameError or SignatureError where it is none."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_CARD_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read '{path}': {error.strerror}") from None
    return Card.from_bytes(raw)


class CardBook:
    """The cards known here, by site: at most four of each, the newest. Kept as files in `folder`.

    What is put in must have been approved by a person, or be signed by the address the ledger has for the site.
    """

    def __init__(self, folder: Path, more: Iterable[Card] = ()) -> None:
        self._folder = folder
        self._cards: dict[str, list[Card]] = {}
        self.unreadable: list[str] = []
        for path in sorted(folder.glob(f"*{CARD_SUFFIX}")):
            try:
                self.add(read_card(path))
            except (PeerError, UsageError):
                self.unreadable.append(path.name)
        for card in more:
            self.add(card)

    def put(self, card: Card) -> None:
        """Keep a card, here and on disk, and no file of those it pushes out; one of the same keys that is not newer is
        passed over."""
        before = self.of(card.site)
        if self.add(card):
            write_private(self._path(card), card.to_bytes())
            kept = {self._path(one) for one in self.of(card.site)}
            for path in {self._path(one) for one in before} - kept:
                path.unlink(missing_ok=True)

    def _path(self, card: Card) -> Path:
        return self._folder / f"{card.site}-{card.tls.hex()[:8]}{CARD_SUFFIX}"

    def fitting(self, site: Site) -> Card | None:
        """The newest card whose keys are those the ledger has for the site."""
        return next((card for card in self.of(site.name) if card.fits(site)), None)

    def of(self, site: str) -> tuple[Card, ...]:
        """All cards of a site, newest first."""
        return tuple(self._cards.get(site, ()))

    def add(self, card: Card) -> bool:
        """Know a card without keeping it on disk; whether it is new."""
        known = self._cards.setdefault(card.site, [])
        same = [one for one in known if (one.address, one.tls, one.seal) == (card.address, card.tls, card.seal)]
        if any(one.issued >= card.issued for one in same):
            return False
        kept = [one for one in known if one not in same] + [card]
        self._cards[card.site] = sorted(kept, key=lambda one: -one.issued)[:_PER_SITE]
        return card in self._cards[card.site]


def _read(raw: bytes) -> Card:
    if len(raw) > MAX_CARD_BYTES:
        raise FrameError(f"a card has at most {MAX_CARD_BYTES} bytes, got more")
    try:
        said = read_json(raw, max_depth=3)
        if not isinstance(said, dict) or set(said) != _FIELDS or said["format"] != FORMAT:
            raise ValueError("its fields are not those of a card")
        texts = [said[name] for name in ("address", "certificate", "contact", "endpoint", "seal", "site")]
        signs, relays = said["signatures"], said["relays"]
        if not all(isinstance(one, str) for one in texts) or type(said["issued"]) is not int:
            raise ValueError("a field is of the wrong type")
        if not isinstance(signs, dict) or set(signs) != set(_SIGNERS):
            raise ValueError(f"signatures must be those of {', '.join(_SIGNERS)}")
        if not isinstance(relays, list) or len(relays) > 8:
            raise ValueError("relays must be a list of at most 8 sites")
        ledger, seal, tls = (bytes.fromhex(signs[name]) for name in _SIGNERS)
        card = Card(
            site=check_site_name(said["site"]),
            address=_exactly(said["address"], 20),
            certificate=base64.b64decode(said["certificate"], validate=True),
            seal=_exactly(said["seal"], 32),
            endpoint=said["endpoint"],
            contact=check_text(said["contact"]),
            relays=tuple(relays),
            issued=said["issued"],
            signatures=(ledger, seal, tls),
        )
        card.to_contact()
    except (ValueError, TypeError) as error:
        raise FrameError(
            f"this is no card of a site: {error}", hint="ask for the file 'cohortium node request' wrote"
        ) from None
    if not 0 < card.issued < 2**53 or len(card.contact) > 200:
        raise FrameError("this is no card of a site: issued or contact is out of range")
    return card


def _exactly(text: str, size: int) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != size:
        raise ValueError(f"{size} bytes were due, got {len(found)}")
    return found


def _check_certificate(card: Card) -> None:
    """Self-signed P-256, no authority, for this site's name."""
    what = f"the certificate of '{card.site}'"
    try:
        if len(card.certificate) > _MAX_CERTIFICATE:
            raise ValueError(f"larger than {_MAX_CERTIFICATE} bytes")
        made = x509.load_der_x509_certificate(card.certificate)
        key = made.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise ValueError("not for a P-256 key")
        made.verify_directly_issued_by(made)
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if names.get_values_for_type(x509.DNSName) != [server_name(card.site)]:
            raise ValueError(f"not for the name {server_name(card.site)}")
        if made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            raise ValueError("it may sign others")
        if made.public_bytes(serialization.Encoding.DER) != card.certificate:
            raise ValueError("bytes after its end")
        if not has_our_form(made, card.site):
            raise ValueError("it says more than, or something else than, the certificates this program makes")
    except InvalidSignature:
        raise SignatureError(f"{what} is not signed by itself") from None
    except x509.ExtensionNotFound:
        raise FrameError(f"{what} lacks its name or its constraints") from None
    except _FOREIGN:
        raise FrameError(f"{what} is of a kind this release does not take") from None
    except (ValueError, TypeError) as error:
        raise FrameError(f"{what} is refused: {error}") from None


def _check_signatures(card: Card) -> None:
    said = card.signed_bytes()
    by_ledger, by_seal, by_tls = card.signatures
    try:
        signer = recover_message(hashlib.sha256(said).digest(), by_ledger)
        key = x509.load_der_x509_certificate(card.certificate).public_key()
        if signer != card.address or not isinstance(key, ec.EllipticCurvePublicKey):
            raise InvalidSignature
        key.verify(by_tls, said, ec.ECDSA(hashes.SHA256()))
        _check_seal(card.seal, by_seal, said)
    except (InvalidSignature, SignatureError):
        hint = "do not admit it; ask the site for a new file over another channel"
        raise SignatureError(f"the card of '{card.site}' is not signed by all three of its keys", hint=hint) from None


def _check_seal(seal: bytes, signature: bytes, said: bytes) -> None:
    """Whether the holder of this X25519 key signed, by its Edwards form of either sign. Raises InvalidSignature."""
    try:
        X25519PrivateKey.from_private_bytes(b"\x08" + bytes(31)).exchange(X25519PublicKey.from_public_bytes(seal))
    except ValueError:  # a point of small order: it seals nothing, and anybody could sign for it
        raise InvalidSignature from None
    u = int.from_bytes(seal, "little") % 2**255
    y = (u - 1) * pow(u + 1, -1, _PRIME) % _PRIME if (u + 1) % _PRIME else 0
    for sign in (0, 1):
        point = (y | sign << 255).to_bytes(32, "little")
        try:
            Ed25519PublicKey.from_public_bytes(point).verify(signature, said)
        except InvalidSignature:
            continue
        return
    raise InvalidSignature


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
