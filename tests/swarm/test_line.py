"""What a node says and hears: one signed envelope for many, heads compared, slots signed once."""

import asyncio

import numpy as np
import pytest

from cohortium.core.exchange import MASKED, PLAIN
from cohortium.core.frames import pack
from cohortium.core.messages import Bye, Need, decode
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Head
from cohortium.errors import LedgerForked, SignatureError
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.actions import Offer, Propose
from cohortium.swarm.gate import MERGE_SLOT, STEP_SLOT, SURVIVORS_SLOT
from cohortium.swarm.line import Line, place_of
from cohortium.swarm.membership import Members
from cohortium.swarm.notices import Refused
from cohortium.transport.memory import MemoryNetwork


class Guarded:
    def __init__(self, recipe) -> None:
        self.recipe = recipe


def pair(kit, *, recipe=PLAIN):
    """Two lines of one run and what the second refuses."""
    ledger = kit.RulesLedger(["a", "b"])
    network = MemoryNetwork(rng=np.random.default_rng(0))
    members, refused, lines = Members(), [], {}
    for site, key in ledger.keys.items():
        members.admit(site, key.address)
    for site in ("a", "b"):
        node = kit.make_node(ledger, network, site, observe=refused.append, guard=Guarded(recipe))
        lines[site] = Line(site, node._charter, node._ports, members)
        lines[site].run = 1
    return lines["a"], lines["b"], network, refused


async def soon(waiting):
    async with asyncio.timeout(1):
        return await waiting


def test_one_envelope_serves_many_and_names_a_single_receiver(swarm) -> None:
    async def main():
        a, b, network, _ = pair(swarm)
        c = network.join("c")
        a.round = 4
        await a.send("bye", Bye(reason="x"), ["b", "c"], {})
        await a.send("need", Need(digest=bytes(32)), ["b"], {"round": 2, "attempt": 1})
        await a.send("bye", Bye(), [], {})
        return await soon(b.hear()), await soon(b.hear()), decode((await c.receive())[1])

    (first, bye), (second, _), at_c = run_virtual(main())
    assert first == at_c
    assert (first.receiver, first.round, bye) == ("", 4, Bye(reason="x"))
    assert (second.receiver, second.round, second.attempt) == ("b", 2, 1)
    assert second.sequence == first.sequence + 1


def test_what_does_not_pass_the_gate_is_observed_and_what_belongs_elsewhere_is_skipped(swarm) -> None:
    async def main():
        a, b, network, refused = pair(swarm)
        await network.join("x").send("b", b"noise")
        a.run = 2
        await a.send("bye", Bye(reason="other-run"), ["b"], {})
        a.run = 1
        await a.send("bye", Bye(reason="mine"), ["b"], {})
        return (await soon(b.hear()))[1], refused

    heard, refused = run_virtual(main())
    assert heard == Bye(reason="mine")
    assert [(type(notice), notice.site) for notice in refused] == [(Refused, "x")]


def test_nothing_is_judged_before_the_run_is_known(swarm) -> None:
    async def main():
        _, b, network, refused = pair(swarm)
        b.run = 0
        for _ in range(20):
            await network.join("x").send("b", b"noise")
        with pytest.raises(TimeoutError):
            await soon(b.hear())
        return refused

    assert run_virtual(main()) == []


def test_two_hashes_at_one_height_are_a_fork_and_other_heights_are_not(swarm) -> None:
    async def main(theirs: Head):
        a, b, _, _ = pair(swarm)
        b.see(Head(7, b"\1" * 32, bytes(32)))
        a.see(theirs)
        await a.send("bye", Bye(), ["b"], {})
        return await soon(b.hear())

    run_virtual(main(Head(7, b"\1" * 32, bytes(32))))
    run_virtual(main(Head(8, b"\2" * 32, bytes(32))))
    with pytest.raises(LedgerForked, match="block 7 of the ledger is 0202") as raised:
        run_virtual(main(Head(7, b"\2" * 32, bytes(32))))
    assert len(raised.value.evidence) == 2


def test_slots_are_those_of_the_contracts_reference(swarm) -> None:
    async def main():
        plain, masked = pair(swarm)[0], pair(swarm, recipe=MASKED)[0]
        at = {"round": 5, "term": 2, "attempt": 3}
        assert plain.slot(step="updates", **at) is None
        assert plain.slot(step="final", **at) is None
        assert plain.slot(step="merge", **at) == (1, 5, 2, MERGE_SLOT)
        assert masked.slot(step="shares", **at) == (1, 5, 3, STEP_SLOT + 1)
        assert masked.slot(step="survivors", **at) == (1, 5, (3 << 32) + 3, SURVIVORS_SLOT)

    run_virtual(main())


def test_slot_must_be_signed_by_its_sender_and_two_statements_are_proof(swarm) -> None:
    async def main():
        a, b, _, _ = pair(swarm)
        await a.send("bye", Bye(), ["b"], {"round": 2})
        envelope, _ = await soon(b.hear())
        slot = a.slot(round=2, term=0, attempt=0, step="merge")
        first, second = b"\1" * 32, b"\2" * 32
        assert b.check_slot(envelope, "merge", first, a.sign_slot(slot, first)) is None
        assert b.check_slot(envelope, "merge", first, a.sign_slot(slot, first)) is None
        with pytest.raises(SignatureError, match="not signed for its slot"):
            b.check_slot(envelope, "merge", first, b.sign_slot(slot, first))
        proof = b.check_slot(envelope, "merge", second, a.sign_slot(slot, second))
        assert proof == (slot, (first, a.sign_slot(slot, first), second, a.sign_slot(slot, second)))

    run_virtual(main())


def test_a_promise_holds_the_payloads_digests_and_a_signature_where_the_contract_must_check_it(swarm) -> None:
    async def main():
        line, packed = pair(swarm, recipe=MASKED)[0], pack(Parameters({"w": np.zeros(3)}))
        place = {"round": 5, "term": 2, "attempt": 0}
        merge = Offer(**place, step="merge", digest=packed.digest, to=("b",), inputs_root=b"r", contributors=("a",))
        promise = line.promise(merge, packed)
        assert (promise.digest, promise.header, promise.chunks) == (packed.digest, packed.header, packed.chunk_digests)
        assert (promise.inputs_root, promise.contributors) == (b"r", ("a",))
        assert promise.slot == line.sign_slot(line.slot(step="merge", **place), packed.digest)
        assert place_of(merge) == place
        survivors = Propose(round=5, term=2, attempt=1, step="survivors", bitmap=5, to=("b",))
        note = line.note_of(survivors)
        assert note.bitmap == (5).to_bytes(32, "big")
        assert note.slot == line.sign_slot((1, 5, (1 << 32) + 3, SURVIVORS_SLOT), note.bitmap)

    run_virtual(main())
