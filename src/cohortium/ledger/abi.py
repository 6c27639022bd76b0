"""The contract's ABI in plain Python: arguments, results, selectors, event logs and revert reasons.

The part of the Solidity ABI specification (v2) that `Consortium` uses: uintN, bytesN, address, bool,
string, bytes, tuples, fixed and dynamic arrays. Addresses are 20 bytes, not text. Reading is strict:
padding must be zero and tails must lie where a writer puts them, so that one value has one encoding
and a transaction cannot be spelled twice. Nothing here needs an Ethereum package.

    encode(["uint64", "string"], [7, "porto"]) -> bytes
    decode(["uint64", "string"], data) -> (7, "porto")

Functions and events by name are in `interface.py`; what the bytes are sent in is `transactions.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cohortium.core.identity import keccak
from cohortium.errors import FrameError

__all__ = ["decode", "encode", "event_topic", "revert_reason", "selector"]

WORD = 32
_REASON = keccak(b"Error(string)")[:4]
_PANIC = keccak(b"Panic(uint256)")[:4]


@dataclass(frozen=True)
class _Kind:
    """One ABI type. size: bytes in the head when static. read: (data, at) -> (value, where it ends)."""

    name: str
    dynamic: bool
    size: int
    write: Callable[[Any], bytes]
    read: Callable[[bytes, int], tuple[Any, int]]


def encode(types: Sequence[str], values: Sequence[object]) -> bytes:
    """The arguments as a contract expects them. Raises ValueError that names type and value's type."""
    return _tuple(tuple(types)).write(values)


def decode(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    """The values in `data`, which must be their one canonical encoding. Raises FrameError."""
    values, end = _tuple(tuple(types)).read(data, 0)
    if end != len(data):
        raise FrameError(f"{len(data)} bytes where the types {', '.join(types) or 'none'} take {end}")
    return tuple(values)


def selector(signature: str) -> bytes:
    """The first four bytes that name a function, e.g. of `leave()`."""
    return keccak(signature.encode())[:4]


def event_topic(signature: str) -> bytes:
    """The first topic of an event's logs (32 bytes)."""
    return keccak(signature.encode())


def revert_reason(output: bytes) -> str:
    """The contract's word for its refusal; `panic` for a failed check of the compiler, `reverted` if it gave none."""
    if output[:4] == _PANIC:
        return "panic"
    if output[:4] != _REASON:
        return "reverted"
    try:
        return str(decode(["string"], output[4:])[0])
    except FrameError:
        return "reverted"


@lru_cache(maxsize=512)
def _kind(name: str) -> _Kind:
    """The codec of a type by its canonical name. Raises ValueError for one not served."""
    if array := re.fullmatch(r"(.+)\[(\d*)\]", name):
        return _fixed_array(name, array[1], int(array[2])) if array[2] else _dynamic_array(name, array[1])
    if name.startswith("(") and name.endswith(")"):
        return _tuple(_split(name[1:-1]))
    if (uint := re.fullmatch(r"uint(\d+)", name)) and int(uint[1]) in range(8, 257, 8):
        return _number(name, 1 << int(uint[1]))
    if (fixed := re.fullmatch(r"bytes(\d+)", name)) and 1 <= int(fixed[1]) <= WORD:
        return _fixed_bytes(name, int(fixed[1]))
    match name:
        case "bool":
            return _boolean()
        case "address":
            return _address()
        case "bytes":
            return _Kind(name, True, WORD, lambda value: _write_bytes(name, value), _read_bytes)
        case "string":
            return _Kind(name, True, WORD, lambda value: _write_bytes(name, _utf8(value)), _read_text)
    raise ValueError(f"ABI type {name!r} is not served")


def _split(names: str) -> tuple[str, ...]:
    """Top-level commas only: tuples nest."""
    parts, depth = [""], 0
    for letter in names:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return tuple(parts) if names else ()


@lru_cache(maxsize=512)
def _tuple(names: tuple[str, ...]) -> _Kind:
    kinds = tuple(_kind(name) for name in names)
    dynamic = any(kind.dynamic for kind in kinds)
    size = sum(WORD if kind.dynamic else kind.size for kind in kinds)
    return _Kind(
        f"({','.join(names)})",
        dynamic,
        size,
        lambda values: _write_all(kinds, values),
        lambda data, at: _read_all(kinds, data, at),
    )


def _fixed_array(name: str, item: str, length: int) -> _Kind:
    whole = _tuple((item,) * length)
    return _Kind(name, whole.dynamic, whole.size, whole.write, whole.read)


def _dynamic_array(name: str, item: str) -> _Kind:
    kind = _kind(item)

    def write(values: Any) -> bytes:
        if not isinstance(values, (list, tuple)):
            raise _wrong(name, values)
        return len(values).to_bytes(WORD, "big") + _write_all((kind,) * len(values), values)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        length = int.from_bytes(_word(data, at), "big")
        if length * max(kind.size, 1) > len(data):
            raise FrameError(f"{name} of {length} items in {len(data)} bytes")
        return _read_all((kind,) * length, data, at + WORD)

    return _Kind(name, True, WORD, write, read)


def _write_all(kinds: Sequence[_Kind], values: Any) -> bytes:
    if not isinstance(values, (list, tuple)) or len(values) != len(kinds):
        found = f"{len(values)}" if isinstance(values, (list, tuple)) else type(values).__name__
        raise ValueError(f"expected {len(kinds)} values, got {found}")
    tail_at = sum(WORD if kind.dynamic else kind.size for kind in kinds)
    heads, tails = [], []
    for kind, value in zip(kinds, values, strict=True):
        written = kind.write(value)
        if kind.dynamic:
            heads.append(tail_at.to_bytes(WORD, "big"))
            tails.append(written)
            tail_at += len(written)
        else:
            heads.append(written)
    return b"".join(heads + tails)


def _read_all(kinds: Sequence[_Kind], data: bytes, start: int) -> tuple[tuple[Any, ...], int]:
    at = start
    tail = start + sum(WORD if kind.dynamic else kind.size for kind in kinds)
    values = []
    for kind in kinds:
        if kind.dynamic:
            if start + int.from_bytes(_word(data, at), "big") != tail:
                raise FrameError(f"{kind.name}: its part lies elsewhere than a writer puts it")
            value, tail = kind.read(data, tail)
            at += WORD
        else:
            value, at = kind.read(data, at)
        values.append(value)
    return tuple(values), tail


def _word(data: bytes, at: int) -> bytes:
    word = data[at : at + WORD]
    if len(word) != WORD:
        raise FrameError(f"data end at byte {len(data)}; a word was due at {at}")
    return word


def _number(name: str, limit: int) -> _Kind:
    def write(value: Any) -> bytes:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
            raise _wrong(name, value)
        return int(value).to_bytes(WORD, "big")

    def read(data: bytes, at: int) -> tuple[int, int]:
        value = int.from_bytes(_word(data, at), "big")
        if value >= limit:
            raise FrameError(f"{name} out of range")
        return value, at + WORD

    return _Kind(name, False, WORD, write, read)


def _boolean() -> _Kind:
    number = _number("bool", 2)

    def write(value: Any) -> bytes:
        if not isinstance(value, bool):
            raise _wrong("bool", value)
        return number.write(int(value))

    def read(data: bytes, at: int) -> tuple[bool, int]:
        value, end = number.read(data, at)
        return bool(value), end

    return _Kind("bool", False, WORD, write, read)


def _address() -> _Kind:
    def write(value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) != 20:
            raise _wrong("address", value)
        return bytes(12) + value

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        word = _word(data, at)
        if any(word[:12]):
            raise FrameError("address out of range")
        return word[12:], at + WORD

    return _Kind("address", False, WORD, write, read)


def _fixed_bytes(name: str, length: int) -> _Kind:
    def write(value: Any) -> bytes:
        if not isinstance(value, bytes) or len(value) != length:
            raise _wrong(name, value)
        return value.ljust(WORD, b"\0")

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        word = _word(data, at)
        if any(word[length:]):
            raise FrameError(f"{name}: padding is not zero")
        return word[:length], at + WORD

    return _Kind(name, False, WORD, write, read)


def _write_bytes(name: str, value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise _wrong(name, value)
    return len(value).to_bytes(WORD, "big") + value + bytes(-len(value) % WORD)


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    length = int.from_bytes(_word(data, at), "big")
    end = at + WORD + length + -length % WORD
    if end > len(data):
        raise FrameError(f"text or bytes of {length} in {len(data)} bytes")
    if any(data[at + WORD + length : end]):
        raise FrameError("text or bytes: padding is not zero")
    return data[at + WORD : at + WORD + length], end


def _utf8(value: Any) -> bytes:
    if not isinstance(value, str):
        raise _wrong("string", value)
    return value.encode()


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    content, end = _read_bytes(data, at)
    try:
        return content.decode(), end
    except UnicodeDecodeError:
        raise FrameError("string is not UTF-8") from None


def _wrong(name: str, value: object) -> ValueError:
    size = f" of {len(value)}" if isinstance(value, (bytes, str, list, tuple)) else ""
    return ValueError(f"{name} expected, got {type(value).__name__}{size}")
