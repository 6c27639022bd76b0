"""What is special about `local`: one file, one host, the contract itself."""

import pytest

from cohortium.core.identity import keccak
from cohortium.errors import LedgerError, UsageError
from cohortium.ledger.interface import consortium as contract_of
from cohortium.ledger.local import LocalLedger


def test_a_chain_needs_a_file(hospitals):
    with pytest.raises(UsageError, match="give its path"):
        LocalLedger.found(hospitals.genesis_of("local"), clock=lambda: 0)


def test_opening_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(LedgerError, match="no such chain file"):
        LocalLedger.open(tmp_path / "chain.sqlite", clock=lambda: 0)


def test_the_contracts_address_runs_the_shipped_code(local):
    vm = local.ledger._replica._read()
    assert keccak(vm.state.get_code(local.genesis.contract)) == keccak(contract_of().runtime)


def test_members_and_votes_survive_a_restart(local):
    run = local.start()
    local.put("porto", "leave")
    events = list(local.ledger.events())
    local.ledger.close()
    local.ledger = LocalLedger.open(local.path, clock=local.clock)
    assert list(local.ledger.events()) == events
    assert local.ledger.genesis == local.genesis
    assert local.put("bonn", "commit", run, 1, b"\1" * 32, 5, 0).ok
    with pytest.raises(LedgerError, match="stranger"):
        local.put("porto", "heartbeat")


def test_the_same_calls_at_other_times_have_another_head(local, hospitals, tmp_path):
    (tmp_path / "later").mkdir()
    later = hospitals.found("local", tmp_path / "later")
    later.clock.now += 50
    for one in (local, later):
        one.put("bonn", "heartbeat")
    assert later.ledger.head().hash != local.ledger.head().hash
    later.ledger.close()


def test_a_run_interrupted_by_a_restart_ends_as_an_undisturbed_one(local, hospitals, tmp_path):
    (tmp_path / "calm").mkdir()
    calm = hospitals.found("local", tmp_path / "calm")
    run = calm.start()
    for round in (1, 2, 3):
        calm.play(run, round)
    run = local.start()
    for round in (1, 2, 3):
        local.ledger.close()
        local.ledger = LocalLedger.open(local.path, clock=local.clock)
        local.play(run, round)
    assert local.ledger.head() == calm.ledger.head()
    calm.ledger.close()
