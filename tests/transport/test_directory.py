import hashlib

import pytest

from cohortium.transport.directory import Contact, check_endpoint


def contact(**said) -> Contact:
    return Contact(**{"name": "porto", "certificate": b"der", "seal": bytes(32), **said})


def test_fingerprint_is_what_the_ledger_holds_of_the_certificate() -> None:
    assert contact().fingerprint == hashlib.sha256(b"der").digest()


@pytest.mark.parametrize("endpoint", ["swarm.porto.example:443", "127.0.0.1:50051", "[::1]:8443"])
def test_host_and_port_are_an_endpoint(endpoint: str) -> None:
    assert check_endpoint(endpoint) == endpoint
    assert contact(endpoint=endpoint).endpoint == endpoint


@pytest.mark.parametrize("endpoint", ["porto", "porto:", ":443", "porto:0", "porto:65536", "a b:443", "u@h:1/x", 443])
def test_anything_else_is_refused_with_an_example(endpoint: object) -> None:
    with pytest.raises(ValueError, match=r"for example swarm\.porto\.example:443"):
        check_endpoint(endpoint)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"name": "Porto"}, "site name"),
        ({"certificate": b""}, "certificate has 0 bytes"),
        ({"certificate": bytes(4097)}, "certificate has 4097 bytes"),
        ({"seal": bytes(31)}, "seal key has 31 bytes, expected 32"),
        ({"endpoint": "nowhere"}, "host:port"),
        ({"relays": ("lund", "lund")}, "different other sites"),
        ({"relays": ("porto",)}, "different other sites"),
        ({"relays": tuple(f"site-{i}" for i in range(9))}, "at most 8"),
        ({"relays": ("Lund",)}, "site name"),
    ],
)
def test_impossible_contacts_are_refused(said: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        contact(**said)


def test_a_site_that_only_dials_out_has_no_endpoint_but_relays() -> None:
    assert contact(relays=("lund", "bonn")).endpoint == ""
