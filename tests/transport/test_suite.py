"""The shared suite of all transports: what a node may rely on, whichever carries its frames."""

import asyncio

import numpy as np
import pytest

from cohortium.core.frames import Limits, pack
from cohortium.core.messages import MAX_FRAME_BYTES, VERSION, Chunk, Envelope, Manifest, Need, Offer
from cohortium.core.parameters import Parameters
from cohortium.swarm.courier import Courier
from cohortium.transport.switchboard import MAX_PARCEL_BYTES, Switchboard

SIZES = [0, 1, 100, 65_536, 66_560, 66_561, 1 << 20, MAX_FRAME_BYTES, MAX_PARCEL_BYTES]


def test_every_frame_arrives_with_its_senders_name(play_all, net):
    async def script(world):
        ends = {site: await world.join(site) for site in ("bonn", "lund", "porto")}
        for sender in ends:
            for receiver in ends:
                if sender != receiver:
                    await ends[sender].send(receiver, f"{sender} to {receiver}".encode())
        for receiver in ends:
            got = sorted(await net.heard(ends[receiver], 2))
            assert got == [(s, f"{s} to {receiver}".encode()) for s in sorted(ends) if s != receiver]

    play_all(script)


@pytest.mark.parametrize("size", SIZES)
def test_frames_of_every_size_arrive_whole_in_both_directions(play_all, net, size):
    frame = np.random.default_rng(size).bytes(size)

    async def script(world):
        a, b = await world.join("a"), await world.join("b")
        await a.send("b", frame)
        assert await net.heard(b, 1) == [("a", frame)]
        await b.send("a", frame)
        assert await net.heard(a, 1) == [("b", frame)]

    play_all(script)


@pytest.mark.parametrize("start", [b"\0", b"\0\0", b"\0\x92\x04\x90", b"\x92\x01\xc4", b"\xff"])
def test_no_first_byte_means_anything(play_all, net, start):
    async def script(world):
        a, b = await world.join("a"), await world.join("b")
        await a.send("b", start)
        await a.send("b", start + bytes(100_000))
        assert sorted(await net.heard(b, 2)) == [("a", start), ("a", start + bytes(100_000))]

    play_all(script)


@pytest.mark.parametrize("size", [40, 100_000])
def test_order_of_one_sender_is_kept(play_all, net, size):
    frames = [i.to_bytes(4, "big") + bytes(size) for i in range(200)]

    async def script(world):
        a, b = await world.join("a"), await world.join("b")
        sending = asyncio.ensure_future(_send_all(a, "b", frames))
        assert [frame for _, frame in await net.heard(b, len(frames))] == frames
        await sending

    play_all(script)


async def _send_all(end, peer, frames):
    for frame in frames:
        await end.send(peer, frame)


def test_a_frame_for_nobody_is_lost_without_a_word(play_all, net):
    async def script(world):
        a = await world.join("a")
        for size in (10, 100_000):
            async with asyncio.timeout(1):
                await a.send("nobody", bytes(size))

    play_all(script)


def test_a_closed_end_takes_and_says_nothing(play_all, net):
    async def script(world):
        a, b = await world.join("a"), await world.join("b")
        await b.close()
        await b.send("a", b"ghost")
        async with asyncio.timeout(2):
            await a.send("b", b"x")
        assert await net.silent(a)

    play_all(script)


def test_a_peer_that_starts_again_is_heard_again(play_all, net):
    async def script(world):
        a, b = await world.join("a"), await world.join("b")
        await a.send("b", b"before")
        assert await net.heard(b, 1) == [("a", b"before")]
        again = await world.join("b")
        await a.send("b", b"after")
        await again.send("a", b"back")
        assert await net.heard(again, 1) == [("a", b"after")]
        assert await net.heard(a, 1) == [("b", b"back")]

    play_all(script)


def test_lanes_and_questions_work_over_it(play_all, net):
    async def script(world):
        boards = {site: Switchboard(await world.join(site)) for site in ("a", "b")}

        async def echo(peer, request):
            return peer.encode() + request

        boards["b"].answer("echo", echo)
        async with asyncio.TaskGroup() as tasks:
            for board in boards.values():
                tasks.create_task(board.run())
            lane, there = boards["b"].lane("run/1"), boards["a"].lane("run/1")
            await there.send("b", b"on the lane")
            assert await boards["a"].ask("b", "echo", bytes(1000), timeout_s=10) == b"a" + bytes(1000)
            assert await net.heard(lane, 1) == [("a", b"on the lane")]
            for board in boards.values():
                await board.close()

    play_all(script)


def test_a_broken_transfer_resumes_with_the_missing_chunks_only(play_all, net):
    """The receiver starts its connection anew in the middle; only what it had not yet got travels again."""
    packed = pack(Parameters({"w": np.arange(3 << 17, dtype=np.float64), "v": np.arange(5 << 17, dtype=np.float64)}))
    manifest = Manifest(step="updates", digest=packed.digest, header=packed.header, chunks=packed.chunk_digests)
    place = {"round": 1, "term": 0, "attempt": 0}
    sent: list[int] = []

    async def script(world):
        ends = {"a": await world.join("a"), "b": await world.join("b")}
        cut = asyncio.Event()

        def speaker(sender):
            async def send(kind, body, receivers, place):
                if isinstance(body, Chunk):
                    sent.append(body.index)
                for receiver in receivers:
                    await ends[sender].send(receiver, net.write(body))

            return send

        giver = Courier(speaker("a"), limits=Limits(), retry_s=1.0)
        taker = Courier(speaker("b"), limits=Limits(), retry_s=1.0)
        await giver.offer(manifest, packed, to=["b"], place=place)

        async def listen(site, courier):
            while True:
                sender, frame = await ends[site].receive()
                match net.read(frame):
                    case Offer() as offer:
                        courier.take_offer(sender, 1, offer)
                    case Need() as need:
                        asked = Envelope(
                            version=VERSION, consortium=bytes(32), run=1, round=1, term=0, attempt=0, kind="need",
                            sender=sender, receiver=site, sequence=1, head_height=0, head_hash=b"", body=b"",
                        )  # fmt: skip
                        await courier.answer(asked, need)
                    case Chunk() as chunk:
                        courier.take_chunk(chunk)
                        if len(packed.chunk_digests) - len(courier._intakes[packed.digest].missing()) == 3:
                            cut.set()
                            await asyncio.Event().wait()  # the node hears nothing more on this connection

        listening = {site: asyncio.ensure_future(listen(site, c)) for site, c in (("a", giver), ("b", taker))}
        fetching = asyncio.ensure_future(
            taker.fetch(
                packed.digest,
                holders=("a",),
                place=place,
                expected=None,
                refuse=lambda who, why: None,
                is_past=lambda: False,
            )
        )
        await cut.wait()
        listening["b"].cancel()
        first = sorted(set(range(len(packed.chunk_digests))) - set(taker._intakes[packed.digest].missing()))
        ends["b"] = await world.join("b")
        asked_before = len(sent)
        listening["b"] = asyncio.ensure_future(listen("b", taker))
        assert await fetching
        for task in listening.values():
            task.cancel()
        return first, sent[asked_before:]

    first, later = play_all(script)
    assert len(first) == 3
    assert not set(first) & set(later[-5:])
    assert packed.digest
