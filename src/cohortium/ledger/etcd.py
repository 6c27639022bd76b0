"""An etcd cluster over its HTTP/JSON gateway: a log of numbered entries, and how its members are.

    client = EtcdClient(["https://etcd.porto.example:2379", ...], tls=ClientTls(ca=..., certificate=..., key=...))
    log = EtcdLog(client, name="3f2a...")
    log.append(17, entry)    -> None, or what stands there instead
    log.read(16, n=64)       -> [(16, ...), (17, ...)]

No client library: three calls of etcd's v3 API (`kv/range`, `kv/txn`, `maintenance/status`) as JSON. Reads are
linearizable, so they see every acknowledged append. That an append was not answered does not mean that it was not done:
an entry of the same bytes under its number counts as done, which makes repeating it safe.

The cluster's own certificates must allow both ends (extended key usage serverAuth and clientAuth), because etcd's
gateway calls its own server. Source: etcd 3.4 API reference.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cohortium.errors import LedgerUnreachable
from cohortium.ledger.http_json import ClientTls, HttpJson, printable

__all__ = ["EtcdClient", "EtcdLog", "EtcdMember"]


@dataclass(frozen=True, kw_only=True)
class EtcdMember:
    """What one member says of itself. trouble: why it did not; the other fields are then empty."""

    endpoint: str
    version: str = ""
    member: str = ""
    leader: str = ""
    size_bytes: int = 0
    trouble: str = ""


class EtcdClient:
    """One site's way to the cluster; for one thread at a time. deadline_s: of a call; attempt_s: at one member."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: ClientTls | None = None,
        deadline_s: float = 15.0,
        attempt_s: float = 2.0,
    ) -> None:
        self._http = HttpJson("etcd", endpoints, tls=tls, deadline_s=deadline_s, attempt_s=attempt_s)

    def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What the first member that can says. Raises LedgerUnreachable with each member's trouble."""
        answer = self._http.post(path, body)
        if not isinstance(answer, dict):
            raise LedgerUnreachable("etcd answers what is no table")
        return answer

    def members(self) -> list[EtcdMember]:
        """What each endpoint says of itself, in the order given; one attempt each."""
        return [
            EtcdMember(
                endpoint=endpoint,
                version=printable(status.get("version", "")),
                member=printable(_table(status, "header").get("member_id", "")),
                leader=printable(status.get("leader", "")),
                size_bytes=_number(status.get("dbSize", 0)),
            )
            if isinstance(status, dict)
            else EtcdMember(endpoint=endpoint, trouble=trouble or "its answer is no table")
            for endpoint, status, trouble in self._http.post_each("/v3/maintenance/status", {})
        ]

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()


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


def _number(value: object) -> int:
    try:
        return int(str(value)[:20])
    except ValueError:
        return 0
