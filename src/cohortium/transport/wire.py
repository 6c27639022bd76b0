"""What one message of a stream may be: a frame as it is, or a word between two transports.

A frame travels unchanged, so that nothing is copied, unless it begins with a zero byte; a zero byte marks the few
messages that are not frames: a literal frame, one to be forwarded, one that was forwarded, and the list of members a
relay reaches. Small messages go over the control stream, large ones over the bulk stream, so that a heartbeat never
waits behind a model.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from cohortium.errors import FrameError
from cohortium.transport.sealing import SEALED_MORE_BYTES
from cohortium.transport.switchboard import MAX_PARCEL_BYTES

__all__ = [
    "CONTROL_BYTES",
    "MAX_MESSAGE_BYTES",
    "STREAMS",
    "Forward",
    "Forwarded",
    "Reach",
    "Stream",
    "Word",
    "message_of",
    "read_message",
    "stream_of",
    "word",
]

Stream = Literal["control", "bulk"]
STREAMS: Final[tuple[Stream, ...]] = ("control", "bulk")

_MARK = b"\0"
_WRAPPING = 64

CONTROL_BYTES: Final = (64 << 10) + 1024
"""Longest message of the control stream: a control frame in its parcel, sealed and forwarded."""

MAX_MESSAGE_BYTES: Final = MAX_PARCEL_BYTES + SEALED_MORE_BYTES + _WRAPPING
"""Longest message of the bulk stream."""

_Site = Annotated[str, msgspec.Meta(min_length=1, max_length=32, pattern="^[a-z0-9-]+$")]


class _Literal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    frame: bytes


class Forward(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """To a relay: give this sealed frame to that member."""

    receiver: _Site
    sealed: bytes


class Forwarded(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """From a relay: this sealed frame comes from that member."""

    sender: _Site
    sealed: bytes


class Reach(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """From a relay: these are the members I have streams with."""

    sites: Annotated[tuple[_Site, ...], msgspec.Meta(max_length=256)]


Word = Forward | Forwarded | Reach

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[_Literal | Word] = msgspec.msgpack.Decoder(_Literal | Word)


def message_of(frame: bytes) -> bytes:
    """The message that carries a frame. Raises FrameError where it is longer than any parcel."""
    if len(frame) > MAX_PARCEL_BYTES:
        raise FrameError(f"frame of {len(frame)} bytes; at most {MAX_PARCEL_BYTES} are carried")
    return frame if not frame.startswith(_MARK) else _MARK + _ENCODER.encode(_Literal(frame))


def word(said: Word) -> bytes:
    """The message that says a word."""
    return _MARK + _ENCODER.encode(said)


def read_message(message: bytes) -> bytes | Word:
    """The frame or the word in a message. FrameError for anything that is neither."""
    if not message.startswith(_MARK):
        return message
    try:
        said = _DECODER.decode(memoryview(message)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as broken:
        raise FrameError(f"message of {len(message)} bytes is neither a frame nor a word") from broken
    return said.frame if isinstance(said, _Literal) else said


def stream_of(message: bytes) -> Stream:
    """Which stream a message travels on."""
    return "control" if len(message) <= CONTROL_BYTES else "bulk"
