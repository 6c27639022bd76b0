"""Copies: the same patient twice, inside a site or at two, found by keyed hashes of coarse projections.

Theory of operation. A record is brought to row mean 0 and length 1, the published mean of such rows is taken off, and
it is projected on 32 x 16 random directions; the signs give 32 bands of 16 bits, and a band's token is a 6-byte HMAC
of its number and bits. Records of which at least 4 bands agree are near-copies. What a site publishes are sets of the
tokens of up to 128 of its records, so bands of one record are not linked; the others count how many of a record's own
bands are in one set. There 6 are needed: strangers have hardly 4, near-copies nearly always 6. Records without spread
(blank images, rows in which everything is missing) have zeros for tokens: two of them are no copies.

Directions and HMAC are keyed by a secret of at least 16 bytes that the sites make together (`gate_copies_stage`):
without it a known patient cannot be looked up. Whoever holds it, and every site does, can. The check has no privacy
guarantee: it runs only when the study says so, and never beside differential privacy. It is for images and other
records of at least 64 values: seven columns of a table leave so few signs that strangers agree (on 1,410 people 94 of
100 alarms were false).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.check import Check
from cohortium.errors import UsageError

__all__ = [
    "BANDS",
    "BITS",
    "LEAST_VALUES",
    "MOST_VALUES",
    "SET_RECORDS",
    "CopyTokens",
    "Found",
    "check_copies",
    "different",
    "directions",
    "found_elsewhere",
    "found_inside",
    "known_elsewhere",
    "near_copies",
    "standardised",
    "tokens",
]

Floats = NDArray[np.float64]
Tokens = NDArray[np.uint64]
Marks = NDArray[np.int8]

BANDS, BITS = 32, 16
LEAST_VALUES, MOST_VALUES = 64, 1 << 16
"""Of a record that can be told apart, and whose projection fits into memory."""

SET_RECORDS = 128
"""Most records of which the tokens are published in one set."""

_AGREE, _AGREE_WITH_SET = 4, 6
_LEAST_SECRET = 16
_NO_SPREAD = 1e-9  # of the largest value: what rounding leaves of a row of one value
_ALIKE, _ACROSS = 1, 2


@dataclass(frozen=True, kw_only=True, eq=False)
class CopyTokens:
    """The tokens of a site: rows (n, 32), one a training and one a held-out record. They stay there."""

    training: Tokens
    held_out: Tokens


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """A mark a record, of a site's own rows: 1 it has a near-copy in the same part, 2 in the other one, 3 in both."""

    training: Marks
    held_out: Marks


def standardised(x: NDArray[np.floating]) -> Floats:
    """Rows (n, d) of mean 0 and length 1; rows of one value become zeros, whatever rounding makes of their mean."""
    rows: Floats = x.reshape(len(x), int(np.prod(x.shape[1:]))).astype(np.float64)
    spread = np.ptp(rows, axis=1) > _NO_SPREAD * np.abs(rows).max(axis=1, initial=0.0)
    rows = (rows - rows.mean(axis=1, keepdims=True)) * spread[:, None]
    length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    np.divide(rows, length, out=rows, where=length > 0)
    return rows


def directions(secret: bytes, *, n_features: int) -> Floats:
    """The 512 random directions (n_features, 512) that belong to a secret."""
    _check_secret(secret)
    seed = np.frombuffer(hmac.digest(secret, b"cohortium-copies-directions-1", "sha256"), dtype=np.uint32)
    return np.random.default_rng(seed).normal(size=(n_features, BANDS * BITS))


def tokens(x: NDArray[np.floating], *, mean: Floats, secret: bytes) -> Tokens:
    """(n, 32) tokens of the records (n, d), rows in the order given; zeros for a record without spread.

    mean: (d,), published: the mean of `standardised` rows over all sites. Raises UsageError for a secret below 16
    bytes and for records of fewer than 64 values, or more than 65,536.
    """
    rows = standardised(x)
    if not LEAST_VALUES <= rows.shape[1] <= MOST_VALUES:
        limits = f"at least {LEAST_VALUES} values and at most {MOST_VALUES}"
        raise UsageError(f"the copies check needs records of {limits}, got {rows.shape[1]}")
    spread = np.flatnonzero(rows.any(axis=1))
    bits = ((rows - mean) @ directions(secret, n_features=rows.shape[1]) > 0).reshape(len(rows), BANDS, BITS)
    words = np.packbits(bits, axis=2)
    found = np.zeros((len(rows), BANDS), dtype=np.uint64)
    known: dict[bytes, int] = {}
    for at in spread.tolist():
        for band in range(BANDS):
            said = bytes([band]) + words[at, band].tobytes()
            if said not in known:
                known[said] = int.from_bytes(hmac.digest(secret, said, hashlib.sha256)[:6], "big")
            found[at, band] = known[said]
    return found


def known_elsewhere(own: Tokens, published: Tokens) -> NDArray[np.bool_]:
    """(n,) whether at least 6 bands of a row are in a set that another site has published."""
    known = np.isin(own, published) & (own > 0)
    return np.asarray(known.sum(axis=1) >= _AGREE_WITH_SET, dtype=np.bool_)


def different(own: Tokens, *, most: int) -> NDArray[np.int64]:
    """Places of at most so many rows of which none is a near-copy of one before it; records without spread are none."""
    kept = np.zeros((min(most, len(own)), BANDS), dtype=np.uint64)
    places: list[int] = []
    for at in np.flatnonzero(own.any(axis=1)).tolist():
        if len(places) == len(kept):
            break
        if not ((kept[: len(places)] == own[at]).sum(axis=1) >= _AGREE).any():
            kept[len(places)] = own[at]
            places.append(at)
    return np.array(places, dtype=np.int64)


def near_copies(own: Tokens, others: Tokens, *, same: bool = False) -> NDArray[np.int64]:
    """Pairs (m, 2) of rows of which at least 4 bands agree. same: both are one table, each pair once, no self-pairs."""
    count = np.zeros((len(own), len(others)), dtype=np.int16)
    for band in range(BANDS):
        count += (own[:, band, None] == others[None, :, band]) & (own[:, band, None] > 0)
    if same:
        count = np.triu(count, k=1)
    return np.argwhere(count >= _AGREE).astype(np.int64)


def found_inside(own: CopyTokens) -> Found:
    """Which rows have a near-copy in the site's own table; of two in one part the later one."""
    training, held_out = _unmarked(own)
    training[near_copies(own.training, own.training, same=True)[:, 1]] |= _ALIKE
    held_out[near_copies(own.held_out, own.held_out, same=True)[:, 1]] |= _ALIKE
    across = near_copies(own.training, own.held_out)
    training[across[:, 0]] |= _ACROSS
    held_out[across[:, 1]] |= _ACROSS
    return Found(training=training, held_out=held_out)


def found_elsewhere(own: CopyTokens, others: Iterable[tuple[Sequence[Tokens], Sequence[Tokens]]]) -> Found:
    """Which rows have a near-copy at another site. others: each one's sets, of training and of held-out records."""
    training, held_out = _unmarked(own)
    for theirs in others:
        for mine, marks, at in ((own.training, training, 0), (own.held_out, held_out, 1)):
            for place, sets in enumerate(theirs):
                for one in sets:
                    marks[known_elsewhere(mine, one)] |= _ALIKE if place == at else _ACROSS
    return Found(training=training, held_out=held_out)


def check_copies(found: Found, *, where: str) -> list[Check]:
    """What a site says of its own rows, for its own eyes. where: `inside the site` or `at other sites`.

    A copy between training and held-out records, wherever it lies, is a fail.
    """
    checks = []
    if any((marks & _ACROSS).any() for marks in (found.training, found.held_out)):
        what = f"near-copies of records here lie {where} in the other part: training against held-out"
        checks.append(Check(id="copies", level="fail", found=what, fix="give each patient to one part"))
    if any((marks & _ALIKE).any() for marks in (found.training, found.held_out)):
        what = f"records here have a near-copy {where}"
        checks.append(Check(id="copies", level="warn", found=what, fix="compare the patients of such records"))
    return checks or [Check(id="copies", level="ok", found=f"no record has a near-copy {where}")]


def _unmarked(own: CopyTokens) -> tuple[Marks, Marks]:
    return np.zeros(len(own.training), dtype=np.int8), np.zeros(len(own.held_out), dtype=np.int8)


def _check_secret(secret: bytes) -> None:
    if len(secret) < _LEAST_SECRET:
        raise UsageError(f"the secret of the copies check needs at least {_LEAST_SECRET} bytes, got {len(secret)}")
