"""A site's book of privacy spending: data versions, and what each run has reserved or spent of them, round by round.

`DiskBook` is one SQLite file readable by its owner only, synced with every transaction; nothing is ever overwritten, a
newer line takes precedence over an older one of the same round. `MemoryBook` is the same seam for simulations. What the
lines mean, and whether another one may be added, is decided in `privacy/dp`.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cohortium.core.spending import DataVersion, Entry
from cohortium.swarm.store import written

__all__ = ["DiskBook", "MemoryBook"]

_WAIT_S = 60.0
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS versions (number INTEGER PRIMARY KEY, version BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY, entry BLOB NOT NULL)",
)
_ENCODER = msgspec.msgpack.Encoder()
_VERSION = msgspec.msgpack.Decoder(DataVersion)
_ENTRY = msgspec.msgpack.Decoder(Entry)

Place = tuple[str, str, int]


class MemoryBook:
    """A book in memory, handed from one life of a simulated node to the next."""

    def __init__(self) -> None:
        self._versions: list[DataVersion] = []
        self._entries: dict[Place, Entry] = {}
        self._lock = threading.Lock()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else reads or writes meanwhile; all that is written is kept, or nothing."""
        with self._lock:
            before = list(self._versions), dict(self._entries)
            try:
                yield
            except BaseException:
                self._versions, self._entries = before
                raise

    def versions(self) -> tuple[DataVersion, ...]:
        """All data versions, oldest first."""
        return tuple(self._versions)

    def add_version(self, version: DataVersion) -> None:
        """Keep a data version."""
        self._versions.append(version)

    def entries(self) -> tuple[Entry, ...]:
        """The newest state of every round."""
        return tuple(self._entries.values())

    def write(self, entry: Entry) -> None:
        """Keep an entry."""
        self._entries[_place(entry)] = entry

    def close(self) -> None:
        """Nothing to close."""


class DiskBook:
    """A book in a file, shared by all runs of a site. Writing raises StoreBroken where the disk does not take it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._rows = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=_WAIT_S)
        path.chmod(0o600)
        self._lock = threading.Lock()
        self._rows.execute("PRAGMA journal_mode = WAL")
        self._rows.execute("PRAGMA synchronous = FULL")
        for table in _SCHEMA:
            self._rows.execute(table)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nobody else, in this process or another, reads or writes meanwhile; one synced transaction."""
        with self._lock, written(self._path):
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._rows.execute("ROLLBACK")
                raise
            self._rows.execute("COMMIT")

    def versions(self) -> tuple[DataVersion, ...]:
        """All data versions, oldest first."""
        rows = self._rows.execute("SELECT version FROM versions ORDER BY number")
        return tuple(_VERSION.decode(row[0]) for row in rows)

    def add_version(self, version: DataVersion) -> None:
        """Keep a data version."""
        self._rows.execute("INSERT INTO versions (version) VALUES (?)", (_ENCODER.encode(version),))

    def entries(self) -> tuple[Entry, ...]:
        """The newest state of every round, in the order in which rounds were first written."""
        found: dict[Place, Entry] = {}
        for (raw,) in self._rows.execute("SELECT entry FROM entries ORDER BY number"):
            entry = _ENTRY.decode(raw)
            found[_place(entry)] = entry
        return tuple(found.values())

    def write(self, entry: Entry) -> None:
        """Keep an entry; older ones of its round stay in the file."""
        self._rows.execute("INSERT INTO entries (entry) VALUES (?)", (_ENCODER.encode(entry),))

    def close(self) -> None:
        """Close the file."""
        self._rows.close()


def _place(entry: Entry) -> Place:
    return entry.dataset, entry.run, entry.round
