"""Masks: AES-128 in counter mode, key for key, added to or taken from a vector of words modulo 2^W.

Counter from 0, key used for one vector only, output read as little-endian words; `start` seeks, so that a slice can be
recomputed alone. The vector is worked through in pieces of 256 KiB, all streams over one piece while it lies in the
cache. Keys come from HKDF-SHA256 (RFC 5869) with the attempt's header as salt. Design: privacy.md section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

__all__ = ["PIECE_BYTES", "apply_streams", "derive", "stream"]

PIECE_BYTES = 1 << 18
_BLOCK = 16
_ZEROS = bytes(PIECE_BYTES)
_Words = NDArray[np.unsignedinteger]


def derive(secret: bytes, *, salt: bytes, info: bytes, length: int = 32) -> bytes:
    """HKDF-SHA256."""
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def stream(key: bytes, n_words: int, *, dtype: np.dtype[np.generic], start: int = 0) -> _Words:
    """Words `start` to `start + n_words` of a key's stream. start: a multiple of the words in 16 bytes."""
    words: _Words = np.zeros(n_words, dtype=dtype)
    apply_streams(words, [(key, 1)], start=start)
    return words


def apply_streams(words: _Words, keys: Iterable[tuple[bytes, int]], *, start: int = 0) -> None:
    """Add (sign 1) or take away (sign -1) each key's stream, in place, modulo 2^W."""
    per_block = _BLOCK // words.itemsize
    if start % per_block:
        raise ValueError(f"start must be a multiple of {per_block} words, got {start}")
    counter = (start // per_block).to_bytes(_BLOCK, "big")
    running = [(Cipher(AES(key), CTR(counter)).encryptor(), sign) for key, sign in keys]
    buffer = bytearray(PIECE_BYTES + _BLOCK)
    step = PIECE_BYTES // words.itemsize
    for at in range(0, words.size, step):
        piece = words[at : at + step]
        n_bytes = piece.nbytes
        mask = np.frombuffer(buffer, dtype=words.dtype, count=piece.size)
        for cipher, sign in running:
            cipher.update_into(_ZEROS if n_bytes == PIECE_BYTES else _ZEROS[:n_bytes], buffer)
            (np.add if sign > 0 else np.subtract)(piece, mask, out=piece)
