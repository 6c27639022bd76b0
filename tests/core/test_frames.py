import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core import payload
from cohortium.core.frames import (
    Intake,
    Limits,
    blob_parts,
    decode_blob,
    digest_of,
    pack,
    parameters_of,
    read_header,
)
from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError

SMALL = Parameters({"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([7, -7], dtype=np.int64)})
LARGE = Parameters({"w": np.arange(400_000, dtype=np.float64), "b": np.ones(3, dtype=np.float32)})


def header(tensors: object, context: object = None) -> bytes:
    content = {"context": context or {}, "tensors": tensors}
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def test_digest_of_a_packed_payload_is_the_digest_of_its_parameters() -> None:
    assert pack(SMALL).digest == SMALL.digest
    assert pack(LARGE).digest == LARGE.digest


def test_context_and_salt_change_the_digest_but_not_the_arrays() -> None:
    salted = pack(SMALL, {"site": "porto", "salt": "00" * 16})
    assert salted.digest != SMALL.digest
    arrays, context = parameters_of(salted)
    assert arrays == SMALL
    assert context == {"site": "porto", "salt": "00" * 16}


def test_blob_on_disk_reads_back_to_the_same_payload() -> None:
    again = decode_blob(b"".join(blob_parts(pack(LARGE))))
    assert again.digest == LARGE.digest
    assert parameters_of(again)[0] == LARGE


@given(order=st.permutations(range(4)))
@settings(max_examples=24, deadline=None)
def test_chunks_in_every_order_give_the_same_payload(order: list[int]) -> None:
    packed = pack(LARGE)
    intake = Intake(packed.digest, packed.header, packed.chunk_digests)
    for seen, index in enumerate(order, start=1):
        assert intake.add(index, bytes(packed.chunk(index)))
        assert not intake.add(index, bytes(packed.chunk(index))), "a repeated chunk is recognised"
        assert intake.complete == (seen == 4)
    assert intake.packed().digest == LARGE.digest


def test_intake_names_what_is_missing_and_refuses_to_be_read_early() -> None:
    packed = pack(LARGE)
    intake = Intake(packed.digest, packed.header, packed.chunk_digests)
    intake.add(2, bytes(packed.chunk(2)))
    assert intake.missing() == (0, 1, 3)
    with pytest.raises(FrameError, match="3 chunks are still missing"):
        intake.packed()


@pytest.mark.parametrize(
    ("index", "spoil", "message"),
    [
        (0, lambda c: c[:-1], "not the promised number"),
        (0, lambda c: c + b"\0", "not the promised number"),
        (0, lambda c: bytes([c[0] ^ 1]) + c[1:], "does not hash"),
        (4, lambda c: c, "chunk 4 of a payload with 4 chunks"),
        (-1, lambda c: c, "chunk -1 of a payload"),
    ],
)
def test_truncated_oversized_and_forged_chunks_are_refused(index, spoil, message) -> None:
    packed = pack(LARGE)
    intake = Intake(packed.digest, packed.header, packed.chunk_digests)
    with pytest.raises(FrameError, match=message):
        intake.add(index, spoil(bytes(packed.chunk(max(index, 0) % 4))))
    assert intake.missing() == (0, 1, 2, 3)


def test_promise_that_does_not_hash_to_the_ledgers_digest_is_refused_before_any_chunk() -> None:
    packed = pack(SMALL)
    with pytest.raises(FrameError, match="digest on the ledger"):
        Intake(bytes(32), packed.header, packed.chunk_digests)
    with pytest.raises(FrameError, match="promises 0 chunks"):
        Intake(digest_of(packed.header, ()), packed.header, ())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"[" * 5000, "not the agreed JSON"),
        (b"\xff\xfe", "not the agreed JSON"),
        (b'{"context":{},"tensors":[]} ', "not canonical"),
        (header([["w", "F32", [2]]], {"b": 1}).replace(b'{"b":1}', b'{"b":1,"a":2}'), "not canonical"),
        (header([["w", "F16", [2]]]), "dtype 'F16'"),
        (header([["w", "F32", [-1]]]), "outside the limits"),
        (header([["w", "F32", [1] * 9]]), "9 dimensions"),
        (header([["w", "F64", [1 << 29]]]), "at most"),
        (header([["w", "F64", [1 << 20, 1 << 20, 1 << 20]]]), "at most"),
        (header([["", "F64", [1]]]), "array name"),
        (header([["w", "F64", [1]], ["w", "F64", [1]]]), "twice"),
        (header([["w", "F64", ["1"]]]), "not the agreed JSON"),
        (header([["w", "F64", [1], 0]]), "not the agreed JSON"),
        (header([[str(i), "U8", [1]] for i in range(10_001)]), "10001 arrays"),
        (b" " * ((1 << 20) + 1), "at most 1048576"),
    ],
)
def test_hostile_headers_are_refused(bad: bytes, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        read_header(bad)


def test_layout_the_study_does_not_imply_is_refused_and_named() -> None:
    expected = payload.layout(SMALL)
    good = pack(SMALL)
    assert read_header(good.header, expected=expected).size_bytes == 40
    other = Parameters({"w": np.zeros((3, 2), np.float32), "b": np.zeros(2, np.int64)})
    with pytest.raises(FrameError, match=r"found w F32 \[3, 2\], expected w F32 \[2, 3\]"):
        read_header(pack(other).header, expected=expected)
    with pytest.raises(FrameError, match="found 1 arrays, expected 2"):
        read_header(pack(SMALL.without(["b"])).header, expected=expected)


def test_body_above_the_sites_own_limit_is_refused() -> None:
    with pytest.raises(FrameError, match="payload of 3200012 bytes; at most 1000"):
        read_header(pack(LARGE).header, limits=Limits(body_bytes=1000))


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_mutated_or_truncated_blobs_give_the_same_payload_or_a_frame_error(data) -> None:
    blob = bytearray(b"".join(blob_parts(pack(SMALL))))
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(blob[: data.draw(st.integers(0, len(blob)))])
    try:
        packed = decode_blob(cut, expected=payload.layout(SMALL))
    except FrameError:
        return
    arrays, _ = parameters_of(packed)
    assert arrays.like(SMALL)


@given(noise=st.binary(max_size=400))
def test_noise_is_never_a_blob_and_never_another_error(noise: bytes) -> None:
    with pytest.raises(FrameError):
        decode_blob(struct.pack("<I", len(noise) // 2) + noise)


def test_empty_array_of_impossible_shape_is_refused_where_it_is_read() -> None:
    with pytest.raises(FrameError, match="shape beyond"):
        read_header(header([["a", "F64", [0, 1 << 47, 1 << 47]]]))
