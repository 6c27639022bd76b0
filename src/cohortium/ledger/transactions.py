"""One raw transaction for every engine: a legacy Ethereum transaction bound to its chain (EIP-155).

    raw = sign_call(key, chain_id=7001, nonce=3, contract=address, function="heartbeat", args=())
    open_transaction(raw, chain_id=7001).function  ->  "heartbeat"

RLP of [nonce, gas price, gas, to, value, data, v, r, s]. Gas price and value are zero: nobody has to
be funded. The gas limit is always 3,000,000, so that engines with and without an EVM agree. Signing
is deterministic and reading accepts the canonical form only, so one call has one spelling.

`check_entry` holds the rules by which every engine refuses a transaction before it makes a block:

    undecodable   not such a transaction, or not a call of the contract's functions
    size          larger than 64 KiB
    chain         signed for another chain, or for none
    contract      sent to another address
    stranger      the sender is no active member
    entry         handed on by another key than its own (`entries.py`)
    nonce         not the sender's next one
    gas           a gas limit other than 3,000,000
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from cohortium.core.identity import LedgerKey, keccak, recover
from cohortium.core.seams import Receipt
from cohortium.errors import FrameError, LedgerRefused, SignatureError
from cohortium.ledger import rlp
from cohortium.ledger.interface import consortium

__all__ = [
    "CALL_GAS",
    "MAX_TRANSACTION_BYTES",
    "Transaction",
    "check_entry",
    "once",
    "open_transaction",
    "sign_call",
    "sign_deployment",
]

MAX_TRANSACTION_BYTES: Final = 64 * 1024
CALL_GAS: Final = 3_000_000
DEPLOYMENT_GAS: Final = 60_000_000
_MAX_CHAIN_ID: Final = 2**53 - 1


class Transaction(NamedTuple):
    """A call that was signed: by whom, with which number, to which contract, and what it asks."""

    sender: bytes
    nonce: int
    to: bytes
    function: str
    args: tuple[Any, ...]
    gas: int


def sign_call(
    key: LedgerKey, *, chain_id: int, nonce: int, contract: bytes, function: str, args: Sequence[object]
) -> bytes:
    """The raw transaction that calls `function`. Raises ValueError when the arguments do not fit it."""
    data = consortium().interface.encode_call(function, args)
    raw = _sign(key, chain_id, [rlp.to_bytes(nonce), b"", rlp.to_bytes(CALL_GAS), contract, b"", data])
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise ValueError(f"{function}: {len(raw)} bytes; a transaction has at most {MAX_TRANSACTION_BYTES}")
    return raw


def sign_deployment(key: LedgerKey, *, chain_id: int, args: Sequence[object]) -> bytes:
    """The first transaction of a chain: the contract's code and its constructor's arguments."""
    contract = consortium()
    data = contract.code + contract.interface.encode_constructor(args)
    return _sign(key, chain_id, [b"", b"", rlp.to_bytes(DEPLOYMENT_GAS), b"", b"", data])


def open_transaction(raw: bytes, *, chain_id: int) -> Transaction:
    """What a raw transaction says, and who signed it.

    Raises LedgerRefused with reason `size`, `undecodable` or `chain`.
    """
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise LedgerRefused("size", function=f"a transaction of {len(raw)} bytes")
    try:
        nonce, gas, to, data, v, r, s = _fields(raw)
        if v not in (35 + 2 * chain_id, 36 + 2 * chain_id):
            raise LedgerRefused("chain", function=f"a transaction for chain {_chain_of(v)}, here is {chain_id}")
        digest = _digest(chain_id, [rlp.to_bytes(nonce), b"", rlp.to_bytes(gas), to, b"", data])
        sender = recover(digest, r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + (v - 35) % 2]))
        function, args = consortium().interface.decode_call(data)
    except (FrameError, SignatureError) as error:
        raise LedgerRefused("undecodable", function=f"a transaction ({error})") from None
    return Transaction(sender, nonce, to, function, args, gas)


def check_entry(
    transaction: Transaction, *, contract: bytes, active: bool, nonce: int, signer: bytes | None = None
) -> None:
    """Refuse what must not become a block.

    active: whether the sender is an active member now. nonce: the sender's next number.
    signer: who signed the entry that brought it; None where it came without one.
    Raises LedgerRefused with reason `contract`, `stranger`, `entry`, `nonce` or `gas`, in this order.
    """
    who = f"{transaction.function} of 0x{transaction.sender.hex()}"
    if transaction.to != contract:
        raise LedgerRefused("contract", function=f"{who}, sent to 0x{transaction.to.hex()}")
    if not active:
        raise LedgerRefused("stranger", function=who)
    if signer is not None and signer != transaction.sender:
        raise LedgerRefused("entry", function=f"{who}, handed on by 0x{signer.hex()}")
    if transaction.nonce != nonce:
        raise LedgerRefused("nonce", function=f"{who} with number {transaction.nonce}, next is {nonce}")
    if transaction.gas != CALL_GAS:
        raise LedgerRefused("gas", function=f"{who} with gas limit {transaction.gas}, expected {CALL_GAS}")


def once(raw: bytes, put: Callable[[], Receipt], receipt_of: Callable[[bytes], Receipt | None]) -> Receipt:
    """What `put()` gives, or the receipt that this very transaction got before.

    A sender whose first attempt was never answered may thus submit the same bytes again and again.
    """
    try:
        return put()
    except LedgerRefused as refused:
        # `stranger` too: the transaction may be the one by which its sender left
        if refused.reason in ("nonce", "stranger") and (known := receipt_of(raw)) is not None:
            return known
        raise


def _sign(key: LedgerKey, chain_id: int, fields: list[bytes]) -> bytes:
    if not 1 <= chain_id <= _MAX_CHAIN_ID:
        raise ValueError(f"chain id must be 1 to 2^53 - 1, got {chain_id}")
    signature = key.sign(_digest(chain_id, fields))
    v = 35 + 2 * chain_id + signature[64] - 27
    r, s = signature[:32].lstrip(b"\0"), signature[32:64].lstrip(b"\0")
    return rlp.encode([*fields, rlp.to_bytes(v), r, s])


def _digest(chain_id: int, fields: list[bytes]) -> bytes:
    return keccak(rlp.encode([*fields, rlp.to_bytes(chain_id), b"", b""]))


def _fields(raw: bytes) -> tuple[int, int, bytes, bytes, int, int, int]:
    """Nonce, gas, to, data, v, r, s of a canonical transaction without price and value."""
    items = rlp.decode(raw)
    if isinstance(items, bytes) or len(items) != 9:
        raise FrameError("a list of nine items was due")
    nonce, price, gas, to, value, data, v, r, s = items
    if rlp.number(price) or rlp.number(value):
        raise FrameError("gas price and value must be zero")
    if not isinstance(to, bytes) or len(to) != 20 or not isinstance(data, bytes):
        raise FrameError("an address of 20 bytes and data were due")
    return (
        rlp.number(nonce, n_bytes=8),
        rlp.number(gas, n_bytes=8),
        to,
        data,
        rlp.number(v, n_bytes=8),
        rlp.number(r),
        rlp.number(s),
    )


def _chain_of(v: int) -> str:
    return str((v - 35) // 2) if v >= 35 else "none"
