"""The ABI against the specification's worked examples and against eth-abi."""

import eth_abi
import pytest
from eth_utils import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.identity import keccak
from cohortium.errors import FrameError
from cohortium.ledger.abi import decode, encode, event_topic, revert_reason, selector

WORDS = {
    "bool": st.booleans(),
    "address": st.binary(min_size=20, max_size=20),
    "bytes": st.binary(max_size=100),
    "string": st.text(max_size=40),
    **{f"uint{n}": st.integers(0, 2**n - 1) for n in (8, 16, 64, 128, 256)},
    **{f"bytes{n}": st.binary(min_size=n, max_size=n) for n in (1, 4, 20, 32)},
}
KINDS = st.recursive(
    st.sampled_from(sorted(WORDS)),
    lambda inner: st.one_of(
        inner.map(lambda k: f"{k}[]"),
        st.tuples(inner, st.integers(1, 3)).map(lambda p: f"{p[0]}[{p[1]}]"),
        st.lists(inner, min_size=1, max_size=3).map(lambda ks: f"({','.join(ks)})"),
    ),
    max_leaves=4,
)


def values(kind: str) -> st.SearchStrategy[object]:
    if kind in WORDS:
        return WORDS[kind]
    if kind.endswith("]"):
        item, _, length = kind[:-1].rpartition("[")
        low, high = (int(length), int(length)) if length else (0, 3)
        return st.lists(values(item), min_size=low, max_size=high).map(tuple)
    parts, depth = [""], 0
    for letter in kind[1:-1]:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return st.tuples(*(values(part) for part in parts))


@st.composite
def arguments(draw):
    kinds = draw(st.lists(KINDS, max_size=4))
    return kinds, tuple(draw(values(kind)) for kind in kinds)


def test_worked_example_of_the_specification():
    """f(uint256,uint32[],bytes10,bytes) from the Solidity ABI specification."""
    data = encode(["uint256", "uint32[]", "bytes10", "bytes"], [0x123, (0x456, 0x789), b"1234567890", b"Hello, world!"])
    assert selector("f(uint256,uint32[],bytes10,bytes)").hex() == "8be65246"
    assert data.hex() == (
        "0000000000000000000000000000000000000000000000000000000000000123"
        "0000000000000000000000000000000000000000000000000000000000000080"
        "3132333435363738393000000000000000000000000000000000000000000000"
        "00000000000000000000000000000000000000000000000000000000000000e0"
        "0000000000000000000000000000000000000000000000000000000000000002"
        "0000000000000000000000000000000000000000000000000000000000000456"
        "0000000000000000000000000000000000000000000000000000000000000789"
        "000000000000000000000000000000000000000000000000000000000000000d"
        "48656c6c6f2c20776f726c642100000000000000000000000000000000000000"
    )


def test_selector_and_topic_of_the_best_known_contract():
    assert selector("transfer(address,uint256)").hex() == "a9059cbb"
    assert event_topic("Transfer(address,address,uint256)").hex().startswith("ddf252ad1be2c89b")


@pytest.mark.slow
@given(arguments())
@settings(max_examples=150, deadline=None)
def test_what_is_written_equals_eth_abi_and_reads_back(case):
    kinds, given_values = case
    data = encode(kinds, given_values)
    assert data == eth_abi.encode(kinds, given_values)
    assert decode(kinds, data) == given_values


@given(st.lists(WORDS["address"], max_size=4))
def test_addresses_read_as_bytes_what_eth_abi_reads_as_text(addresses):
    data = encode(["address[]"], [addresses])
    assert eth_abi.decode(["address[]"], data)[0] == tuple(to_checksum_address(a).lower() for a in addresses)
    assert decode(["address[]"], data) == (tuple(addresses),)


@given(arguments(), st.data())
@settings(max_examples=150, deadline=None)
def test_changed_bytes_are_another_value_or_refused(case, data):
    """One value has one encoding: whatever is still readable encodes to exactly what was read."""
    kinds, given_values = case
    good = bytearray(encode(kinds, given_values))
    if not good:
        return
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    try:
        read = decode(kinds, bytes(good))
    except FrameError:
        return
    assert read != given_values
    assert encode(kinds, read) == bytes(good)


@given(arguments(), st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_random_bytes_never_raise_anything_but_frame_error(case, data):
    try:
        read = decode(case[0], data)
    except FrameError:
        return
    assert encode(case[0], read) == data


def test_a_length_beyond_the_data_is_refused_before_memory_is_taken():
    huge = (32).to_bytes(32, "big") + (2**64).to_bytes(32, "big")
    for kind in ("uint8[]", "bytes", "string", "bytes[]"):
        with pytest.raises(FrameError):
            decode([kind], huge)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("uint8", 256),
        ("uint8", -1),
        ("uint8", True),
        ("uint8", 1.0),
        ("bool", 1),
        ("address", bytes(19)),
        ("address", "0x00"),
        ("bytes32", bytes(31)),
        ("string", b"a"),
        ("bytes", "a"),
        ("uint8[2]", (1,)),
        ("uint8[]", 3),
        ("(uint8,bool)", (1,)),
    ],
)
def test_values_that_do_not_fit_are_refused(kind, value):
    with pytest.raises(ValueError, match="expected"):
        encode([kind], [value])


@pytest.mark.parametrize("kind", ["uint7", "uint264", "int256", "bytes33", "bytes0", "fixed", "address payable"])
def test_types_the_contract_has_no_use_for_are_refused(kind):
    with pytest.raises(ValueError, match="is not served"):
        encode([kind], [0])


def test_revert_reasons():
    assert revert_reason(keccak(b"Error(string)")[:4] + encode(["string"], ["phase"])) == "phase"
    assert revert_reason(keccak(b"Panic(uint256)")[:4] + encode(["uint256"], [17])) == "panic"
    assert revert_reason(b"") == "reverted"
    assert revert_reason(keccak(b"Error(string)")[:4] + b"\xff" * 40) == "reverted"
