import time

import pytest

from cohortium.errors import PeerError
from cohortium.transport.certificates import new_certificate, new_key, pem_of
from cohortium.transport.directory import Contact
from cohortium.transport.handshake import Greeting, caller_of, read_greeting


def contact(site: str) -> Contact:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    made = x509.load_pem_x509_certificate(new_certificate(site, new_key(), now_s=time.time()))
    return Contact(name=site, certificate=made.public_bytes(serialization.Encoding.DER), seal=bytes(32))


KNOWN = {site: contact(site) for site in ("bonn", "porto")}


def auth(certificate: bytes, **changed) -> dict[str, list[bytes]]:
    return {
        "ssl_tls_version": [b"TLSv1.3"],
        "x509_pem_cert": [pem_of(certificate)],
        "ssl_negotiated_key_exchange_group": [b"X25519MLKEM768"],
        **changed,
    }


def test_the_certificate_names_the_caller() -> None:
    caller = caller_of(auth(KNOWN["porto"].certificate), KNOWN, me="bonn")
    assert (caller.contact.name, caller.secured) == ("porto", "X25519MLKEM768")


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"ssl_tls_version": [b"TLSv1.2"]}, "TLSv1.2 is not TLSv1.3"),
        ({"ssl_tls_version": []}, "no TLS is not TLSv1.3"),
        ({"x509_pem_cert": [b"junk"]}, "shows no certificate"),
        ({"x509_pem_cert": []}, "shows no certificate"),
        ({"x509_pem_cert": [pem_of(contact("porto").certificate)]}, "is of no active member"),
    ],
)
def test_anybody_else_is_refused_with_the_reason(changed: dict[str, list[bytes]], why: str) -> None:
    with pytest.raises(PeerError, match=why):
        caller_of(auth(KNOWN["porto"].certificate, **changed), KNOWN, me="bonn")


def test_the_own_certificate_names_no_caller() -> None:
    with pytest.raises(PeerError, match="is of no active member"):
        caller_of(auth(KNOWN["bonn"].certificate), KNOWN, me="bonn")


@pytest.mark.parametrize("relays", [True, False])
def test_a_greeting_is_read_as_it_was_said(relays: bool) -> None:
    said = Greeting(instance=b"instance", relays=relays)
    assert read_greeting([("user-agent", "x"), *said.metadata()]) == said


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ([], "protocol version '' is not 1"),
        ([("cohortium-version", "2"), ("cohortium-instance-bin", bytes(8))], "protocol version '2' is not 1"),
        ([("cohortium-version", "1")], "names no instance"),
        ([("cohortium-version", "1"), ("cohortium-instance-bin", bytes(9))], "names no instance"),
        ([("cohortium-version", "1"), ("cohortium-instance-bin", "text")], "names no instance"),
    ],
)
def test_a_greeting_that_is_none_is_refused(metadata, why: str) -> None:
    with pytest.raises(PeerError, match=why):
        read_greeting(metadata)
