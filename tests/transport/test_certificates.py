import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cohortium.core.identity import fingerprint
from cohortium.errors import UsageError
from cohortium.transport.certificates import (
    VALID_DAYS,
    Identity,
    days_left,
    has_our_form,
    new_certificate,
    new_key,
    peer_trouble,
    pem_of,
    server_name,
    trouble_of,
)
from cohortium.transport.directory import Contact

DAY_S = 86_400
NOW_S = 1_800_000_000.0


@pytest.fixture(scope="module")
def key() -> bytes:
    return new_key()


def identity(key: bytes, **said) -> Identity:
    return Identity(site="porto", key=key, certificate=new_certificate("porto", key, now_s=NOW_S, **said))


def contact_of(identity: Identity) -> Contact:
    return Contact(name="porto", certificate=identity.der, seal=bytes(32))


def test_certificate_is_self_signed_for_two_years_and_names_only_its_site(key: bytes) -> None:
    found = x509.load_der_x509_certificate(identity(key).der)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["porto.cohortium"] == [server_name("porto")]
    assert found.issuer == found.subject
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert found.public_key().curve.name == "secp256r1"
    assert (found.not_valid_after_utc.timestamp() - NOW_S) / DAY_S == VALID_DAYS == 730
    assert found.not_valid_before_utc.timestamp() == NOW_S - 3600


def test_fingerprint_is_the_digest_of_the_der_form(key: bytes) -> None:
    mine = identity(key)
    assert mine.fingerprint == hashlib.sha256(mine.der).digest() == contact_of(mine).fingerprint
    assert pem_of(mine.der) == mine.certificate


def test_nothing_shows_the_key(key: bytes) -> None:
    assert "PRIVATE" not in repr(identity(key))


def test_key_and_certificate_must_belong_together(key: bytes) -> None:
    with pytest.raises(UsageError, match="does not belong to its TLS key") as wrong:
        Identity(site="porto", key=new_key(), certificate=identity(key).certificate)
    assert "backup" in wrong.value.hint
    with pytest.raises(UsageError, match="no PEM certificate"):
        Identity(site="porto", key=key, certificate=b"-----BEGIN")
    with pytest.raises(UsageError, match="no unencrypted PEM key"):
        Identity(site="porto", key=b"junk", certificate=identity(key).certificate)


def test_key_of_another_kind_is_refused(key: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    other = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(UsageError, match="P-256 is expected"):
        new_certificate("porto", other, now_s=NOW_S)


def test_days_left_are_counted_from_now(key: bytes) -> None:
    mine = identity(key, days=10)
    assert days_left(mine.der, now_s=NOW_S) == pytest.approx(10)
    assert days_left(mine.der, now_s=NOW_S + 11 * DAY_S) == pytest.approx(-1)
    with pytest.raises(ValueError, match=r".+"):
        days_left(b"junk", now_s=NOW_S)


def test_nothing_stands_against_a_valid_certificate_that_is_on_the_ledger(key: bytes) -> None:
    mine = identity(key)
    assert trouble_of(mine, contact_of(mine), now_s=NOW_S) == ""
    assert peer_trouble(contact_of(mine), now_s=NOW_S) == ""


@pytest.mark.parametrize(
    ("now_s", "found"),
    [
        (NOW_S + 731 * DAY_S, "own certificate ended on 2029-01-14; run `cohortium node rotate`"),
        (NOW_S - DAY_S, "own certificate begins only on 2027-01-15; check this machine's clock"),
    ],
)
def test_wrong_dates_are_said_with_what_to_do(key: bytes, now_s: float, found: str) -> None:
    mine = identity(key)
    assert trouble_of(mine, contact_of(mine), now_s=now_s) == found


def test_another_certificate_on_the_ledger_and_none_are_said(key: bytes) -> None:
    mine, other = identity(key), identity(key)
    found = trouble_of(mine, contact_of(other), now_s=NOW_S)
    assert fingerprint(mine.fingerprint) in found
    assert fingerprint(other.fingerprint) in found
    assert "no active member" in trouble_of(mine, None, now_s=NOW_S)


def test_a_peers_ended_or_unreadable_certificate_is_named(key: bytes) -> None:
    peer = contact_of(identity(key, days=10))
    assert peer_trouble(peer, now_s=NOW_S + 15 * DAY_S).startswith("the certificate of 'porto' ended 5 days ago")
    junk = Contact(name="porto", certificate=b"junk", seal=bytes(32))
    assert "cannot be read" in peer_trouble(junk, now_s=NOW_S)


def test_only_what_this_program_makes_for_a_site_has_its_form(key: bytes) -> None:
    made = x509.load_der_x509_certificate(identity(key).der)
    assert has_our_form(made, "porto")
    assert not has_our_form(made, "lund")
