"""The digest of a set of tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.ledger.rules.root import Root, canonical

VALUES = st.recursive(
    st.one_of(st.integers(0, 2**256 - 1), st.binary(max_size=40), st.text(max_size=10)),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


def fresh(tables):
    root = Root()
    for name, table in tables.items():
        for key in table:
            root.touch(name, key)
    return root.digest(tables)


@given(VALUES, VALUES)
def test_one_value_has_one_spelling(a, b):
    assert (canonical(a) == canonical(b)) == (a == b)


@pytest.mark.parametrize("value", [True, None, 1.0, -1, 2**256, [1]])
def test_what_is_no_state_has_no_spelling(value):
    with pytest.raises((TypeError, OverflowError)):
        canonical(value)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 2)), max_size=60))
def test_the_root_depends_on_the_contents_and_not_on_the_way_there(writes):
    root, tables = Root(), {"a": {}, "b": {}}
    empty = root.digest(tables)
    for name, key, value in writes:
        if value:
            tables[name][key] = value
        else:
            tables[name].pop(key, None)
        root.touch(name, key)
        assert (root.digest(tables) == empty) == (not tables["a"] and not tables["b"])
    assert root.digest(tables) == fresh(tables)


def test_the_same_entry_in_another_table_is_another_state():
    assert fresh({"a": {1: 2}, "b": {}}) != fresh({"a": {}, "b": {1: 2}})
