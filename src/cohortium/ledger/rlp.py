"""Recursive length prefix: nested byte strings as bytes, the form of transactions and block headers.

Source: Ethereum Yellow Paper, appendix B. Reading is strict: each item has exactly one encoding, so
lengths are minimal, a lone byte below 0x80 stands for itself, and nothing follows the item. Numbers
are big-endian without leading zeros. What the items mean is `transactions.py` and `headers.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from cohortium.errors import FrameError

__all__ = ["Item", "decode", "encode", "number", "to_bytes"]

Item: TypeAlias = bytes | Sequence["Item"]
MAX_DEPTH = 16


def encode(item: Item) -> bytes:
    """The one encoding of a byte string or of a list of items."""
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < 0x80 else _prefix(len(item), 0x80) + item
    body = b"".join(encode(part) for part in item)
    return _prefix(len(body), 0xC0) + body


def decode(data: bytes) -> Item:
    """The item that `data` encodes, lists as lists. Raises FrameError unless it is canonical and whole."""
    item, end = _read(data, 0, len(data), 0)
    if end != len(data):
        raise FrameError(f"{len(data) - end} bytes follow the item")
    return item


def to_bytes(value: int) -> bytes:
    """A number as RLP carries it: no leading zero, zero is empty."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def number(item: Item, *, n_bytes: int = 32) -> int:
    """The number in a byte string of at most `n_bytes`. Raises FrameError."""
    if not isinstance(item, bytes) or len(item) > n_bytes or item[:1] == b"\0":
        raise FrameError(f"a number of at most {n_bytes} bytes without leading zeros was due")
    return int.from_bytes(item, "big")


def _prefix(length: int, offset: int) -> bytes:
    if length < 56:
        return bytes([offset + length])
    size = to_bytes(length)
    return bytes([offset + 55 + len(size)]) + size


def _read(data: bytes, at: int, limit: int, depth: int) -> tuple[Item, int]:
    if at >= limit:
        raise FrameError(f"item due at byte {at}, data end there")
    first = data[at]
    if first < 0x80:
        return data[at : at + 1], at + 1
    is_list = first >= 0xC0
    start, end = _extent(data, at, limit, first - (0xC0 if is_list else 0x80))
    if not is_list:
        if end - start == 1 and data[start] < 0x80:
            raise FrameError(f"byte {at}: a prefix before a byte that stands for itself")
        return data[start:end], end
    if depth == MAX_DEPTH:
        raise FrameError(f"byte {at}: lists deeper than {MAX_DEPTH}")
    items: list[Item] = []
    while start < end:
        item, start = _read(data, start, end, depth + 1)
        items.append(item)
    return items, end


def _extent(data: bytes, at: int, limit: int, code: int) -> tuple[int, int]:
    """Where the content starts and ends."""
    start = at + 1
    if code >= 56:
        size = data[start : start + code - 55]
        start += code - 55
        code = int.from_bytes(size, "big")
        if start > limit or size[:1] == b"\0" or code < 56:
            raise FrameError(f"byte {at}: a length that is not minimal")
    if start + code > limit:
        raise FrameError(f"byte {at}: {code} bytes announced, {limit - start} left")
    return start, start + code
