import pytest

from cohortium.core.identity import LedgerKey
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.rules import Founder
from cohortium.ledger.transactions import sign_call
from cohortium.sim.replicas import MemoryLog, Replicas

KEYS = {site: LedgerKey.from_bytes(bytes(31) + bytes([n])) for n, site in enumerate("abc", start=1)}


def test_a_number_of_the_log_is_written_once():
    log = MemoryLog()
    assert log.append(1, b"a") is None
    assert log.append(1, b"a") is None
    assert log.append(1, b"b") == b"a"
    log.put(b"c")
    assert log.read(1, n=9) == [(1, b"a"), (2, b"c")]
    assert log.read(2, n=9) == [(2, b"c")]
    assert log.read(1, n=1) == [(1, b"a")]
    log.close()


def test_every_site_replays_what_any_of_them_wrote():
    pytest.importorskip("eth")
    founders = tuple(Founder(key.address, site, bytes(32), bytes(32)) for site, key in KEYS.items())
    genesis = Genesis(founders=founders, chain_id=7, time=1_800_000_000, engine="replicated")
    replicas = Replicas(genesis, KEYS, clock=lambda site: 1_800_000_100.0)
    raw = sign_call(KEYS["b"], chain_id=7, nonce=0, contract=genesis.contract, function="heartbeat", args=())
    assert replicas.at("b").submit(raw).ok
    for site in KEYS:
        replicas.at(site).sync()
    assert len({replicas.at(site).head() for site in KEYS}) == 1
    assert replicas.at("a").head().height == 2
    replicas.close()
