"""The four payloads of the masked recipe as arrays: keys, sealed shares, masked vector, shares answered.

    keys     ctx, mask key, seal key, digest of the self mask, range exponents
    shares   digests of all shares (n, 2, 32), by holder and kind; sealed shares (n, 80), the dealer's own row empty
    masked   `floats` and `integers`: words, eight zero words behind each; `seen`: digest of all keys and shares as its
             sender holds them, so that who was shown something else is not blamed for an answer that does not fit
    unmask   for each site of U one share (n, 32) - of its self mask if it survived, else of its mask key - and whether
             this holder has it (n,)

Signatures are the envelope's: every payload is offered under its digest, signed by the sender's ledger key.
Design: privacy.md section 3.3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError
from cohortium.privacy.secagg.context import Binding
from cohortium.privacy.secagg.fixed_point import MAX_EXPONENT, MIN_EXPONENT
from cohortium.privacy.secagg.shamir import SHARE_BYTES

__all__ = ["KEY_SHARE", "SEALED_BYTES", "SELF_SHARE", "Answer", "Keys", "Shares", "seen_digest"]

SELF_SHARE, KEY_SHARE = 0, 1
"""Which of a dealer's two secrets a share belongs to: its self mask, or its mask key."""

SEALED_BYTES = 2 * SHARE_BYTES + 16
"""Two shares and the tag of ChaCha20-Poly1305."""

_KEY = 32
_KEYS = ("ctx", "mask_key", "seal_key", "self_digest")
_U8, _I8 = np.dtype("u1"), np.dtype("i1")
_Shapes = dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]]


def _bytes(data: bytes, *shape: int) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _expect(found: Parameters, shapes: _Shapes, *, what: str, site: str) -> None:
    if list(found) != list(shapes) or any(
        (found[name].dtype, found[name].shape) != described for name, described in shapes.items()
    ):
        raise FrameError(f"{what} of site '{site}' are not of the agreed layout", site=site)


def seen_digest(keys: Mapping[str, Parameters], shares: Mapping[str, Parameters]) -> bytes:
    """32 bytes over the payloads of two steps, by site."""
    seen = hashlib.sha256(b"cohortium-seen-1")
    for site in sorted(keys):
        seen.update(site.encode() + b"|" + keys[site].digest + shares[site].digest)
    return seen.digest()


@dataclass(frozen=True, kw_only=True)
class Keys:
    """One site's first payload, seen by all. exponents: by range group."""

    ctx: bytes
    mask_key: bytes
    seal_key: bytes
    self_digest: bytes
    exponents: tuple[int, ...]

    @property
    def exponent_bytes(self) -> bytes:
        """The exponents as they travel."""
        return np.array(self.exponents, dtype=np.int8).tobytes()

    def to_parameters(self) -> Parameters:
        """As it travels."""
        keys: dict[str, object] = {name: _bytes(getattr(self, name), _KEY) for name in _KEYS}
        return Parameters({**keys, "exponents": np.array(self.exponents, dtype=np.int8)})

    @classmethod
    def from_parameters(cls, arrays: Parameters, binding: Binding, *, site: str) -> Keys:
        """A site's keys. Raises FrameError naming it when layout, context or range are not the agreed ones."""
        shapes: _Shapes = dict.fromkeys(_KEYS, (_U8, (_KEY,)))
        shapes["exponents"] = (_I8, (len(binding.layout.groups),))
        if "ctx" in arrays and arrays["ctx"].tobytes() != binding.digest:
            raise FrameError(f"keys of site '{site}' are for another attempt, base model or layout", site=site)
        _expect(arrays, shapes, what="keys", site=site)
        exponents = tuple(int(one) for one in arrays["exponents"])
        if not all(MIN_EXPONENT <= one <= MAX_EXPONENT for one in exponents):
            limits = f"2^{MIN_EXPONENT} to 2^{MAX_EXPONENT}"
            raise FrameError(f"site '{site}' announces a range outside of {limits}", site=site)
        return cls(**{name: arrays[name].tobytes() for name in _KEYS}, exponents=exponents)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """One site's shares by holder's place. digests: of self mask and mask key, public; sealed: for the holder alone."""

    digests: tuple[tuple[bytes, bytes], ...]
    sealed: tuple[bytes, ...]

    def to_parameters(self) -> Parameters:
        """As it travels."""
        n = len(self.sealed)
        digests = b"".join(one for pair in self.digests for one in pair)
        sealed = b"".join(self.sealed)
        return Parameters({"digests": _bytes(digests, n, 2, _KEY), "sealed": _bytes(sealed, n, SEALED_BYTES)})

    @classmethod
    def from_parameters(cls, arrays: Parameters, binding: Binding, *, site: str) -> Shares:
        """What a site dealt. Raises FrameError naming it when the layout is not the agreed one."""
        n = binding.n
        shapes: _Shapes = {"digests": (_U8, (n, 2, _KEY)), "sealed": (_U8, (n, SEALED_BYTES))}
        _expect(arrays, shapes, what="shares", site=site)
        digests, sealed = arrays["digests"], arrays["sealed"]
        return cls(
            digests=tuple((digests[x, 0].tobytes(), digests[x, 1].tobytes()) for x in range(n)),
            sealed=tuple(sealed[x].tobytes() for x in range(n)),
        )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One survivor's shares, one for each place in U; None where its dealer gave it none that fits."""

    shares: tuple[bytes | None, ...]

    def to_parameters(self) -> Parameters:
        """As it travels."""
        shares = b"".join(share or bytes(SHARE_BYTES) for share in self.shares)
        held = np.array([share is not None for share in self.shares], dtype=np.uint8)
        return Parameters({"shares": _bytes(shares, len(self.shares), SHARE_BYTES), "held": held})

    @classmethod
    def from_parameters(cls, arrays: Parameters, binding: Binding, *, site: str) -> Answer:
        """What a site answered. Raises FrameError naming it when the layout is not the agreed one."""
        n = binding.n
        _expect(arrays, {"shares": (_U8, (n, SHARE_BYTES)), "held": (_U8, (n,))}, what="answers", site=site)
        shares, held = arrays["shares"], arrays["held"]
        return cls(shares=tuple(shares[x].tobytes() if held[x] else None for x in range(n)))
