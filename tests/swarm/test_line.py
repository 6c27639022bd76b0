"""What a node says and hears: one signed envelope for many, heads compared, slots signed once."""

import asyncio

import numpy as np
import pytest

from cohortium.core.exchange import MASKED, PLAIN
from cohortium.core.frames import pack
from cohortium.core.identity import recover
from cohortium.core.messages import Bye, Need, check_signature, decode
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Head
from cohortium.errors import LedgerForked, LedgerUnreachable, SignatureError
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


def test_a_peer_that_stops_reading_costs_the_others_its_patience_once(swarm) -> None:
    """A member may keep its connection and take nothing more from it; every word to all would wait half a minute."""

    async def main():
        a, b, _, _ = pair(swarm)
        sent, inner = [], a._ports.transport

        class Deaf:
            async def send(self, peer, frame):
                if peer == "aa" and not sent.count("reads again"):
                    await asyncio.sleep(1e9)
                await inner.send(peer, frame)

        a._ports.transport = Deaf()
        loop, at = asyncio.get_running_loop(), []
        for number in range(12):
            await a.send("bye", Bye(reason=str(number)), ["aa", "b"], {})
            at.append(loop.time())
        sent.append("reads again")
        await a.send("bye", Bye(), ["aa"], {})
        return at, a._behind, [(await soon(b.hear()))[1].reason for _ in range(12)]

    at, behind, heard = run_virtual(main())
    assert at[-1] < 35, "half a minute for one word, not for each"
    assert heard == [str(number) for number in range(12)]
    assert behind == set(), "and it is waited for again once it reads"


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


class Chain:
    """The heads of one site's ledger: block n has the hash of n, or of a fork from some height on."""

    def __init__(self, height: int, *, forked_from: int = 1 << 60, unreachable: bool = False) -> None:
        self.height, self.forked_from, self.unreachable = height, forked_from, unreachable

    def hash_at(self, height):
        if self.unreachable:
            raise LedgerUnreachable("away")
        return bytes([height] * 31 + [height >= self.forked_from]) if height <= self.height else None

    def head(self):
        return Head(self.height, self.hash_at(self.height), bytes(32))


def heads_compared(swarm, a_chain: Chain, b_chain: Chain, *, grow: int = 0):
    """What b says of a word of a, and again when its own ledger has grown."""

    async def main():
        a, b, _, _ = pair(swarm)
        a._ports.ledger, b._ports.ledger = a_chain, b_chain
        await a.look()
        if not b_chain.unreachable:
            await b.look()
        await a.send("bye", Bye(), ["b"], {})
        heard = await soon(b.hear())
        b_chain.height += grow
        if grow:
            await b.look()
        return heard[1]

    return run_virtual(main())


@pytest.mark.parametrize(("a", "b"), [(7, 7), (5, 7), (9, 7), (0, 7), (7, 0)])
def test_one_history_at_whatever_heights_is_no_fork(swarm, a, b) -> None:
    assert heads_compared(swarm, Chain(a), Chain(b), grow=5) == Bye()


@pytest.mark.parametrize(("a", "b"), [(7, 7), (5, 7)])
def test_two_hashes_at_one_height_are_a_fork_with_both_signed_words(swarm, a, b) -> None:
    """Also where the peer is behind: the ledger here knows the hash of any block."""
    with pytest.raises(LedgerForked, match=f"block {a} of the ledger is 0{a}0{a}") as raised:
        heads_compared(swarm, Chain(a, forked_from=3), Chain(b))
    theirs, mine = (decode(one) for one in raised.value.evidence)
    assert (theirs.sender, mine.sender) == ("a", "b")
    assert theirs.head_height == mine.head_height == a
    assert theirs.head_hash != mine.head_hash
    keys = swarm.RulesLedger(["a", "b"]).keys
    for word in (theirs, mine):
        check_signature(word, keys[word.sender].address, recover)


def test_a_peer_that_is_ahead_on_another_history_is_found_when_its_height_is_reached(swarm) -> None:
    with pytest.raises(LedgerForked, match="block 9 of the ledger is 0909"):
        heads_compared(swarm, Chain(9, forked_from=9), Chain(7), grow=3)


def test_two_peers_that_contradict_each_other_above_this_height_are_a_fork(swarm) -> None:
    async def main():
        a, b, _, _ = pair(swarm)
        b._ports.ledger = Chain(2)
        await b.look()
        for chain in (Chain(9), Chain(9), Chain(9, forked_from=4)):
            a._ports.ledger = chain
            await a.look()
            await a.send("bye", Bye(), ["b"], {})
            await soon(b.hear())

    with pytest.raises(LedgerForked, match=r"block 9 of the ledger is .* for 'a' and .* for 'a'") as raised:
        run_virtual(main())
    assert len(raised.value.evidence) == 2


def test_a_ledger_that_cannot_be_asked_proves_nothing(swarm) -> None:
    chain = Chain(7)

    async def main():
        a, b, _, _ = pair(swarm)
        a._ports.ledger, b._ports.ledger = Chain(5, forked_from=3), chain
        await a.look()
        await b.look()
        chain.unreachable = True
        await a.send("bye", Bye(), ["b"], {})
        return (await soon(b.hear()))[1]

    assert run_virtual(main()) == Bye()


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
