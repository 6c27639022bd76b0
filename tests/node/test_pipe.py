"""What goes into the pipe comes out of it, and nothing else does."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Update
from cohortium.errors import CohortiumError, FrameError
from cohortium.node.pipe import Word, read_word, write_word

ONE = Parameters({"w": np.arange(6.0).reshape(2, 3), "n": np.array([3], np.int64)})
UPDATES = tuple(
    Update(
        site=site, parameters=ONE, weight=number + 1, memory=Parameters({"m": np.ones(number)}), salt=16 * site.encode()
    )
    for number, site in enumerate("ab")
)


def written(word):
    stream = io.BytesIO()
    write_word(stream, word)
    return stream.getvalue()


def passed(word):
    return read_word(io.BytesIO(written(word)))


def same(found, expected):
    assert (found.number, found.word, found.text) == (expected.number, expected.word, expected.text)
    assert [held.digest for held in found.arrays] == [held.digest for held in expected.arrays]
    assert [(u.site, u.weight, u.parameters.digest, u.memory.digest, u.salt) for u in found.updates] == [
        (u.site, u.weight, u.parameters.digest, u.memory.digest, u.salt) for u in expected.updates
    ]


def test_words_with_arrays_and_updates_come_back():
    word = Word(7, "merge", {"sites": ["a", "b"], "round": 3}, (ONE, Parameters()), UPDATES)
    same(passed(word), word)


@pytest.mark.parametrize("single", [None, UPDATES])
def test_sums_come_back_with_or_without_what_they_were_made_of(single):
    whole = Aggregate(total=ONE, weight=3, contributors=("a", "b"), single=single)
    found = passed(Word(1, "merge", arrays=(ONE,), aggregate=whole)).aggregate
    assert (found.weight, found.contributors, found.total.digest) == (3, ("a", "b"), ONE.digest)
    assert (found.single is None) == (single is None)


def test_sums_of_two_halves_come_back():
    halves = tuple(Aggregate(total=ONE, weight=n, contributors=(site,)) for n, site in ((1, "a"), (2, "b")))
    whole = Aggregate(total=Parameters({"w": np.ones(2)}), weight=3, contributors=("a", "b"), groups=halves)
    found = passed(Word(1, "merge", arrays=(ONE, ONE), aggregate=whole)).aggregate
    assert found.total.digest == whole.total.digest
    assert [(one.weight, one.contributors, one.total.digest) for one in found.groups] == [
        (one.weight, one.contributors, one.total.digest) for one in halves
    ]


def test_the_end_of_the_stream_is_no_error_and_a_cut_word_is():
    assert read_word(io.BytesIO()) is None
    whole = written(Word(1, "train", arrays=(ONE,)))
    for at in range(1, len(whole)):
        with pytest.raises(FrameError):
            read_word(io.BytesIO(whole[:at]))


def test_a_head_that_promises_too_much_is_refused_before_anything_is_allocated():
    with pytest.raises(FrameError, match="at most"):
        read_word(io.BytesIO((1 << 31).to_bytes(4, "little")))


@given(st.data())
def test_a_mutated_word_is_read_or_refused(data):
    whole = bytearray(written(Word(7, "merge", {"round": 3}, (ONE,), UPDATES)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CohortiumError):
        read_word(io.BytesIO(bytes(whole)))
