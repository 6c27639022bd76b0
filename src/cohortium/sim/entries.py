"""Entries of a log that no member in its right mind would write, for the scenarios about what stands there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cohortium.core.identity import LedgerKey
from cohortium.ledger.entries import Entry, open_entry, pack_entry, sign_entry
from cohortium.ledger.transactions import sign_call

__all__ = ["foreign_entries", "invalid_entries"]

_STRANGER = LedgerKey.from_bytes(b"\x07" * 32)
_OTHER_CHAIN = 7999


def _beat(key: LedgerKey, ledger: Any, *, nonce: int, chain_id: int | None = None) -> bytes:
    chain = ledger.chain_id if chain_id is None else chain_id
    raw = sign_call(key, chain_id=chain, nonce=nonce, contract=ledger.contract, function="heartbeat", args=())
    return sign_entry(key, chain_id=chain, claimed_s=ledger.genesis.time, raw=raw)


def invalid_entries(ledger: Any, keys: Mapping[str, LedgerKey]) -> list[bytes]:
    """Garbage, a truncated entry, a stranger's, two out of order, one that another member signed as an entry."""
    key, other = list(keys.values())[:2]
    nonce = ledger.nonce(key.address)
    late = _beat(key, ledger, nonce=nonce + 5)
    taken = open_entry(_beat(key, ledger, nonce=nonce))
    handed_on = sign_entry(other, chain_id=ledger.chain_id, claimed_s=taken.claimed_s, raw=taken.raw)
    return [
        b"",
        b"\xff" * 100,
        late[:-1],
        _beat(_STRANGER, ledger, nonce=0),
        late,
        _beat(key, ledger, nonce=0),
        handed_on,
        pack_entry(Entry(taken.claimed_s, taken.raw, bytes(65))),
    ]


def foreign_entries(ledger: Any, keys: Mapping[str, LedgerKey]) -> list[bytes]:
    """Votes of the same members in another consortium, whole and with their signature for this log."""
    entries: list[bytes] = []
    victim = list(keys)[-1]
    for key in keys.values():
        where = {"chain_id": _OTHER_CHAIN, "contract": ledger.contract, "nonce": ledger.nonce(key.address)}
        raw = sign_call(key, function="vote_exclude", args=(victim,), **where)
        chains = (_OTHER_CHAIN, ledger.chain_id)
        entries += [sign_entry(key, chain_id=one, claimed_s=ledger.genesis.time, raw=raw) for one in chains]
    return entries
