"""What a node must not forget: facts in order, payloads by digest. Written and synced before anybody is told.

`DiskStore` keeps facts in one SQLite file (write-ahead log, synchronous = full) and every payload in a file of
its own, written under a temporary name, synced and renamed, so that a reader sees all of it or nothing. Secrets of a
round are files too, but sealed (`vault.py`). A payload whose bytes no longer hash to its name counts as lost; what
cannot be written raises `StoreBroken`. `MemoryStore` is the same seam for simulations: what it holds survives the node,
not the process. Which facts mean what is the machine's business.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from cohortium.core.frames import Packed, blob_parts, decode_blob
from cohortium.errors import CohortiumError, FrameError
from cohortium.swarm.actions import Fact
from cohortium.swarm.vault import Vault

__all__ = ["DiskStore", "MemoryStore", "Store", "StoreBroken", "written"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class StoreBroken(CohortiumError):
    """A fact or a payload could not be written: nothing that follows from it may be said. `code` is for the peers."""

    def __init__(self, error: OSError) -> None:
        where = f"'{error.filename}'" if error.filename else "the store"
        super().__init__(f"{where} cannot be written: {error.strerror or type(error).__name__}", hint=_fix(error))
        self.code = "disk" if error.errno in _FULL else "path_readonly" if error.errno in _READ_ONLY else "error"


def _fix(error: OSError) -> str:
    if error.errno in _FULL:
        return "make room on that disk; the node goes on by itself"
    return "make that path writable for the node's user; the node goes on by itself"


class Store(Protocol):
    """Facts and payloads of one node. Every call is durable when it returns; what writes may raise StoreBroken."""

    def add(self, fact: Fact) -> None:
        """Keep a fact."""
        ...

    def facts(self, run: int) -> tuple[Fact, ...]:
        """All facts of a run, in the order they were added."""
        ...

    def put(self, payload: Packed) -> None:
        """Keep a payload under its digest."""
        ...

    def get(self, digest: bytes) -> Packed | None:
        """The payload, or None if it was never kept, was let go, or no longer hashes to its digest."""
        ...

    def let_go(self, digests: Iterable[bytes]) -> None:
        """Remove these payloads."""
        ...

    def hide(self, secret: Packed, *, run: int, round: int) -> None:
        """Keep secrets of a round under their digest, so that `burn` ends them."""
        ...

    def reveal(self, digest: bytes, *, run: int, round: int) -> Packed | None:
        """Secrets of a round, or None if they were never kept, or burnt."""
        ...

    def burn(self, *, run: int, upto: int) -> None:
        """Destroy the secrets of these rounds and all before them."""
        ...

    def close(self) -> None: ...


class MemoryStore:
    """A store in memory, handed from one life of a simulated node to the next."""

    def __init__(self) -> None:
        self._facts: list[Fact] = []
        self._payloads: dict[bytes, Packed] = {}
        self._secrets: dict[tuple[int, int], dict[bytes, Packed]] = {}

    def add(self, fact: Fact) -> None:
        """Keep a fact."""
        self._facts.append(fact)

    def facts(self, run: int) -> tuple[Fact, ...]:
        """All facts of a run, in the order they were added."""
        return tuple(fact for fact in self._facts if fact.run == run)

    def put(self, payload: Packed) -> None:
        """Keep a payload under its digest."""
        self._payloads[payload.digest] = payload

    def get(self, digest: bytes) -> Packed | None:
        """The payload, or None."""
        return self._payloads.get(digest)

    def let_go(self, digests: Iterable[bytes]) -> None:
        """Remove these payloads."""
        for digest in digests:
            self._payloads.pop(digest, None)

    def hide(self, secret: Packed, *, run: int, round: int) -> None:
        """Keep secrets of a round."""
        self._secrets.setdefault((run, round), {})[secret.digest] = secret

    def reveal(self, digest: bytes, *, run: int, round: int) -> Packed | None:
        """Secrets of a round, or None."""
        return self._secrets.get((run, round), {}).get(digest)

    def burn(self, *, run: int, upto: int) -> None:
        """Destroy the secrets of these rounds and all before them."""
        for place in [place for place in self._secrets if place[0] == run and place[1] <= upto]:
            del self._secrets[place]

    def close(self) -> None:
        """Nothing to close."""


_SCHEMA = "CREATE TABLE IF NOT EXISTS facts (number INTEGER PRIMARY KEY, run INTEGER NOT NULL, fact BLOB NOT NULL)"
_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Fact)


class DiskStore:
    """A store in a folder: `node.sqlite` and `blobs/ab/cdef...`; files are readable by their owner only."""

    def __init__(self, home: Path) -> None:
        self._blobs = home / "blobs"
        self._blobs.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path_of_facts = home / "node.sqlite"
        self._rows = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        path.chmod(0o600)
        self._rows.execute("PRAGMA journal_mode = WAL")
        self._rows.execute("PRAGMA synchronous = FULL")
        self._rows.execute(_SCHEMA)
        self._vault = Vault(self._rows)

    def add(self, fact: Fact) -> None:
        """Keep a fact; one synced transaction."""
        with written(self._path_of_facts):
            self._rows.execute("INSERT INTO facts (run, fact) VALUES (?, ?)", (fact.run, _ENCODER.encode(fact)))

    def facts(self, run: int) -> tuple[Fact, ...]:
        """All facts of a run, in the order they were added."""
        rows = self._rows.execute("SELECT fact FROM facts WHERE run = ? ORDER BY number", (run,))
        return tuple(_DECODER.decode(row[0]) for row in rows)

    def put(self, payload: Packed) -> None:
        """Keep a payload under its digest: temporary name, sync, rename, sync of the folder."""
        path = self._path(payload.digest)
        if not path.exists():
            _write(path, *blob_parts(payload))

    def get(self, digest: bytes) -> Packed | None:
        """The payload, hashed again while reading; None if it is not there or not what its name says."""
        path = self._path(digest)
        try:
            payload = decode_blob(path.read_bytes())
        except (FileNotFoundError, FrameError):
            return None
        return payload if payload.digest == digest else None

    def let_go(self, digests: Iterable[bytes]) -> None:
        """Remove these payloads."""
        for digest in digests:
            for path in (self._path(digest), self._sealed_path(digest)):
                with written(path):
                    path.unlink(missing_ok=True)

    def hide(self, secret: Packed, *, run: int, round: int) -> None:
        """Keep secrets of a round: nothing but sealed bytes is ever written of them."""
        path = self._sealed_path(secret.digest)
        if path.exists():
            return
        with written(self._path_of_facts):
            sealed = self._vault.seal(b"".join(blob_parts(secret)), run=run, round=round)
        _write(path, sealed)

    def reveal(self, digest: bytes, *, run: int, round: int) -> Packed | None:
        """Secrets of a round; None if they are not there, or their key is gone."""
        with contextlib.suppress(FileNotFoundError, FrameError):
            blob = self._vault.open(self._sealed_path(digest).read_bytes(), run=run, round=round)
            found = None if blob is None else decode_blob(blob)
            return found if found is not None and found.digest == digest else None
        return None

    def burn(self, *, run: int, upto: int) -> None:
        """Destroy the keys of these rounds' secrets and of all before them."""
        with written(self._path_of_facts):
            self._vault.burn(run=run, upto=upto)

    def close(self) -> None:
        """Close the file of facts."""
        self._rows.close()

    def _sealed_path(self, digest: bytes) -> Path:
        return self._path(digest).with_suffix(".sealed")

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._blobs / name[:2] / name[2:]


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Say what the system or SQLite refused as StoreBroken; a draft that was not finished is removed."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        if path.suffix == ".draft":
            with contextlib.suppress(OSError):
                path.unlink()
        raise StoreBroken(error) from error
    except sqlite3.OperationalError as error:
        number = _SQLITE.get(error.sqlite_errorcode & 0xFF, errno.EIO)
        raise StoreBroken(OSError(number, os.strerror(number), str(path))) from error


_SQLITE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
}


def _write(path: Path, *parts: bytes | memoryview) -> None:
    """All of it or nothing: a draft, synced, renamed, and the folder synced. Raises StoreBroken."""
    draft = path.with_suffix(f".{os.getpid()}.draft")
    with written(draft):
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _sync_folder(path.parent.parent)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
