from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.parameters import Parameters
from cohortium.errors import TrainingFailed
from cohortium.privacy.secagg.dither import PERIOD, dither_of
from cohortium.privacy.secagg.encoding import Encoder
from cohortium.privacy.secagg.fixed_point import FixedPoint
from cohortium.privacy.secagg.layout import WordLayout
from cohortium.privacy.secagg.scratch import Scratch

FLOATS = st.floats(-4.0, 4.0, width=32)


def words_of(arrays, point, *, weight=1, ranges=(2,), piece=None, dither=None):
    parameters = Parameters(arrays)
    layout = WordLayout.of(parameters, word_bits=point.word_bits, hidden_weight=point.largest > 0)
    encoder = Encoder(parameters, layout, point, site="a", weight=weight, ranges=list(ranges) if layout.groups else [],
                      scratch=Scratch(), dither=dither)  # fmt: skip
    found = {}
    for name, empty, length in layout.segments():
        found[name] = np.full(length, 9, empty.dtype)
        for at in range(0, length, piece or length):
            encoder.fill(name, found[name][at : at + (piece or length)], at=at)
    return found


def signed(words):
    return [int(word) for word in words.view(f"<i{words.itemsize}")]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=60, deadline=None)
@given(values=st.lists(FLOATS, min_size=1, max_size=12), share=st.integers(1, 9))
def test_32_bit_words_are_the_nearest_integers_of_exact_arithmetic(dtype, values, share) -> None:
    point = FixedPoint(word_bits=32, n=5, whole=9)
    found = signed(words_of({"w": np.array(values, dtype)}, point, weight=share)["floats"])
    factor = Fraction(point.factor(2, share))
    for value, word in zip(values, found, strict=False):
        assert abs(word - factor * Fraction(value)) <= Fraction(1, 2) + Fraction(1, 2**21)
    assert found[len(values) :] == [0] * 8


@settings(max_examples=60, deadline=None)
@given(values=st.lists(FLOATS, min_size=1, max_size=12), share=st.integers(1, 9))
def test_16_bit_words_are_within_the_proven_distance_of_value_plus_dither(values, share) -> None:
    point = FixedPoint(word_bits=16, n=5, whole=9)
    dither = dither_of("a", header=b"h" * 32)
    found = signed(words_of({"w": np.array(values, np.float32)}, point, weight=share, dither=dither)["floats"])
    factor = Fraction(share, 9) * Fraction(point.steps(2))
    for at, (value, word) in enumerate(zip(values, found, strict=False)):
        off = word - factor * Fraction(value) - Fraction(float(dither[at]))
        assert abs(off) <= Fraction(1, 2) + Fraction(1, 2**10) + Fraction(2.0**-9.9) * share / 9


def test_16_bit_rounding_is_right_on_average_whatever_the_value() -> None:
    point, dither = FixedPoint(word_bits=16, n=5, whole=5), dither_of("a", header=b"h" * 32)
    for value in (0.3, 0.0001, -0.77):
        words = words_of({"w": np.full(10 * PERIOD, value, np.float32)}, point, ranges=(0,), dither=dither)["floats"][
            :-8
        ]
        decoded = words.view(np.int16) - np.resize(dither, words.size)
        assert abs(decoded.mean() - value / 5 * point.steps(0)) < 0.01  # undithered, up to 0.5


@pytest.mark.parametrize("word_bits", [16, 32, 64])
def test_any_cut_into_pieces_gives_the_same_words(word_bits) -> None:
    rng = np.random.default_rng(1)
    arrays = {
        "a": rng.normal(size=(7, 11)).astype(np.float32),
        "n": rng.integers(-9, 9, 70),
        "b": rng.normal(size=90_000),
    }
    point = FixedPoint(word_bits=word_bits, n=3, whole=7)
    dither = dither_of("a", header=b"h" * 32) if word_bits == 16 else None
    ranges = (3, 3) if word_bits == 16 else (3,)
    whole = words_of(arrays, point, weight=2, ranges=ranges, dither=dither)
    for piece in (13, 1000, 65_536):
        cut = words_of(arrays, point, weight=2, ranges=ranges, dither=dither, piece=piece)
        assert all(np.array_equal(cut[name], whole[name]) for name in whole)


def test_hidden_weight_multiplies_the_rounded_value_and_travels_as_a_word() -> None:
    point = FixedPoint(word_bits=32, n=8, largest=1024)
    assert point.hidden_bits == 18
    values = np.array([0.5, -1.0, 1.0, 1e-6])
    found = words_of({"w": values, "n": np.array([3, -4])}, point, weight=7, ranges=(0,))
    rounded = np.rint(values * (2**17 - 1)).astype(int)
    assert signed(found["floats"])[:4] == (7 * rounded).tolist()
    assert signed(found["integers"])[:2] == [21, -28]
    assert found["weight"].tolist() == [7, 0, 0, 0, 0, 0, 0, 0, 0]


def test_integers_that_could_wrap_are_refused_at_the_site_and_one_less_is_taken() -> None:
    limit = 2**62 // 3
    point = FixedPoint(word_bits=32, n=3, whole=3)
    assert signed(words_of({"t": np.array([-limit])}, point)["integers"])[0] == -limit
    with pytest.raises(TrainingFailed, match="site 'a': array 't' may take the masked sum beyond 2\\^62"):
        words_of({"t": np.array([limit + 1])}, point)
    with pytest.raises(TrainingFailed):
        words_of({"t": np.array([limit])}, FixedPoint(word_bits=32, n=3, whole=4), weight=2)
    hidden = FixedPoint(word_bits=64, n=3, largest=1024)  # its own weight counts, not the largest allowed
    words_of({"t": np.array([limit])}, hidden, weight=1)
    with pytest.raises(TrainingFailed):
        words_of({"t": np.array([limit // 2 + 1])}, hidden, weight=2)
