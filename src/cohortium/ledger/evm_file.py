"""What a site keeps of an outside chain: the calls of its contract, and how far the chain was followed.

One SQLite file, one writer, one write transaction for each stretch of blocks: after a kill it ends at a block. What is
not ours in the blocks is not kept. Which calls these are and what they did, `evm_rpc.py` says.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cohortium.core.seams import Head
from cohortium.errors import LedgerError
from cohortium.ledger.chain_file import connect, together

__all__ = ["EvmFile", "KeptCall"]

FORMAT: Final = "cohortium-evm-1"
_RECENT: Final = 1024
_SCHEMA: Final = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE heads (height INTEGER PRIMARY KEY, hash BLOB NOT NULL, state_root BLOB NOT NULL)",
    "CREATE TABLE calls (height INTEGER NOT NULL, position INTEGER NOT NULL, block BLOB NOT NULL, "
    "time INTEGER NOT NULL, digest BLOB NOT NULL, raw BLOB NOT NULL, ok INTEGER NOT NULL, "
    "reason TEXT NOT NULL, logs BLOB NOT NULL, PRIMARY KEY (height, position)) WITHOUT ROWID",
    "CREATE INDEX by_digest ON calls (digest)",
)


class KeptCall(NamedTuple):
    """One transaction that concerned the contract.

    position: in its block; block, time: that block's hash and time; digest: the transaction's hash; raw: empty where
    it cannot be spelled out; logs: RLP of [[topics, data], ...].
    """

    height: int
    position: int
    block: bytes
    time: int
    digest: bytes
    raw: bytes
    ok: bool
    reason: str
    logs: bytes


class EvmFile:
    """An open file; the engine holds the lock."""

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path = path
        self._db = database

    @classmethod
    def create(cls, path: Path, genesis: str, calls: Sequence[KeptCall], head: Head) -> EvmFile:
        """A new file that begins with the deployment's block. Raises LedgerError when the file holds something."""
        file = cls(path, connect(path))
        if file._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            file.close()
            raise LedgerError(f"{path} exists already", hint="a chain is founded once: open it, or choose another path")
        with together(file._db, path):
            for statement in _SCHEMA:
                file._db.execute(statement)
            file._db.executemany("INSERT INTO about VALUES (?, ?)", [("format", FORMAT), ("genesis", genesis)])
            file._insert(calls, [head])
        return file

    @classmethod
    def open(cls, path: Path) -> EvmFile:
        """An existing file. Raises LedgerError when it is none, LedgerUnreachable when another process has it."""
        if not path.is_file():
            raise LedgerError(f"{path}: no such chain file")
        file = cls(path, connect(path))
        try:
            found = file._db.execute("SELECT value FROM about WHERE name = 'format'").fetchone()
            whole = found == (FORMAT,) and file._db.execute("SELECT count(*) FROM heads").fetchone()[0]
        except sqlite3.DatabaseError:
            whole = False
        if not whole:
            file.close()
            raise LedgerError(f"{path} is not a chain file of the form {FORMAT}")
        return file

    def genesis(self) -> str:
        """The text given to `create`."""
        return str(self._db.execute("SELECT value FROM about WHERE name = 'genesis'").fetchone()[0])

    def head(self) -> Head:
        """The newest block that was followed."""
        found = self._db.execute("SELECT height, hash, state_root FROM heads ORDER BY height DESC LIMIT 1").fetchone()
        return Head(*found)

    def hash_at(self, height: int) -> bytes | None:
        """The hash of a block that is among the newest or holds a call; None for any other."""
        found = self._db.execute("SELECT hash FROM heads WHERE height = ?", (height,)).fetchone()
        if found is None:
            found = self._db.execute("SELECT block FROM calls WHERE height = ?", (height,)).fetchone()
        return None if found is None else bytes(found[0])

    def append(self, calls: Sequence[KeptCall], heads: Sequence[Head]) -> None:
        """Keep a stretch of blocks and the calls in it, all or nothing."""
        with together(self._db, self.path):
            self._insert(calls, heads)
            self._db.execute("DELETE FROM heads WHERE height <= ?", (heads[-1].height - _RECENT,))

    def calls(self, from_height: int = 0) -> list[KeptCall]:
        """The calls from a height on, in order."""
        query = "SELECT * FROM calls WHERE height >= ? ORDER BY height, position"
        return [_call(found) for found in self._db.execute(query, (from_height,))]

    def call_of(self, digest: bytes) -> KeptCall | None:
        """The call with this transaction hash, None where there is none."""
        found = self._db.execute("SELECT * FROM calls WHERE digest = ?", (digest,)).fetchone()
        return None if found is None else _call(found)

    def close(self) -> None:
        """Let the file go. Closing twice is no error."""
        self._db.close()

    def _insert(self, calls: Sequence[KeptCall], heads: Sequence[Head]) -> None:
        self._db.executemany("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", calls)
        self._db.executemany(
            "INSERT INTO heads VALUES (?, ?, ?)", [(head.height, head.hash, head.state_root) for head in heads]
        )


def _call(found: tuple[int, int, bytes, int, bytes, bytes, int, str, bytes]) -> KeptCall:
    return KeptCall(*found[:6], bool(found[6]), *found[7:])
