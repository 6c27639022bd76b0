"""Why a connection failed, in one sentence; dialling itself is tested over real sockets in test_grpc.py."""

import grpc
import pytest

from cohortium.transport.dialing import reason_of
from cohortium.transport.directory import Contact

PORTO = Contact(name="porto", certificate=b"der", seal=bytes(32), endpoint="swarm.porto.example:443")
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("code", "details", "sentence"),
    [
        (UNAVAILABLE, "... Connection refused (111)", "nothing listens at swarm.porto.example:443"),
        (UNAVAILABLE, "DNS resolution failed for x", "the name in swarm.porto.example:443 is not known to DNS"),
        (UNAVAILABLE, "... CERTIFICATE_VERIFY_FAILED: ...", "TLS is inspected on the way"),
        (UNAVAILABLE, "... Socket closed", "'porto' closed the connection: it does not know our certificate"),
        (grpc.StatusCode.UNAUTHENTICATED, "TLSv1.2 is not TLSv1.3", "'porto' refuses: TLSv1.2 is not TLSv1.3"),
        (grpc.StatusCode.CANCELLED, "", "nothing answered at swarm.porto.example:443 within 15 s"),
        (grpc.StatusCode.INTERNAL, None, "'porto' at swarm.porto.example:443: internal"),
        (None, None, "'porto' at swarm.porto.example:443: unknown"),
    ],
)
def test_the_reason_names_what_was_found(code, details: str | None, sentence: str) -> None:
    assert sentence in reason_of(code, details, PORTO, 15.0)


def test_what_a_peer_says_is_shortened() -> None:
    assert len(reason_of(grpc.StatusCode.UNAUTHENTICATED, "x" * 10_000, PORTO, 15.0)) < 300
