"""How a node comes to its ledger: founded once, opened ever after, never another consortium's."""

import sqlite3
from dataclasses import replace

import pytest

from cohortium.errors import LedgerError, LedgerUnreachable, UsageError
from cohortium.ledger.hosted import HostedLedger, LedgerHost
from cohortium.ledger.local import LocalLedger
from cohortium.ledger.memory import MemoryLedger
from cohortium.ledger.opening import open_ledger
from cohortium.ledger.replicated import ReplicatedLedger


@pytest.fixture
def node(hospitals, tmp_path):
    """What graz opens its ledger with."""
    key = hospitals.key_of("graz")
    return {"path": tmp_path / "chain.sqlite", "clock": lambda: hospitals.start, "key": key, "site": "graz"}


def test_first_use_founds_and_later_uses_open(hospitals, node):
    genesis = hospitals.genesis_of("local")
    first = open_ledger(genesis, **node)
    assert isinstance(first, LocalLedger)
    head = first.head()
    first.close()
    again = open_ledger(genesis, **node, host="graz")
    assert again.head() == head
    assert (again.chain_id, again.contract, again.sync()) == (genesis.chain_id, genesis.contract, False)
    again.close()


def test_a_site_that_does_not_host_follows(hospitals, node, tmp_path):
    genesis = hospitals.genesis_of("local")
    host = LocalLedger.found(genesis, clock=node["clock"], path=tmp_path / "host.sqlite")
    ask = LedgerHost(host, key=hospitals.key_of("bonn")).answer
    for _ in range(2):
        follower = open_ledger(genesis, **node, host="bonn", ask=ask)
        assert isinstance(follower, HostedLedger)
        assert not follower.sync()
        assert follower.head() == host.head()
        follower.close()
    with pytest.raises(UsageError, match="hosted by 'bonn'"):
        open_ledger(genesis, **node, host="bonn")
    host.close()


def test_memory_is_founded_each_time(hospitals, node):
    assert isinstance(open_ledger(hospitals.genesis_of("memory"), **node), MemoryLedger)


def test_a_killed_founding_is_founded_again(hospitals, node):
    sqlite3.connect(node["path"]).close()
    node["path"].write_bytes(b"")
    open_ledger(hospitals.genesis_of("local"), **node).close()


def test_a_chain_of_another_consortium_is_refused_and_let_go(hospitals, node):
    genesis = hospitals.genesis_of("local")
    open_ledger(genesis, **node).close()
    with pytest.raises(LedgerError, match="another consortium"):
        open_ledger(replace(genesis, chain_id=7002), **node)
    open_ledger(genesis, **node).close()


def test_a_file_that_is_no_chain_is_refused(hospitals, node):
    node["path"].write_text("hello " * 100)
    with pytest.raises((LedgerError, LedgerUnreachable), match=r"chain\.sqlite"):
        open_ledger(hospitals.genesis_of("local"), **node)


def test_a_replicated_ledger_is_founded_and_opened_with_its_endpoints(hospitals, node, cluster):
    genesis = replace(hospitals.genesis_of("replicated"), chain_id=7777)
    heads = []
    for _ in range(2):
        ledger = open_ledger(genesis, **node, endpoints=cluster.endpoints, tls=cluster.tls)
        assert isinstance(ledger, ReplicatedLedger)
        assert not ledger.sync()
        heads.append(ledger.head())
        ledger.close()
    assert heads[0] == heads[1]
    with pytest.raises(UsageError, match="endpoints"):
        open_ledger(genesis, **node)
