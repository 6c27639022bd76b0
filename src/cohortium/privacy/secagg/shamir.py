"""Shamir's secret sharing over p = 2^255 - 19: any `threshold` shares give the secret, fewer say nothing.

Holder x = 1 to n; the share is the value at x of a polynomial whose value at 0 is the secret. Coefficients are
expanded from a seed by SHAKE-256, 48 bytes modulo p each (bias 2^-129), so that dealing can be repeated after a
restart without keeping them. Source: Shamir 1979, How to share a secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache

__all__ = ["PRIME", "SHARE_BYTES", "combine", "deal"]

PRIME = (1 << 255) - 19
SHARE_BYTES = 32
_WIDE = 48


def deal(secret: bytes, *, seed: bytes, threshold: int, n: int) -> list[bytes]:
    """Shares of holders 1 to n, 32 bytes little-endian each. secret: little-endian, below p."""
    value = int.from_bytes(secret, "little")
    if value >= PRIME:
        raise ValueError("secret must be below 2^255 - 19")
    if not 1 <= threshold <= n:
        raise ValueError(f"threshold must be 1 to {n}, got {threshold}")
    wide = hashlib.shake_256(b"cohortium-shares-1" + seed).digest(_WIDE * (threshold - 1))
    higher = [int.from_bytes(wide[at : at + _WIDE], "little") % PRIME for at in range(0, len(wide), _WIDE)]
    return [_value([value, *higher], x).to_bytes(SHARE_BYTES, "little") for x in range(1, n + 1)]


def combine(shares: Mapping[int, bytes], *, n_bytes: int) -> bytes | None:
    """The secret from exactly `threshold` shares by holder; None when it does not fit into n_bytes."""
    weights = _weights_at_zero(tuple(shares))
    total = sum(weights[x] * int.from_bytes(share, "little") for x, share in shares.items()) % PRIME
    return total.to_bytes(n_bytes, "little") if total >> 8 * n_bytes == 0 else None


def _value(coefficients: list[int], x: int) -> int:
    total = 0
    for coefficient in reversed(coefficients):
        total = (total * x + coefficient) % PRIME
    return total


@lru_cache(maxsize=64)
def _weights_at_zero(points: tuple[int, ...]) -> dict[int, int]:
    """Lagrange's weights: sum of weight x share is the polynomial's value at 0. The same holders serve many secrets."""
    weights = {}
    for x in points:
        above, below = 1, 1
        for other in points:
            if other != x:
                above = above * other % PRIME
                below = below * (other - x) % PRIME
        weights[x] = above * pow(below, -1, PRIME) % PRIME
    return weights
