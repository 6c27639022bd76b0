"""Entries: what a sender hands on, signed as a whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.core.identity import LedgerKey
from cohortium.errors import FrameError, SignatureError
from cohortium.ledger.entries import MAX_CLAIMED_S, MAX_ENTRY_BYTES, open_entry, sign_entry
from cohortium.ledger.transactions import MAX_TRANSACTION_BYTES

KEY = LedgerKey.from_bytes(b"\x05" * 32)


def entry(**changed):
    return open_entry(sign_entry(KEY, **{"chain_id": 7001, "claimed_s": 1_800_000_000, "raw": b"raw", **changed}))


def test_an_entry_names_its_sender_and_the_time_it_claims():
    found = entry()
    assert (found.claimed_s, found.raw) == (1_800_000_000, b"raw")
    assert found.signer(chain_id=7001) == KEY.address


@pytest.mark.parametrize("change", [{"chain_id": 7002}, {"claimed_s": 1_800_000_001}, {"raw": b"war"}])
def test_a_signature_stands_for_one_chain_one_time_and_one_transaction(change):
    moved = entry(**change)
    honest = entry()
    forged = type(honest)(moved.claimed_s, moved.raw, honest.signature)
    assert forged.signer(chain_id=change.get("chain_id", 7001)) != KEY.address
    with pytest.raises(SignatureError):
        type(honest)(1, b"raw", bytes(65)).signer(chain_id=7001)


def test_a_clock_without_a_possible_time_still_signs():
    assert entry(claimed_s=-5).claimed_s == 0
    assert entry(claimed_s=2**70).claimed_s == MAX_CLAIMED_S


def test_the_longest_transaction_fits_and_more_does_not():
    packed = sign_entry(KEY, chain_id=7001, claimed_s=MAX_CLAIMED_S, raw=bytes(MAX_TRANSACTION_BYTES))
    assert len(packed) <= MAX_ENTRY_BYTES
    assert open_entry(packed).raw == bytes(MAX_TRANSACTION_BYTES)
    with pytest.raises(FrameError, match="at most"):
        open_entry(bytes(MAX_ENTRY_BYTES + 1))
    with pytest.raises(FrameError, match="is not"):
        open_entry(sign_entry(KEY, chain_id=7001, claimed_s=1, raw=bytes(MAX_TRANSACTION_BYTES + 1)))


@given(st.binary(max_size=200))
def test_other_bytes_are_no_entry_and_no_crash(packed):
    with pytest.raises(FrameError):
        open_entry(packed)
