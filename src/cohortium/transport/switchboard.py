"""Several conversations over one transport: a lane for each run, and questions with one answer.

    board = Switchboard(transport)
    lane = board.lane("run/3f2a...")            # itself a Transport: frames of one subject
    board.answer("study", give_study)           # await give_study(peer, request) -> bytes
    text = await board.ask("porto", "study", digest, timeout_s=10)
    await board.run()                           # carries until closed

Each frame travels in a parcel: typed, limited, of four kinds. A lane that nobody reads here yet has its frames kept
for a moment, because peers open a run at slightly different times. Every queue is bounded, by sender too, so that no
peer can fill a neighbour's place; what finds no room is lost and counted, as on any real path.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from cohortium.core.messages import MAX_FRAME_BYTES
from cohortium.core.seams import Transport
from cohortium.errors import CohortiumError, FrameError, PeerError, UsageError

__all__ = ["MAX_ASK_BYTES", "MAX_PARCEL_BYTES", "Handler", "Switchboard"]

MAX_ASK_BYTES: Final = 1 << 20
"""Longest question and longest answer."""

MAX_PARCEL_BYTES: Final = max(MAX_FRAME_BYTES, MAX_ASK_BYTES) + 256

Handler = Callable[[str, bytes], Awaitable[bytes]]
"""(peer, request) -> answer. The peer hears what a CohortiumError says, and of any other error that there was one."""

_LANE_FRAMES = 4096
_LANE_SENDER_BYTES = 48 << 20
_KEPT_S = 15.0
_KEPT_FRAMES = 256
_KEPT_BYTES = 4 << 20
_ANSWERS = 8
_WHY = 300

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=96, pattern="^[a-z0-9/_.-]+$")]
_Number = Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]


class _OnLane(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    lane: _Name
    data: memoryview


class _Question(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    number: _Number
    topic: _Name
    data: memoryview


class _Answer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    number: _Number
    data: memoryview


class _Refusal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    number: _Number
    why: Annotated[str, msgspec.Meta(max_length=_WHY)]


_Parcel = _OnLane | _Question | _Answer | _Refusal

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[_Parcel] = msgspec.msgpack.Decoder(_Parcel)


def _pack(parcel: _Parcel) -> bytes:
    frame = _ENCODER.encode(parcel)
    if len(frame) > MAX_PARCEL_BYTES:
        raise FrameError(f"parcel of {len(frame)} bytes; at most {MAX_PARCEL_BYTES} are carried")
    return frame


def _unpack(frame: bytes) -> _Parcel:
    if len(frame) > MAX_PARCEL_BYTES:
        raise FrameError(f"parcel of {len(frame)} bytes; at most {MAX_PARCEL_BYTES} are accepted")
    try:
        return _DECODER.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError) as broken:
        raise FrameError(f"parcel of {len(frame)} bytes is none of the agreed kinds") from broken


@dataclass(frozen=True)
class _Kept:
    at_s: float
    lane: str
    sender: str
    frame: bytes


class _Lane:
    """One subject's end at this site (a `core.seams.Transport`)."""

    def __init__(self, board: Switchboard, name: str) -> None:
        self.name = name
        self._board = board
        self._queue: deque[tuple[str, bytes]] = deque()
        self._frames: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._arrival = asyncio.Event()

    async def send(self, peer: str, frame: bytes) -> None:
        """Put a frame on its way to the same lane of `peer`."""
        if self._board.holds(self):
            await self._board.transport.send(peer, _pack(_OnLane(self.name, memoryview(frame))))

    async def receive(self) -> tuple[str, bytes]:
        """The next frame of this lane and who sent it; waits until there is one (the caller sets the deadline)."""
        while not self._queue:
            self._arrival.clear()
            await self._arrival.wait()
        sender, frame = self._queue.popleft()
        self._frames[sender] -= 1
        self._held[sender] -= len(frame)
        return sender, frame

    async def close(self) -> None:
        """Take no further frame; the lane may be opened anew."""
        self._queue.clear()
        self._board.drop(self)

    def put(self, sender: str, frame: bytes) -> bool:
        """Queue a frame. False where its sender has filled its share."""
        if self._frames[sender] >= _LANE_FRAMES or self._held[sender] + len(frame) > _LANE_SENDER_BYTES:
            return False
        self._frames[sender] += 1
        self._held[sender] += len(frame)
        self._queue.append((sender, frame))
        self._arrival.set()
        return True

    @property
    def behind(self) -> bool:
        """Whether so much waits that the reader should have its turn."""
        return len(self._queue) >= 64


class Switchboard:
    """One node's lanes and questions. By sender: refused - malformed parcels; lost - frames without room or reader."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.refused: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self._lanes: dict[str, _Lane] = {}
        self._kept: deque[_Kept] = deque()
        self._handlers: dict[str, Handler] = {}
        self._asked: dict[tuple[str, bytes], asyncio.Future[bytes]] = {}
        self._answering: Counter[str] = Counter()
        self._replies: dict[asyncio.Task[None], str] = {}
        self._closed = asyncio.Event()

    # --- lanes -----------------------------------------------------------------------------------------------

    def lane(self, name: str) -> Transport:
        """The lane of this name, with what was kept for it; opened a second time it cuts the first one off."""
        _check_name(name)
        self._forget_old()
        self._lanes[name] = lane = _Lane(self, name)
        for kept in [kept for kept in self._kept if kept.lane == name]:
            self._kept.remove(kept)
            lane.put(kept.sender, kept.frame)
        return lane

    def holds(self, lane: _Lane) -> bool:
        """Whether this lane is the open one of its name."""
        return self._lanes.get(lane.name) is lane

    def drop(self, lane: _Lane) -> None:
        """Close a lane."""
        if self.holds(lane):
            del self._lanes[lane.name]

    def _keep(self, sender: str, name: str, frame: bytes) -> None:
        """Hold a frame for a lane that is not open here, within the sender's share, for a moment."""
        self._forget_old()
        mine = [len(kept.frame) for kept in self._kept if kept.sender == sender]
        if len(mine) >= _KEPT_FRAMES or sum(mine) + len(frame) > _KEPT_BYTES:
            self.lost[sender] += 1
        else:
            self._kept.append(_Kept(_now(), name, sender, frame))

    def _forget_old(self) -> None:
        while self._kept and self._kept[0].at_s < _now() - _KEPT_S:
            self.lost[self._kept.popleft().sender] += 1

    # --- questions -------------------------------------------------------------------------------------------

    async def ask(self, peer: str, topic: str, request: bytes, *, timeout_s: float) -> bytes:
        """The peer's answer. Raises PeerError where it refuses, TimeoutError where nothing comes in time."""
        _check_size("question", topic, request)
        number = os.urandom(8)  # an answer to an earlier life of this node fits no question of this one
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[peer, number] = future
        try:
            async with asyncio.timeout(timeout_s):
                await self.transport.send(peer, _pack(_Question(number, topic, memoryview(request))))
                return await future
        except TimeoutError:
            raise TimeoutError(f"{peer!r} gave no answer about {topic!r} within {timeout_s:g} s") from None
        finally:
            del self._asked[peer, number]

    def answer(self, topic: str, handler: Handler) -> None:
        """Let `handler` answer all questions about this topic from now on."""
        _check_name(topic)
        self._handlers[topic] = handler

    def _begin(self, tasks: asyncio.TaskGroup, peer: str, question: _Question) -> None:
        self._answering[peer] += 1
        reply = tasks.create_task(self._reply(peer, question))
        self._replies[reply] = peer
        reply.add_done_callback(self._ended)

    def _ended(self, reply: asyncio.Task[None]) -> None:
        self._answering[self._replies.pop(reply)] -= 1

    async def _reply(self, peer: str, question: _Question) -> None:
        parcel = await self._answer_or_refusal(peer, question)
        await self.transport.send(peer, _pack(parcel))

    async def _answer_or_refusal(self, peer: str, question: _Question) -> _Parcel:
        number, topic = question.number, question.topic
        handler = self._handlers.get(topic)
        if handler is None:
            return _Refusal(number, f"nothing is answered about {topic!r} here")
        try:
            answer = await handler(peer, bytes(question.data))
            _check_size("answer", topic, answer)
        except CohortiumError as refused:
            return _Refusal(number, str(refused)[:_WHY])
        except Exception as failed:  # noqa: BLE001  a question must not stop the node; the operator sees the error
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"answering {peer!r} about {topic!r} failed", "exception": failed}
            )
            return _Refusal(number, f"an error occurred while answering about {topic!r}; its operator can see it")
        return _Answer(number, memoryview(answer))

    # --- life ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry what comes in to lanes, handlers and askers until closed. Cancelling it is a normal end."""
        async with asyncio.TaskGroup() as tasks:
            carrying = tasks.create_task(self._carry(tasks))
            await self._closed.wait()
            for task in (carrying, *self._replies):
                task.cancel()

    async def _carry(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            sender, frame = await self.transport.receive()
            try:
                parcel = _unpack(frame)
            except FrameError:
                self.refused[sender] += 1
                continue
            match parcel:
                case _OnLane():
                    await self._to_lane(sender, parcel)
                case _Question():
                    if self._answering[sender] < _ANSWERS:
                        self._begin(tasks, sender, parcel)
                    else:
                        self.lost[sender] += 1
                case _Answer() | _Refusal():
                    self._settle(sender, parcel)

    async def _to_lane(self, sender: str, parcel: _OnLane) -> None:
        lane, frame = self._lanes.get(parcel.lane), bytes(parcel.data)
        if lane is None:
            self._keep(sender, parcel.lane, frame)
        elif not lane.put(sender, frame):
            self.lost[sender] += 1
        elif lane.behind:
            await asyncio.sleep(0)

    def _settle(self, sender: str, parcel: _Answer | _Refusal) -> None:
        future = self._asked.get((sender, parcel.number))
        if future is None or future.done():
            return  # too late, or never asked
        if isinstance(parcel, _Answer):
            future.set_result(bytes(parcel.data))
        else:
            future.set_exception(PeerError(f"{sender!r} answers: {parcel.why}", site=sender))

    async def close(self) -> None:
        """Stop carrying, give open questions up, close the transport."""
        self._closed.set()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(TimeoutError())
        self._lanes.clear()
        self._kept.clear()
        await self.transport.close()


def _check_name(name: str) -> None:
    try:
        msgspec.convert(name, _Name)
    except msgspec.ValidationError:
        raise ValueError(f"name must be 1 to 96 of a-z, 0-9, /, _, . and -, got {name!r:.120}") from None


def _check_size(what: str, topic: str, data: bytes) -> None:
    if len(data) > MAX_ASK_BYTES:
        raise UsageError(f"{what} about {topic!r} has {len(data)} bytes; at most {MAX_ASK_BYTES} are carried")


def _now() -> float:
    return asyncio.get_running_loop().time()
