"""One reader for all runs, in order and without gaps; a bell heard at the peers."""

import asyncio

import numpy as np

from cohortium.core.seams import Head, LedgerEvent
from cohortium.node.chronicle import Chronicle, PeerBell
from cohortium.sim.virtual_clock import run_virtual
from cohortium.transport.memory import MemoryNetwork


class Paper:
    """A ledger that is a list."""

    def __init__(self):
        self.written, self.asked = [], []

    def write(self, height, n=1):
        self.written += [LedgerEvent(height, i, "Ready", {"run": 1}) for i in range(n)]

    def events(self, from_height=0):
        self.asked.append(from_height)
        return [event for event in self.written if event.height >= from_height]

    def submit(self, signed):
        return signed

    def call(self, function, args=()):
        return (function, *args)

    def head(self):
        return Head(1, bytes(32), bytes(32))

    def hash_at(self, height):
        return bytes([height]) * 32

    def export(self, path):
        path.write_text("exported")


def test_each_event_is_read_once_also_of_a_block_that_was_not_whole():
    paper = Paper()
    chronicle = Chronicle(paper)
    assert chronicle.read_on() == ()
    paper.write(2, n=2)
    assert len(chronicle.read_on()) == 2
    paper.written.append(LedgerEvent(2, 2, "Ready", {"run": 1}))
    paper.write(5)
    assert [(event.height, event.index) for event in chronicle.read_on()] == [(2, 2), (5, 0)]
    assert [event.height for event in chronicle.events(3)] == [5]
    assert len(list(chronicle.events())) == 4
    assert paper.asked == [0, 0, 2]


def test_everything_else_is_asked_of_the_engine(tmp_path):
    chronicle = Chronicle(Paper())
    assert chronicle.submit(b"raw") == b"raw"
    assert chronicle.call("f", (1,)) == ("f", 1)
    assert chronicle.head().height == 1
    assert chronicle.hash_at(7) == b"\7" * 32
    chronicle.export(tmp_path / "x")
    assert (tmp_path / "x").read_text() == "exported"


def test_a_ring_wakes_here_at_once_and_the_peers_before_long_and_only_once():
    async def main():
        network = MemoryNetwork(rng=np.random.default_rng(0))
        here, there = network.join("bonn"), network.join("lund")
        mine, theirs = PeerBell(here, lambda: ["lund"]), PeerBell(there, lambda: ["bonn"])
        listening = [asyncio.ensure_future(bell.listen()) for bell in (mine, theirs)]
        for _ in range(50):
            mine.ring()
        assert mine.rings == 50
        await theirs.wait(0, timeout_s=1.0)
        await asyncio.sleep(1)
        assert theirs.rings == 1, "a hint is not passed on, and fifty are one"
        mine.ring_here()
        await asyncio.sleep(1)
        assert theirs.rings == 1
        for task in listening:
            task.cancel()

    run_virtual(main())


def test_a_peer_that_rings_all_the_time_is_heard_now_and_then():
    async def main():
        network = MemoryNetwork(rng=np.random.default_rng(0))
        bell = PeerBell(network.join("bonn"), lambda: [])
        noisy = network.join("lund")
        listening = asyncio.ensure_future(bell.listen())
        for _ in range(1000):
            await noisy.send("bonn", b"ring")
        await asyncio.sleep(1)
        assert 2 <= bell.rings <= 25
        listening.cancel()

    run_virtual(main())
