import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError
from cohortium.privacy.secagg.decoding import Decoder
from cohortium.privacy.secagg.fixed_point import FixedPoint
from cohortium.privacy.secagg.layout import WordLayout
from cohortium.privacy.secagg.scratch import Scratch


def decoder_of(arrays, point, ranges, dither=None):
    layout = WordLayout.of(Parameters(arrays), word_bits=point.word_bits, hidden_weight=point.largest > 0)
    return Decoder(layout, point, ranges=ranges, scratch=Scratch(), dither=dither)


def test_steps_become_sums_of_weight_times_value_and_integers_stay() -> None:
    point = FixedPoint(word_bits=32, n=3, whole=10)
    decoder = decoder_of({"w": np.zeros((1, 2), np.float32), "n": np.zeros((), np.int32)}, point, [1])
    decoder.take("floats", np.array([0, 2**30 - 3, *[0] * 8], np.uint32), at=0)
    decoder.take("integers", np.array([2**64 - 5, *[0] * 8], np.uint64), at=0)
    opened = decoder.opened()
    assert opened["w"].tolist() == [[0.0, 20.0]]  # all steps are the whole range R = 2, times the sum of weights
    assert (opened["n"].tolist(), opened["n"].dtype) == (-5, np.int64)


def test_pieces_give_the_same_numbers_as_the_whole() -> None:
    point = FixedPoint(word_bits=16, n=3, whole=3)
    arrays = {"a": np.zeros(50_000, np.float32), "b": np.zeros(40_000)}
    words = np.random.default_rng(0).integers(0, 2**14, 90_008).astype(np.uint16)
    words[-8:] = 0
    dither = np.random.default_rng(1).integers(-255, 255, 16_384) / 512
    whole, cut = (decoder_of(arrays, point, [0, 1], dither) for _ in range(2))
    whole.take("floats", words, at=0)
    for at in range(0, words.size, 7001):
        cut.take("floats", words[at : at + 7001], at=at)
    assert cut.opened().digest == whole.opened().digest


def test_masks_that_did_not_cancel_and_sums_out_of_range_are_faults() -> None:
    point, arrays = FixedPoint(word_bits=32, n=3, whole=3), {"w": np.zeros(3)}
    words = np.zeros(11, np.uint32)
    decoder_of(arrays, point, [0]).take("floats", words.copy(), at=0)
    for place, value, why in ((10, 1, "did not cancel"), (0, 2**30 + 1, "legal range"), (1, 2**31, "legal range")):
        wrong = words.copy()
        wrong[place] = value
        with pytest.raises(PeerError, match=why):
            decoder_of(arrays, point, [0]).take("floats", wrong, at=0)
    words[0] = 2**30
    decoder_of(arrays, point, [0]).take("floats", words, at=0)


def test_zero_words_are_found_in_the_last_pieces_too() -> None:
    point, arrays = FixedPoint(word_bits=32, n=3, whole=3), {"w": np.zeros(6)}
    decoder = decoder_of(arrays, point, [0])
    for at in (0, 5, 10):
        decoder.take("floats", np.zeros(min(5, 14 - at), np.uint32), at=at)
    with pytest.raises(PeerError, match="did not cancel"):
        decoder.take("floats", np.array([0, 1, 0, 0, 0], np.uint32), at=5)  # words 6 and later are behind the values


def test_hidden_weights_come_with_the_sum_and_must_be_possible() -> None:
    point = FixedPoint(word_bits=32, n=3, largest=100)
    for total, fine in ((1, True), (300, True), (0, False), (301, False), (2**64 - 1, False)):
        decoder = decoder_of({"w": np.zeros(1)}, point, [0])
        decoder.take("weight", np.array([total, *[0] * 8], np.uint64), at=0)
        if fine:
            assert decoder.weight == total
        else:
            with pytest.raises(PeerError, match="which 3 sites cannot have"):
                decoder.weight  # noqa: B018 - reading it is what raises
