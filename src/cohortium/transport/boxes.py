"""Two queues between threads and the event loop: what waits to be sent to a peer, and what came in.

gRPC's blocking API lives in threads, the node on an event loop; these are the only two places where they meet. Both
are bounded and push back: a sender waits for room in its outbox, a reading thread for room in the inbox, and then the
peer's flow control waits too. So a slow reader anywhere stops the source, and nothing piles up.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

__all__ = ["BULK_FRAMES", "CONTROL_FRAMES", "Inbox", "Outbox"]

BULK_FRAMES: Final = 2
"""Large frames that wait at either end of one stream."""

CONTROL_FRAMES: Final = 256
"""Small frames that wait at either end of one stream."""

_HELD_S = 30.0


class Outbox:
    """What waits for one stream of one peer. At most `room` own messages; words and forwarded frames besides.

    Attached to a stream it feeds it; between two streams it holds messages for half a minute.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, room: int) -> None:
        self._loop, self._room = loop, room
        self._changed = threading.Condition()
        self._own: deque[tuple[float, bytes]] = deque()
        self._forwarded: deque[tuple[bytes, Callable[[], None]]] = deque()
        self._own_turn = False
        self._stream: object = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    # --- the event loop's side

    async def put(self, message: bytes) -> bool:
        """Queue a message, waiting for room. False when the stream ended meanwhile."""
        while True:
            with self._changed:
                if self._stream is None:
                    return False
                if len(self._own) < self._room:
                    self._own.append((time.monotonic(), message))
                    self._changed.notify()
                    return True
                future: asyncio.Future[None] = self._loop.create_future()
                self._waiting.append(future)
            await future

    def hold(self, message: bytes) -> bool:
        """Queue a message for a stream still to come, or feed one that has come. False where there is no room."""
        with self._changed:
            self._forget_old()
            if len(self._own) >= self._room:
                return False
            self._own.append((time.monotonic(), message))
            self._changed.notify()
            return True

    def take_held(self) -> list[bytes]:
        """What waits for a stream that has not come; nothing where one is attached."""
        with self._changed:
            if self._stream is not None:
                return []
            self._forget_old()
            held, self._own = [message for _, message in self._own], deque()
            return held

    def _forget_old(self) -> None:
        while self._stream is None and self._own and self._own[0][0] < time.monotonic() - _HELD_S:
            self._own.popleft()

    # --- the threads' side

    def attach(self, stream: object) -> None:
        """Feed this stream from now on; the one before is fed no more."""
        with self._changed:
            self._forget_old()
            self._stream = stream
            self._changed.notify_all()

    def detach(self, stream: object) -> None:
        """This stream has ended: forwarded frames are let go, waiting senders hear of it."""
        with self._changed:
            if self._stream is stream:
                self._stream = None
                while self._forwarded:
                    self._forwarded.popleft()[1]()
                self._wake()
            self._changed.notify_all()

    def forward(self, message: bytes, done: Callable[[], None]) -> bool:
        """Queue a message of somebody else; done() is called once it has left or was let go. False if not attached."""
        with self._changed:
            if self._stream is None:
                return False
            self._forwarded.append((message, done))
            self._changed.notify()
            return True

    def say(self, message: bytes) -> None:
        """Queue a short word of the transport itself, if a stream is attached."""
        self.forward(message, _nothing)

    def next_for(self, stream: object) -> bytes | None:
        """The next message for this stream; waits until there is one. None once another stream, or none, is fed."""
        with self._changed:
            while self._stream is stream and not self._own and not self._forwarded:
                self._changed.wait()
            return self._next() if self._stream is stream else None

    def _next(self) -> bytes:
        """Own and forwarded ones in turn, so that neither waits for all of the other."""
        self._own_turn = not self._own_turn
        if self._own and (self._own_turn or not self._forwarded):
            message = self._own.popleft()[1]
            self._wake()
            return message
        message, done = self._forwarded.popleft()
        done()
        return message

    def _wake(self) -> None:
        """Let all who wait look again; one of them may have been cancelled meanwhile."""
        while self._waiting:
            _call(self._loop, _settle, self._waiting.popleft())


class Inbox:
    """What came in and waits for `receive`, with a bound for each (sender, stream)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._changed = threading.Condition()
        self._queue: deque[tuple[str, str, bytes]] = deque()
        self._held: Counter[tuple[str, str]] = Counter()
        self._arrival = asyncio.Event()
        self._closed = False

    def put(self, sender: str, stream: str, frame: bytes) -> None:
        """Queue a frame; the calling thread waits while this sender's share is full."""
        room = BULK_FRAMES if stream == "bulk" else CONTROL_FRAMES
        with self._changed:
            while self._held[sender, stream] >= room and not self._closed:
                self._changed.wait()
            if self._closed:
                return
            self._held[sender, stream] += 1
            self._queue.append((sender, stream, frame))
            first = len(self._queue) == 1
        if first:
            _call(self._loop, self._arrival.set)

    async def receive(self) -> tuple[str, bytes]:
        """The next frame and who sent it; waits until there is one (the caller sets the deadline)."""
        while True:
            with self._changed:
                if self._queue:
                    sender, stream, frame = self._queue.popleft()
                    self._held[sender, stream] -= 1
                    self._changed.notify_all()
                    return sender, frame
                self._arrival.clear()
            await self._arrival.wait()

    def close(self) -> None:
        """Take no further frame; threads that wait for room go on."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()


def _nothing() -> None:
    """Nobody waits for a word to leave."""


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:  # the loop has been closed: nobody waits any more
        return
