"""JSON over HTTP(S) to one of several servers that stand for each other: kept connection, failover, deadline, limits.

    http = HttpJson("etcd", ["https://etcd.porto.example:2379", ...], tls=ClientTls(...))
    http.post("/v3/kv/range", {"key": "..."})   -> what the first server that can answers

A server that does not answer is left for the next one until the deadline is over. Whether a request that was not
answered was done all the same, is for the caller to find out. TLS 1.3, with a client certificate where one is given.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cohortium.core.foreign_json import read_json
from cohortium.errors import LedgerUnreachable, UsageError

__all__ = ["ClientTls", "HttpJson", "printable"]

MAX_ANSWER_BYTES: Final = 32 << 20
_MAX_ENDPOINTS: Final = 16
_MAX_DEPTH: Final = 32
_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 0.5
_TROUBLES = (OSError, http.client.HTTPException, ValueError)


@dataclass(frozen=True, kw_only=True)
class ClientTls:
    """Files in PEM form: the authority that signed the servers' certificates, and this site's own certificate."""

    ca: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """TLS 1.3, both ends authenticated. Raises UsageError that names the file that cannot be used."""
        try:
            made = ssl.create_default_context(cafile=str(self.ca))
        except OSError as error:
            raise UsageError(f"{self.ca} holds no certificate authority: {error}") from error
        try:
            made.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            raise UsageError(f"{self.certificate} and {self.key} are no certificate and key: {error}") from error
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        return made


@dataclass(frozen=True)
class _Endpoint:
    url: str
    host: str
    port: int
    encrypted: bool


class HttpJson:
    """One site's way to the servers; for one thread at a time. deadline_s: of a call; attempt_s: at one server.

    `close` may be called from any thread: what is being asked is given up at the end of its attempt.
    """

    def __init__(
        self,
        what: str,
        endpoints: Sequence[str],
        *,
        tls: ClientTls | None = None,
        deadline_s: float = 15.0,
        attempt_s: float = 2.0,
    ) -> None:
        self._what = what
        self._endpoints = [_endpoint(what, url) for url in endpoints]
        if not 1 <= len(self._endpoints) <= _MAX_ENDPOINTS:
            raise UsageError(f"{what} needs 1 to {_MAX_ENDPOINTS} endpoints, got {len(self._endpoints)}")
        if tls is None and any(one.encrypted for one in self._endpoints):
            raise UsageError(f"an https endpoint of {what} needs a certificate authority, a certificate and a key")
        self._context = tls.context() if tls is not None else None
        self._deadline_s, self._attempt_s = deadline_s, attempt_s
        self._at = 0
        self._connection: http.client.HTTPConnection | None = None
        self._asking, self._closed = threading.Lock(), threading.Event()

    @property
    def endpoints(self) -> list[str]:
        """Their addresses, in the order given."""
        return [one.url for one in self._endpoints]

    def post(self, path: str, body: Any) -> Any:
        """What the first server that can answers. Raises LedgerUnreachable with each server's trouble."""
        packed = json.dumps(body).encode()
        with self._asking:
            try:
                return self._first_answer(path, packed)
            finally:
                if self._closed.is_set():
                    self._drop()

    def _first_answer(self, path: str, packed: bytes) -> Any:
        until = time.monotonic() + self._deadline_s
        troubles: dict[str, str] = {}
        pause_s = _PAUSE_S
        while (left := until - time.monotonic()) > 0 and not self._closed.is_set():
            endpoint = self._endpoints[self._at]
            try:
                return self._post(endpoint, path, packed, min(self._attempt_s, left))
            except _TROUBLES as error:
                troubles[endpoint.url] = _said(error)
                self._leave()
            if self._at == 0:  # once round: give the servers time to elect a leader
                self._closed.wait(pause_s * random.uniform(0.5, 1))  # noqa: S311 - no secret
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if self._closed.is_set():
            raise LedgerUnreachable(f"the way to {self._what} was closed")
        said = "; ".join(f"{url}: {trouble}" for url, trouble in sorted(troubles.items()))
        raise LedgerUnreachable(
            f"no server of {self._what} answered within {self._deadline_s:g} s ({said})",
            hint="cohortium node doctor names each one",
        )

    def post_each(self, path: str, body: Any) -> list[tuple[str, Any, str]]:
        """Endpoint, answer and trouble of every server, one attempt each; the answer is None where there is trouble."""
        packed, found = json.dumps(body).encode(), []
        for endpoint in self._endpoints:
            try:
                with contextlib.closing(self._connect(endpoint, self._attempt_s)) as connection:
                    found.append((endpoint.url, _post(connection, path, packed), ""))
            except _TROUBLES as error:
                found.append((endpoint.url, None, _said(error)))
        return found

    def close(self) -> None:
        """Ask nobody any more, and let the connection go."""
        self._closed.set()
        if self._asking.acquire(blocking=False):  # else whoever asks lets it go
            try:
                self._drop()
            finally:
                self._asking.release()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, endpoint: _Endpoint, path: str, packed: bytes, timeout_s: float) -> Any:
        """Over the kept connection; once more over a new one when the old one had been closed meanwhile."""
        if self._connection is not None:
            if self._connection.sock is not None:
                self._connection.sock.settimeout(timeout_s)
            try:
                return _post(self._connection, path, packed)
            except (ConnectionError, http.client.CannotSendRequest):
                self._drop()
        self._connection = self._connect(endpoint, timeout_s)
        return _post(self._connection, path, packed)

    def _connect(self, endpoint: _Endpoint, timeout_s: float) -> http.client.HTTPConnection:
        if endpoint.encrypted:
            return http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=timeout_s, context=self._context)
        return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)

    def _leave(self) -> None:
        """The next server is tried from now on."""
        self._drop()
        self._at = (self._at + 1) % len(self._endpoints)


def printable(value: object) -> str:
    """A foreign text, short and printable."""
    return "".join(letter for letter in str(value)[:200] if letter.isprintable())


def _post(connection: http.client.HTTPConnection, path: str, packed: bytes) -> Any:
    """One request on one connection. Raises OSError, HTTPException, or ValueError for an answer that is none."""
    connection.request("POST", path, body=packed, headers={"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read(MAX_ANSWER_BYTES + 1)
    if len(text) > MAX_ANSWER_BYTES:
        raise ValueError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    answer = read_json(text, max_depth=_MAX_DEPTH)
    if response.status != http.client.OK:
        error = answer.get("error", "") if isinstance(answer, dict) else ""
        raise ValueError(f"status {response.status}: {printable(error)}")
    return answer


def _endpoint(what: str, url: str) -> _Endpoint:
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host or port is None or parts.path not in ("", "/"):
        raise UsageError(f"endpoint {url!r} of {what} must look like https://server.porto.example:2379")
    return _Endpoint(url, host, port, parts.scheme == "https")


def _said(error: Exception) -> str:
    """Why a server did not answer, in one phrase."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({printable(error.reason or error)})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return printable(error) or type(error).__name__
