"""A real etcd cluster: numbered entries written once, failover within one call, every refusal by name."""

import base64
import http.server
import socket
import ssl
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from cohortium.errors import LedgerUnreachable, UsageError
from cohortium.ledger.etcd import MAX_ANSWER_BYTES, EtcdClient, EtcdLog


@pytest.fixture
def log(cluster, tmp_path):
    """A log nobody else writes to."""
    made = EtcdLog(EtcdClient(cluster.endpoints, tls=cluster.tls), name=tmp_path.name)
    yield made
    made.close()


def test_an_entry_is_written_once_and_says_what_stands_there(log):
    assert log.append(1, b"first") is None
    assert log.append(1, b"second") == b"first"
    assert log.append(1, b"first") is None  # repeated after an answer that was lost
    assert log.append(2, bytes(range(256))) is None
    assert log.read(1, n=10) == [(1, b"first"), (2, bytes(range(256)))]


def test_reading_starts_anywhere_and_is_bounded(log):
    for number in range(1, 13):
        log.append(number, b"%d" % number)
    assert [number for number, _ in log.read(9, n=3)] == [9, 10, 11]
    assert [number for number, _ in log.read(12, n=3)] == [12]
    assert log.read(13, n=3) == []


def test_logs_of_two_names_do_not_touch(cluster, log, tmp_path):
    with closing(EtcdLog(EtcdClient(cluster.endpoints, tls=cluster.tls), name=tmp_path.name + "0")) as other:
        other.append(1, b"other")
        log.append(1, b"mine")
        assert log.read(1, n=5) == [(1, b"mine")]
        assert other.read(1, n=5) == [(1, b"other")]


def test_gaps_are_shown_and_foreign_keys_are_not(cluster, log):
    log.append(2, b"two")
    log.append(7, b"seven")
    client = EtcdClient(cluster.endpoints, tls=cluster.tls)
    for key in (log._prefix.encode() + b"junk", log._prefix.encode() + b"0" * 17):
        client.call("/v3/kv/put", {"key": _b64(key), "value": _b64(b"x")})
    client.close()
    assert log.read(1, n=10) == [(2, b"two"), (7, b"seven")]


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def test_an_empty_value_reads_as_empty(cluster, log):
    client = EtcdClient(cluster.endpoints, tls=cluster.tls)
    client.call("/v3/kv/put", {"key": _b64(log._key(1)), "value": ""})
    client.close()
    assert log.read(1, n=2) == [(1, b"")]
    assert log.append(1, b"x") == b""


def test_members_say_version_and_leader(cluster):
    members = EtcdClient(cluster.endpoints, tls=cluster.tls).members()
    assert len(members) == 3
    assert len({member.leader for member in members}) == 1
    assert sum(member.member == member.leader for member in members) == 1
    assert all(member.version.startswith("3.") and not member.trouble for member in members)


def test_dead_endpoints_are_passed_over_and_remembered(cluster, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"https://127.0.0.1:{taken.getsockname()[1]}"
        client = EtcdClient([dead, *cluster.endpoints], tls=cluster.tls)
        log = EtcdLog(client, name=tmp_path.name)
        assert log.append(1, b"x") is None
        assert client._at == 1
        members = client.members()
        assert members[0].trouble == "connection refused"
        log.close()


def test_a_connection_that_was_closed_meanwhile_is_opened_again_at_once(log):
    log.append(1, b"x")
    log._client._connection.sock.shutdown(socket.SHUT_RDWR)
    at = log._client._at
    assert log.read(1, n=1) == [(1, b"x")]
    assert log._client._at == at


def test_nobody_answering_is_said_member_by_member_in_bounded_time(cluster):
    with socket.socket() as deaf, socket.socket() as closed:
        for one in (deaf, closed):
            one.bind(("127.0.0.1", 0))
        deaf.listen(8)  # accepts and never speaks
        urls = [f"http://127.0.0.1:{one.getsockname()[1]}" for one in (deaf, closed)]
        client = EtcdClient(urls, deadline_s=0.6, attempt_s=0.2)
        start = time.monotonic()
        with pytest.raises(LedgerUnreachable) as error:
            client.call("/v3/kv/range", {"key": "AA=="})
        assert time.monotonic() - start < 5
        client.close()
    assert "no answer in time" in str(error.value)
    assert "connection refused" in str(error.value)


def refused(cluster, **files) -> str:
    client = EtcdClient(cluster.endpoints[:1], tls=replace(cluster.tls, **files), deadline_s=0.5)
    (member,) = client.members()
    with pytest.raises(LedgerUnreachable):
        client.call("/v3/kv/range", {"key": "AA=="})
    client.close()
    return member.trouble


def test_a_site_without_the_clusters_authority_is_refused_by_etcd_and_the_other_way_round(cluster, tmp_path, etcd):
    key, ca = etcd.authority("another authority")
    foreign = etcd.issue(tmp_path, "stranger", key, ca, usages=etcd.CLIENT)
    assert refused(cluster, certificate=foreign.certificate, key=foreign.key)
    assert "its certificate is refused" in refused(cluster, ca=foreign.ca)


def test_without_a_client_certificate_nobody_reads(cluster):
    context = ssl.create_default_context(cafile=str(cluster.tls.ca))
    client = EtcdClient(cluster.endpoints[:1], tls=cluster.tls, deadline_s=0.5)
    client._context = context
    assert "TLS" in client.members()[0].trouble
    with pytest.raises(LedgerUnreachable):
        client.call("/v3/kv/range", {"key": "AA=="})
    client.close()


def test_older_tls_is_not_spoken(cluster):
    assert cluster.tls.context().minimum_version.name == "TLSv1_3"


@pytest.mark.parametrize(
    ("endpoints", "says"),
    [
        ([], "1 to 16 endpoints"),
        (["https://x:1"] * 17, "1 to 16 endpoints"),
        (["etcd.example:2379"], "must look like"),
        (["https://etcd.example"], "must look like"),
        (["https://etcd.example:99999"], "must look like"),
        (["https://etcd.example:2379/v3"], "must look like"),
        (["https://etcd.example:2379"], "needs a certificate authority"),
    ],
)
def test_endpoints_that_cannot_work_are_refused_before_anything_is_tried(endpoints, says):
    with pytest.raises(UsageError, match=says):
        EtcdClient(endpoints)


def test_files_that_cannot_be_used_are_named(tmp_path, etcd):
    key, ca = etcd.authority()
    good = etcd.issue(tmp_path, "site", key, ca, usages=etcd.CLIENT)
    (tmp_path / "empty").write_text("")
    for change, named in (
        ({"ca": tmp_path / "empty"}, "empty"),
        ({"ca": tmp_path / "nowhere"}, "nowhere"),
        ({"certificate": tmp_path / "nowhere"}, "nowhere"),
        ({"key": good.certificate}, "site.crt"),
    ):
        with pytest.raises(UsageError, match=named):
            replace(good, **change).context()
    assert good.context()


# --- a gateway that answers nonsense ---------------------------------------------------------------------------


@contextmanager
def gateway(answer: bytes, status: int = 200):
    """An HTTP server that gives one answer to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args):
            """Nothing on the terminal."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield EtcdLog(
                EtcdClient([f"http://127.0.0.1:{server.server_address[1]}"], deadline_s=0.3, attempt_s=0.3), name="x"
            )
        finally:
            server.shutdown()
            thread.join(5)


@pytest.mark.parametrize(
    "answer",
    [
        b"not json",
        b"[]",
        b'{"kvs": [{"key": 5}]}',
        b'{"kvs": [{"key": "!", "value": ""}]}',
        b'{"a":' * 40 + b"1" + b"}" * 40,
    ],
)
def test_answers_of_another_form_are_no_answer(answer):
    with gateway(answer) as log, closing(log), pytest.raises(LedgerUnreachable):
        log.read(1, n=1)


def test_an_endless_answer_is_cut(monkeypatch):
    monkeypatch.setattr("cohortium.ledger.etcd.MAX_ANSWER_BYTES", 1000)
    with gateway(b'{"x": "' + bytes(2000) + b'"}') as log, closing(log), pytest.raises(LedgerUnreachable) as error:
        log.read(1, n=1)
    assert "more than 1000 bytes" in str(error.value)
    assert MAX_ANSWER_BYTES == 32 << 20


def test_a_refusal_of_etcd_is_passed_on_in_its_words():
    with gateway(b'{"error": "etcdserver: no leader"}', 503) as log, closing(log):
        with pytest.raises(LedgerUnreachable, match="etcdserver: no leader"):
            log.read(1, n=1)
        assert "no leader" in log._client.members()[0].trouble
