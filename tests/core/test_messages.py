import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core import messages as m
from cohortium.core.identity import LedgerKey, recover
from cohortium.core.payload import CHUNK_BYTES
from cohortium.errors import FrameError, SignatureError

KEY = LedgerKey.from_bytes(bytes(31) + b"\x07")
OTHER = LedgerKey.from_bytes(bytes(31) + b"\x08")
NAME = "a" * 32

MANIFEST = m.Manifest(
    step="updates", digest=bytes(32), header=b"{}", chunks=(bytes(32),), inputs_root=bytes(32), contributors=("porto",)
)
BODIES = {
    "hello": m.Hello(study=bytes(32)),
    "progress": m.Progress(stage="train", fraction=0.5, eta_s=12.0),
    "trouble": m.Trouble(stage="train", code="device", where="models.torch:81", fix="restart the container"),
    "offer": m.Offer(manifest=MANIFEST, inline=b"abc"),
    "need": m.Need(digest=bytes(32), chunks=(1, 2)),
    "chunk": m.Chunk(digest=bytes(32), index=3, data=b"x" * 1000),
    "step": m.StepNote(step="survivors", bitmap=bytes(32)),
    "result": m.Result(measures={"auroc": 0.8}),
    "bye": m.Bye(reason="stopping"),
}


def envelope(kind: str = "hello", **fields: object) -> m.Envelope:
    base = m.Envelope(
        version=1, consortium=bytes(32), run=1, round=2, term=0, attempt=0, kind=kind, sender="porto", receiver="",
        sequence=5, head_height=9, head_hash=bytes(32), body=b"",
    )  # fmt: skip
    return msgspec.structs.replace(base, **fields)


@pytest.mark.parametrize("kind", sorted(BODIES))
def test_every_kind_comes_back_as_it_was_sent(kind: str) -> None:
    sent = m.sealed(envelope(kind), BODIES[kind], KEY.sign)
    read = m.decode(m.encode(sent))
    assert read == sent
    assert m.body_of(read) == BODIES[kind]
    m.check_signature(read, KEY.address, recover)


def test_kinds_bodies_and_limits_name_the_same_things() -> None:
    assert set(m.BODIES) == set(m.LIMITS) == set(BODIES)


@pytest.mark.parametrize("kind", sorted(set(BODIES) - {"chunk"}))
def test_signature_of_another_key_is_refused(kind: str) -> None:
    forged = m.sealed(envelope(kind), BODIES[kind], OTHER.sign)
    with pytest.raises(SignatureError):
        m.check_signature(forged, KEY.address, recover)


@pytest.mark.parametrize(
    "change",
    [
        {"run": 2}, {"round": 3}, {"term": 1}, {"attempt": 1}, {"sender": "lund"}, {"receiver": "lund"},
        {"sequence": 6}, {"head_height": 8}, {"head_hash": bytes([1]) * 32}, {"body": b"x"}, {"kind": "bye"},
        {"consortium": bytes([1]) * 32},
    ],
)  # fmt: skip
def test_signature_covers_every_field(change: dict[str, object]) -> None:
    sent = m.sealed(envelope(), BODIES["hello"], KEY.sign)
    with pytest.raises(SignatureError):
        m.check_signature(msgspec.structs.replace(sent, **change), KEY.address, recover)


def test_longest_chunk_fits_its_limit_exactly_as_designed() -> None:
    body = m.Chunk(digest=bytes(32), index=2**32 - 1, data=bytes(CHUNK_BYTES))
    huge = 2**63 - 1
    longest = envelope(
        "chunk", sender=NAME, receiver=NAME, run=huge, round=2**32 - 1, term=2**32 - 1, attempt=2**32 - 1,
        sequence=huge, head_height=huge,
    )  # fmt: skip
    assert len(m.encode(m.sealed(longest, body, KEY.sign))) <= m.LIMITS["chunk"]


def test_frame_beyond_the_limit_of_its_kind_is_refused_on_both_sides() -> None:
    big = m.sealed(envelope("result"), m.Result(measures={f"m{i}" + "x" * 50: 1.0 for i in range(512)}), KEY.sign)
    assert len(m.encode(big)) < m.LIMITS["result"]
    over = msgspec.structs.replace(big, body=bytes(m.LIMITS["result"]))
    with pytest.raises(FrameError, match="result frame"):
        m.encode(over)
    with pytest.raises(FrameError, match="result frame"):
        m.decode(msgspec.msgpack.encode(over))
    with pytest.raises(FrameError, match="at most"):
        m.decode(bytes(m.MAX_FRAME_BYTES + 1))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"version": 0}, {"kind": "shout"}, {"sender": ""}, {"sender": "Porto"}, {"sender": "a" * 33},
        {"run": -1}, {"round": 1 << 32}, {"consortium": bytes(31)}, {"signature": bytes(66)}, {"body": "text"},
        {"sequence": 1.5},
    ],
)  # fmt: skip
def test_fields_outside_their_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(FrameError):
        m.decode(msgspec.msgpack.encode(envelope(**change)))


def test_unknown_further_field_is_refused() -> None:
    fields = msgspec.msgpack.decode(m.encode(envelope()))
    with pytest.raises(FrameError):
        m.decode(msgspec.msgpack.encode([*fields, 1]))
    with pytest.raises(FrameError):
        m.body_of(envelope(body=msgspec.msgpack.encode([bytes(32), 1])))


def test_fraction_is_a_fraction() -> None:
    for wrong in (-0.1, 1.1, float("nan")):
        body = msgspec.msgpack.encode(["train", wrong, 0.0])
        with pytest.raises(FrameError):
            m.body_of(envelope("progress", body=body))


@given(data=st.data(), kind=st.sampled_from(sorted(BODIES)))
@settings(max_examples=400, deadline=None)
def test_mutated_or_truncated_frames_give_a_frame_error_and_nothing_else(data, kind: str) -> None:
    frame = bytearray(m.encode(m.sealed(envelope(kind), BODIES[kind], KEY.sign)))
    for _ in range(data.draw(st.integers(0, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(frame[: data.draw(st.integers(0, len(frame)))])
    try:
        read = m.decode(cut)
        m.body_of(read)
        m.check_signature(read, KEY.address, recover)
    except (FrameError, SignatureError):
        return
    assert m.encode(read) == cut or kind == "chunk"


@given(noise=st.binary(max_size=2000))
def test_noise_is_never_an_envelope(noise: bytes) -> None:
    with pytest.raises(FrameError):
        m.decode(noise)


def test_a_chunk_is_looked_at_where_it_lies_and_not_copied() -> None:
    frame = m.encode(
        m.sealed(envelope("chunk"), m.Chunk(digest=bytes(32), index=3, data=memoryview(b"x" * 1000)), KEY.sign)
    )
    read = m.decode(frame)
    assert read.body.obj is frame
    assert m.body_of(read).data.obj is not None
    assert bytes(m.body_of(read).data) == b"x" * 1000
