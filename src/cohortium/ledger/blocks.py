"""One block of any engine: header, the one transaction in it, and what came of it.

A header is RLP and its Keccak-256 is the block's hash. `local` and the other engines on an EVM have
Ethereum headers (London, 16 fields). The header of `memory` has seven: [domain, parent, height, time,
Keccak of the transaction, SHA-256 of the result, root of the rules' state]. Either way a header binds
its parent, its transaction and the state after it, so a chain cannot be changed in the middle without
changing its head.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from cohortium.core.identity import keccak
from cohortium.errors import FrameError
from cohortium.ledger import rlp

__all__ = [
    "NO_PARENT",
    "Block",
    "Claim",
    "Happening",
    "Header",
    "binding",
    "event_values",
    "memory_header",
    "read_header",
]

_MEMORY_DOMAIN = b"cohortium-memory-1"
_MEMORY_FIELDS, _EVM_FIELDS = 7, 16
NO_PARENT = bytes(32)


class Happening(NamedTuple):
    """One event inside a block: its name and its arguments by name."""

    name: str
    args: Mapping[str, Any]


class Header(NamedTuple):
    """What every engine's header says. binds: its transaction (`binding`); evm: whether it is an Ethereum header."""

    parent: bytes
    height: int
    time: int
    state_root: bytes
    binds: bytes
    evm: bool


class Claim(NamedTuple):
    """The time that a transaction's sender claimed for it, and the signature under both (`entries.py`)."""

    claimed_s: int
    signature: bytes


@dataclass(frozen=True)
class Block:
    """One transaction in its block. ok, reason: whether the contract accepted it, and why not.

    claim: where the engine makes block times of claimed ones.
    """

    header: bytes
    raw: bytes
    ok: bool
    reason: str
    events: tuple[Happening, ...]
    claim: Claim | None = None

    @cached_property
    def hash(self) -> bytes:
        """The block's hash (32 bytes)."""
        return keccak(self.header)


def event_values(events: Iterable[Happening]) -> list[list[Any]]:
    """Events as JSON values: [name, {argument: value}], bytes as 0x and hex digits."""
    return [[event.name, {key: _value(value) for key, value in event.args.items()}] for event in events]


def memory_header(*, parent: bytes, height: int, time: int, raw: bytes, result: list[Any], state_root: bytes) -> bytes:
    """The header of a block of `memory`. result: [ok, reason, `event_values(events)`]; state_root: after it."""
    digest = hashlib.sha256(json.dumps(result, separators=(",", ":"), sort_keys=True).encode()).digest()
    number, now = rlp.to_bytes(height), rlp.to_bytes(time)
    return rlp.encode([_MEMORY_DOMAIN, parent, number, now, keccak(raw), digest, state_root])


def read_header(header: bytes) -> Header:
    """What a header of either form says. Raises FrameError."""
    fields = rlp.decode(header)
    if isinstance(fields, bytes):
        raise FrameError("a header is a list of byte strings")
    if len(fields) == _MEMORY_FIELDS and fields[0] == _MEMORY_DOMAIN:
        _, parent, height, time, transaction, _, state_root = fields
    elif len(fields) == _EVM_FIELDS:
        parent, state_root, transaction, height, time = (fields[i] for i in (0, 3, 4, 8, 11))
    else:
        raise FrameError(f"a header of {len(fields)} fields is of no known engine")
    if not (isinstance(parent, bytes) and isinstance(state_root, bytes) and isinstance(transaction, bytes)):
        raise FrameError("a header is a list of byte strings")
    return Header(
        parent,
        rlp.number(height, n_bytes=8),
        rlp.number(time, n_bytes=8),
        state_root,
        transaction,
        len(fields) == _EVM_FIELDS,
    )


def binding(raw: bytes, *, evm: bool) -> bytes:
    """What a header says of its one transaction: its hash, or the root of the trie that holds it alone."""
    if not evm:
        return keccak(raw)
    # a leaf at key rlp(0) = 0x80, its two nibbles behind the flag 2 for an even number of them
    return keccak(rlp.encode([b"\x20\x80", raw]))


def _value(value: object) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, (tuple, list)):
        return [_value(part) for part in value]
    return value
