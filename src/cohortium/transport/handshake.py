"""Who is at the other end of a call: the certificate decides, the call's metadata only says what it wants.

Each call is checked anew, because a TLS session outlives a change of members: the SHA-256 of the peer's certificate
must be that of an active member, TLS must be 1.3 (gRPC itself would take 1.2), and the protocol's version must be ours.
What a caller says of itself in the metadata is believed for nothing but its instance and what it offers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cohortium.core.identity import fingerprint
from cohortium.errors import PeerError
from cohortium.transport.directory import Contact

__all__ = ["INSTANCE_BYTES", "PROTOCOL", "Caller", "Greeting", "caller_of", "read_greeting"]

PROTOCOL: Final = 1
INSTANCE_BYTES: Final = 8
_TLS = b"TLSv1.3"
_VERSION, _INSTANCE, _RELAYS = "cohortium-version", "cohortium-instance-bin", "cohortium-relays"


@dataclass(frozen=True, kw_only=True)
class Greeting:
    """What both ends say in a call's metadata. instance: of this process. relays: whether it forwards for others."""

    instance: bytes
    relays: bool = False
    version: int = PROTOCOL

    def metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """As gRPC metadata."""
        return (
            (_VERSION, str(self.version)), (_INSTANCE, self.instance), (_RELAYS, "yes" if self.relays else "no"),
        )  # fmt: skip


def read_greeting(metadata: Iterable[tuple[str, str | bytes]]) -> Greeting:
    """The greeting in a call's metadata. PeerError where it is none, or of another version."""
    said: dict[str, str | bytes] = {}
    for key, value in metadata:
        said.setdefault(key, value)
    version, instance = said.get(_VERSION, ""), said.get(_INSTANCE, b"")
    if version != str(PROTOCOL):
        raise PeerError(
            f"protocol version {version!r:.20} is not {PROTOCOL}",
            hint="install the same release of cohortium at all sites",
        )
    if not isinstance(instance, bytes) or len(instance) != INSTANCE_BYTES:
        raise PeerError("greeting names no instance")
    return Greeting(instance=instance, relays=said.get(_RELAYS) == "yes")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The member at the other end of a call, and how the hop is secured."""

    contact: Contact
    secured: str


def caller_of(auth: Mapping[str, Iterable[bytes]], contacts: Mapping[str, Contact], *, me: str) -> Caller:
    """The active member whose certificate the call came with. PeerError, with the reason, for anybody else."""
    tls = b",".join(auth.get("ssl_tls_version", ()))
    if tls != _TLS:
        raise PeerError(f"{tls.decode('ascii', 'replace') or 'no TLS'} is not TLSv1.3")
    try:
        found = x509.load_pem_x509_certificate(b"".join(auth.get("x509_pem_cert", ())))
        der = found.public_bytes(serialization.Encoding.DER)
    except ValueError:
        raise PeerError("caller shows no certificate") from None
    digest = hashlib.sha256(der).digest()
    for contact in contacts.values():
        if contact.fingerprint == digest and contact.name != me:
            groups = b",".join(auth.get("ssl_negotiated_key_exchange_group", ()))
            return Caller(contact=contact, secured=groups.decode("ascii", "replace")[:64])
    raise PeerError(f"certificate {fingerprint(digest)} is of no active member")
