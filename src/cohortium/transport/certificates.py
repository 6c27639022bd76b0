"""Self-signed certificates: how they are made, and what can be wrong with one before anybody dials.

A certificate here is only a public key with dates: P-256, two years, no authority, named `<site>.cohortium`. It counts
because its SHA-256 stands on the ledger. A peer that refuses a handshake cannot say why, so every node looks at its own
certificate first and says what it finds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cohortium.core.identity import check_site_name, fingerprint
from cohortium.errors import UsageError
from cohortium.transport.directory import Contact

__all__ = [
    "VALID_DAYS",
    "Identity",
    "days_left",
    "has_our_form",
    "new_certificate",
    "new_key",
    "peer_trouble",
    "pem_of",
    "server_name",
    "trouble_of",
]

VALID_DAYS: Final = 730
_EARLIER: Final = timedelta(hours=1)  # a peer's clock may be a little behind


def server_name(site: str) -> str:
    """The name in a site's certificate, the same wherever its node listens."""
    return f"{site}.cohortium"


def new_key() -> bytes:
    """A fresh P-256 key as PEM, unencrypted."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def new_certificate(site: str, key: bytes, *, now_s: float, days: int = VALID_DAYS) -> bytes:
    """A certificate for `site` over this key (PEM), as PEM, valid from an hour before `now_s` (seconds since 1970)."""
    signer, start = _private_key(key), datetime.fromtimestamp(now_s, UTC)
    made = _form(
        site,
        signer.public_key(),
        serial=x509.random_serial_number(),
        begin=start - _EARLIER,
        end=start + timedelta(days=days),
    ).sign(signer, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


def _form(
    site: str, key: ec.EllipticCurvePublicKey, *, serial: int, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    """Everything of a certificate but its signature."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, check_site_name(site))])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(server_name(site))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )


def has_our_form(made: x509.Certificate, site: str) -> bool:
    """Whether a certificate over a P-256 key says nothing but what `new_certificate` says for this site.

    A member's certificate is a root of trust at every other. One that TLS cannot read hides all roots behind it; one
    with another member's subject stands in that member's way. So no other form is taken.
    """
    key = made.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    begin, end = made.not_valid_before_utc, made.not_valid_after_utc
    ours = _form(site, key, serial=made.serial_number, begin=begin, end=end)
    again = ours.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return again.tbs_certificate_bytes == made.tbs_certificate_bytes


def pem_of(der: bytes) -> bytes:
    """A certificate as PEM. ValueError where the bytes are none."""
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A site's own TLS key and certificate (PEM). Raises UsageError unless they belong together and to the site."""

    site: str
    key: bytes = field(repr=False)
    certificate: bytes
    der: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            found = x509.load_pem_x509_certificate(self.certificate)
        except ValueError:
            raise UsageError(f"certificate of {self.site!r} is no PEM certificate") from None
        if found.public_key() != _private_key(self.key).public_key():
            raise UsageError(
                f"certificate of {self.site!r} does not belong to its TLS key",
                hint="restore both from one backup, or run `cohortium node rotate`",
            )
        object.__setattr__(self, "der", found.public_bytes(serialization.Encoding.DER))

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate (32 bytes)."""
        return hashlib.sha256(self.der).digest()


def days_left(der: bytes, *, now_s: float) -> float:
    """Days until a certificate ends; negative once it has. ValueError where the bytes are no certificate."""
    end = x509.load_der_x509_certificate(der).not_valid_after_utc
    return (end - datetime.fromtimestamp(now_s, UTC)) / timedelta(days=1)


def trouble_of(identity: Identity, contact: Contact | None, *, now_s: float) -> str:
    """Why peers will not talk to the bearer of this certificate; empty where nothing stands against it.

    contact: the own entry of the directory.
    """
    mine = x509.load_der_x509_certificate(identity.der)
    now = datetime.fromtimestamp(now_s, UTC)
    rotate = "run `cohortium node rotate`"
    if now >= mine.not_valid_after_utc:
        return f"own certificate ended on {mine.not_valid_after_utc:%Y-%m-%d}; {rotate}"
    if now < mine.not_valid_before_utc:
        return f"own certificate begins only on {mine.not_valid_before_utc:%Y-%m-%d}; check this machine's clock"
    if contact is None:
        return f"{identity.site!r} is no active member on the ledger; ask a member to admit it"
    if contact.fingerprint != identity.fingerprint:
        return (
            f"own certificate {fingerprint(identity.fingerprint)} is not the one on the ledger,"
            f" {fingerprint(contact.fingerprint)}; put the newer keys back, or {rotate}"
        )
    return ""


def peer_trouble(contact: Contact, *, now_s: float) -> str:
    """What is wrong with a peer's certificate on the ledger; empty where nothing is."""
    try:
        left = days_left(contact.certificate, now_s=now_s)
    except ValueError:
        return f"the certificate of {contact.name!r} cannot be read"
    return (
        "" if left > 0 else f"the certificate of {contact.name!r} ended {-left:.0f} days ago; its site must rotate it"
    )


def _private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    load: Callable[..., object] = serialization.load_pem_private_key
    try:
        key = load(pem, password=None)
    except (ValueError, TypeError):
        raise UsageError("TLS key is no unencrypted PEM key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UsageError("TLS key is no elliptic-curve key; P-256 is expected")
    return key
