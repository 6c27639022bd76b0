"""Who somebody is: ledger keys, signatures and the plain facts about sites, peers and members.

A ledger key is a secp256k1 key; its address is the last 20 bytes of the Keccak-256 of the public
point, as on Ethereum, so that the contract can name a signer by itself. Signatures are 65 bytes
r | s | v with low s (EIP-2) and v = 27 or 28; any other form of the same signature is refused,
otherwise one vote would have two spellings. Nonces are deterministic (RFC 6979).

Secrets stay inside `LedgerKey`: neither repr nor pickle nor comparison shows them. Where keys lie
on disk, certificates and seal keys belong to the node, not to this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NoReturn

import coincurve
from Crypto.Hash import keccak as _keccak

from cohortium.errors import SignatureError

__all__ = [
    "ADDRESS_BYTES",
    "SIGNATURE_BYTES",
    "SITE_NAME",
    "LedgerKey",
    "Membership",
    "Peer",
    "Site",
    "Status",
    "check_site_name",
    "fingerprint",
    "keccak",
    "message_digest",
    "recover",
    "recover_message",
]

ADDRESS_BYTES: Final = 20
SIGNATURE_BYTES: Final = 65
SITE_NAME: Final = re.compile(r"[a-z0-9-]{1,32}")
"""A site's name: the sort key everywhere, unique in the consortium, kept through every change of keys."""

CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
HALF_ORDER: Final = CURVE_ORDER // 2

Status = Literal["active", "excluded", "left"]


def keccak(data: bytes) -> bytes:
    """Keccak-256 of `data` (32 bytes): Ethereum's hash, not the later SHA3-256."""
    return _keccak.new(digest_bits=256, data=data).digest()


def message_digest(digest: bytes) -> bytes:
    """What is signed in place of a 32-byte digest: its EIP-191 envelope, which no transaction can equal."""
    _check_length("digest", digest, 32)
    return keccak(b"\x19Ethereum Signed Message:\n32" + digest)


class LedgerKey:
    """One site's secp256k1 signing key. Equal keys have equal addresses; the secret shows nowhere."""

    __slots__ = ("_key", "address")

    address: bytes

    def __init__(self, key: coincurve.PrivateKey) -> None:
        self._key = key
        self.address = _address(key.public_key)

    @classmethod
    def from_bytes(cls, secret: bytes) -> LedgerKey:
        """The key with this secret number (32 bytes, big-endian). Raises ValueError outside 1 to n - 1."""
        _check_length("secret of a ledger key", secret, 32)
        if not 0 < int.from_bytes(secret, "big") < CURVE_ORDER:
            raise ValueError("secret of a ledger key must be a number from 1 to the curve's order less 1")
        return cls(coincurve.PrivateKey(secret))

    @classmethod
    def new(cls, entropy: Callable[[int], bytes]) -> LedgerKey:
        """A fresh key. entropy: n -> n random bytes; drawn again (probability 2^-128) when out of range."""
        while True:
            secret = entropy(32)
            _check_length("entropy", secret, 32)
            if 0 < int.from_bytes(secret, "big") < CURVE_ORDER:
                return cls.from_bytes(secret)

    def secret_bytes(self) -> bytes:
        """The secret itself (32 bytes), for the one module that stores it."""
        return bytes(self._key.secret)

    def sign(self, digest: bytes) -> bytes:
        """65 bytes r | s | v over a 32-byte digest; the same digest gives the same bytes."""
        _check_length("digest", digest, 32)
        signature = self._key.sign_recoverable(digest, hasher=None)
        return bytes(signature[:64]) + bytes([27 + signature[64]])

    def sign_message(self, digest: bytes) -> bytes:
        """The signature over `message_digest(digest)`, which a contract can check and no ledger replay."""
        return self.sign(message_digest(digest))

    def __eq__(self, other: object) -> bool:
        return self.address == other.address if isinstance(other, LedgerKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        return f"LedgerKey(address=0x{self.address.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a ledger key is not pickled; use secret_bytes() where it is stored")


def recover(digest: bytes, signature: bytes) -> bytes:
    """The address whose key signed this 32-byte digest. Raises SignatureError for any non-canonical form."""
    _check_length("digest", digest, 32)
    if len(signature) != SIGNATURE_BYTES:
        raise SignatureError(f"signature has {len(signature)} bytes; expected {SIGNATURE_BYTES}")
    if signature[64] not in (27, 28):
        raise SignatureError(f"signature ends with v = {signature[64]}; expected 27 or 28")
    if int.from_bytes(signature[32:64], "big") > HALF_ORDER:
        raise SignatureError("signature has a high s; only the low form counts")
    try:
        point = coincurve.PublicKey.from_signature_and_message(
            signature[:64] + bytes([signature[64] - 27]), digest, hasher=None
        )
    except ValueError:
        raise SignatureError("signature is not one of any key") from None
    return _address(point)


def recover_message(digest: bytes, signature: bytes) -> bytes:
    """The address that gave `sign_message(digest)`. Raises SignatureError."""
    return recover(message_digest(digest), signature)


def check_site_name(name: object) -> str:
    """`name` itself if it is a site name. Raises ValueError that says what one looks like."""
    if not isinstance(name, str) or SITE_NAME.fullmatch(name) is None:
        raise ValueError(f"site name must be 1 to 32 of a-z, 0-9 and -, got {name!r:.60}")
    return name


def fingerprint(digest: bytes) -> str:
    """The first 16 bytes of a digest as eight groups of four, to be read out on the telephone."""
    text = digest[:16].hex()
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


@dataclass(frozen=True, kw_only=True)
class Site:
    """One hospital as the ledger knows it.

    address: of its ledger key (20 bytes). tls, seal: SHA-256 of its certificate and of its seal key (32 bytes each).
    """

    name: str
    address: bytes
    tls: bytes = bytes(32)
    seal: bytes = bytes(32)
    status: Status = "active"

    def __post_init__(self) -> None:
        check_site_name(self.name)
        _check_length(f"site {self.name!r}: address", self.address, ADDRESS_BYTES)
        _check_length(f"site {self.name!r}: tls digest", self.tls, 32)
        _check_length(f"site {self.name!r}: seal digest", self.seal, 32)

    @property
    def active(self) -> bool:
        """Whether it may vote and take part now."""
        return self.status == "active"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Another site together with where its node listens; empty endpoint: it dials out only."""

    site: Site
    endpoint: str = ""

    @property
    def name(self) -> str:
        """The site's name."""
        return self.site.name


@dataclass(frozen=True)
class Membership:
    """All sites the consortium ever had, sorted by name, at one epoch of the ledger."""

    sites: tuple[Site, ...]
    epoch: int = 0

    def __init__(self, sites: Sequence[Site], epoch: int = 0) -> None:
        ordered = tuple(sorted(sites, key=lambda site: site.name))
        for known, what in (
            ([site.name for site in ordered], "name"),
            ([site.address.hex() for site in ordered], "address"),
        ):
            if twice := sorted({value for value in known if known.count(value) > 1}):
                raise ValueError(f"membership: {what} {twice[0]!r} stands twice")
        object.__setattr__(self, "sites", ordered)
        object.__setattr__(self, "epoch", epoch)

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    @property
    def active(self) -> tuple[Site, ...]:
        """The sites that may act, sorted by name."""
        return tuple(site for site in self.sites if site.active)

    def named(self, name: str) -> Site | None:
        """The site of this name, whatever its status."""
        return next((site for site in self.sites if site.name == name), None)

    def at(self, address: bytes) -> Site | None:
        """The site with this ledger address, whatever its status."""
        return next((site for site in self.sites if site.address == address), None)


@lru_cache(maxsize=1024)
def _address_of(point: bytes) -> bytes:
    return keccak(point)[12:]


def _address(point: coincurve.PublicKey) -> bytes:
    return _address_of(point.format(compressed=False)[1:])


def _check_length(what: str, value: object, length: int) -> None:
    if not isinstance(value, bytes) or len(value) != length:
        found = f"{len(value)} bytes" if isinstance(value, bytes) else type(value).__name__
        raise ValueError(f"{what} must be {length} bytes, got {found}")
