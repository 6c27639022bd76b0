"""The one module that decides where randomness comes from.

Training and simulation use named, seeded streams, so that a run repeats bit for bit whatever the
order of its sites. Keys, nonces, masks and noise use the operating system outside of simulations.
A `Chance` is handed in; nothing below reads a global generator, and the report prints `source`.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

import numpy as np

__all__ = ["Chance"]


@dataclass(frozen=True)
class Chance:
    """Randomness of one run. seed: None takes secrets from the operating system."""

    seed: int
    secrets_from_system: bool = True

    @property
    def source(self) -> str:
        """What the report says: `operating system` or `seeded (simulation)`."""
        return "operating system" if self.secrets_from_system else "seeded (simulation)"

    def stream(self, *names: object) -> np.random.Generator:
        """A generator that depends on the seed and the names only; the same names, the same stream."""
        return np.random.default_rng(np.frombuffer(self._hash("stream", names), dtype=np.uint32))

    def secret(self, n_bytes: int, *names: object) -> bytes:
        """Bytes for keys, nonces and salts. Reproducible only in a simulation."""
        if self.secrets_from_system:
            return os.urandom(n_bytes)
        return hashlib.shake_256(self._hash("secret", names)).digest(n_bytes)

    def _hash(self, use: str, names: tuple[object, ...]) -> bytes:
        words = [use, str(self.seed), *(str(name) for name in names)]
        text = "".join(f"{len(word)}:{word}" for word in words)
        return hashlib.sha256(text.encode()).digest()
