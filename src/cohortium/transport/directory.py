"""Who can be reached, where, and by which certificate: what a transport knows of its peers.

A `Directory` is read, never written, by a transport: it is the node's view of the ledger's members joined with
the signed cards they sent around. A certificate counts because its SHA-256 stands on the ledger, not because
somebody signed it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from cohortium.core.identity import check_site_name

__all__ = ["SEAL_BYTES", "Contact", "Directory", "check_endpoint"]

SEAL_BYTES: Final = 32
MAX_CERTIFICATE_BYTES: Final = 4096
MAX_RELAYS: Final = 8

_ENDPOINT = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):(?P<port>[0-9]{1,5})")


def check_endpoint(endpoint: object) -> str:
    """`endpoint` itself if it is "host:port" (an IPv6 host in brackets). Raises ValueError."""
    found = _ENDPOINT.fullmatch(endpoint) if isinstance(endpoint, str) else None
    if found is None or not 0 < int(found["port"]) < 1 << 16:
        raise ValueError(f"endpoint must be host:port, for example swarm.porto.example:443, got {endpoint!r:.80}")
    return found[0]


@dataclass(frozen=True, kw_only=True)
class Contact:
    """One member as a transport knows it.

    certificate: DER. endpoint: "host:port", empty where the site only dials out. seal: its public X25519 key
    (32 bytes). relays: the members it keeps streams to, first choice first. Raises ValueError.
    """

    name: str
    certificate: bytes
    endpoint: str = ""
    seal: bytes
    relays: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_site_name(self.name)
        if not 0 < len(self.certificate) <= MAX_CERTIFICATE_BYTES:
            raise ValueError(
                f"site {self.name!r}: certificate has {len(self.certificate)} bytes; 1 to {MAX_CERTIFICATE_BYTES} are"
                " accepted"
            )
        if len(self.seal) != SEAL_BYTES:
            raise ValueError(f"site {self.name!r}: seal key has {len(self.seal)} bytes, expected {SEAL_BYTES}")
        if self.endpoint:
            check_endpoint(self.endpoint)
        if len(self.relays) > MAX_RELAYS or len(set(self.relays)) != len(self.relays) or self.name in self.relays:
            raise ValueError(f"site {self.name!r}: relays must be at most {MAX_RELAYS} different other sites")
        for relay in self.relays:
            check_site_name(relay)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate, as the ledger holds it (32 bytes)."""
        return hashlib.sha256(self.certificate).digest()


class Directory(Protocol):
    """The members as they are now. May be called from any thread."""

    def contacts(self) -> Mapping[str, Contact]:
        """Every active member whose certificate is known, by name; the own site among them."""
        ...
