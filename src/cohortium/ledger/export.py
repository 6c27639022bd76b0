"""The form of an exported chain: JSON lines, each chained to the one before.

    line 1        format, consortium, contract, genesis (founders, chain id, time, code hash, engine)
    one a block   height, hash, time, header, raw transaction, ok, reason, events; with `replicated` also the time
                  that the sender claimed, and the signature of its entry
    last line     height, hash, state root, heads signed by members

Each line ends with its link, SHA-256(previous link | the line before its link), so that any changed,
lost or moved byte shows at its line. What is true of the content is checked by `archive.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cohortium.core.foreign_json import read_json
from cohortium.core.identity import LedgerKey, keccak, recover_message
from cohortium.core.seams import Head
from cohortium.ledger.blocks import Block, Claim, event_values, read_header
from cohortium.ledger.genesis import Genesis

__all__ = [
    "FIRST_LINK",
    "FORMAT",
    "MAX_FILE_BYTES",
    "MAX_LINE_BYTES",
    "SignedHead",
    "first_record",
    "last_record",
    "open_line",
    "read_heads",
    "read_hex",
    "sign_head",
    "write_export",
    "write_lines",
]

FORMAT: Final = "cohortium-ledger-1"
MAX_LINE_BYTES: Final = 1 << 20
MAX_FILE_BYTES: Final = 1 << 32
FIRST_LINK: Final = hashlib.sha256(FORMAT.encode()).digest()
_MAX_DEPTH: Final = 16
_MARK: Final = b',"link":"'
_LINK_BYTES: Final = len(_MARK) + 64 + len(b'"}\n')


@dataclass(frozen=True)
class SignedHead:
    """A member's word that this block is in its chain: EIP-191 over domain, chain id, contract, height, hash."""

    height: int
    hash: bytes
    signature: bytes

    def signer(self, *, contract: bytes, chain_id: int) -> bytes:
        """The address that signed. Raises SignatureError."""
        return recover_message(_head_digest(contract, chain_id, self.height, self.hash), self.signature)


def sign_head(key: LedgerKey, head: Head, *, contract: bytes, chain_id: int) -> SignedHead:
    """One's own signature under a head, for an export or an envelope."""
    digest = _head_digest(contract, chain_id, head.height, head.hash)
    return SignedHead(head.height, head.hash, key.sign_message(digest))


def write_export(
    path: Path, genesis: Genesis, blocks: Iterable[Block], head: Head, *, heads: Sequence[SignedHead] = ()
) -> None:
    """Write a chain; an existing file is replaced only by a whole one."""
    records = (_block(block) for block in blocks)
    write_lines(path, first_record(genesis), records, last_record(head, heads))


def write_lines(
    path: Path, first: Mapping[str, Any], records: Iterable[Mapping[str, Any]], last: Mapping[str, Any]
) -> None:
    """Write the records of an export, each chained to the one before, and replace a file only by all of them."""
    part = path.with_name(path.name + ".part")
    link = FIRST_LINK
    with part.open("wb") as file:
        for record in (first, *records, last):
            line, link = _close_line(record, link)
            file.write(line)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def open_line(line: bytes, link: bytes) -> tuple[dict[str, Any], bytes]:
    """One line's record and its link. link: of the line before. Raises ValueError with what is wrong."""
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
    body, end = line[:-_LINK_BYTES], line[-_LINK_BYTES:]
    if not (body.startswith(b"{") and end.startswith(_MARK) and end.endswith(b'"}\n')):
        raise ValueError("not a whole record of an export")
    found = hashlib.sha256(link + body).digest()
    if end[len(_MARK) : -3] != found.hex().encode():
        raise ValueError("the link does not fit: this record, or what stood before it, was changed")
    record = read_json(body + b"}", max_depth=_MAX_DEPTH)
    return record, found


def first_record(genesis: Genesis) -> dict[str, Any]:
    """Whose ledger it is."""
    return {
        "consortium": genesis.consortium.hex(),
        "contract": genesis.contract.hex(),
        "format": FORMAT,
        "genesis": genesis.facts(),
    }


def last_record(head: Head, heads: Sequence[SignedHead]) -> dict[str, Any]:
    """Where it ends, and who signed for that."""
    return {
        "hash": head.hash.hex(),
        "heads": [[signed.height, signed.hash.hex(), signed.signature.hex()] for signed in heads],
        "last": head.height,
        "state_root": head.state_root.hex(),
    }


def read_heads(heads: object) -> Iterator[SignedHead]:
    """The signed heads of a last record. Raises ValueError."""
    if not isinstance(heads, list):
        raise ValueError("heads are a list")
    for item in heads:
        if not isinstance(item, list) or len(item) != 3 or type(item[0]) is not int:
            raise ValueError("a signed head is height, hash and signature")
        yield SignedHead(item[0], read_hex(item[1], "hash"), read_hex(item[2], "signature"))


def read_hex(value: object, what: str) -> bytes:
    """The bytes of a hexadecimal text without capitals. Raises ValueError."""
    if not isinstance(value, str) or value != value.lower():
        raise ValueError(f"{what} is not hexadecimal text")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise ValueError(f"{what} is not hexadecimal text") from None


def _block(block: Block) -> dict[str, Any]:
    said = read_header(block.header)
    return {
        "events": event_values(block.events),
        "hash": block.hash.hex(),
        "header": block.header.hex(),
        "height": said.height,
        "ok": block.ok,
        "raw": block.raw.hex(),
        "reason": block.reason,
        "time": said.time,
        **({} if block.claim is None else _claim(block.claim)),
    }


def _claim(claim: Claim) -> dict[str, Any]:
    return {"claimed_s": claim.claimed_s, "entry": claim.signature.hex()}


def _close_line(record: Mapping[str, Any], link: bytes) -> tuple[bytes, bytes]:
    body = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()[:-1]
    link = hashlib.sha256(link + body).digest()
    return body + _MARK + link.hex().encode() + b'"}\n', link


def _head_digest(contract: bytes, chain_id: int, height: int, block: bytes) -> bytes:
    return keccak(b"cohortium-head-1" + chain_id.to_bytes(32, "big") + contract + height.to_bytes(32, "big") + block)
