"""An etcd cluster over its HTTP/JSON gateway: a log of numbered entries, and how its members are.

    client = EtcdClient(["https://etcd.porto.example:2379", ...], tls=EtcdTls(ca, certificate, key))
    log = EtcdLog(client, name="3f2a...")
    log.append(17, entry)    -> None, or what stands there instead
    log.read(16, n=64)       -> [(16, ...), (17, ...)]

No client library: three calls of etcd's v3 API (`kv/range`, `kv/txn`, `maintenance/status`) as JSON over one kept
connection. Reads are linearizable, so they see every acknowledged append. A member that does not answer is left for the
next one until the deadline is over. That an append was not answered does not mean that it was not done: an entry of
the same bytes under its number counts as done, which makes repeating it safe.

TLS 1.3 with a client certificate; the cluster's own certificates must allow both ends (extended key usage serverAuth
and clientAuth), because etcd's gateway calls its own server. Source: etcd 3.4 API reference.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import random
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cohortium.core.foreign_json import read_json
from cohortium.errors import LedgerUnreachable, UsageError

__all__ = ["EtcdClient", "EtcdLog", "EtcdMember", "EtcdTls"]

MAX_ANSWER_BYTES: Final = 32 << 20
_MAX_ENDPOINTS: Final = 16
_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class EtcdTls:
    """Files in PEM form: the authority that signed the cluster's certificates, and this site's own certificate."""

    ca: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """TLS 1.3, both ends authenticated. Raises UsageError that names the file that cannot be used."""
        try:
            made = ssl.create_default_context(cafile=str(self.ca))
        except OSError as error:
            raise UsageError(f"{self.ca} holds no certificate authority for etcd: {error}") from error
        try:
            made.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            raise UsageError(f"{self.certificate} and {self.key} are no certificate and key: {error}") from error
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        return made


@dataclass(frozen=True, kw_only=True)
class EtcdMember:
    """What one member says of itself. trouble: why it did not; the other fields are then empty."""

    endpoint: str
    version: str = ""
    member: str = ""
    leader: str = ""
    size_bytes: int = 0
    trouble: str = ""


@dataclass(frozen=True)
class _Endpoint:
    url: str
    host: str
    port: int
    encrypted: bool


class EtcdClient:
    """One site's way to the cluster; for one thread at a time. deadline_s: of a call; attempt_s: at one member."""

    def __init__(
        self, endpoints: Sequence[str], *, tls: EtcdTls | None = None, deadline_s: float = 15.0, attempt_s: float = 2.0
    ) -> None:
        self._endpoints = [_endpoint(url) for url in endpoints]
        if not 1 <= len(self._endpoints) <= _MAX_ENDPOINTS:
            raise UsageError(f"etcd needs 1 to {_MAX_ENDPOINTS} endpoints, got {len(self._endpoints)}")
        if tls is None and any(one.encrypted for one in self._endpoints):
            raise UsageError("an https endpoint of etcd needs a certificate authority, a certificate and a key")
        self._context = tls.context() if tls is not None else None
        self._deadline_s, self._attempt_s = deadline_s, attempt_s
        self._at = 0
        self._connection: http.client.HTTPConnection | None = None

    def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What the first member that can says. Raises LedgerUnreachable with each member's trouble."""
        packed = json.dumps(body).encode()
        until = time.monotonic() + self._deadline_s
        troubles: dict[str, str] = {}
        pause_s = _PAUSE_S
        while (left := until - time.monotonic()) > 0:
            endpoint = self._endpoints[self._at]
            try:
                return self._post(endpoint, path, packed, min(self._attempt_s, left))
            except (OSError, http.client.HTTPException, ValueError) as error:
                troubles[endpoint.url] = _said(error)
                self._leave()
            if self._at == 0:  # once round: give the cluster time to elect a leader
                time.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - no secret
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        said = "; ".join(f"{url}: {trouble}" for url, trouble in sorted(troubles.items()))
        raise LedgerUnreachable(
            f"no etcd member answered within {self._deadline_s:g} s ({said})",
            hint="cohortium node doctor names each one",
        )

    def members(self) -> list[EtcdMember]:
        """What each endpoint says of itself, in the order given; one attempt each."""
        found = []
        for endpoint in self._endpoints:
            try:
                with contextlib.closing(self._connect(endpoint, self._attempt_s)) as connection:
                    status = _post(connection, "/v3/maintenance/status", b"{}")
                found.append(
                    EtcdMember(
                        endpoint=endpoint.url,
                        version=_word(status.get("version", "")),
                        member=_word(_table(status, "header").get("member_id", "")),
                        leader=_word(status.get("leader", "")),
                        size_bytes=_number(status.get("dbSize", 0)),
                    )
                )
            except (OSError, http.client.HTTPException, ValueError) as error:
                found.append(EtcdMember(endpoint=endpoint.url, trouble=_said(error)))
        return found

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, endpoint: _Endpoint, path: str, packed: bytes, timeout_s: float) -> dict[str, Any]:
        """Over the kept connection; once more over a new one when the old one had been closed meanwhile."""
        if self._connection is not None:
            self._set_timeout(timeout_s)
            try:
                return _post(self._connection, path, packed)
            except (http.client.RemoteDisconnected, ConnectionError, http.client.CannotSendRequest):
                self.close()
        self._connection = self._connect(endpoint, timeout_s)
        return _post(self._connection, path, packed)

    def _connect(self, endpoint: _Endpoint, timeout_s: float) -> http.client.HTTPConnection:
        if endpoint.encrypted:
            return http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=timeout_s, context=self._context)
        return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)

    def _set_timeout(self, timeout_s: float) -> None:
        if self._connection is not None and self._connection.sock is not None:
            self._connection.sock.settimeout(timeout_s)

    def _leave(self) -> None:
        """The next member is tried from now on."""
        self.close()
        self._at = (self._at + 1) % len(self._endpoints)


class EtcdLog:
    """Entries numbered from 1 under one name, each written once."""

    def __init__(self, client: EtcdClient, *, name: str) -> None:
        self._client = client
        self._prefix = f"cohortium/{name}/log/"

    def append(self, number: int, entry: bytes) -> bytes | None:
        """Put an entry under a number that is free. None when it is there now, else what stands there."""
        key = _text(self._key(number))
        answer = self._client.call(
            "/v3/kv/txn",
            {
                "compare": [{"key": key, "target": "VERSION", "result": "EQUAL", "version": "0"}],
                "success": [{"request_put": {"key": key, "value": _text(entry)}}],
                "failure": [{"request_range": {"key": key}}],
            },
        )
        if answer.get("succeeded") is True:
            return None
        found = [
            _pair(pair) for one in _rows(answer, "responses") for pair in _rows(_table(one, "response_range"), "kvs")
        ]
        there = found[0][1] if found else b""
        return None if there == entry else there

    def read(self, number: int, *, n: int) -> list[tuple[int, bytes]]:
        """At most n entries from a number on, in order; their numbers may have gaps."""
        answer = self._client.call(
            "/v3/kv/range",
            {
                "key": _text(self._key(number)),
                "range_end": _text(self._prefix[:-1].encode() + b"0"),
                "limit": str(n),
            },
        )
        found = [_pair(pair) for pair in _rows(answer, "kvs")]
        digits = len(self._key(0)) - len(self._prefix)
        return [
            (int(key[-digits:]), value)
            for key, value in found
            if re.fullmatch(re.escape(self._prefix).encode() + rb"\d{%d}" % digits, key)
        ]

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()

    def _key(self, number: int) -> bytes:
        return f"{self._prefix}{number:016d}".encode()


def _post(connection: http.client.HTTPConnection, path: str, packed: bytes) -> dict[str, Any]:
    """One request on one connection. Raises OSError, HTTPException, or ValueError for an answer that is none."""
    connection.request("POST", path, body=packed, headers={"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read(MAX_ANSWER_BYTES + 1)
    if len(text) > MAX_ANSWER_BYTES:
        raise ValueError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    answer = read_json(text, max_depth=16) if text else {}
    if not isinstance(answer, dict):
        raise ValueError("an answer that is no table")
    if response.status != http.client.OK:
        raise ValueError(f"status {response.status}: {_word(answer.get('error', ''))}")
    return answer


def _endpoint(url: str) -> _Endpoint:
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host or port is None or parts.path not in ("", "/"):
        raise UsageError(f"endpoint {url!r} must look like https://etcd.porto.example:2379")
    return _Endpoint(url, host, port, parts.scheme == "https")


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _pair(pair: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Key and value of one row of etcd; an empty value is left out by the gateway."""
    key, value = pair.get("key"), pair.get("value", "")
    if not isinstance(key, str) or not isinstance(value, str):
        raise LedgerUnreachable("etcd answers keys or values that are no text")
    try:
        return base64.b64decode(key, validate=True), base64.b64decode(value, validate=True)
    except ValueError:
        raise LedgerUnreachable("etcd answers keys or values that are not base64") from None


def _table(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = answer.get(name, {})
    return found if isinstance(found, dict) else {}


def _rows(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = answer.get(name, [])
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _word(value: object) -> str:
    """A foreign text, short and printable."""
    return "".join(letter for letter in str(value)[:200] if letter.isprintable())


def _number(value: object) -> int:
    try:
        return int(str(value)[:20])
    except ValueError:
        return 0


def _said(error: Exception) -> str:
    """Why a member did not answer, in one phrase."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({_word(error.reason or error)})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return _word(error) or type(error).__name__
