"""One site's secrets of one attempt, all of them from 32 bytes of the operating system.

Mask key a, seal key e (X25519), self mask b, and the coefficients of both sharing polynomials are derived from one
root by HKDF under the attempt's context: the root is all there is to persist, and another attempt has other keys even
where a simulation repeats its roots. Design: privacy.md section 3.2.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from cohortium.errors import PeerError
from cohortium.privacy.secagg.shamir import PRIME
from cohortium.privacy.secagg.streams import derive

__all__ = ["ROOT_BYTES", "SELF_BYTES", "Secrets", "agree", "clamped", "public_key", "self_digest", "share_digest"]

ROOT_BYTES = 32
SELF_BYTES = 31


@dataclass(frozen=True, kw_only=True, repr=False)
class Secrets:
    """a and e: private mask and seal key. b: self mask. seeds: of the polynomials that share b and a."""

    a: bytes
    e: bytes
    b: bytes
    seeds: tuple[bytes, bytes]
    _sealed: dict[bytes, bytes] = field(default_factory=dict, compare=False)

    @classmethod
    def from_root(cls, root: bytes, ctx: bytes) -> Secrets:
        """The secrets of the attempt `ctx`; the same root and context give the same."""
        tries = 0
        while True:  # a key at or above p cannot be shared; probability below 2^-249
            a = clamped(derive(root, salt=ctx, info=b"mask key" + bytes([tries])))
            if int.from_bytes(a, "little") < PRIME:
                break
            tries += 1
        return cls(
            a=a,
            e=derive(root, salt=ctx, info=b"seal key"),
            b=derive(root, salt=ctx, info=b"self mask", length=SELF_BYTES),
            seeds=(derive(root, salt=ctx, info=b"share self"), derive(root, salt=ctx, info=b"share key")),
        )

    @cached_property
    def mask_key(self) -> X25519PrivateKey:
        """a, ready to agree on pair keys."""
        return X25519PrivateKey.from_private_bytes(self.a)

    @cached_property
    def seal_key(self) -> X25519PrivateKey:
        """e, ready to agree on what shares are sealed with."""
        return X25519PrivateKey.from_private_bytes(self.e)

    def seal_with(self, public: bytes, *, site: str) -> bytes:
        """What this seal key and a peer's agree on, computed once: shares to it and from it are sealed alike."""
        if public not in self._sealed:
            self._sealed[public] = agree(self.seal_key, public, site=site)
        return self._sealed[public]


def clamped(key: bytes) -> bytes:
    """An X25519 private key with the bits set that the curve sets anyway (RFC 7748), so that it equals its share."""
    return bytes([key[0] & 248]) + key[1:31] + bytes([key[31] & 127 | 64])


def public_key(private: bytes) -> bytes:
    """The X25519 public key of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agree(private: X25519PrivateKey, public: bytes, *, site: str) -> bytes:
    """The secret both ends compute. Raises PeerError naming the site for a key on a small subgroup."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise PeerError(f"site '{site}' sent a key that lies on a small subgroup", site=site) from None


def self_digest(ctx: bytes, b: bytes) -> bytes:
    """What is shown of a self mask before it is rebuilt."""
    return hashlib.sha256(b"self|" + ctx + b).digest()


def share_digest(ctx: bytes, *, dealer: str, holder: str, kind: int, share: bytes) -> bytes:
    """What all see of one share; shares are uniform below p, so the digest gives nothing away."""
    return hashlib.sha256(f"share|{dealer}|{holder}|{kind}|".encode() + ctx + share).digest()
