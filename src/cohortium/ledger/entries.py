"""An entry: one raw transaction as its sender hands it to others to be ordered, with the time the sender claims.

    packed = sign_entry(key, chain_id=7001, claimed_s=now, raw=raw)
    open_entry(packed).signer(chain_id=7001)  ->  the address that claims this time

MessagePack of [claimed_s, raw, signature]. The sender's ledger key signs Keccak-256 of domain, chain id, claimed
seconds and Keccak-256 of the raw transaction, so nobody can hand on another's transaction with a time of his own.
What the time is good for is the engine's business: `replicated` makes block times of it.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from cohortium.core.identity import SIGNATURE_BYTES, LedgerKey, keccak, recover
from cohortium.errors import FrameError
from cohortium.ledger.transactions import MAX_TRANSACTION_BYTES

__all__ = ["MAX_CLAIMED_S", "MAX_ENTRY_BYTES", "Entry", "open_entry", "pack_entry", "sign_entry"]

MAX_CLAIMED_S: Final = 2**53 - 1
MAX_ENTRY_BYTES: Final = MAX_TRANSACTION_BYTES + 128
_DOMAIN: Final = b"cohortium-entry-1"


class Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A raw transaction, the seconds its sender's clock showed, and the sender's signature under both."""

    claimed_s: Annotated[int, msgspec.Meta(ge=0, le=MAX_CLAIMED_S)]
    raw: Annotated[bytes, msgspec.Meta(max_length=MAX_TRANSACTION_BYTES)]
    signature: Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]

    def signer(self, *, chain_id: int) -> bytes:
        """The address that signed. Raises SignatureError when the signature is one of no key."""
        return recover(_digest(chain_id, self.claimed_s, self.raw), self.signature)


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Entry)


def sign_entry(key: LedgerKey, *, chain_id: int, claimed_s: int, raw: bytes) -> bytes:
    """The packed entry. A clock that shows no possible time claims the nearest possible one."""
    claimed_s = min(max(claimed_s, 0), MAX_CLAIMED_S)
    return pack_entry(Entry(claimed_s, raw, key.sign(_digest(chain_id, claimed_s, raw))))


def pack_entry(entry: Entry) -> bytes:
    """The bytes in which it is handed on."""
    return _ENCODER.encode(entry)


def open_entry(packed: bytes) -> Entry:
    """The entry in those bytes. Raises FrameError for anything too long, truncated or not of the agreed type."""
    if len(packed) > MAX_ENTRY_BYTES:
        raise FrameError(f"entry of {len(packed)} bytes; at most {MAX_ENTRY_BYTES} are accepted")
    try:
        return _DECODER.decode(packed)
    except msgspec.MsgspecError:
        raise FrameError(f"entry of {len(packed)} bytes is not [claimed seconds, transaction, signature]") from None


def _digest(chain_id: int, claimed_s: int, raw: bytes) -> bytes:
    return keccak(_DOMAIN + chain_id.to_bytes(32, "big") + claimed_s.to_bytes(8, "big") + keccak(raw))
