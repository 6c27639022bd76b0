"""Rules applied to raw transactions: order, numbers and refusals as in a block on the EVM."""

import pytest

from cohortium.errors import LedgerRefused
from cohortium.ledger.interpreter import Interpreter
from cohortium.ledger.transactions import sign_call


@pytest.fixture
def rules(hospitals):
    return Interpreter(hospitals.genesis_of("memory"))


def signed(hospitals, rules, site, function, *args):
    key = hospitals.key_of(site)
    return sign_call(
        key,
        chain_id=hospitals.chain_id,
        nonce=rules.nonce(key.address),
        contract=rules.genesis.contract,
        function=function,
        args=args,
    )


def test_the_founding_is_done_on_construction(rules, hospitals):
    assert rules.founding.ok
    assert [event.args["site"] for event in rules.founding.events] == list(hospitals.sites)
    assert all(rules.is_active(hospitals.key_of(site).address) for site in hospitals.sites)
    assert rules.membership().epoch == 5


def test_a_refused_call_counts_its_number_and_changes_nothing_else(rules, hospitals):
    root = rules.state_root()
    raw = signed(hospitals, rules, "bonn", "approve", 3, b"\1" * 32)
    assert rules.execute(raw, time=hospitals.start + 1, height=2) == (False, "run", ())
    assert rules.nonce(hospitals.key_of("bonn").address) == 1
    assert rules.state_root() == root


def test_what_is_no_block_changes_nothing_at_all(rules, hospitals):
    root = rules.state_root()
    with pytest.raises(LedgerRefused, match="undecodable"):
        rules.execute(b"\1", time=hospitals.start + 1, height=2)
    assert rules.state_root() == root


def test_an_accepted_call_gives_its_events(rules, hospitals):
    outcome = rules.execute(signed(hospitals, rules, "bonn", "heartbeat"), time=hospitals.start + 1, height=2)
    assert outcome.ok
    assert [(event.name, dict(event.args)) for event in outcome.events] == [("Heartbeat", {"site": "bonn"})]
