"""Two shares from a dealer to one holder, sealed so that relay, leader and ledger see uniform bytes.

ChaCha20-Poly1305 under HKDF-SHA256(X25519(e_i, e_j)), salt ctx, dealer and holder in the key's name and in the
associated data. Each key seals one message, so the nonce is zero. Design: privacy.md section 3.2.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from cohortium.privacy.secagg.shamir import SHARE_BYTES
from cohortium.privacy.secagg.streams import derive

__all__ = ["seal", "unseal"]

_NONCE = bytes(12)


def seal(pair: tuple[bytes, bytes], *, shared: bytes, ctx: bytes, dealer: str, holder: str) -> bytes:
    """Shares of self mask and mask key, 80 bytes. shared: what the seal keys of both ends agree on."""
    cipher, name = _cipher(shared, ctx=ctx, dealer=dealer, holder=holder)
    return cipher.encrypt(_NONCE, pair[0] + pair[1], ctx + name)


def unseal(sealed: bytes, *, shared: bytes, ctx: bytes, dealer: str, holder: str) -> tuple[bytes, bytes] | None:
    """What `seal` was given; None when it was made for another holder or attempt, or altered on the way."""
    cipher, name = _cipher(shared, ctx=ctx, dealer=dealer, holder=holder)
    try:
        both = cipher.decrypt(_NONCE, sealed, ctx + name)
    except InvalidTag:
        return None
    return both[:SHARE_BYTES], both[SHARE_BYTES:]


def _cipher(shared: bytes, *, ctx: bytes, dealer: str, holder: str) -> tuple[ChaCha20Poly1305, bytes]:
    name = f"share|{dealer}|{holder}".encode()
    return ChaCha20Poly1305(derive(shared, salt=ctx, info=name)), name
