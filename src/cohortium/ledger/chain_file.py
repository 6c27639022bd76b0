"""The SQLite file of a chain: what the EVM keeps by key, and one row per block, written together or not at all.

One writer, one write transaction per block, WAL with `synchronous=FULL`: after a kill or a power cut
the file holds whole blocks only. The file is locked while it is open, and the lock dies with the
process, so a crash leaves nothing to clean up and a second process is told instead of tearing the
chain. What keys and rows mean is `replica.py`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from cohortium.errors import LedgerError, LedgerUnreachable

__all__ = ["IN_MEMORY", "ChainFile", "Kept", "Row", "connect", "is_laid", "together"]

IN_MEMORY: Final = Path(":memory:")
"""A chain without a file, for verification."""

FORMAT: Final = "cohortium-chain-1"
_SCHEMA: Final = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE nodes (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE blocks (height INTEGER PRIMARY KEY, header BLOB NOT NULL, raw BLOB NOT NULL, "
    "ok INTEGER NOT NULL, reason TEXT NOT NULL, logs BLOB NOT NULL)",
    "CREATE TABLE entries (height INTEGER PRIMARY KEY, number INTEGER NOT NULL, sender BLOB NOT NULL, "
    "claimed_s INTEGER NOT NULL, signature BLOB NOT NULL)",
)


class Row(NamedTuple):
    """One block as stored. logs: RLP of [[topics, data], ...]."""

    header: bytes
    raw: bytes
    ok: bool
    reason: str
    logs: bytes


class Kept(NamedTuple):
    """The entry of a shared log that became a block: its number there, who sent it, when by his clock."""

    number: int
    sender: bytes
    claimed_s: int
    signature: bytes


class ChainFile:
    """An open chain file. Used by one thread at a time; the engine holds the lock."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def create(cls, path: Path) -> ChainFile:
        """A file to be filled by `lay`. Raises LedgerError when a chain was laid there already.

        What a killed founding leaves behind is an empty database, which is used again.
        """
        chain = cls(path, connect(path))
        try:
            tables = chain._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        except sqlite3.DatabaseError:
            tables = -1
        if tables:
            chain.close()
            raise LedgerError(f"{path} exists already", hint="a chain is founded once: open it, or choose another path")
        return chain

    @classmethod
    def open(cls, path: Path) -> ChainFile:
        """An existing file. Raises LedgerError when it is none, LedgerUnreachable when another process has it."""
        if not path.is_file():
            raise LedgerError(f"{path}: no such chain file")
        chain = cls(path, connect(path))
        try:
            found = chain._db.execute("SELECT value FROM about WHERE name = 'format'").fetchone()
        except sqlite3.DatabaseError:
            found = None
        if found != (FORMAT,):
            chain.close()
            raise LedgerError(f"{path} is not a chain file of the form {FORMAT}")
        return chain

    def lay(self, genesis: str) -> None:
        """Make the tables and keep the genesis text; inside `block()`, together with the first block."""
        for statement in _SCHEMA:
            self._db.execute(statement)
        self._db.executemany("INSERT INTO about VALUES (?, ?)", [("format", FORMAT), ("genesis", genesis)])

    @contextmanager
    def block(self) -> Iterator[None]:
        """One write transaction: everything inside is kept, or nothing. Raises LedgerUnreachable on a full disk."""
        with together(self._db, self.path):
            yield

    def genesis(self) -> str:
        """The text given to `lay`."""
        return str(self._db.execute("SELECT value FROM about WHERE name = 'genesis'").fetchone()[0])

    def read(self, key: bytes) -> bytes | None:
        """The value of a key, None where there is none."""
        found = self._db.execute("SELECT value FROM nodes WHERE key = ?", (key,)).fetchone()
        return None if found is None else bytes(found[0])

    def write(self, key: bytes, value: bytes) -> None:
        """Keep a value; inside `block()`."""
        self._db.execute("INSERT OR REPLACE INTO nodes VALUES (?, ?)", (key, value))

    def delete(self, key: bytes) -> None:
        """Forget a key; inside `block()`."""
        self._db.execute("DELETE FROM nodes WHERE key = ?", (key,))

    def append(self, height: int, row: Row) -> None:
        """Keep a block; inside `block()`. A height is written once."""
        self._db.execute("INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?)", (height, *row))

    def keep(self, height: int, entry: Kept) -> None:
        """Remember which entry became a block; inside its `block()`."""
        self._db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", (height, *entry))

    def kept(self, from_height: int = 0, *, n: int | None = None) -> dict[int, Kept]:
        """The entries of at most n blocks from a height on, by height."""
        query = "SELECT * FROM entries WHERE height >= ? ORDER BY height LIMIT ?"
        found = self._db.execute(query, (from_height, -1 if n is None else n))
        return {height: Kept(*entry) for height, *entry in found}

    def newest_kept(self) -> list[Kept]:
        """Each sender's newest entry, the newest of all last."""
        query = "SELECT number, sender, claimed_s, signature, MAX(height) FROM entries GROUP BY sender ORDER BY 5"
        return [Kept(*found[:4]) for found in self._db.execute(query)]

    def rows(self, from_height: int = 0, *, n: int | None = None) -> list[tuple[int, Row]]:
        """At most n blocks from a height on, in order."""
        query = "SELECT * FROM blocks WHERE height >= ? ORDER BY height LIMIT ?"
        found = self._db.execute(query, (from_height, -1 if n is None else n))
        return [(height, Row(header, raw, bool(ok), reason, logs)) for height, header, raw, ok, reason, logs in found]

    def row(self, height: int) -> Row | None:
        """The block at a height, None where there is none."""
        found = self._db.execute("SELECT header, raw, ok, reason, logs FROM blocks WHERE height = ?", (height,))
        return None if (one := found.fetchone()) is None else Row(one[0], one[1], bool(one[2]), one[3], one[4])

    def height_of(self, raw: bytes) -> int | None:
        """The block that holds this transaction, None where there is none."""
        found = self._db.execute("SELECT height FROM blocks WHERE raw = ?", (raw,)).fetchone()
        return None if found is None else int(found[0])

    def close(self) -> None:
        """Let the file go. Closing twice is no error."""
        self._db.close()


@contextmanager
def together(db: sqlite3.Connection, path: Path) -> Iterator[None]:
    """One write transaction: everything inside is kept, or nothing. Raises LedgerUnreachable on a full disk."""
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("COMMIT")
    except BaseException as error:
        if db.in_transaction:
            db.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError):
            raise LedgerUnreachable(f"{path} cannot be written: {error}") from error
        raise


def is_laid(path: Path) -> bool:
    """Whether a founding was completed in this file; a killed one leaves none, or an empty database."""
    if not path.is_file():
        return False
    with contextlib.closing(connect(path)) as db:
        return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def connect(path: Path) -> sqlite3.Connection:
    """An open database that this process alone may use; every write is on disk when it is done.

    Raises LedgerUnreachable when another process has it or it cannot be opened, LedgerError when it is none.
    """
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=0.2, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise LedgerUnreachable(f"{path} cannot be opened: {error}") from error
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")  # takes the lock now, not at the first block
        db.execute("COMMIT")
    except sqlite3.OperationalError as error:
        db.close()
        if "locked" in str(error):
            raise LedgerUnreachable(
                f"{path} is held by another process", hint="one node hosts a chain; stop the other one first"
            ) from None
        raise LedgerUnreachable(f"{path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        db.close()
        raise LedgerError(f"{path} is not a chain file: {error}") from error
    return db
