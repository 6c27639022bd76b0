"""Between threads and the event loop: order, bounds, and nobody left waiting."""

import asyncio
import threading

import pytest

from cohortium.transport import boxes
from cohortium.transport.boxes import BULK_FRAMES, Inbox, Outbox


def run(script):
    async def main():
        async with asyncio.timeout(10):
            return await script()

    return asyncio.run(main())


def test_a_stream_is_fed_in_order() -> None:
    async def script():
        box, stream = Outbox(asyncio.get_running_loop(), room=10), object()
        box.attach(stream)
        for i in range(5):
            assert await box.put(bytes([i]))
        return [box.next_for(stream) for _ in range(5)]

    assert run(script) == [bytes([i]) for i in range(5)]


def test_a_sender_waits_for_room() -> None:
    async def script():
        box, stream = Outbox(asyncio.get_running_loop(), room=2), object()
        box.attach(stream)
        await box.put(b"1")
        await box.put(b"2")
        third = asyncio.ensure_future(box.put(b"3"))
        await asyncio.sleep(0.01)
        assert not third.done()
        assert await asyncio.to_thread(box.next_for, stream) == b"1"
        assert await third

    run(script)


def test_many_waiting_senders_all_come_through_though_some_are_cancelled() -> None:
    async def script():
        box, stream = Outbox(asyncio.get_running_loop(), room=1), object()
        box.attach(stream)
        sending = [asyncio.ensure_future(box.put(bytes([i]))) for i in range(20)]
        await asyncio.sleep(0)
        for task in sending[1::2]:
            task.cancel()
        got = [await asyncio.to_thread(box.next_for, stream) for _ in range(10)]
        await asyncio.gather(*sending[::2])
        return sorted(got)

    assert run(script) == [bytes([i]) for i in range(0, 20, 2)]


def test_the_end_of_a_stream_frees_who_waits_on_either_side() -> None:
    async def script():
        box, stream = Outbox(asyncio.get_running_loop(), room=1), object()
        box.attach(stream)
        await box.put(b"1")
        sender = asyncio.ensure_future(box.put(b"2"))
        await asyncio.sleep(0)
        assert box.next_for(stream) == b"1"
        await sender
        assert box.next_for(stream) == b"2"
        reader = asyncio.ensure_future(asyncio.to_thread(box.next_for, stream))
        await asyncio.sleep(0.01)
        box.detach(stream)
        assert await reader is None
        assert not await box.put(b"3")

    run(script)


def test_a_newer_stream_takes_over_and_the_old_one_is_fed_no_more() -> None:
    async def script():
        box, old, new = Outbox(asyncio.get_running_loop(), room=4), object(), object()
        box.attach(old)
        box.attach(new)
        await box.put(b"1")
        assert box.next_for(old) is None
        box.detach(old)
        assert box.next_for(new) == b"1"

    run(script)


def test_what_is_held_waits_for_the_next_stream_but_not_for_ever(monkeypatch) -> None:
    async def script():
        box, stream = Outbox(asyncio.get_running_loop(), room=2), object()
        assert [box.hold(m) for m in (b"1", b"2", b"3")] == [True, True, False]
        box.attach(stream)
        assert [box.next_for(stream), box.next_for(stream)] == [b"1", b"2"]
        box.detach(stream)
        box.hold(b"old")
        monkeypatch.setattr(boxes, "_HELD_S", -1.0)
        assert box.take_held() == []

    run(script)


def test_held_messages_can_be_taken_back_while_no_stream_stands() -> None:
    async def script():
        box, stream = Outbox(asyncio.get_running_loop(), room=2), object()
        box.hold(b"1")
        assert box.take_held() == [b"1"]
        box.attach(stream)
        await box.put(b"2")
        assert box.take_held() == []

    run(script)


def test_own_and_forwarded_messages_take_turns() -> None:
    async def script():
        box, stream, done = Outbox(asyncio.get_running_loop(), room=4), object(), []
        assert not box.forward(b"f", lambda: None)
        box.attach(stream)
        for i in range(3):
            assert box.forward(b"f%d" % i, lambda i=i: done.append(i))
            await box.put(b"o%d" % i)
        got = [box.next_for(stream) for _ in range(4)]
        assert got == [b"o0", b"f0", b"o1", b"f1"]
        box.detach(stream)
        return done

    assert run(script) == [0, 1, 2]  # the last was let go


def test_inbox_gives_in_order_of_arrival() -> None:
    async def script():
        box = Inbox(asyncio.get_running_loop())
        await asyncio.to_thread(lambda: [box.put("a", "control", bytes([i])) for i in range(5)])
        return [await box.receive() for _ in range(5)]

    assert run(script) == [("a", bytes([i])) for i in range(5)]


def test_a_thread_waits_while_its_senders_share_is_full_and_others_do_not() -> None:
    async def script():
        box = Inbox(asyncio.get_running_loop())
        flooding = asyncio.ensure_future(
            asyncio.to_thread(lambda: [box.put("loud", "bulk", bytes([i])) for i in range(5)])
        )
        while box._held["loud", "bulk"] < BULK_FRAMES:
            await asyncio.sleep(0.001)
        box.put("quiet", "bulk", b"q")
        box.put("loud", "control", b"c")
        assert not flooding.done()
        got = [await box.receive() for _ in range(7)]
        await flooding
        return got

    got = run(script)
    assert got[:BULK_FRAMES] == [("loud", b"\0"), ("loud", b"\1")]
    assert got.index(("quiet", b"q")) == BULK_FRAMES
    assert len(got) == 7


def test_closing_frees_threads_and_takes_nothing_more() -> None:
    async def script():
        box = Inbox(asyncio.get_running_loop())
        flooding = threading.Thread(target=lambda: [box.put("loud", "bulk", b"x") for _ in range(5)])
        flooding.start()
        await asyncio.sleep(0.02)
        box.close()
        await asyncio.to_thread(flooding.join, 5)
        assert not flooding.is_alive()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await box.receive()

    run(script)
