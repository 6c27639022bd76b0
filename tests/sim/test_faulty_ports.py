"""Each port goes wrong as its fault says, and does nothing else: what is inside is called with the same words."""

import asyncio
import errno

import numpy as np
import pytest

from cohortium.core.frames import pack
from cohortium.core.identity import LedgerKey
from cohortium.core.messages import Envelope, Manifest, Offer, Progress, body_of, decode, encode, sealed
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Head
from cohortium.errors import LedgerUnreachable
from cohortium.sim.faults import Crash, Slow, Unwritable, Withheld
from cohortium.sim.faulty_ports import (
    CutLedger,
    ForgingWork,
    FragileStore,
    Killed,
    LyingTransport,
    MuteTransport,
    ReadOnlyStore,
    ShunnedTransport,
)
from cohortium.swarm.actions import Fact
from cohortium.swarm.store import MemoryStore, StoreBroken

KEY = LedgerKey.from_bytes(bytes(31) + b"\x01")


class Wire:
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        self.sent, self.closed = [], False

    async def send(self, peer, frame):
        self.sent.append((peer, frame))

    async def receive(self):
        return "b", b"frame"

    async def close(self):
        self.closed = True


def frame_of(kind, body, round=2) -> bytes:
    bare = Envelope(
        version=1, consortium=bytes(32), run=1, round=round, term=0, attempt=0, kind=kind, sender="a", receiver="b",
        sequence=1, head_height=1, head_hash=bytes(32), body=b"",
    )  # fmt: skip
    return encode(sealed(bare, body, KEY.sign))


def offer_of(step: str) -> Offer:
    packed = pack(Parameters({"w": np.zeros(2)}))
    return Offer(manifest=Manifest(step=step, digest=packed.digest, header=packed.header, chunks=packed.chunk_digests))


def sent_through(transport, wire, frames) -> list[bytes]:
    async def main():
        for frame in frames:
            await transport.send("b", frame)
        assert await transport.receive() == ("b", b"frame")
        await transport.close()

    asyncio.run(main())
    assert wire.closed
    return [frame for _, frame in wire.sent]


def test_heartbeats_of_one_round_are_swallowed_and_nothing_else() -> None:
    wire = Wire()
    slow = Slow(site="a", round=2, for_s=9.0, heartbeats=False)
    frames = [
        frame_of("progress", Progress(stage="train", fraction=0.5)),
        frame_of("progress", Progress(stage="train", fraction=0.5), round=3),
        frame_of("offer", offer_of("updates")),
        b"noise",
    ]
    assert sent_through(MuteTransport(wire, slow=slow, withheld=None), wire, frames) == frames[1:]


def test_a_payload_is_withheld_in_its_round_only() -> None:
    wire = Wire()
    frames = [frame_of("offer", offer_of("updates"), round=n) for n in (1, 2, 3)]
    withheld = Withheld(site="a", round=2)
    assert sent_through(MuteTransport(wire, slow=None, withheld=withheld), wire, frames) == [frames[0], frames[2]]


def test_a_lie_follows_every_offered_merge_and_is_signed_for_the_same_slot() -> None:
    wire = Wire()
    frames = [frame_of("offer", offer_of("updates")), frame_of("offer", offer_of("merge")), b"noise"]
    lying = LyingTransport(wire, key=KEY, contract=bytes(20), chain_id=1)
    update, merge, lie, noise = sent_through(lying, wire, frames)
    assert [update, merge, noise] == frames
    true, false = decode(merge), decode(lie)
    assert (false.round, false.term, false.sender) == (true.round, true.term, true.sender)
    assert body_of(false).manifest.digest != body_of(true).manifest.digest
    assert body_of(false).manifest.slot


def test_frames_to_and_from_a_shunned_site_are_refused_and_that_is_said_once() -> None:
    wire, shunned, heard = Wire(), {"b"}, []
    peer = ShunnedTransport(wire, site="a", shunned=lambda: shunned, observe=heard.append)
    assert sent_through(peer, wire, [b"1", b"2"]) == []
    assert [(refused.site, refused.why.split(":")[0]) for refused in heard] == [("b", "handshake refused")]
    shunned.clear()
    assert sent_through(peer, wire, [b"3"]) == [b"3"]
    shunned.add("a")
    assert sent_through(peer, wire, [b"4"]) == [b"3"]
    assert heard[-1].why.startswith("refused our handshake")


class Chain:
    def submit(self, signed):
        return signed

    def call(self, function, args=()):
        return (function, args)

    def events(self, from_height=0):
        return iter([from_height])

    def head(self):
        return Head(3, b"h" * 32, b"s" * 32)

    def hash_at(self, height):
        return b"h" * 32 if height <= 3 else None

    def export(self, path):
        self.path = path


def test_a_minority_has_no_ledger_and_a_forked_site_another_hash() -> None:
    state = {"reachable": True, "forked": False}
    ledger = CutLedger(Chain(), site="a", reachable=lambda: state["reachable"], forked=lambda: state["forked"])
    assert (ledger.submit(b"x"), ledger.call("f", (1,)), ledger.events(7)) == (b"x", ("f", (1,)), [7])
    assert ledger.head().hash == ledger.hash_at(2) == b"h" * 32
    state["forked"] = True
    assert ledger.head() == Head(3, bytes(32), b"s" * 32)
    assert (ledger.hash_at(2), ledger.hash_at(4)) == (bytes(32), None)
    state["reachable"] = False
    for ask in (
        lambda: ledger.submit(b"x"),
        lambda: ledger.call("f"),
        ledger.events,
        ledger.head,
        lambda: ledger.hash_at(1),
    ):
        with pytest.raises(LedgerUnreachable, match="a is cut off with a minority"):
            ask()
    ledger.export("there")


def test_a_node_dies_before_one_fact_once() -> None:
    inner, killed = MemoryStore(), set()
    crash = Crash(site="a", fact="stepped", step="unmask", round=2)
    store = FragileStore(inner, crash, site="a", killed=killed)
    store.add(Fact(kind="stepped", run=1, round=2, step="keys"))
    fatal = Fact(kind="stepped", run=1, round=2, step="unmask")
    with pytest.raises(Killed):
        store.add(fatal)
    assert [fact.step for fact in store.facts(1)] == ["keys"]
    store.add(fatal)
    assert [fact.step for fact in store.facts(1)] == ["keys", "unmask"]


def test_a_store_is_read_only_for_its_time() -> None:
    now = {"s": 0.0}
    store = ReadOnlyStore(
        MemoryStore(), Unwritable(site="a", from_s=5.0, until_s=9.0, number=errno.ENOSPC), now=lambda: now["s"]
    )
    fact, packed = Fact(kind="started", run=1), pack(Parameters({"w": np.zeros(1)}))
    store.add(fact)
    now["s"] = 5.0
    for write in (lambda: store.add(fact), lambda: store.put(packed)):
        with pytest.raises(StoreBroken) as raised:
            write()
        assert raised.value.code == "disk"
    assert store.facts(1) == (fact,), "it can still be read"
    now["s"] = 9.0
    store.put(packed)
    assert store.get(packed.digest) is packed


def test_a_forged_merge_is_wrong_and_everything_else_of_the_work_is_right() -> None:
    class Honest:
        def merge(self, state, updates):
            return Parameters({"n": np.ones(1, np.int64), "w": np.zeros(2)})

        def start(self):
            return "start"

    forging = ForgingWork(Honest())
    merged = forging.merge(None, ())
    assert np.asarray(merged["w"]).tolist() == [1.0, 1.0]
    assert np.asarray(merged["n"]).tolist() == [1]
    assert forging.start() == "start"
