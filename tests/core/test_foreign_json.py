"""What json.loads would take too lightly is refused."""

import sys
import time

import pytest

from cohortium.core.foreign_json import read_json


def test_plain_json_is_read():
    assert read_json(b'{"a": [1, {"b": "[[[["}], "c": "\\"]"}', max_depth=3) == {"a": [1, {"b": "[[[["}], "c": '"]'}


@pytest.mark.parametrize("text", [b"[[[1]]]", b'{"a":{"b":{"c":1}}}', b"[" * 100_000])
def test_nesting_beyond_the_limit_is_refused_before_parsing(text):
    with pytest.raises(ValueError, match="nested deeper than 2"):
        read_json(text, max_depth=2)


def test_a_raised_recursion_limit_does_not_lift_ours():
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        with pytest.raises(ValueError, match="nested deeper"):
            read_json(b"[" * 500_000, max_depth=8)
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize("text", [b'{"a":1,"a":2}', b"[NaN]", b"[Infinity]", b"{", b"\xff", b""])
def test_repeated_names_and_what_is_not_json_are_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - any ValueError is a refusal
        read_json(text, max_depth=8)


def test_a_string_without_end_full_of_quotes_is_refused_in_linear_time():
    """A megabyte of them once took an hour: each quote was tried as another beginning."""
    began = time.process_time()
    with pytest.raises(ValueError, match="Unterminated string"):
        read_json(b'{"a":"' + b'\\"' * 500_000, max_depth=4)
    assert time.process_time() - began < 2.0
