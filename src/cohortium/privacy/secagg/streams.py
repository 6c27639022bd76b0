"""Masks: AES-128 in counter mode, key for key, added to or taken from a vector of words modulo 2^W.

Counter from 2, key used for one vector only, output read as little-endian words. From 2, because then the same bits
come out of GCM with a zero nonce, whose code uses the wide vector units of a processor (1.7 times the speed of the
counter mode of the same library); the tag of GCM is not used. `start` seeks, so that a slice can be recomputed alone.
A vector is worked through in pieces of 256 KiB, all streams over one piece while it lies in the second-level cache.
Keys come from HKDF-SHA256 (RFC 5869) with the attempt's header as salt. Design: privacy.md section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from cohortium.privacy.secagg.scratch import PIECE_BYTES, Scratch

__all__ = ["Streams", "derive", "key_stream"]

_BLOCK = 16
_FIRST_COUNTER = 2
_ZEROS = memoryview(bytes(PIECE_BYTES))
_NONCE = bytes(12)
_Words = NDArray[np.unsignedinteger]


def derive(secret: bytes, *, salt: bytes, info: bytes, length: int = 32) -> bytes:
    """HKDF-SHA256."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def key_stream(key: bytes, n_bytes: int) -> bytes:
    """The first bytes of a key's stream."""
    return Cipher(AES(key), GCM(_NONCE)).encryptor().update(bytes(n_bytes))


class Streams:
    """Several keys' streams running side by side over one vector, piece after piece.

    keys: each with the sign it is applied with, 1 or -1. start: the first word, a multiple of the words in 16 bytes.
    """

    def __init__(
        self, keys: Iterable[tuple[bytes, int]], dtype: np.dtype[np.generic], scratch: Scratch, *, start: int = 0
    ) -> None:
        per_block = _BLOCK // dtype.itemsize
        if start % per_block:
            raise ValueError(f"start must be a multiple of {per_block} words, got {start}")
        counter = (start // per_block + _FIRST_COUNTER) % (1 << 8 * _BLOCK)
        mode = CTR(counter.to_bytes(_BLOCK, "big")) if start else GCM(_NONCE)
        self._running = [
            (Cipher(AES(key), mode).encryptor(), np.add if sign > 0 else np.subtract) for key, sign in keys
        ]
        self._buffer = scratch.mask.data
        self._mask: _Words = scratch.mask[:PIECE_BYTES].view(dtype)

    def apply(self, words: _Words) -> None:
        """Put the next words of every stream onto these, in place, modulo 2^W."""
        step = self._mask.size
        for at in range(0, words.size, step):
            piece = words[at : at + step]
            mask, zeros = self._mask[: piece.size], _ZEROS[: piece.nbytes]
            for cipher, apply in self._running:
                cipher.update_into(zeros, self._buffer)
                apply(piece, mask, out=piece)
