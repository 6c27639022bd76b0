"""Secrets of a round on disk: sealed under a key of their own, and gone when that key is.

Deleting a file leaves its bytes on the disk until something else is written there. So what a guard must remember of a
round is written only under a key of 32 bytes, and the keys stand in one small table whose deleted rows SQLite
overwrites (`secure_delete`); the write-ahead log, where they stood too, is emptied at the same time. What a file
system, a disk or a backup keeps of overwritten blocks is beyond a program: that is what an encrypted disk is for.
"""

from __future__ import annotations

import os
import sqlite3

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

__all__ = ["Vault"]

_KEY, _NONCE = 32, 12
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS keys"
    " (run INTEGER NOT NULL, round INTEGER NOT NULL, key BLOB NOT NULL, PRIMARY KEY (run, round))"
)


class Vault:
    """Keys of rounds in a database that others use too; it seals and opens bytes, and does not care where they lie."""

    def __init__(self, rows: sqlite3.Connection) -> None:
        self._rows = rows
        rows.execute("PRAGMA secure_delete = ON")
        rows.execute(_SCHEMA)

    def seal(self, data: bytes, *, run: int, round: int) -> bytes:
        """The data under the round's key, which is drawn here if there is none yet."""
        key = self._key(run, round)
        if key is None:
            key = os.urandom(_KEY)
            self._rows.execute("INSERT INTO keys (run, round, key) VALUES (?, ?, ?)", (run, round, key))
        nonce = os.urandom(_NONCE)
        return nonce + ChaCha20Poly1305(key).encrypt(nonce, data, _name(run, round))

    def open(self, sealed: bytes, *, run: int, round: int) -> bytes | None:
        """What was sealed; None when the round's key is gone or the bytes were changed."""
        key = self._key(run, round)
        if key is None or len(sealed) < _NONCE:
            return None
        try:
            return ChaCha20Poly1305(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], _name(run, round))
        except InvalidTag:
            return None

    def burn(self, *, run: int, upto: int) -> None:
        """Destroy the keys of these rounds and all before them, in the table and in the write-ahead log."""
        self._rows.execute("DELETE FROM keys WHERE run = ? AND round <= ?", (run, upto))
        self._rows.execute(
            "PRAGMA wal_checkpoint(TRUNCATE)"
        ).fetchone()  # fails while others read; the next one is soon

    def _key(self, run: int, round: int) -> bytes | None:
        row = self._rows.execute("SELECT key FROM keys WHERE run = ? AND round = ?", (run, round)).fetchone()
        return None if row is None else bytes(row[0])


def _name(run: int, round: int) -> bytes:
    return f"cohortium-vault-1|{run}|{round}".encode()
