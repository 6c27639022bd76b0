"""Preflight of the ledger: fast signatures, the embedded EVM, and a place where a chain can live.

    ledger_checks(engine="local", path=home / "chain.sqlite") -> [Check, ...]

Collected by `assembly`, shown by `doctor`, and run by a node before it says `ready`. A check looks and
reports; it raises nothing and changes nothing but a probe file that it removes again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cohortium.core.check import Check
from cohortium.errors import LedgerError, LedgerUnreachable, UsageError
from cohortium.ledger.etcd import EtcdClient, EtcdMember
from cohortium.ledger.http_json import ClientTls
from cohortium.ledger.interface import consortium
from cohortium.ledger.json_rpc import JsonRpc

__all__ = [
    "check_chain",
    "check_coincurve",
    "check_etcd",
    "check_evm",
    "check_file_system",
    "check_rpc",
    "ledger_checks",
]

_PROBE: Final = ".cohortium-wal-probe"
_MOST_OF_ETCD: Final = 1536 << 20
_MENDING: Final = {
    "local": "put back a copy of it: that of any other member is the same chain; who does not host moves it away and "
    "starts, and it is read again from the host",
    "replicated": "move it away and start: the chain is read again from etcd",
    "evm-rpc": "move it away and start: the calls are read again from the chain",
}


def ledger_checks(*, engine: str, path: Path | None = None, n_institutions: int = 1) -> list[Check]:
    """All checks that concern an engine. path: of the chain file, where the engine has one."""
    found = [check_coincurve()]
    if engine not in ("memory", "evm-rpc"):
        found.append(check_evm())
    if path is not None:
        found += [check_file_system(path), check_chain(path, engine=engine)]
    if engine == "local" and n_institutions > 1:
        found.append(
            Check(
                id="ledger-host",
                level="warn",
                found=f"{n_institutions} institutions rely on engine 'local', whose one host can stop the chain",
                fix="use it for a trial; deploy on an engine without a single host",
            )
        )
    return found


def check_coincurve() -> Check:
    """Whether signatures are native; pure Python is a hundred times slower."""
    try:
        return Check(id="coincurve", level="ok", found=f"coincurve {version('coincurve')}")
    except PackageNotFoundError:
        return Check(
            id="coincurve", level="fail", found="coincurve is not installed", fix="pip install 'coincurve>=20,<22'"
        )


def check_evm() -> Check:
    """Whether the contract can be run."""
    if find_spec("eth") is None:
        return Check(id="evm", level="fail", found="py-evm is not installed", fix="pip install 'cohortium[evm]'")
    return Check(id="evm", level="ok", found=f"py-evm {version('py-evm')}")


def check_file_system(path: Path) -> Check:
    """Whether the folder takes an SQLite file with a write-ahead log (network file systems often do not)."""
    probe = path.parent / _PROBE
    try:
        with contextlib.closing(sqlite3.connect(probe)) as db:
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
            db.execute("CREATE TABLE probe (x)")
    except sqlite3.Error as error:
        return Check(
            id="chain-folder",
            level="fail",
            found=f"{path.parent} takes no database: {error}",
            fix="choose a folder that exists and can be written",
        )
    finally:
        for name in (_PROBE, f"{_PROBE}-wal", f"{_PROBE}-shm"):
            with contextlib.suppress(OSError):
                (path.parent / name).unlink()
    if mode != "wal":
        return Check(
            id="chain-folder",
            level="fail",
            found=f"{path.parent} takes no write-ahead log (mode {mode})",
            fix="keep the chain on a local disk",
        )
    return Check(id="chain-folder", level="ok", found=f"{path.parent} takes a write-ahead log")


def check_chain(path: Path, *, engine: str = "local") -> Check:
    """Whether the chain file, if there is one, opens at a head that fits its blocks and runs the code shipped here."""
    if not path.exists():
        return Check(id="chain", level="ok", found=f"{path}: not founded yet")
    if find_spec("eth") is None and engine != "evm-rpc":
        return Check(id="chain", level="skipped", found="not opened: py-evm is not installed")
    try:
        return _check_outside(path) if engine == "evm-rpc" else _check_replica(path)
    except LedgerUnreachable as error:
        return Check(id="chain", level="fail", found=str(error), fix=error.hint or "see the folder and the disk")
    except LedgerError as error:
        return Check(id="chain", level="fail", found=str(error), fix=_MENDING.get(engine, error.hint))


def _check_replica(path: Path) -> Check:
    from cohortium.ledger.replica import Replica

    with contextlib.closing(Replica.open(path)) as replica:
        code = consortium().code_hash.hex()[:16]
        return Check(id="chain", level="ok", found=f"{path}: height {replica.head().height}, contract {code}")


def _check_outside(path: Path) -> Check:
    from cohortium.ledger.evm_rpc import EvmRpcLedger

    nowhere = ["http://127.0.0.1:9"]  # nothing is asked
    with contextlib.closing(EvmRpcLedger.open(path, clock=time.time, endpoints=nowhere)) as ledger:
        if ledger.unfollowed:
            found = f"outcomes on the chain are no longer checked against the rules: {ledger.unfollowed}"
            fix = "find out which member sent it; the chain itself and its events are followed on"
            return Check(id="chain", level="warn", found=found, fix=fix)
        return Check(id="chain", level="ok", found=f"{path}: followed to block {ledger.head().height}")


def check_etcd(endpoints: Sequence[str], *, tls: ClientTls | None = None, attempt_s: float = 2.0) -> Check:
    """Whether a majority of the etcd members answers, under one leader. One attempt each, side effects none."""
    try:
        with contextlib.closing(EtcdClient(endpoints, tls=tls, attempt_s=attempt_s)) as client:
            return _judged(client.members())
    except UsageError as error:
        fix = "correct endpoints, authority, certificate and key in [ledger] of node.toml"
        return Check(id="etcd", level="fail", found=str(error), fix=fix)


def check_rpc(
    endpoints: Sequence[str], *, chain_id: int, tls: ClientTls | None = None, attempt_s: float = 2.0
) -> Check:
    """Whether the nodes of an EVM chain answer, and for the consortium's chain. One attempt each."""
    try:
        with contextlib.closing(JsonRpc(endpoints, tls=tls, attempt_s=attempt_s)) as rpc:
            told = rpc.chains()
    except UsageError as error:
        fix = "correct endpoints, authority, certificate and key in [ledger] of node.toml"
        return Check(id="chain-node", level="fail", found=str(error), fix=fix)
    other = [f"{url} is of chain {chain}" for url, chain, trouble in told if not trouble and chain != chain_id]
    if other:
        found = f"{'; '.join(other)}; the consortium is on chain {chain_id}"
        return Check(id="chain-node", level="fail", found=found, fix="correct endpoints in [ledger] of node.toml")
    away = [f"{url}: {trouble}" for url, _, trouble in told if trouble]
    if away:
        found = f"{len(told) - len(away)} of {len(told)} chain nodes answer ({'; '.join(away)})"
        fix = "start the chain node there, or correct endpoints in [ledger] of node.toml"
        return Check(id="chain-node", level="fail" if len(away) == len(told) else "warn", found=found, fix=fix)
    return Check(id="chain-node", level="ok", found=f"{len(told)} chain nodes answer, for chain {chain_id}")


def _judged(members: Sequence[EtcdMember]) -> Check:
    away = [f"{one.endpoint}: {one.trouble}" for one in members if one.trouble]
    here = [one for one in members if not one.trouble]
    leaders = {one.leader for one in here if one.leader not in ("", "0")}
    fix = "start etcd there, or ask that site; two of three members are enough, one is not"
    if len(here) <= len(members) / 2 or not leaders:
        why = "; ".join(away) or "no leader is elected"
        found = f"{len(here)} of {len(members)} etcd members answer, no transaction can be ordered ({why})"
        return Check(id="etcd", level="fail", found=found, fix=fix)
    if away:
        found = f"{len(here)} of {len(members)} etcd members answer ({'; '.join(away)})"
        return Check(id="etcd", level="warn", found=found, fix=fix)
    if len(leaders) > 1:
        found = "the endpoints belong to different etcd clusters: they name different leaders"
        return Check(id="etcd", level="fail", found=found, fix="name members of one cluster in [ledger] of node.toml")
    if (size := max(one.size_bytes for one in members)) > _MOST_OF_ETCD:
        found = f"the database of etcd has {size >> 20} MiB; at 2 GiB it takes nothing more"
        fix = "compact and defragment it, or raise --quota-backend-bytes: docs/how-to/etcd.md"
        return Check(id="etcd", level="warn", found=found, fix=fix)
    if open_doors := [one.endpoint for one in members if _is_open(one.endpoint)]:
        found = f"{', '.join(open_doors)} is reached without TLS: whoever is on that network can write to the log"
        return Check(id="etcd", level="warn", found=found, fix="docs/how-to/etcd.md has the certificates")
    if len(members) < 3:
        found = f"only {len(members)} etcd endpoints are named; when they are away nothing can be ordered"
        fix = "name three or more members in endpoints, [ledger] of node.toml"
        return Check(id="etcd", level="warn", found=found, fix=fix)
    versions = ", ".join(sorted({one.version for one in members}))
    return Check(
        id="etcd", level="ok", found=f"{len(members)} etcd members answer under one leader, version {versions}"
    )


def _is_open(endpoint: str) -> bool:
    """Whether it is reached in the clear over a network."""
    parts = urlsplit(endpoint)
    return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")
