"""CKKS by OpenFHE behind the seam `threshold.ThresholdScheme`: keys, encryption, partial decryption, decoding.

Theory of operation. A ciphertext, a share of the public key and a partial decryption are polynomials modulo two primes,
here arrays of `uint64` of shape (2, 8192), in the library's evaluation form. The library makes them and reads them;
between sites they travel as bare arrays, and what comes from another site is put into a mould the library made itself.
So no peer's bytes are ever parsed by it, and sums - of shares, ciphertexts and partial decryptions - are additions
modulo a prime, the same bits at every site.

The public polynomial `a` of all keys is drawn from a hash, so nobody can choose it. A site's share of the public key is
b_i = e_i - a s_i, the joint key is the sum of all; a ciphertext under it opens as c_0 + the sum over all of c_1 s_i.

Noise flooding. A partial decryption is c_1 s_i + e. The library's e has a standard deviation of 2^20; here it is
2^18 e' + e with two independent draws, 2^38, because what lies under it - noise of encryption and keys, up to 2^13 -
must not be told by the opened sum (Li and Micciancio 2021). Values are whole numbers and one of them is 2^59 wide, so
the flood moves none: rounding gives the exact sum.

Source: Mouchet et al. 2021, Multiparty Homomorphic Encryption from Ring-Learning-with-Errors. Design: privacy.md 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import InvariantBroken, MissingExtra, PeerError

try:
    import openfhe
except ImportError:
    raise MissingExtra("threshold encryption", extra="he") from None

__all__ = ["OpenFhe"]

_RING, _TOWERS = 8192, 2
_SCALE_BITS, _FIRST_BITS = 59, 60
_FLOOD_BITS = 18
_Words = NDArray[np.uint64]


class _Mould:
    """A serialised object of the library, and where in it the words of its polynomials lie."""

    def __init__(self, blob: bytes, n_polynomials: int) -> None:
        self._blob, self._places, self._n = blob, _places(blob, n_polynomials * _TOWERS), n_polynomials

    def primes(self) -> _Words:
        """The moduli, shape (2, 1)."""
        ends = [at + 8 * _RING for at in self._places[:_TOWERS]]
        return np.array([[int.from_bytes(self._blob[at : at + 8], "little")] for at in ends], dtype=np.uint64)

    def read(self, blob: bytes) -> _Words:
        """Polynomials of an object of this kind, shape (n, 2, 8192)."""
        places = _places(blob, self._n * _TOWERS)
        words = [np.frombuffer(blob, dtype="<u8", count=_RING, offset=at) for at in places]
        return np.array(words, dtype=np.uint64).reshape(self._n, _TOWERS, _RING)

    def cast(self, words: _Words) -> bytes:
        """An object with these polynomials."""
        blob = bytearray(self._blob)
        for at, row in zip(self._places, words.reshape(-1, _RING), strict=True):
            blob[at : at + 8 * _RING] = row.astype("<u8").tobytes()
        return bytes(blob)


class OpenFhe:
    """The one implementation of `ThresholdScheme`. Randomness is the library's own, seeded by the operating system."""

    n_values = _RING // 2
    shape = (_TOWERS, _RING)

    def __init__(self) -> None:
        parameters = openfhe.CCParamsCKKSRNS()
        parameters.SetSecurityLevel(openfhe.SecurityLevel.HEStd_128_classic)
        parameters.SetRingDim(_RING)
        parameters.SetMultiplicativeDepth(_TOWERS - 1)
        parameters.SetScalingModSize(_SCALE_BITS)
        parameters.SetFirstModSize(_FIRST_BITS)
        parameters.SetBatchSize(self.n_values)
        parameters.SetKeySwitchTechnique(openfhe.KeySwitchTechnique.BV)
        parameters.SetScalingTechnique(openfhe.ScalingTechnique.FIXEDMANUAL)
        self._context = openfhe.GenCryptoContext(parameters)
        for feature in ("PKE", "KEYSWITCH", "LEVELEDSHE", "ADVANCEDSHE", "MULTIPARTY"):
            self._context.Enable(getattr(openfhe.PKESchemeFeature, feature))
        throwaway = self._context.KeyGen()
        ciphertext = self._encrypted(throwaway.publicKey, np.zeros(1))
        part = self._context.MultipartyDecryptMain([ciphertext], throwaway.secretKey)[0]
        self._key = _Mould(_bytes(throwaway.publicKey), 2)
        self._ciphertext = _Mould(_bytes(ciphertext), 2)
        self._part = _Mould(_bytes(part), 1)

    @cached_property
    def primes(self) -> _Words:
        """The two moduli, shape (2, 1); every word of a polynomial is below its own."""
        primes: _Words = self._key.primes()
        return primes

    def add(self, arrays: Sequence[_Words]) -> _Words:
        """Their sum modulo the primes. arrays: shape (..., 2, 8192) each, words below the primes."""
        total = arrays[0].copy()
        for array in arrays[1:]:
            np.add(total, array, out=total)  # below 2^61
            np.subtract(total, self.primes, out=total, where=total >= self.primes)
        return total

    def share(self, seed: bytes) -> tuple[bytes, _Words]:
        """A fresh secret key, serialised, and its share of the public key. seed: of the common polynomial."""
        base = np.stack([np.zeros(self.shape, dtype=np.uint64), self._common(seed)])
        public = openfhe.DeserializePublicKeyString(self._key.cast(base), openfhe.BINARY)
        pair = self._context.MultipartyKeyGen(public, False, True)
        return _bytes(pair.secretKey), self._key.read(_bytes(pair.publicKey))[0]

    def encrypt(self, seed: bytes, joint: _Words, values: NDArray[np.float64]) -> _Words:
        """Whole numbers under the joint key: shape (k, 2, 2, 8192) for k times 4,096 of them, the rest noughts."""
        key = np.stack([joint, self._common(seed)])
        public = openfhe.DeserializePublicKeyString(self._key.cast(key), openfhe.BINARY)
        parts = range(0, len(values), self.n_values)
        made = [self._encrypted(public, values[at : at + self.n_values]) for at in parts]
        return np.stack([self._ciphertext.read(_bytes(one)) for one in made])

    def partial(self, secret: bytes, total: _Words) -> _Words:
        """This key's part in opening a sum of ciphertexts (k, 2, 2, 8192), under its own flood: (k, 2, 8192)."""
        key = openfhe.DeserializePrivateKeyString(secret, openfhe.BINARY)
        return np.stack([self._flooded(key, one[1]) for one in total])

    def opened(self, total: _Words, parts: Sequence[_Words]) -> NDArray[np.float64]:
        """What a sum of ciphertexts holds once all keys took part, rounded: k times 4,096 whole numbers.

        Raises PeerError where the parts do not open it.
        """
        found: list[NDArray[np.float64]] = []
        for one in self.add([total[:, 0], *parts]):
            blob = self._part.cast(one[np.newaxis])
            try:
                plain = self._context.MultipartyDecryptFusion([_ciphertext(blob)])
            except RuntimeError:  # nothing but noise: the library says so
                raise PeerError("the parts do not open the sum: one is missing or was made with another key") from None
            plain.SetLength(self.n_values)
            found.append(np.rint(np.array(plain.GetRealPackedValue(), dtype=np.float64)))
        return np.concatenate(found)

    def _flooded(self, key: Any, c1: _Words) -> _Words:
        """c_1 s + 2^18 e' + e: the key is applied to c_1 / 2^18, and what comes of it is multiplied again."""
        scaled = c1.copy()
        for _ in range(_FLOOD_BITS):
            np.add(scaled, self.primes, out=scaled, where=(scaled & np.uint64(1)) == 1)
            np.right_shift(scaled, np.uint64(1), out=scaled)
        coarse = self._main(key, scaled)
        for _ in range(_FLOOD_BITS):
            coarse = self.add([coarse, coarse])
        return self.add([coarse, self._main(key, np.zeros_like(c1))])

    def _main(self, key: Any, c1: _Words) -> _Words:
        blob = self._ciphertext.cast(np.stack([np.zeros_like(c1), c1]))
        part = self._context.MultipartyDecryptMain([_ciphertext(blob)], key)[0]
        words: _Words = self._part.read(_bytes(part))[0]
        return words

    def _encrypted(self, public: Any, values: NDArray[np.float64]) -> Any:
        return self._context.Encrypt(public, self._context.MakeCKKSPackedPlaintext(values.tolist()))

    def _common(self, seed: bytes) -> _Words:
        """The polynomial `a` of all keys: uniform below each prime, from a hash of the seed."""
        found = np.empty(self.shape, dtype=np.uint64)
        for tower, prime in enumerate(self.primes[:, 0]):
            bits = np.uint64((1 << int(prime).bit_length()) - 1)
            drawn = hashlib.shake_256(b"cohortium-ckks-a" + bytes([tower]) + seed).digest(8 * 4 * _RING)
            words = np.frombuffer(drawn, dtype="<u8") & bits
            found[tower] = words[words < prime][:_RING]  # at least half are below; four times as many were drawn
        return found


def _places(blob: bytes, n_rows: int) -> tuple[int, ...]:
    """Where the last `n_rows` rows of words begin: each is written as its length, its words, its prime."""
    mark, span = _RING.to_bytes(8, "little"), 8 * _RING
    found: list[int] = []
    end = len(blob)
    while len(found) < n_rows:
        at = blob.rfind(mark, 0, max(end - span - 8, 0))
        if at < 0:
            raise InvariantBroken("this OpenFHE writes its polynomials in another form than was known")
        found.append(at + len(mark))
        end = at
    return tuple(reversed(found))


def _bytes(thing: Any) -> bytes:
    return cast(bytes, openfhe.Serialize(thing, openfhe.BINARY))


def _ciphertext(blob: bytes) -> Any:
    return openfhe.DeserializeCiphertextString(blob, openfhe.BINARY)
