"""The network's preflight: each finding names what to do; who answers at an address is told by its certificate."""

import asyncio
import contextlib
import hashlib
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cohortium.transport.certificates import new_certificate, new_key
from cohortium.transport.checks import (
    check_certificate,
    check_clocks,
    check_contact,
    check_echoes,
    check_listen,
    check_on_ledger,
    check_proxy,
)
from cohortium.transport.directory import Contact

NOW = 1_800_000_000.0
DAY = 86_400


def made(subject, *, issuer=None, signer=None):
    """(certificate, key) of a name; signed by itself unless an issuer is given."""
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.fromtimestamp(NOW, UTC)

    def name(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    certificate = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer or subject))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=730))
        .sign(signer or key, hashes.SHA256())
    )
    return certificate, key


def der(certificate):
    return certificate.public_bytes(serialization.Encoding.DER)


def contact(certificate, endpoint):
    return Contact(name="porto", certificate=der(certificate), endpoint=endpoint, seal=bytes(32))


@contextlib.contextmanager
def serving(handle):
    """A loopback port whose calls `handle(socket)` answers; gives "127.0.0.1:port"."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run():
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as call, contextlib.suppress(OSError):
                        handle(call)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def tls(certificate, key, tmp_path):
    """A handler that greets as this certificate, as a node does: TLS 1.3, a client certificate asked for."""
    path = tmp_path / "server.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(path)

    def handle(call):
        with context.wrap_socket(call, server_side=True) as secured:
            secured.recv(1)

    return handle


# own certificate


@pytest.mark.parametrize(
    ("days", "level"), [(-1, "fail"), (0, "ok"), (699, "ok"), (701, "warn"), (729, "warn"), (731, "fail")]
)
def test_days_of_the_certificate(days, level):
    check = check_certificate(der(made("porto")[0]), now_s=NOW + days * DAY)
    assert check.level == level
    if days == -1:
        assert "set this machine's clock" in check.fix
    elif level != "ok":
        assert check.fix == "cohortium node rotate"


def test_the_certificate_is_the_one_on_the_ledger_or_not():
    own = der(made("porto")[0])
    assert check_on_ledger(own, hashlib.sha256(own).digest()).level == "ok"
    other = check_on_ledger(own, bytes(32))
    assert (other.level, "0000 0000" in other.found, "node rotate" in other.fix) == ("fail", True, True)
    nobody = check_on_ledger(own, None)
    assert (nobody.level, "node approve" in nobody.fix) == ("fail", True)


# own port


def test_a_free_port_a_taken_one_and_none():
    assert check_listen("", running=False).level == "ok"
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        check = check_listen(taken, running=False)
        assert (check.level, "ss -ltnp" in check.fix) == ("fail", True)
        assert check_listen(taken, running=True).level == "ok"
    assert check_listen(taken, running=False).level == "ok"


# a peer


def test_a_peer_that_answers_as_itself(tmp_path):
    certificate, key = made("porto")
    with serving(tls(certificate, key, tmp_path)) as endpoint:
        assert check_contact(contact(certificate, endpoint)).level == "ok"


def test_an_inspecting_device_is_named_by_its_issuer(tmp_path):
    _, authority = made("ACME Inspection CA")
    shown, key = made("porto.example", issuer="ACME Inspection CA", signer=authority)
    with serving(tls(shown, key, tmp_path)) as endpoint:
        check = check_contact(contact(made("porto")[0], endpoint))
    assert check.level == "fail"
    assert "issued by 'CN=ACME Inspection CA'" in check.found
    assert check.fix == f"ask the IT department to exempt {endpoint} from TLS inspection by that device"


def test_a_peer_with_superseded_credentials_is_no_inspection(tmp_path):
    shown, key = made("porto")
    with serving(tls(shown, key, tmp_path)) as endpoint:
        check = check_contact(contact(made("porto")[0], endpoint))
    assert "another certificate of porto than the one on the ledger" in check.found
    assert "ask porto to run: cohortium node doctor" in check.fix


def test_something_else_that_listens_there():
    with serving(lambda call: call.sendall(b"220 mail.porto.example ESMTP\r\n")) as endpoint:
        check = check_contact(contact(made("porto")[0], endpoint), timeout_s=1.0)
    assert (check.level, "not with TLS 1.3" in check.found) == ("fail", True)


def test_a_device_that_swallows_everything_is_waited_for_briefly():
    gate = threading.Event()
    with serving(lambda call: gate.wait(5)) as endpoint:
        check = check_contact(contact(made("porto")[0], endpoint), timeout_s=0.3)
        gate.set()
    assert (check.level, "nothing answers in time" in check.found) == ("fail", True)


def test_a_closed_port_and_an_unknown_name():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        endpoint = f"127.0.0.1:{gone.getsockname()[1]}"
    check = check_contact(contact(made("porto")[0], endpoint))
    assert (check.level, f"let TCP to {endpoint} out" in check.fix) == ("fail", True)

    def nobody_knows(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    check = check_contact(contact(made("porto")[0], "porto.example:443"), resolve=nobody_knows)
    assert (check.level, "resolve porto.example" in check.fix) == ("fail", True)


def test_a_peer_that_dials_out_is_not_dialled():
    assert check_contact(contact(made("porto")[0], "")).level == "skipped"


# a proxy


def proxy(answer, onward=None):
    def handle(call):
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += call.recv(1024)
        call.sendall(answer)
        if onward is not None:
            onward(call)

    return handle


def test_no_proxy_one_that_lets_through_and_one_that_does_not():
    assert check_proxy("", target="").level == "ok"
    with serving(proxy(b"HTTP/1.1 200 Connection established\r\n\r\n")) as address:
        assert check_proxy(address, target="porto.example:443").level == "ok"
    with serving(proxy(b"HTTP/1.1 403 Forbidden\r\n\r\n")) as address:
        check = check_proxy(address, target="porto.example:443")
    assert (check.level, "403 Forbidden" in check.found) == ("fail", True)
    assert check.fix == "ask the IT department to allow CONNECT to porto.example:443"
    check = check_proxy(address, target="porto.example:443", timeout_s=1.0)
    assert (check.level, "network.proxy" in check.fix) == ("fail", True)


def test_a_peer_is_looked_at_through_the_proxy(tmp_path):
    certificate, key = made("porto")
    greet = tls(certificate, key, tmp_path)
    with serving(proxy(b"HTTP/1.1 200 OK\r\n\r\n", greet)) as address:
        assert check_contact(contact(certificate, "porto.invalid:443"), proxy=address).level == "ok"


def test_a_proxy_that_never_ends_its_answer_is_left():
    with serving(proxy(b"HTTP/1.1 200 OK\r\n" + b"x" * 10_000)) as address:
        assert check_proxy(address, target="porto.example:443", timeout_s=1.0).level == "fail"


# what peers said


@pytest.mark.parametrize(
    ("offsets", "level", "word"),
    [
        ({}, "skipped", ""),
        ({"bonn": 0.4, "lund": -1.9}, "ok", ""),
        ({"bonn": 3.0, "lund": 3.0}, "warn", "3 s behind"),
        ({"bonn": -3600.0, "lund": -3600.0, "graz": 0.0}, "fail", "3600 s ahead of"),
        ({"bonn": 0.0, "lund": 3600.0, "graz": 0.1}, "warn", "the clock of lund"),
    ],
)
def test_clocks(offsets, level, word):
    check = check_clocks(offsets)
    assert (check.level, word in check.found) == (level, True)
    assert bool(check.fix) == (level in ("warn", "fail"))


def test_echoes():
    assert check_echoes({}, asked=0).level == "skipped"
    assert check_echoes({}, asked=2).level == "ok"
    one = check_echoes({"bonn": "no answer within 8 s"}, asked=2)
    assert (one.level, "bonn: no answer" in one.found, "firewall or antivirus" in one.fix) == ("warn", True, True)
    assert check_echoes({"bonn": "x", "lund": "x"}, asked=2).level == "fail"


def test_a_real_listener_shows_the_pinned_certificate():
    """gRPC asks for a client certificate; its own is shown before, and the look costs it one refused handshake."""

    pytest.importorskip("grpc")
    from cohortium.transport.grpc import GrpcTransport

    async def look():
        key = new_key()
        pem = new_certificate("porto", key, now_s=time.time())
        shown = x509.load_pem_x509_certificate(pem)
        directory = SimpleNamespace(contacts=lambda: {"porto": contact(shown, "")})
        transport = GrpcTransport(
            "porto",
            directory=directory,
            tls_key=key,
            certificate=pem,
            seal_key=bytes(31) + b"\x40",
            sign=lambda digest: bytes(65),
            address_of=lambda site: bytes(20),
            listen="127.0.0.1:0",
        )
        await transport.start()
        try:
            there = contact(shown, f"127.0.0.1:{transport.port}")
            other = contact(made("porto")[0], f"127.0.0.1:{transport.port}")
            return [await asyncio.to_thread(check_contact, one) for one in (there, other)]
        finally:
            await transport.close()

    same, different = asyncio.run(look())
    assert (same.level, different.level) == ("ok", "fail")
    assert "another certificate of porto" in different.found
