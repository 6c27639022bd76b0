"""What binds a site to its scores before it has seen those of others: a Merkle root, and its own row of a table.

    leaf i  SHA-256(0 | salt_i | i | y_i | z_i)        node  SHA-256(1 | left | right), an odd one goes up as it is

The root of all records' scores is shown and stands on the ledger, with the site's signature, before the sums are opened
from which its evidence is computed. Later a drawn record can be proved to have had the score that was committed; salts
follow from the site's own key, so that nobody else can test a guess against the root. Both are made for the site's own
reviewer: a leaf never goes to a peer. Design: harmful-data.md 5.9 (a).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError

__all__ = ["ROOT_WORDS", "leaves", "own_rows", "path_of", "root_of", "root_words", "salts", "verify_path"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ROOT_WORDS = 8
"""A root as 32-bit numbers, which a table of integers carries."""

_SALT_BYTES = 16


def salts(secret: bytes, context: bytes, n: int) -> list[bytes]:
    """One salt a record, 16 bytes. secret: the site's own key; context: of the audit and its pass."""
    return [
        hmac.digest(secret, b"audit salt" + context + i.to_bytes(4, "big"), "sha256")[:_SALT_BYTES] for i in range(n)
    ]


def leaves(z: Floats, y: Floats, salted: Sequence[bytes]) -> list[bytes]:
    """The digests of a site's records, in the order of its rows. z: scores; y: labels, 0 or 1."""
    return [
        hashlib.sha256(b"\0" + salt + struct.pack("<IBd", i, int(y[i]), float(z[i]))).digest()
        for i, salt in enumerate(salted)
    ]


def root_of(digests: Sequence[bytes]) -> bytes:
    """The root of these leaves, 32 bytes; zeros where there are none."""
    level = list(digests) or [bytes(32)]
    while len(level) > 1:
        level = _up(level)
    return level[0]


def path_of(digests: Sequence[bytes], at: int) -> list[bytes]:
    """The neighbours that lead from leaf `at` to the root; empty bytes where there is none."""
    level, path = list(digests), []
    while len(level) > 1:
        beside = at ^ 1
        path.append(level[beside] if beside < len(level) else b"")
        level, at = _up(level), at // 2
    return path


def verify_path(leaf: bytes, at: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether this leaf stands at this place under the root."""
    for beside in path:
        if beside:
            leaf = _node(beside, leaf) if at % 2 else _node(leaf, beside)
        at //= 2
    return leaf == root


def root_words(root: bytes) -> Integers:
    """A root as eight whole numbers."""
    return np.frombuffer(root, dtype="<u4").astype(np.int64)


def own_rows(answers: Mapping[str, Parameters], name: str, *, sites: Sequence[str], width: int) -> dict[int, Integers]:
    """Of each site's answer its own row of the table `name`, by the site's place.

    Raises PeerError, naming the site, for other arrays, another shape, or numbers in the row of somebody else.
    """
    found = {}
    for site, answer in sorted(answers.items()):
        table, at = answer.get(name), sites.index(site) if site in sites else -1
        if at < 0 or table is None or set(answer) != {name}:
            raise PeerError(f"site '{site}' shows other arrays than '{name}'", site=site)
        if table.dtype != np.int64 or table.shape != (len(sites), width):
            raise PeerError(f"site '{site}' shows a table of another form", site=site)
        if np.delete(table, at, axis=0).any():
            raise PeerError(f"site '{site}' answers for another site", site=site)
        found[at] = np.asarray(table[at], dtype=np.int64)
    return found


def _up(level: Sequence[bytes]) -> list[bytes]:
    pairs = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return pairs + list(level[len(pairs) * 2 :])


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
