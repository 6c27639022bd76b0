"""Words and arrays over a stream between a node and its worker process: typed, limited, never unpickled.

    4 bytes length of the head | head (MessagePack) | arrays, each in the safetensors layout

A head says what is asked or answered and how long each set of arrays is. Both ends are ours, but the worker runs code
that a study brings along, so what it says is checked like anybody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

import msgspec

from cohortium.core.codec import decode, encode
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Update
from cohortium.errors import FrameError

__all__ = ["MAX_ARRAYS_BYTES", "Stream", "Word", "read_word", "write_word"]

MAX_HEAD_BYTES = 64 << 20
MAX_ARRAYS_BYTES = 8 << 30
_MAX_SETS = 1024


class Stream(Protocol):
    """What is needed of a socket's file."""

    def read(self, n: int, /) -> bytes: ...

    def readinto(self, buffer: memoryview, /) -> int: ...

    def write(self, data: bytes | memoryview, /) -> int: ...

    def flush(self) -> None: ...


_Said = Annotated[str, msgspec.Meta(max_length=64)]


class _UpdateHead(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An update without its arrays: they follow, parameters then memory."""

    site: Annotated[str, msgspec.Meta(max_length=32)]
    weight: int
    salt: Annotated[bytes, msgspec.Meta(max_length=16)] = b""


class _AggregateHead(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A sum without its arrays. updates: what those that come along are: none, single ones, or shown ones.

    groups: weight, contributors.
    """

    weight: int
    contributors: tuple[str, ...]
    updates: Literal["", "single", "shown"]
    groups: Annotated[tuple[tuple[int, tuple[str, ...]], ...], msgspec.Meta(max_length=2)] = ()


class _Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    number: int
    word: _Said
    text: dict[str, Any]
    sizes: Annotated[tuple[int, ...], msgspec.Meta(max_length=_MAX_SETS)]
    updates: tuple[_UpdateHead, ...] = ()
    aggregate: _AggregateHead | None = None


class Word(msgspec.Struct, frozen=True):
    """One thing said. number: of the question, also in its answer. text: JSON values by name."""

    number: int
    word: str
    text: dict[str, Any] = {}
    arrays: tuple[Parameters, ...] = ()
    updates: tuple[Update, ...] = ()
    aggregate: Aggregate | None = None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Head)


def write_word(stream: Stream, said: Word) -> None:
    """Write one word and flush. Raises OSError when nobody reads any more."""
    updates = (*said.updates, *((said.aggregate and (said.aggregate.single or said.aggregate.shown)) or ()))
    sets = [*said.arrays, *(held for one in updates for held in (one.parameters, one.memory))]
    if said.aggregate is not None:
        sets += [said.aggregate.total, *(one.total for one in said.aggregate.groups)]
    pieces = [list(encode(held)) for held in sets]
    head = _Head(
        said.number,
        said.word,
        said.text,
        tuple(sum(len(piece) for piece in encoded) for encoded in pieces),
        tuple(_UpdateHead(one.site, one.weight, one.salt) for one in updates),
        _aggregate_head(said.aggregate),
    )
    encoded = _ENCODER.encode(head)
    stream.write(len(encoded).to_bytes(4, "little") + encoded)
    for one in pieces:
        for piece in one:
            stream.write(piece)
    stream.flush()


def _aggregate_head(whole: Aggregate | None) -> _AggregateHead | None:
    if whole is None:
        return None
    groups = tuple((one.weight, one.contributors) for one in whole.groups)
    along: Literal["", "single", "shown"] = "shown" if whole.shown else ""
    along = "single" if whole.single is not None else along
    return _AggregateHead(whole.weight, whole.contributors, along, groups)


def read_word(stream: Stream) -> Word | None:
    """The next word, None at the end of the stream. Raises FrameError for anything not of the agreed form."""
    start = stream.read(4)
    if not start:
        return None
    length = int.from_bytes(start, "little")
    if len(start) < 4 or length > MAX_HEAD_BYTES:
        raise FrameError(f"head of {length} bytes; at most {MAX_HEAD_BYTES} are accepted")
    try:
        head = _DECODER.decode(_exactly(stream, length))
    except (msgspec.MsgspecError, UnicodeDecodeError) as broken:
        raise FrameError(f"word of a worker: {broken}") from None
    if sum(head.sizes) > MAX_ARRAYS_BYTES or min(head.sizes, default=0) < 0:
        raise FrameError(f"arrays of {sum(head.sizes)} bytes; at most {MAX_ARRAYS_BYTES} are accepted")
    n_updates, extra = len(head.updates), 0 if head.aggregate is None else 1 + len(head.aggregate.groups)
    n_arrays = len(head.sizes) - 2 * n_updates - extra
    if n_arrays < 0:
        raise FrameError(f"{len(head.sizes)} sets of arrays for {n_updates} updates")
    sets = [decode(_exactly(stream, size))[0] for size in head.sizes]
    return _word(head, sets, n_arrays)


def _word(head: _Head, sets: Sequence[Parameters], n_arrays: int) -> Word:
    pairs = zip(sets[n_arrays::2], sets[n_arrays + 1 :: 2], strict=False)
    try:
        updates = tuple(
            Update(site=one.site, weight=one.weight, parameters=parameters, memory=memory, salt=one.salt)
            for one, (parameters, memory) in zip(head.updates, pairs, strict=False)
        )
    except ValueError as wrong:
        raise FrameError(str(wrong)) from None
    aggregate = None
    if head.aggregate is not None:
        said, n_groups = head.aggregate, len(head.aggregate.groups)
        totals = sets[len(sets) - n_groups - 1 :]
        aggregate = Aggregate(
            total=totals[0],
            weight=said.weight,
            contributors=said.contributors,
            single=updates if said.updates == "single" else None,
            shown=updates if said.updates == "shown" else (),
            groups=tuple(
                Aggregate(total=total, weight=weight, contributors=sites)
                for total, (weight, sites) in zip(totals[1:], said.groups, strict=True)
            ),
        )
        updates = ()
    return Word(head.number, head.word, head.text, tuple(sets[:n_arrays]), updates, aggregate)


def _exactly(stream: Stream, n_bytes: int) -> memoryview:
    """So many bytes. Raises FrameError where the stream ends first."""
    whole = bytearray(n_bytes)
    view, at = memoryview(whole), 0
    while at < n_bytes:
        got = stream.readinto(view[at:])
        if not got:
            raise FrameError(f"the stream ended after {at} of {n_bytes} bytes")
        at += got
    return view
