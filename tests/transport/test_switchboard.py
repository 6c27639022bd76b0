"""Lanes and questions over one transport: kept apart, bounded, refused where malformed."""

import asyncio
import contextlib

import msgspec
import numpy as np
import pytest

from cohortium.errors import FrameError, PeerError, PolicyRefused, UsageError
from cohortium.sim.virtual_clock import run_virtual
from cohortium.transport.memory import Link, MemoryNetwork
from cohortium.transport.switchboard import MAX_ASK_BYTES, MAX_PARCEL_BYTES, Switchboard

SITES = ("bonn", "lund", "porto")


def play(script, *, link: Link | None = None):
    """Run `script(boards by site, network)` among three sites whose switchboards carry."""

    async def main():
        network = MemoryNetwork(rng=np.random.default_rng(0), link=link or Link())
        boards = {site: Switchboard(network.join(site)) for site in SITES}
        async with asyncio.timeout(10_000), asyncio.TaskGroup() as tasks:
            for board in boards.values():
                tasks.create_task(board.run())
            try:
                return await script(boards, network)
            finally:
                for board in boards.values():
                    await board.close()

    return run_virtual(main())


async def heard(lane, *, for_s: float = 1.0) -> list[tuple[str, bytes]]:
    got = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            while True:
                got.append(await lane.receive())
    return got


# --- lanes


def test_lanes_are_kept_apart_and_in_order() -> None:
    async def script(boards, network):
        there = [boards["bonn"].lane(name) for name in ("run/1", "run/2")]
        here = [boards["porto"].lane(name) for name in ("run/1", "run/2")]
        for i in range(3):
            await there[0].send("porto", b"one %d" % i)
            await there[1].send("porto", b"two %d" % i)
        return [await heard(lane) for lane in here]

    assert play(script) == [[("bonn", b"one %d" % i) for i in range(3)], [("bonn", b"two %d" % i) for i in range(3)]]


def test_frames_of_a_lane_that_opens_a_little_later_are_not_lost() -> None:
    async def script(boards, network):
        early = boards["bonn"].lane("run/1")
        for frame in (b"a", b"b"):
            await early.send("porto", frame)
        await asyncio.sleep(10)
        return await heard(boards["porto"].lane("run/1"))

    assert play(script) == [("bonn", b"a"), ("bonn", b"b")]


def test_frames_of_a_lane_nobody_opens_are_let_go_and_counted() -> None:
    async def script(boards, network):
        await boards["bonn"].lane("run/1").send("porto", b"a")
        await asyncio.sleep(20)
        return await heard(boards["porto"].lane("run/1")), boards["porto"].lost["bonn"]

    assert play(script) == ([], 1)


def test_what_is_kept_of_one_sender_is_bounded_and_leaves_room_for_others() -> None:
    async def script(boards, network):
        flood = boards["bonn"].lane("run/1")
        for _ in range(1000):
            await flood.send("porto", b"x")
        for _ in range(9):
            await boards["bonn"].lane("run/2").send("porto", bytes(1 << 20))
        await boards["lund"].lane("run/1").send("porto", b"quiet")
        await asyncio.sleep(1)
        lost = dict(boards["porto"].lost)
        return lost, (await heard(boards["porto"].lane("run/1")))[-1], await heard(boards["porto"].lane("run/2"))

    assert play(script) == ({"bonn": 1000 - 256 + 9}, ("lund", b"quiet"), [])


def test_one_sender_fills_only_its_share_of_a_lane() -> None:
    async def script(boards, network):
        lane = boards["porto"].lane("run/1")
        flood = boards["bonn"].lane("run/1")
        for _ in range(5000):
            await flood.send("porto", b"x")
        await boards["lund"].lane("run/1").send("porto", b"quiet")
        await asyncio.sleep(1)
        got = await heard(lane)
        await flood.send("porto", b"again")
        return len(got), got[-1], boards["porto"].lost["bonn"], await heard(lane)

    assert play(script) == (4097, ("lund", b"quiet"), 5000 - 4096, [("bonn", b"again")])


def test_the_bytes_of_one_sender_in_a_lane_are_bounded() -> None:
    async def script(boards, network):
        lane = boards["porto"].lane("run/1")
        flood = boards["bonn"].lane("run/1")
        for _ in range(60):
            await flood.send("porto", bytes(1 << 20))
        await asyncio.sleep(1)
        return len(await heard(lane))

    assert play(script) == 48


def test_a_lane_opened_again_cuts_the_first_one_off_and_a_closed_one_says_nothing() -> None:
    async def script(boards, network):
        old, new = boards["porto"].lane("run/1"), boards["porto"].lane("run/1")
        there = boards["bonn"].lane("run/1")
        await there.send("porto", b"x")
        await old.send("bonn", b"ghost")
        await old.close()
        assert await heard(new) == [("bonn", b"x")]
        await new.close()
        await new.send("bonn", b"ghost")
        return await heard(old), await heard(there)

    assert play(script) == ([], [])


def test_a_frame_longer_than_any_message_is_not_sent() -> None:
    async def script(boards, network):
        with pytest.raises(FrameError, match="at most"):
            await boards["bonn"].lane("run/1").send("porto", bytes(MAX_PARCEL_BYTES))

    play(script)


@pytest.mark.parametrize("name", ["", "Run/1", "a" * 97, "run 1"])
def test_impossible_names_are_refused(name: str) -> None:
    async def script(boards, network):
        with pytest.raises(ValueError, match="name must be"):
            boards["bonn"].lane(name)
        with pytest.raises(ValueError, match="name must be"):
            boards["bonn"].answer(name, None)

    play(script)


# --- questions


async def double(peer: str, request: bytes) -> bytes:
    return request + request


def test_questions_are_answered_each_with_its_own_answer() -> None:
    async def script(boards, network):
        async def slow_first(peer, request):
            await asyncio.sleep(5 - request[0])
            return request * 2

        boards["porto"].answer("double", slow_first)
        return await asyncio.gather(
            *(boards["bonn"].ask("porto", "double", bytes([i]), timeout_s=30) for i in range(5))
        )

    assert play(script) == [bytes([i]) * 2 for i in range(5)]


def test_silence_is_a_timeout_that_names_peer_and_topic() -> None:
    async def script(boards, network):
        network.partition(["porto"])
        with pytest.raises(TimeoutError, match="'porto' gave no answer about 'study' within 5 s"):
            await boards["bonn"].ask("porto", "study", b"", timeout_s=5)

    play(script)


def test_a_refusal_carries_our_own_sentence_and_an_error_none() -> None:
    async def refuse(peer, request):
        raise PolicyRefused("study 'mds' is not one this site takes")

    async def fail(peer, request):
        raise ZeroDivisionError("age 83")

    async def script(boards, network):
        seen = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: seen.append(context["exception"]))
        boards["porto"].answer("refuse", refuse)
        boards["porto"].answer("fail", fail)
        with pytest.raises(PeerError, match="'porto' answers: study 'mds' is not one this site takes") as refused:
            await boards["bonn"].ask("porto", "refuse", b"", timeout_s=5)
        assert refused.value.site == "porto"
        with pytest.raises(PeerError, match="an error occurred") as failed:
            await boards["bonn"].ask("porto", "fail", b"", timeout_s=5)
        assert "83" not in str(failed.value)
        assert [str(error) for error in seen] == ["age 83"]
        with pytest.raises(PeerError, match="nothing is answered about 'other' here"):
            await boards["bonn"].ask("porto", "other", b"", timeout_s=5)
        boards["porto"].answer("double", double)
        assert await boards["bonn"].ask("porto", "double", b"ab", timeout_s=5) == b"abab"

    play(script)


def test_a_peer_that_asks_too_much_at_once_is_not_answered_and_others_are() -> None:
    release = asyncio.Event()

    async def wait(peer, request):
        if peer == "bonn":
            await release.wait()
        return b"done"

    async def script(boards, network):
        boards["porto"].answer("wait", wait)
        asked = [asyncio.ensure_future(boards["bonn"].ask("porto", "wait", b"", timeout_s=60)) for _ in range(20)]
        await asyncio.sleep(1)
        assert await boards["lund"].ask("porto", "wait", b"", timeout_s=5) == b"done"
        release.set()
        said = await asyncio.gather(*asked, return_exceptions=True)
        assert await boards["bonn"].ask("porto", "wait", b"", timeout_s=5) == b"done"
        return said.count(b"done"), boards["porto"].lost["bonn"]

    assert play(script) == (8, 12)


def test_an_answer_of_somebody_else_counts_for_nothing() -> None:
    async def script(boards, network):
        caught = asyncio.get_running_loop().create_future()

        async def leak(peer, request):
            await asyncio.sleep(3)
            return b"true"

        boards["porto"].answer("who", leak)
        porto, carry = network, network.carry

        def listen(sender, receiver, frame):
            if sender == "bonn" and not caught.done():
                caught.set_result(msgspec.msgpack.decode(frame)[1])
            carry(sender, receiver, frame)

        porto.carry = listen
        asking = asyncio.ensure_future(boards["bonn"].ask("porto", "who", b"", timeout_s=9))
        await boards["lund"].transport.send("bonn", msgspec.msgpack.encode([3, await caught, b"false"]))
        return await asking

    assert play(script) == b"true"


@pytest.mark.parametrize("size", [0, MAX_ASK_BYTES])
def test_longest_question_and_answer_are_carried(size: int) -> None:
    async def echo(peer, request):
        return request

    async def script(boards, network):
        boards["porto"].answer("echo", echo)
        return len(await boards["bonn"].ask("porto", "echo", bytes(size), timeout_s=5))

    assert play(script) == size


def test_longer_ones_are_refused_at_the_side_that_made_them() -> None:
    async def script(boards, network):
        boards["porto"].answer("double", double)
        with pytest.raises(UsageError, match="question about 'double' has 1048577 bytes"):
            await boards["bonn"].ask("porto", "double", bytes(MAX_ASK_BYTES + 1), timeout_s=5)
        with pytest.raises(PeerError, match="answer about 'double' has 2097152 bytes"):
            await boards["bonn"].ask("porto", "double", bytes(MAX_ASK_BYTES), timeout_s=5)

    play(script)


# --- what comes from outside


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([9, "run/1", b""]),
        msgspec.msgpack.encode([1, "run/1", b"", b"more"]),
        msgspec.msgpack.encode([1, "Run 1", b""]),
        msgspec.msgpack.encode([1, "run/1", "text"]),
        msgspec.msgpack.encode([2, b"short", "topic", b""]),
        msgspec.msgpack.encode([4, bytes(8), "w" * 301]),
        b"\x93\x01\xa1\xff\xc4\x00",
        bytes(MAX_PARCEL_BYTES + 1),
    ],
)
def test_malformed_parcels_are_refused_and_counted(frame: bytes) -> None:
    async def script(boards, network):
        lane = boards["porto"].lane("run/1")
        await boards["lund"].transport.send("porto", frame)
        await boards["bonn"].lane("run/1").send("porto", b"still here")
        return await heard(lane), dict(boards["porto"].refused)

    assert play(script) == ([("bonn", b"still here")], {"lund": 1})


def test_answers_nobody_asked_for_change_nothing() -> None:
    async def script(boards, network):
        for parcel in ([3, bytes(8), b"x"], [4, bytes(8), "no"]):
            await boards["lund"].transport.send("porto", msgspec.msgpack.encode(parcel))
        await asyncio.sleep(1)
        return dict(boards["porto"].refused)

    assert play(script) == {}


def test_closing_gives_open_questions_up_and_ends_handlers() -> None:
    async def script(boards, network):
        async def forever(peer, request):
            await asyncio.Event().wait()

        boards["porto"].answer("wait", forever)
        asking = asyncio.ensure_future(boards["bonn"].ask("porto", "wait", b"", timeout_s=900))
        await asyncio.sleep(1)
        await boards["bonn"].close()
        with pytest.raises(TimeoutError):
            await asking
        await boards["porto"].close()
        return asyncio.get_running_loop().time()

    assert play(script) == pytest.approx(1.0)


def test_whole_lanes_survive_a_bad_network() -> None:
    """Corrupt parcels are refused, the rest arrives; nothing raises."""

    async def script(boards, network):
        lane, there = boards["porto"].lane("run/1"), boards["bonn"].lane("run/1")
        for i in range(300):
            await there.send("porto", i.to_bytes(4, "big"))
        return len(await heard(lane, for_s=100)), boards["porto"].refused["bonn"]

    kept, refused = play(script, link=Link(corrupt=0.5, duplicate=0.2, jitter_s=2.0))
    assert kept > 150
    assert refused > 10
