import pytest

from cohortium.core.identity import LedgerKey
from cohortium.errors import FrameError, LedgerRefused, SignatureError
from cohortium.ledger.entries import open_entry
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.memory import MemoryLedger
from cohortium.ledger.rules import Founder
from cohortium.ledger.transactions import open_transaction, sign_call
from cohortium.sim.entries import foreign_entries, invalid_entries

KEYS = {site: LedgerKey.from_bytes(bytes(31) + bytes([n])) for n, site in enumerate("abc", start=1)}


@pytest.fixture
def ledger():
    founders = tuple(Founder(key.address, site, bytes(32), bytes(32)) for site, key in KEYS.items())
    genesis = Genesis(founders=founders, chain_id=7, time=1_800_000_000, engine="memory")
    made = MemoryLedger.found(genesis, clock=lambda: 1_800_000_000.0)
    for key in KEYS.values():  # nobody is at the beginning of his transactions any more
        made.submit(sign_call(key, chain_id=7, nonce=0, contract=genesis.contract, function="heartbeat", args=()))
    return made


def refused(ledger, packed):
    """Whether an entry makes no block: undecodable, signed by another than its sender, refused, or there already."""
    before = ledger.head().height
    try:
        entry = open_entry(packed)
        sender = open_transaction(entry.raw, chain_id=ledger.chain_id).sender
        if entry.signer(chain_id=ledger.chain_id) != sender:
            return True
        ledger.submit(entry.raw)
    except (FrameError, SignatureError, LedgerRefused):
        return True
    return ledger.head().height == before


def test_no_invalid_entry_is_a_transaction_in_its_senders_order_that_its_sender_handed_on(ledger):
    assert all(refused(ledger, packed) for packed in invalid_entries(ledger, KEYS))


def test_foreign_entries_are_votes_of_members_that_no_ledger_of_this_chain_takes(ledger):
    entries = foreign_entries(ledger, KEYS)
    assert len(entries) == 2 * len(KEYS)
    assert all(refused(ledger, packed) for packed in entries)
