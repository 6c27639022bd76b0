"""JSON over HTTP to servers that stand for each other: failover, deadlines, limits, every trouble in words."""

import http.server
import json
import socket
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

import pytest

from cohortium.errors import LedgerUnreachable, UsageError
from cohortium.ledger.http_json import MAX_ANSWER_BYTES, HttpJson, printable


@contextmanager
def server(answer=None, status: int = 200):
    """An HTTP server that gives one answer to everything, or the request itself; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            said = asked if answer is None else answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *args):
            """Nothing on the terminal."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()
            thread.join(5)


def client(*urls, **options):
    return closing(HttpJson("etcd", urls, **{"deadline_s": 0.4, "attempt_s": 0.2, **options}))


@contextmanager
def dead():
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_what_is_sent_is_one_post_with_json():
    with server() as url, client(url) as http_json:
        assert http_json.post("/x", {"a": [1, "b"]}) == {"a": [1, "b"]}
        assert http_json.endpoints == [url]


def test_a_connection_is_kept_and_opened_again_when_it_was_closed_meanwhile():
    with server() as url, client(url) as http_json:
        http_json.post("/x", 1)
        kept = http_json._connection
        http_json.post("/x", 2)
        assert http_json._connection is kept
        kept.sock.shutdown(socket.SHUT_RDWR)
        assert http_json.post("/x", 3) == 3
        assert http_json._connection is not kept


def test_a_dead_server_is_passed_over_and_the_next_one_remembered():
    with dead() as nobody, server(b'"one"') as one, client(nobody, one) as http_json:
        assert http_json.post("/x", 1) == "one"
        assert http_json._at == 1
        assert http_json.post("/x", 1) == "one"


def test_every_server_is_asked_once_and_its_trouble_told():
    with ExitStack() as stack:
        nobody, one, two = (
            stack.enter_context(place) for place in (dead(), server(b'"one"'), server(b'{"error": "no leader"}', 503))
        )
        found = stack.enter_context(client(nobody, one, two)).post_each("/x", {})
    assert found == [
        (nobody, None, "connection refused"),
        (one, "one", ""),
        (two, None, "status 503: no leader"),
    ]


def test_nobody_answering_is_said_server_by_server_in_bounded_time():
    with socket.socket() as deaf, dead() as nobody:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)  # accepts and never speaks
        with client(f"http://127.0.0.1:{deaf.getsockname()[1]}", nobody) as http_json:
            start = time.monotonic()
            with pytest.raises(LedgerUnreachable) as error:
                http_json.post("/x", {})
            assert time.monotonic() - start < 5
    assert "no server of etcd answered" in str(error.value)
    assert "no answer in time" in str(error.value)
    assert "connection refused" in str(error.value)


def test_closing_frees_whoever_waits_for_an_answer_and_nothing_is_asked_afterwards():
    said = []

    def ask():
        with pytest.raises(LedgerUnreachable) as raised:
            http_json.post("/x", {})
        said.append(str(raised.value))

    with dead() as gone, client(gone, deadline_s=60.0) as http_json:
        waiting = threading.Thread(target=ask)
        waiting.start()
        http_json.close()
        waiting.join(5)
        assert not waiting.is_alive()
        ask()
    assert said == ["the way to etcd was closed"] * 2


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
        HttpJson("etcd", endpoints)


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


@pytest.mark.parametrize(
    "answer", [b"", b"not json", b"NaN", b'{"a": 1, "a": 2}', b'{"a":' * 40 + b"1" + b"}" * 40, b"\xff"]
)
def test_answers_that_are_no_json_are_no_answer(answer):
    with server(answer) as url, client(url) as http_json, pytest.raises(LedgerUnreachable):
        http_json.post("/x", {})


def test_an_endless_answer_is_cut(monkeypatch):
    assert MAX_ANSWER_BYTES == 32 << 20
    monkeypatch.setattr("cohortium.ledger.http_json.MAX_ANSWER_BYTES", 1000)
    with ExitStack() as stack:
        short = stack.enter_context(server(json.dumps("x" * 900).encode()))
        long = stack.enter_context(server(json.dumps("x" * 1200).encode()))
        assert len(stack.enter_context(client(short)).post("/x", {})) == 900
        with pytest.raises(LedgerUnreachable, match="more than 1000 bytes"):
            stack.enter_context(client(long)).post("/x", {})


def test_a_refusal_is_passed_on_in_the_servers_words_but_no_control_letters():
    with ExitStack() as stack:
        url = stack.enter_context(server(b'{"error": "no\\u001b[31m leader"}', 503))
        http_json = stack.enter_context(client(url))
        refused = stack.enter_context(pytest.raises(LedgerUnreachable))
        http_json.post("/x", {})
    assert "status 503: no[31m leader" in str(refused.value)
    assert len(printable("a\x00b" * 500)) < 200
