"""The currency: order, immutability, digest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cohortium.core.parameters import Parameters

ARRAYS = st.dictionaries(
    st.text("abcxyz/_0123", min_size=1, max_size=8),
    st.sampled_from([np.float64, np.float32, np.int64]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    max_size=5,
)


def test_arrays_keep_their_order_and_values():
    p = Parameters({"w": [[1.0, 2.0]], "b": np.float32(3)})
    assert list(p) == ["w", "b"]
    assert p["w"].shape == (1, 2)
    assert p["b"].dtype == np.float32


def test_a_held_array_cannot_be_changed_from_inside_or_outside():
    source = np.arange(3.0)
    p = Parameters({"w": source})
    source[0] = 99
    assert p["w"][0] == 0
    with pytest.raises(ValueError, match="read-only"):
        p["w"][0] = 1


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([1 + 2j]), np.array([None]), np.float16(1)])
def test_a_dtype_off_the_list_is_refused_by_name(value):
    with pytest.raises(ValueError, match="array 'w' has dtype"):
        Parameters({"w": value})


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", 3])
def test_a_name_that_is_not_short_printable_text_is_refused(name):
    with pytest.raises(ValueError, match="array name must be"):
        Parameters([(name, 1.0)])


def test_two_arrays_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two arrays named 'w'"):
        Parameters([("w", 1.0), ("w", 2.0)])


@given(ARRAYS)
def test_vector_and_back_is_the_identity_for_floats(arrays):
    p = Parameters({n: a.astype(np.float64) for n, a in arrays.items()})
    back = p.with_vector(p.vector())
    assert back.like(p)
    assert back.digest == p.digest


def test_a_vector_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match=r"expected \(3,\)"):
        Parameters({"w": np.zeros(3)}).with_vector(np.zeros(4))


@given(ARRAYS)
def test_equal_content_gives_an_equal_digest(arrays):
    assert Parameters(arrays).digest == Parameters({n: a.copy() for n, a in arrays.items()}).digest


@pytest.mark.parametrize(
    "other",
    [
        {"w": np.array([1.0, 2.5])},
        {"v": np.array([1.0, 2.0])},
        {"w": np.array([[1.0, 2.0]])},
        {"w": np.array([1.0, 2.0], dtype=np.float32)},
        {"w": np.array([1.0, 2.0]), "z": np.zeros(0)},
    ],
)
def test_any_difference_in_value_name_shape_dtype_or_array_changes_the_digest(other):
    assert Parameters({"w": np.array([1.0, 2.0])}) != Parameters(other)


def test_order_is_part_of_the_digest():
    assert Parameters({"a": 1.0, "b": 2.0}) != Parameters({"b": 2.0, "a": 1.0})


def test_big_endian_and_strided_sources_give_the_same_digest():
    values = np.arange(6.0).reshape(2, 3)
    assert Parameters({"w": values.T.copy().T}) == Parameters({"w": values})
    assert Parameters({"w": values.astype(">f8")}) == Parameters({"w": values})


def test_prefix_under_union_and_without():
    p = Parameters({"w": 1.0, "b": 2.0})
    assert p.prefixed("model").under("model") == p
    assert list(p | Parameters({"w": 5.0, "c": 1.0})) == ["w", "b", "c"]
    assert list(p.without(["w"])) == ["b"]
    assert p.prefixed("model").under("mod") == Parameters()


def test_flags_become_bytes():
    assert Parameters({"m": np.array([True, False])})["m"].dtype == np.uint8


def test_large_arrays_are_taken_over_without_a_copy_and_locked():
    made = np.arange(6.0)
    p = Parameters.owning({"w": made, "v": made.reshape(2, 3)})
    assert p["w"] is made
    assert np.shares_memory(p["v"], made)
    with pytest.raises(ValueError, match="read-only"):
        made[0] = 1
    assert p == Parameters({"w": np.arange(6.0), "v": np.arange(6.0).reshape(2, 3)})


def test_what_is_part_of_another_array_or_not_ours_is_copied():
    big = np.arange(6.0)
    buffer = bytearray(16)
    p = Parameters.owning({"part": big[:2], "big-endian": np.arange(2).astype(">i8"), "view": np.frombuffer(buffer)})
    big[0] = 99
    buffer[0] = 1
    assert p["part"][0] == 0
    assert p["big-endian"].dtype == np.dtype("<i8")
    assert p["view"].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="array 'w' has dtype"):
        Parameters.owning({"w": np.array([1 + 2j])})


def test_read_only_memory_is_looked_at_without_a_copy():
    body = np.arange(6.0).tobytes()
    p = Parameters.over([("w", np.frombuffer(body)), ("v", np.frombuffer(body, np.float32).reshape(3, 4))])
    assert [array.base is not None for array in p.values()] == [True, True]
    assert p == Parameters({"w": np.arange(6.0), "v": np.frombuffer(body, np.float32).reshape(3, 4)})
    with pytest.raises(ValueError, match="read-only"):
        p["w"][0] = 1.0


def test_memory_that_could_change_or_is_not_aligned_is_copied():
    writable = np.arange(6.0)
    shifted = np.frombuffer(b"x" + np.arange(6.0).tobytes(), np.float64, offset=1)
    p = Parameters.over([("writable", writable), ("shifted", shifted), ("strided", np.arange(12.0)[::2])])
    writable[0] = 9.0
    assert p["writable"][0] == 0.0
    assert all(array.flags.aligned and array.flags.c_contiguous for array in p.values())
    with pytest.raises(ValueError, match="two arrays named 'w'"):
        Parameters.over([("w", writable), ("w", writable)])


def test_other_names_for_the_same_arrays_copy_nothing():
    p = Parameters({"a": [1.0], "b": [2.0]})
    moved = p.prefixed("x").under("x").without(["b"]) | p.without(["a"])
    assert moved == p
    assert all(moved[name] is p[name] for name in p)
