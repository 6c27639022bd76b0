"""RLP against the published examples and pyrlp."""

import pytest
import rlp as oracle
from hypothesis import given
from hypothesis import strategies as st

from cohortium.errors import FrameError
from cohortium.ledger import rlp

items = st.recursive(st.binary(max_size=80), lambda inner: st.lists(inner, max_size=5), max_leaves=20)


@pytest.mark.parametrize(
    ("item", "data"),
    [
        (b"dog", b"\x83dog"),
        ([b"cat", b"dog"], b"\xc8\x83cat\x83dog"),
        (b"", b"\x80"),
        ([], b"\xc0"),
        (b"\x0f", b"\x0f"),
        (b"\x04\x00", b"\x82\x04\x00"),
        ([[], [[]], [[], [[]]]], bytes.fromhex("c7c0c1c0c3c0c1c0")),
        (b"Lorem ipsum dolor sit amet, consectetur adipisicing elit", None),
    ],
)
def test_published_examples(item, data):
    assert rlp.encode(item) == (data or b"\xb8\x38" + item)
    assert rlp.decode(rlp.encode(item)) == item


@given(items)
def test_what_is_written_equals_pyrlp_and_reads_back(item):
    assert rlp.encode(item) == oracle.encode(item)
    assert rlp.decode(rlp.encode(item)) == item


@given(st.binary(max_size=60))
def test_random_bytes_are_canonical_or_refused(data):
    try:
        item = rlp.decode(data)
    except FrameError:
        return
    assert rlp.encode(item) == data


@pytest.mark.parametrize(
    "data",
    [b"", b"\x81\x05", b"\xb8\x01a", b"\xb9\x00\x38" + b"a" * 56, b"\x83do", b"\xc3\x83do", b"\x80\x80", b"\xb8"],
    ids=["empty", "lone byte", "long form", "leading zero", "cut", "cut in a list", "two items", "no length"],
)
def test_other_spellings_are_refused(data):
    with pytest.raises(FrameError):
        rlp.decode(data)


def test_deep_nesting_is_refused_and_not_a_crash():
    data = b"\xc0"
    for _ in range(40):
        data = rlp.encode([]) if data == b"" else rlp._prefix(len(data), 0xC0) + data
    with pytest.raises(FrameError, match="deeper"):
        rlp.decode(data)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 255, 256, 2**64 - 1, 2**256 - 1])
def test_numbers_keep_their_value(value):
    assert rlp.number(rlp.to_bytes(value)) == value


@pytest.mark.parametrize("item", [b"\0", b"\0\1", b"\1" * 9, [], [b"\1"]])
def test_numbers_with_zeros_or_too_long_are_refused(item):
    with pytest.raises(FrameError):
        rlp.number(item, n_bytes=8)
