"""What the hooks do, each alone; that a real node meets them is tested with whole labs (end_to_end)."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from cohortium.core.frames import pack
from cohortium.core.identity import LedgerKey
from cohortium.core.messages import Bye, Envelope, Progress, encode, sealed
from cohortium.core.parameters import Parameters
from cohortium.errors import TrainingFailed
from cohortium.lab.hooks import Hooks
from cohortium.lab.site_faults import Death, FaultFile, SiteFaults, deaths_died, write_faults
from cohortium.swarm.actions import Fact
from cohortium.swarm.store import MemoryStore, StoreBroken
from cohortium.transport.switchboard import Switchboard

KEY = LedgerKey.from_bytes(bytes(31) + b"\x01")
STATE = Parameters({"w": np.zeros(1)})


@pytest.fixture
def world(tmp_path):
    """(hooks, let these be the faults)."""
    file = FaultFile(tmp_path)

    def let(**faults):
        write_faults(tmp_path, SiteFaults(**faults))
        deadline = time.monotonic() + 5
        while file.now != SiteFaults(**faults):
            assert time.monotonic() < deadline

    return Hooks(tmp_path, file), let


class Wire:
    """A transport that keeps what is sent and gives what it is told."""

    port = 4711

    def __init__(self, *incoming):
        self.sent, self.incoming = [], list(incoming)

    async def send(self, peer, frame):
        self.sent.append((peer, frame))

    async def receive(self):
        return self.incoming.pop(0)

    async def close(self):
        self.closed = True


def envelope(kind, body):
    bare = Envelope(
        version=1, consortium=bytes(32), run=1, round=1, term=0, attempt=0, kind=kind, sender="a", receiver="b",
        sequence=1, head_height=1, head_hash=bytes(32), body=b"",
    )  # fmt: skip
    return encode(sealed(bare, body, KEY.sign))


def test_frames_to_and_from_a_peer_that_is_cut_off_are_lost(world):
    hooks, let = world
    wire = Wire(("b", b"lost"), ("c", b"heard"))
    transport = hooks.transport(wire)
    let(cut=("b",))

    async def main():
        await transport.send("b", b"1")
        await transport.send("c", b"2")
        assert await transport.receive() == ("c", b"heard")
        await transport.close()

    asyncio.run(main())
    assert wire.sent == [("c", b"2")]
    assert transport.port == 4711, "everything else is the transport's own"


def parcels(board_of):
    """What a switchboard hands to its transport."""
    wire = Wire()

    async def main():
        board = Switchboard(wire)
        await board_of(board)

    asyncio.run(main())
    return [frame for _, frame in wire.sent]


def test_a_mute_site_sends_everything_but_its_heartbeats(world):
    hooks, let = world

    async def speak(board):
        lane = board.lane("run/1")
        await lane.send("b", envelope("progress", Progress(stage="train", fraction=0.5)))
        await lane.send("b", envelope("bye", Bye(reason="done")))

    beat, bye = parcels(speak)
    wire = Wire()
    let(mute=True)

    async def main():
        for frame in (beat, bye, b"noise", b""):
            await hooks.transport(wire).send("b", frame)

    asyncio.run(main())
    assert [frame for _, frame in wire.sent] == [bye, b"noise", b""]


def test_a_site_that_is_deaf_to_a_topic_never_hears_the_question(world):
    hooks, let = world

    async def ask(board):
        for topic in ("figures", "study"):
            with pytest.raises(TimeoutError):
                await board.ask("b", topic, b"?", timeout_s=0.01)

    figures, study = parcels(ask)
    let(deaf_to=("figures",))
    transport = hooks.transport(Wire(("b", figures), ("b", study)))
    assert asyncio.run(transport.receive()) == ("b", study)


def test_a_clock_is_off_by_what_was_said(world):
    hooks, let = world
    clock = hooks.clock(lambda: 1000.0)
    assert clock() == 1000.0
    let(clock_s=3600.0)
    assert clock() == 4600.0


class Work:
    def __init__(self):
        self.prepared = 0

    def prepare(self):
        self.prepared += 1

    def train(self, round, state):
        return f"update {round}"

    def start(self):
        return STATE


def test_trainings_fail_with_the_code_and_preparing_with_it(world):
    hooks, let = world
    inner = Work()
    work = hooks.work(inner)
    assert work.train(1, STATE) == "update 1"
    let(fails="device")
    for attempt in (lambda: work.train(1, STATE), work.prepare):
        with pytest.raises(TrainingFailed) as raised:
            attempt()
        assert raised.value.code == "device"
    let(not_ready="data")
    assert work.train(2, STATE) == "update 2"
    with pytest.raises(TrainingFailed) as raised:
        work.prepare()
    assert (raised.value.stage, raised.value.code) == ("load", "data")
    let()
    work.prepare()
    assert inner.prepared == 1
    assert work.start() is STATE


def test_a_slow_training_takes_its_time_and_ends_when_it_is_healed(world):
    hooks, let = world
    work, began = hooks.work(Work()), time.monotonic()
    let(slow_s=0.3)
    assert work.train(1, STATE) == "update 1"
    assert time.monotonic() - began >= 0.3
    let(slow_s=60.0)
    done = []
    training = threading.Thread(target=lambda: done.append(work.train(2, STATE)))
    training.start()
    let()
    training.join(5)
    assert done == ["update 2"]


def test_the_worker_is_stopped_and_dies_of_the_signal_of_a_full_shared_memory(world):
    hooks, let = world
    let(worker_dies=True)
    command = [sys.executable, "-c", "import time; time.sleep(60)", "cohortium.node.worker"]

    class Foreman(Work):
        """Asks the worker that is there, then a new one."""

        def train(self, round, state):
            ends = [old.wait(10)]
            with subprocess.Popen(command) as new:
                ends.append(new.wait(10))
            return ends

    with subprocess.Popen(command) as old:
        assert hooks.work(Foreman()).train(1, STATE) == [-signal.SIGBUS, -signal.SIGBUS]
    with subprocess.Popen(command) as spared:
        with pytest.raises(subprocess.TimeoutExpired):
            spared.wait(0.3)
        spared.kill()


@pytest.mark.parametrize(("disk", "code"), [("full", "disk"), ("read-only", "path_readonly")])
def test_a_disk_that_cannot_be_written_can_be_read(world, disk, code):
    hooks, let = world
    inner = MemoryStore()
    store, packed = hooks.store(inner), pack(STATE)
    store.put(packed)
    let(disk=disk)
    for write in (lambda: store.put(packed), lambda: store.add(Fact(kind="started", run=1))):
        with pytest.raises(StoreBroken) as raised:
            write()
        assert raised.value.code == code
    assert store.get(packed.digest) is packed
    let()
    store.add(Fact(kind="started", run=1))
    assert len(store.facts(1)) == 1


DYING = """
import sys
from pathlib import Path
from cohortium.lab.hooks import Hooks
from cohortium.lab.site_faults import FaultFile
from cohortium.swarm.actions import Fact
from cohortium.swarm.store import DiskStore
home = Path(sys.argv[1])
store = Hooks(home, FaultFile(home)).store(DiskStore(home))
store.add(Fact(kind="trained", run=1, round=1))
store.add(Fact(kind="trained", run=1, round=2))
print(len(store.facts(1)))
"""


@pytest.mark.parametrize(("when", "kept"), [("before", 1), ("after", 2)])
def test_a_node_kills_itself_at_its_point_once(tmp_path, when, kept):
    from cohortium.swarm.store import DiskStore

    death = Death(fact="trained", round=2, when=when)
    write_faults(tmp_path, SiteFaults(deaths=(death,)))
    first = subprocess.run([sys.executable, "-c", DYING, str(tmp_path)], env=os.environ, check=False)
    assert first.returncode == -signal.SIGKILL
    assert deaths_died(tmp_path) == {death.name}
    left = DiskStore(tmp_path)
    assert len(left.facts(1)) == kept
    left.close()
    again = subprocess.run([sys.executable, "-c", DYING, str(tmp_path)], capture_output=True, text=True, check=True)
    assert again.stdout == f"{kept + 2}\n"
