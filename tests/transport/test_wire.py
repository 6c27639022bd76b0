import msgspec
import pytest

from cohortium.errors import FrameError
from cohortium.transport.sealing import SEALED_MORE_BYTES
from cohortium.transport.switchboard import MAX_PARCEL_BYTES
from cohortium.transport.wire import (
    CONTROL_BYTES,
    MAX_MESSAGE_BYTES,
    Forward,
    Forwarded,
    Reach,
    message_of,
    read_message,
    stream_of,
    word,
)


@pytest.mark.parametrize("frame", [b"", b"x", b"\x92\x01", b"\0", b"\0\x92\x04\x90", b"\0" * 1000])
def test_every_frame_comes_back_as_it_was(frame: bytes) -> None:
    assert read_message(message_of(frame)) == frame


def test_a_frame_that_does_not_begin_with_zero_is_not_copied() -> None:
    frame = b"x" * 1000
    assert message_of(frame) is frame
    assert read_message(frame) is frame


@pytest.mark.parametrize("said", [Forward("porto", b"s"), Forwarded("porto", b"s"), Reach(("a", "b")), Reach(())])
def test_every_word_comes_back_as_it_was(said) -> None:
    assert read_message(word(said)) == said


@pytest.mark.parametrize(
    "content",
    [b"", b"junk", msgspec.msgpack.encode([9, b""]), msgspec.msgpack.encode([2, "Porto", b""]),
     msgspec.msgpack.encode([2, "porto", "text"]), msgspec.msgpack.encode([2, "porto", b"", 1]),
     msgspec.msgpack.encode([4, ["a"] * 257]), b"\x92\x04\x91\xa1\xff"],
)  # fmt: skip
def test_anything_else_behind_a_zero_byte_is_refused(content: bytes) -> None:
    with pytest.raises(FrameError, match="neither a frame nor a word"):
        read_message(b"\0" + content)


def test_the_longest_frame_fits_sealed_and_forwarded() -> None:
    longest = word(Forwarded("x" * 32, bytes(MAX_PARCEL_BYTES + SEALED_MORE_BYTES)))
    assert len(longest) <= MAX_MESSAGE_BYTES
    message_of(bytes(MAX_PARCEL_BYTES))
    with pytest.raises(FrameError, match="at most"):
        message_of(bytes(MAX_PARCEL_BYTES + 1))


def test_small_messages_have_a_stream_of_their_own() -> None:
    assert stream_of(bytes(CONTROL_BYTES)) == "control"
    assert stream_of(bytes(CONTROL_BYTES + 1)) == "bulk"
