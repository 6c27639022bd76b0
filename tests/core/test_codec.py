"""Files any safetensors reader understands, and nothing else gets in."""

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cohortium.core.codec import MAX_HEADER_BYTES, decode, encode
from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError

ARRAYS = st.dictionaries(
    st.text("abc/._", min_size=1, max_size=6),
    st.sampled_from([np.float64, np.float32, np.int64, np.uint8]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    max_size=4,
)
GOOD = b"".join(encode(Parameters({"w": np.arange(6.0).reshape(2, 3), "b": np.float32([1])}), {"a": "b"}))


def file(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype="F64", shape=(1,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@given(ARRAYS)
def test_what_is_written_is_read_back(arrays):
    p = Parameters(arrays)
    back, metadata = decode(b"".join(encode(p, {"study": "é"})))
    assert back == p or {n: a.tobytes() for n, a in back.items()} == {n: a.tobytes() for n, a in p.items()}
    assert metadata == {"study": "é"}


@given(ARRAYS)
def test_the_safetensors_library_reads_ours(arrays):
    p = Parameters(arrays)
    theirs = safetensors.numpy.load(b"".join(encode(p)))
    assert {n: (a.dtype, a.shape, a.tobytes()) for n, a in theirs.items()} == {
        n: (a.dtype, a.shape, a.tobytes()) for n, a in p.items()
    }


@given(ARRAYS)
def test_we_read_what_the_safetensors_library_writes(arrays):
    ours, _ = decode(safetensors.numpy.save({n: np.ascontiguousarray(a) for n, a in arrays.items()}, {"k": "v"}))
    assert {n: a.tobytes() for n, a in ours.items()} == {n: a.tobytes() for n, a in arrays.items()}


def test_data_start_at_a_multiple_of_64():
    assert (8 + int.from_bytes(GOOD[:8], "little")) % 64 == 0


MALFORMED = {
    "empty": b"",
    "seven bytes": b"1234567",
    "length beyond the file": (100).to_bytes(8, "little") + b"{}",
    "length zero": (0).to_bytes(8, "little"),
    "header too large": (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * (MAX_HEADER_BYTES + 1),
    "not json": file(b"{nope}"),
    "not utf-8": file(b'{"\xff": 1}'),
    "a list": file(b"[]"),
    "deeply nested": file(b"[" * 100_000),
    "repeated name": file(b'{"w":{},"w":{}}'),
    "metadata not text": file({"__metadata__": {"a": 1}}),
    "unknown dtype": file({"w": entry(dtype="O")}, b"\0" * 8),
    "dtype not text": file({"w": entry(dtype=["F64"])}, b"\0" * 8),
    "missing offsets": file({"w": {"dtype": "F64", "shape": [1]}}, b"\0" * 8),
    "extra key": file({"w": {**entry(), "x": 1}}, b"\0" * 8),
    "negative shape": file({"w": entry(shape=(-1,))}, b"\0" * 8),
    "shape of true": file({"w": entry(shape=(True,))}, b"\0" * 8),
    "size mismatch": file({"w": entry(shape=(2,))}, b"\0" * 8),
    "hole": file({"w": entry(offsets=(8, 16))}, b"\0" * 16),
    "overlap": file({"w": entry(), "v": entry()}, b"\0" * 8),
    "data left over": file({"w": entry()}, b"\0" * 9),
    "data missing": file({"w": entry()}, b"\0" * 7),
    "shape that overflows": file({"w": entry(shape=(1 << 40, 1 << 40))}, b"\0" * 8),
    "too many arrays": file({f"w{i}": entry(shape=(0,), offsets=(0, 0)) for i in range(10_001)}),
    "long name": file({"w" * 201: entry()}, b"\0" * 8),
    "control character": file({"w\n": entry()}, b"\0" * 8),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_file_is_refused(data):
    with pytest.raises(FrameError):
        decode(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_changes_only_a_value(at, value):
    changed = bytearray(GOOD)
    changed[at] = value
    try:
        found, _ = decode(bytes(changed))
    except FrameError:
        return
    assert sum(a.nbytes for a in found.values()) == 52


@given(st.integers(0, len(GOOD) - 1))
def test_a_truncated_file_is_refused(end):
    with pytest.raises(FrameError):
        decode(GOOD[:end])


def test_empty_array_of_impossible_shape_is_refused():
    text = json.dumps({"a": {"dtype": "F64", "shape": [0, 1 << 47, 1 << 47], "data_offsets": [0, 0]}}).encode()
    with pytest.raises(FrameError, match="no valid shape"):
        decode(len(text).to_bytes(8, "little") + text)
