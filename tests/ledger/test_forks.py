"""Shared suite: on every engine that others follow, a fork is seen with the next message, and who is behind is none."""

from types import SimpleNamespace

import numpy as np
import pytest

from cohortium.core.identity import recover
from cohortium.core.messages import Bye, check_signature, decode
from cohortium.errors import LedgerForked
from cohortium.ledger.archive import verify
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.line import Line
from cohortium.swarm.membership import Members
from cohortium.swarm.ports import Charter, Ports
from cohortium.swarm.store import MemoryStore
from cohortium.transport.memory import MemoryNetwork

ENGINES = ["hosted", "replicated", "evm-rpc"]


@pytest.fixture(params=ENGINES)
def histories(request, hospitals, tmp_path):
    """Two histories of one consortium that part after the founding: three blocks at bonn, two at graz."""
    made = []
    for name, sites in (("one", ("bonn", "graz")), ("other", ("lund",))):
        (tmp_path / name).mkdir()
        consortium = hospitals.found(request.param, tmp_path / name, request=request)
        for site in sites:
            consortium.put(site, "heartbeat")
        consortium.ledger.sync()
        consortium.ledger.export(tmp_path / f"{name}.jsonl")
        made.append(consortium)
    yield made
    for consortium in made:
        consortium.ledger.close()


def line(site, ledger, network, hospitals) -> Line:
    members = Members()
    for name in hospitals.sites:
        members.admit(name, hospitals.key_of(name).address)
    genesis = ledger.genesis
    ports = Ports(
        ledger=ledger,
        transport=network.join(site),
        store=MemoryStore(),
        work=SimpleNamespace(),
        key=hospitals.key_of(site),
        sign_call=lambda nonce, function, args: b"",
        next_nonce=lambda: 0,
        entropy=lambda n, *names: bytes(n),
    )
    charter = Charter(
        consortium=genesis.consortium, contract=genesis.contract, chain_id=genesis.chain_id, study=bytes(32)
    )
    made = Line(site, charter, ports, members)
    made.run = 1
    return made


def word(sender, receiver, hospitals, *, between=lambda: None):
    """One message from a site with one ledger to a site with another; then `between`, and the receiver looks again."""

    async def main():
        network = MemoryNetwork(rng=np.random.default_rng(0))
        a, b = line("graz", sender, network, hospitals), line("bonn", receiver, network, hospitals)
        await a.look()
        await b.look()
        await a.send("bye", Bye(), ["bonn"], {})
        heard = await b.hear()
        between()
        await b.look()
        return heard[1]

    return run_virtual(main())


class Followed:
    """A ledger read only through what the site itself has executed, as a node's line reads it."""

    def __init__(self, ledger) -> None:
        self.genesis, self.hash_at, self.head = ledger.genesis, ledger.hash_at, ledger.at(b"").head


@pytest.mark.parametrize("forked_is_shorter", [True, False])
def test_two_histories_are_a_fork_with_two_signed_words(histories, hospitals, forked_is_shorter):
    one, other = (Followed(consortium.ledger) for consortium in histories)
    assert (one.head().height, other.head().height) == (3, 2)
    sender, receiver = (other, one) if forked_is_shorter else (one, other)
    if not forked_is_shorter:
        assert word(sender, receiver, hospitals) == Bye()  # ahead: nothing to compare with yet
        return
    with pytest.raises(LedgerForked, match=r"block 2 of the ledger is .* for .graz. and .* here") as forked:
        word(sender, receiver, hospitals)
    theirs, mine = (decode(one) for one in forked.value.evidence)
    assert (theirs.head_height, mine.head_height) == (2, 2)
    assert theirs.head_hash != mine.head_hash
    for envelope in (theirs, mine):
        check_signature(envelope, hospitals.key_of(envelope.sender).address, recover)


def test_a_peer_ahead_on_another_history_is_found_when_its_height_is_reached(histories, hospitals):
    one, other = histories
    if one.genesis.engine == "evm-rpc":
        pytest.skip("one node of the tests serves both histories in turn; only the later one can grow")
    with pytest.raises(LedgerForked, match="block 3 of the ledger is"):
        word(Followed(one.ledger), Followed(other.ledger), hospitals, between=lambda: grow(other))


def grow(consortium) -> None:
    consortium.put("oslo", "heartbeat")
    consortium.ledger.sync()


def test_each_history_verifies_alone_and_both_name_the_consortium(histories, tmp_path):
    proved = [verify(tmp_path / f"{name}.jsonl") for name in ("one", "other")]
    assert proved[0].consortium == proved[1].consortium
    assert proved[0].head != proved[1].head


@pytest.mark.parametrize("engine", ENGINES)
def test_who_is_behind_or_ahead_on_the_same_history_is_no_fork(engine, hospitals, tmp_path, request):
    consortium = hospitals.found(engine, tmp_path, request=request)
    graz = consortium.ledger.at(hospitals.key_of("graz").address)
    for _ in range(3):
        consortium.put("bonn", "heartbeat")
    bonn = consortium.ledger.at(b"")
    bonn.sync()
    assert (graz.head().height, bonn.head().height) == (1, 4)
    assert word(graz, bonn, hospitals) == Bye()
    assert word(bonn, graz, hospitals, between=graz.sync) == Bye()
    assert graz.head() == bonn.head()
    consortium.ledger.close()
