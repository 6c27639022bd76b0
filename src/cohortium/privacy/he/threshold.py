"""What threshold encryption must be able to do, and whether this machine can: one seam, one sentence.

Design: privacy.md section 4.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import MissingExtra

__all__ = ["ThresholdScheme", "missing", "require_scheme"]

_Words = NDArray[np.uint64]


class ThresholdScheme(Protocol):
    """Additive encryption of whole numbers whose key nobody holds. Polynomials are words below `primes`.

    n_values: numbers in one ciphertext. shape: of one polynomial.
    """

    n_values: int
    shape: tuple[int, int]

    @property
    def primes(self) -> _Words:
        """Moduli, shape (shape[0], 1)."""
        ...

    def add(self, arrays: Sequence[_Words]) -> _Words:
        """The sum of shares, ciphertexts or partial decryptions."""
        ...

    def share(self, seed: bytes) -> tuple[bytes, _Words]:
        """A fresh secret key and its share of the public key, over the common polynomial of this seed."""
        ...

    def encrypt(self, seed: bytes, joint: _Words, values: NDArray[np.float64]) -> _Words:
        """Ciphertexts of whole numbers, shape (k, 2, *shape). joint: the sum of all shares of the public key."""
        ...

    def partial(self, secret: bytes, total: _Words) -> _Words:
        """One key's part in opening ciphertexts, flooded with noise: shape (k, *shape)."""
        ...

    def opened(self, total: _Words, parts: Sequence[_Words]) -> NDArray[np.float64]:
        """The k times `n_values` numbers, exact. Raises PeerError where the parts do not open them."""
        ...


@lru_cache(maxsize=1)
def require_scheme() -> ThresholdScheme:
    """The scheme of the extra `he`. Raises MissingExtra with the reason where it cannot be imported."""
    if reason := missing():
        raise MissingExtra(f"threshold encryption ({reason})", extra="he")
    from cohortium.privacy.he.openfhe import OpenFhe

    return OpenFhe()


@lru_cache(maxsize=1)
def missing() -> str:
    """Why threshold encryption cannot run here; empty where it can. Tried by importing, once."""
    try:
        import openfhe  # noqa: F401
    except ImportError as error:
        return _reason(error)
    return ""


def _reason(error: ImportError) -> str:
    """A wheel of OpenFHE holds one compiled module: for one Python, of one system's C library."""
    here = f"Python {platform.python_version_tuple()[0]}.{platform.python_version_tuple()[1]}"
    try:
        found = version("openfhe")
    except PackageNotFoundError:
        return f"openfhe is not installed; its wheels are for Python 3.12 with glibc 2.38 or later, here is {here}"
    if "GLIBC" in str(error):
        return f"openfhe {found} needs a newer C library: {str(error).splitlines()[0]}"
    return f"openfhe {found} is not built for {here}; its release 1.2.3.0.24.4 is for Python 3.12"
