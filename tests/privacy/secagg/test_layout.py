import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError
from cohortium.privacy.secagg.layout import ZERO_WORDS, WordLayout

UPDATE = Parameters(
    {"w": np.zeros((2, 3), np.float32), "n": np.zeros(4, np.int64), "control/w": np.zeros(5), "metric/loss": 0.5}
)


def test_floats_and_integers_go_into_vectors_of_their_own_with_zero_words_behind() -> None:
    layout = WordLayout.of(UPDATE, word_bits=32)
    found = [(name, empty.dtype.str, length) for name, empty, length in layout.segments()]
    assert found == [("floats", "<u4", 6 + 5 + 1 + ZERO_WORDS), ("integers", "<u8", 4 + ZERO_WORDS)]
    assert [(e.name, s) for e, s in layout.slices(floats=True)] == [
        ("w", slice(0, 6)), ("control/w", slice(6, 11)), ("metric/loss", slice(11, 12)),
    ]  # fmt: skip


def test_sums_alone_need_no_vector_of_floats() -> None:
    layout = WordLayout.of(UPDATE.without(["w", "control/w", "metric/loss"]), word_bits=32)
    assert [name for name, _, _ in layout.segments()] == ["integers"]
    assert layout.groups == ()


def test_ranges_are_shared_by_room_and_at_16_bits_by_array() -> None:
    assert WordLayout.of(UPDATE, word_bits=32).groups == ("", "control/", "metric/")
    two = Parameters({"a": np.zeros(1), "b": np.zeros(1)})
    assert WordLayout.of(two, word_bits=64).groups == ("",)
    assert WordLayout.of(two, word_bits=16).groups == ("a", "b")


def test_layout_comes_back_from_its_bytes_and_every_part_of_it_counts() -> None:
    layout = WordLayout.of(UPDATE, word_bits=32)
    assert WordLayout.from_bytes(layout.to_bytes()) == layout
    others = [WordLayout.of(UPDATE, word_bits=16), WordLayout.of(UPDATE.without(["n"]), word_bits=32)]
    others.append(WordLayout.of(UPDATE.map(lambda a: a.astype(np.float64)), word_bits=32))
    others.append(WordLayout.of(UPDATE, word_bits=32, hidden_weight=True))
    assert len({layout.digest, *(other.digest for other in others)}) == 5
    assert WordLayout.from_bytes(others[-1].to_bytes()) == others[-1]


def test_hidden_weight_is_a_vector_of_its_own() -> None:
    layout = WordLayout.of(UPDATE, word_bits=32, hidden_weight=True)
    assert [name for name, _, _ in layout.segments()] == ["floats", "integers", "weight"]
    assert [layout.length(name) for name in ("floats", "integers", "weight")] == [20, 12, 9]


def test_any_run_of_words_knows_its_arrays() -> None:
    layout = WordLayout.of(UPDATE | Parameters({"none": np.zeros(0), "last": np.zeros(2)}), word_bits=32)

    def found(at, size):
        return [
            (e.name, (p.start, p.stop), (w.start, w.stop)) for e, p, w in layout.overlaps("floats", at=at, size=size)
        ]

    assert found(0, 4) == [("w", (0, 4), (0, 4))]
    assert found(4, 8) == [("w", (4, 6), (0, 2)), ("control/w", (0, 5), (2, 7)), ("metric/loss", (0, 1), (7, 8))]
    assert found(12, 10) == [("last", (0, 2), (0, 2))]
    assert found(14, 8) == []  # the zero words
    assert [e.name for e, _, _ in layout.overlaps("integers", at=0, size=12)] == ["n"]


def test_other_word_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="word_bits must be 16, 32 or 64, got 8"):
        WordLayout((), 8)


def test_vectors_of_another_layout_are_refused_by_name() -> None:
    layout = WordLayout.of(UPDATE, word_bits=32)
    right = {name: np.zeros(length, empty.dtype) for name, empty, length in layout.segments()}
    right["seen"] = np.zeros(32, np.uint8)
    layout.check(Parameters(right), site="porto")
    for wrong in (
        {"floats": right["floats"]},
        {name: array for name, array in right.items() if name != "seen"},
        {**right, "floats": right["floats"][:-1]},
        {**right, "floats": right["floats"].astype(np.uint64)},
        {"integers": right["integers"], "floats": right["floats"], "seen": right["seen"]},
    ):
        with pytest.raises(FrameError, match="masked vector of site 'porto'") as refused:
            layout.check(Parameters(wrong), site="porto")
        assert refused.value.site == "porto"
