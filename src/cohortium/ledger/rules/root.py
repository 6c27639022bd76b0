"""The digest of a set of tables, kept up to date: only what changed is hashed again.

Every entry of a table lies on one of 256 pages, by the hash of its key. A page's digest covers its entries in
order of their keys' bytes, a table's digest its pages in order, the root all tables in order of their names.
Equal contents give equal roots, whatever the history; zero is the same as absent, as on an EVM.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

__all__ = ["Root", "canonical"]

_EMPTY = bytes(32)


def canonical(value: Any) -> bytes:
    """The one spelling of a whole number (0 to 2^256 - 1), bytes, text or a tuple of such. Raises TypeError."""
    if isinstance(value, tuple):
        return b"t%d:" % len(value) + b"".join([canonical(part) for part in value])
    if isinstance(value, bytes):
        return b"b%d:" % len(value) + value
    if isinstance(value, str):
        text = value.encode()
        return b"s%d:" % len(text) + text
    if type(value) is int:
        return b"i" + value.to_bytes(32, "big")
    raise TypeError(f"a {type(value).__name__} is not part of a ledger's state")


class Root:
    """The digest of named tables. Tell it with `touch` which entry may have changed; then ask for `digest`."""

    def __init__(self) -> None:
        self._touched: dict[str, set[Any]] = {}
        self._entries: dict[tuple[str, int], dict[bytes, bytes]] = {}
        self._pages: dict[str, dict[int, bytes]] = {}
        self._tables: dict[str, bytes] = {}

    def touch(self, table: str, key: Any) -> None:
        """This entry of this table may be another one now."""
        self._touched.setdefault(table, set()).add(key)

    def digest(self, tables: Mapping[str, Mapping[Any, Any]]) -> bytes:
        """The root over all tables (32 bytes)."""
        for name, keys in self._touched.items():
            for page in {self._turn(name, key, tables[name]) for key in keys}:
                self._close(name, page)
            pages = self._pages.get(name, {})
            self._tables[name] = _hash([bytes([page]) + pages[page] for page in sorted(pages)]) if pages else _EMPTY
        self._touched.clear()
        return _hash([name.encode() + b"\0" + self._tables.get(name, _EMPTY) for name in sorted(tables)])

    def _turn(self, name: str, key: Any, table: Mapping[Any, Any]) -> int:
        """Bring one entry up to date; the page it lies on."""
        spelled = canonical(key)
        page = hashlib.sha256(spelled).digest()[0]
        entries = self._entries.setdefault((name, page), {})
        if key in table:
            entries[spelled] = canonical(table[key])
        else:
            entries.pop(spelled, None)
        return page

    def _close(self, name: str, page: int) -> None:
        entries = self._entries[name, page]
        pages = self._pages.setdefault(name, {})
        if entries:
            pages[page] = _hash([canonical((key, entries[key])) for key in sorted(entries)])
        else:
            pages.pop(page, None)


def _hash(parts: list[bytes]) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()
