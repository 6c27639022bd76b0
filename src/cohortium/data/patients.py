"""Patient keys: who is the same patient, without the identifier. Keys and secret never leave the site.

A key is the first 16 bytes of HMAC-SHA256 under the site's secret. Hashes under a key that sites share
could be reversed by trying all numbers, so that is not offered (clinical-learning.md 1.4).
"""

from __future__ import annotations

import hmac
import unicodedata

import numpy as np
from numpy.typing import NDArray

__all__ = ["KEY_BYTES", "Keys", "content_keys", "identifier_keys", "patient_index"]

KEY_BYTES = 16
REPEATS_BY_CHANCE = 0.05
"""Above this share of repeated rows, equal rows say nothing about being the same patient."""

Keys = tuple[bytes, ...]


def identifier_keys(identifiers: NDArray[np.str_], secret: bytes) -> Keys:
    """One key per row from the patient identifier, written alike (NFKC, upper case, no outer blanks)."""
    memory: dict[str, bytes] = {}
    for text in identifiers.tolist():
        if text not in memory:
            memory[text] = _key(secret, b"patient", unicodedata.normalize("NFKC", text).upper().strip().encode())
    return tuple(memory[text] for text in identifiers.tolist())


def content_keys(rows: NDArray[np.uint8], secret: bytes) -> Keys:
    """One key per row where no identifier is given, from the row's own features, shape (n, bytes).

    Equal rows share a key, so they stay in one part. Where more than 5 % of the rows repeat another (a few
    flags, say), equal rows are different patients and every repeat gets a key of its own.
    """
    plain = [_key(secret, b"row", row.tobytes()) for row in rows]
    if len(plain) - len(set(plain)) <= REPEATS_BY_CHANCE * len(plain):
        return tuple(plain)
    seen: dict[bytes, int] = {}
    keys = []
    for key in plain:
        again = seen.get(key, 0)
        seen[key] = again + 1
        keys.append(key if again == 0 else _key(secret, b"repeat", key + again.to_bytes(8, "big")))
    return tuple(keys)


def patient_index(keys: Keys) -> NDArray[np.int64]:
    """0, 1, 2, ... per row, equal for rows of one patient, in order of first appearance."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _key(secret: bytes, use: bytes, content: bytes) -> bytes:
    return hmac.digest(secret, use + b"\x00" + content, "sha256")[:KEY_BYTES]
