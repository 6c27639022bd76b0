"""Rows and images that occur twice: equal feature rows, and images that differ by next to nothing.

Images are compared by difference hash: 8 x 9 block means, one bit for each of 64 left-right steps. A
distance of at most 3 bits only nominates a pair: on 28 x 28 chest X-rays 12,000 pairs of different
patients are that near. Pixels decide, by a correlation of at least 0.98 (the 31 exact copies pass, of
the rest one in 12,000). Source of the hash: N. Krawetz, Kind of like that, hackerfactor.com, 2013.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["difference_hash", "equal_rows", "near_images", "row_keys", "telling_values"]

_ROWS = 512
_BLOCK = 1 << 18
_SAME = 0.98
_RARE = 0.05

_BITS_OF_BYTE = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)

Pairs = NDArray[np.int64]


def equal_rows(keys: NDArray[np.uint64]) -> Pairs:
    """Pairs (m, 2) of row numbers with equal `row_keys`: each row but the first of a group, with the first."""
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    head, rows = first[which.reshape(-1)], np.arange(len(keys))
    twice = (head != rows) & (keys != 0)
    return np.stack([head[twice], rows[twice]], axis=1).astype(np.int64)


def row_keys(x: NDArray[np.floating]) -> NDArray[np.uint64]:
    """64 bits for each row of (n, p), equal for equal rows (missing equals missing); 0 for rows without a value.

    Two different rows agree with a chance of about 2^-64; a table is read in blocks and never copied whole.
    """
    salt, weight = np.random.default_rng(0).integers(1, 1 << 63, size=(2, x.shape[1]), dtype=np.uint64)
    keys = np.zeros(len(x), dtype=np.uint64)
    step = max(1, _BLOCK // max(1, x.shape[1]))
    for at in range(0, len(x), step):
        block = np.asarray(x[at : at + step], dtype=np.float64) + 0.0  # -0.0 becomes 0.0
        missing = np.isnan(block)
        block[missing] = np.nan  # one bit pattern
        bits = block.view(np.uint64) ^ salt
        for shift, factor in ((31, 0x9E3779B97F4A7C15), (29, 0xBF58476D1CE4E5B9)):
            bits ^= bits >> np.uint64(shift)
            bits *= np.uint64(factor)
        keys[at : at + step] = np.where(missing.all(axis=1), 0, (bits * (weight | 1)).sum(axis=1, dtype=np.uint64) | 1)
    return keys


def telling_values(x: NDArray[np.floating], rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """For each named row, how many of its values at most one row in twenty shares; missing values tell nothing.

    Patients with the same few common codes are alike by chance; with three rare values they are one patient.
    """
    telling = np.zeros(len(rows), dtype=np.int64)
    for column in x.T:
        known = column[~np.isnan(column)]
        values, count = np.unique(known, return_counts=True)
        rare = values[count <= max(2.0, _RARE * len(x))]
        telling += np.isin(column[rows], rare)
    return telling


def difference_hash(images: NDArray[np.floating]) -> NDArray[np.uint64]:
    """64 bits for each image of (n, channels, h, w), h >= 8 and w >= 9; channels are averaged."""
    grey = images.mean(axis=1, dtype=np.float32)
    height, width = grey.shape[1:]
    if height < 8 or width < 9:
        raise ValueError(f"images must be at least 8 x 9 pixels, got {height} x {width}")
    rows, columns = (np.linspace(0, n, parts + 1).astype(np.int64) for n, parts in ((height, 8), (width, 9)))
    blocks = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=1), columns[:-1], axis=2)
    blocks /= np.diff(rows)[:, None] * np.diff(columns)
    steps = (blocks[:, :, 1:] > blocks[:, :, :-1]).reshape(len(images), 64)
    return np.packbits(steps, axis=1).view(np.uint64).reshape(-1)


def near_images(images: NDArray[np.floating], *, bits: int = 3) -> Pairs:
    """Pairs (m, 2), first number smaller, of images within `bits` of hash distance whose pixels agree too."""
    hashes = difference_hash(images)
    flat = images.reshape(len(images), -1)
    found = [np.zeros((0, 2), dtype=np.int64)]
    for at in range(0, len(hashes), _ROWS):
        distance = _set_bits(hashes[at : at + _ROWS, None] ^ hashes[None, at:])
        first, second = np.nonzero(np.triu(distance <= bits, k=1))
        pairs = np.stack([first + at, second + at], axis=1)
        found.append(pairs[_alike(flat, pairs)])
    return np.concatenate(found)


def _set_bits(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    bits = _BITS_OF_BYTE[np.ascontiguousarray(words).view(np.uint8)]
    return np.asarray(bits.reshape(*words.shape, 8).sum(axis=-1), dtype=np.uint8)


def _alike(flat: NDArray[np.floating], pairs: Pairs) -> NDArray[np.bool_]:
    """Whether the pixels of each pair correlate at least at 0.98; two flat images are alike."""
    alike = np.zeros(len(pairs), dtype=bool)
    for at in range(0, len(pairs), _ROWS):
        a, b = (flat[pairs[at : at + _ROWS, side]].astype(np.float64) for side in (0, 1))
        a -= a.mean(axis=1, keepdims=True)
        b -= b.mean(axis=1, keepdims=True)
        lengths = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        alike[at : at + _ROWS] = (a * b).sum(axis=1) >= _SAME * lengths
    return alike
