"""What nodes say to each other: one envelope, nine kinds of body, all typed, versioned and limited.

MessagePack through msgspec; nothing is unpickled. An envelope is signed by the sender's ledger key, but
for `chunk`: chunks are covered by the signed manifest of their offer. An offer also carries a second
signature, over the slot (consortium, run, round, term, kind, digest), in the form the contract can check,
so that two merges offered for one slot convict their sender. Whether a sender may speak at all, and
whether a sequence number was seen before, is decided in `swarm.gate`. Design: swarm.md section 9.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

from cohortium.core.payload import CHUNK_BYTES
from cohortium.errors import FrameError, SignatureError

__all__ = [
    "BODIES",
    "LIMITS",
    "MAX_FRAME_BYTES",
    "VERSION",
    "Body",
    "Bye",
    "Chunk",
    "Envelope",
    "Hello",
    "Kind",
    "Manifest",
    "Need",
    "Offer",
    "Progress",
    "Result",
    "Stage",
    "StepNote",
    "Trouble",
    "body_of",
    "check_signature",
    "decode",
    "encode",
    "sealed",
    "signing_digest",
]

VERSION = 1
_DOMAIN = b"cohortium-envelope-1"

Kind = Literal["hello", "progress", "trouble", "offer", "need", "chunk", "step", "result", "bye"]
Stage = Literal[
    "connect",
    "approve",
    "ready",
    "load",
    "train",
    "commit",
    "exchange",
    "merge",
    "attest",
    "adopt",
    "evaluate",
    "ledger",
]
"""Where a node is in a run; the only words a progress or a trouble message may use."""

_CONTROL = 64 << 10
LIMITS: dict[str, int] = {
    "hello": _CONTROL,
    "progress": _CONTROL,
    "trouble": _CONTROL,
    "offer": (1 << 20) + _CONTROL,
    "need": _CONTROL,
    "chunk": CHUNK_BYTES + 256,
    "step": _CONTROL,
    "result": _CONTROL,
    "bye": _CONTROL,
}
"""Longest frame of each kind, in bytes."""

MAX_FRAME_BYTES = max(LIMITS.values())

_Site = Annotated[str, msgspec.Meta(min_length=1, max_length=32, pattern="^[a-z0-9-]+$")]
_Receiver = Annotated[str, msgspec.Meta(max_length=32, pattern="^[a-z0-9-]*$")]
_Digest = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Signature = Annotated[bytes, msgspec.Meta(max_length=65)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
_Long = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Word = Annotated[str, msgspec.Meta(max_length=64, pattern="^[A-Za-z0-9_./:-]*$")]


class Envelope(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who says what, where in the run, and which ledger it has seen (`head_height`, `head_hash`).

    receiver: empty for all peers. sequence: rises with every envelope of a sender, across restarts. body: encoded; of
    a frame that came in, a view of it, because a chunk of 1 MiB need not be copied to be looked at.
    """

    version: Annotated[int, msgspec.Meta(ge=VERSION, le=VERSION)]
    consortium: _Digest
    run: _Long
    round: _Count
    term: _Count
    attempt: _Count
    kind: Kind
    sender: _Site
    receiver: _Receiver
    sequence: _Long
    head_height: _Long
    head_hash: Annotated[bytes, msgspec.Meta(max_length=32)]
    body: memoryview
    signature: _Signature = b""


class Hello(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """I am here, for this study."""

    study: _Digest


class Progress(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How far I am: a fraction, never a count, because counts reveal the number of patients."""

    stage: Stage
    fraction: Annotated[float, msgspec.Meta(ge=0, le=1)]
    eta_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Trouble(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What keeps me: a code and a place in the code; the text stays at the site. fix: one of our own words."""

    stage: Stage
    code: _Word
    where: _Word = ""
    fix: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Manifest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A payload's promise: header, chunk digests, and for a merge its inputs. slot: signature over the slot."""

    step: _Word
    digest: _Digest
    header: Annotated[bytes, msgspec.Meta(max_length=1 << 20)]
    chunks: Annotated[tuple[_Digest, ...], msgspec.Meta(max_length=1 << 15)]
    inputs_root: Annotated[bytes, msgspec.Meta(max_length=32)] = b""
    contributors: Annotated[tuple[_Site, ...], msgspec.Meta(max_length=256)] = ()
    slot: _Signature = b""


class Offer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A manifest, and the body itself where it is small enough to travel along."""

    manifest: Manifest
    inline: Annotated[bytes, msgspec.Meta(max_length=_CONTROL)] | None = None


class Need(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Send me a payload: its offer again (`chunks` empty), or the chunks with these numbers.

    digest: empty where I do not know it yet; then your own payload of `step` in the envelope's round and attempt.
    """

    digest: Annotated[bytes, msgspec.Meta(max_length=32)]
    chunks: Annotated[tuple[_Count, ...], msgspec.Meta(max_length=4096)] = ()
    step: _Word = ""


class Chunk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One piece of a payload's body."""

    digest: _Digest
    index: _Count
    data: Annotated[memoryview, msgspec.Meta(max_length=CHUNK_BYTES)]


class StepNote(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The leader's proposal in a step that carries no payload: a set of joiners as a bitmap, signed for its slot."""

    step: _Word
    bitmap: _Digest
    slot: _Signature = b""


class Result(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Measures of an adopted merge on my own data, as far as the study lets them leave."""

    measures: Annotated[dict[_Word, float], msgspec.Meta(max_length=512)]


class Bye(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """I am stopping."""

    reason: _Word = ""


Body = Hello | Progress | Trouble | Offer | Need | Chunk | StepNote | Result | Bye

BODIES: dict[str, type[Body]] = {
    "hello": Hello,
    "progress": Progress,
    "trouble": Trouble,
    "offer": Offer,
    "need": Need,
    "chunk": Chunk,
    "step": StepNote,
    "result": Result,
    "bye": Bye,
}

_ENCODER = msgspec.msgpack.Encoder()
_ENVELOPE = msgspec.msgpack.Decoder(Envelope)
_DECODERS = {kind: msgspec.msgpack.Decoder(body) for kind, body in BODIES.items()}

_UNSIGNED = frozenset({"chunk"})


def encode(envelope: Envelope) -> bytes:
    """The frame of an envelope. Raises FrameError if it is longer than its kind may be."""
    frame = _ENCODER.encode(envelope)
    if len(frame) > LIMITS[envelope.kind]:
        raise FrameError(f"{envelope.kind} frame of {len(frame)} bytes; at most {LIMITS[envelope.kind]} are accepted")
    return frame


def decode(frame: bytes) -> Envelope:
    """The envelope in a frame. FrameError for anything too long, truncated or not of the agreed type."""
    if len(frame) > MAX_FRAME_BYTES:
        raise FrameError(f"frame of {len(frame)} bytes; at most {MAX_FRAME_BYTES} are accepted")
    try:
        envelope = _ENVELOPE.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError) as broken:
        raise FrameError(f"frame of {len(frame)} bytes is no envelope of version {VERSION}") from broken
    if len(frame) > LIMITS[envelope.kind]:
        raise FrameError(f"{envelope.kind} frame of {len(frame)} bytes; at most {LIMITS[envelope.kind]} are accepted")
    return envelope


def body_of(envelope: Envelope) -> Body:
    """The typed body. FrameError if it is not what the kind says."""
    try:
        return _DECODERS[envelope.kind].decode(envelope.body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as broken:
        raise FrameError(f"body of a {envelope.kind} message from {envelope.sender!r} is malformed") from broken


def signing_digest(envelope: Envelope) -> bytes:
    """What the sender signs (32 bytes): SHA-256 over the domain and every field but the signature."""
    bare = envelope if not envelope.signature else msgspec.structs.replace(envelope, signature=b"")
    return hashlib.sha256(_DOMAIN + _ENCODER.encode(bare)).digest()


def sealed(envelope: Envelope, body: Body, sign: Callable[[bytes], bytes]) -> Envelope:
    """The envelope with its body in it, signed by `sign(digest) -> 65 bytes` unless its kind goes unsigned."""
    filled = msgspec.structs.replace(envelope, body=_ENCODER.encode(body), signature=b"")
    if envelope.kind in _UNSIGNED:
        return filled
    return msgspec.structs.replace(filled, signature=sign(signing_digest(filled)))


def check_signature(envelope: Envelope, address: bytes, recover: Callable[[bytes, bytes], bytes]) -> None:
    """Raise SignatureError unless `recover(digest, signature)` gives the sender's `address`."""
    if envelope.kind in _UNSIGNED:
        return
    if recover(signing_digest(envelope), envelope.signature) != address:
        raise SignatureError(f"{envelope.kind} message is not signed by {envelope.sender!r}")
