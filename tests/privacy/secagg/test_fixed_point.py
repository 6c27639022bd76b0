from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.exact import weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import PeerError, TrainingFailed
from cohortium.privacy.secagg.fixed_point import (
    MAX_EXPONENT,
    MIN_EXPONENT,
    decode,
    encode,
    error_bound,
    exponents,
    scale,
)
from cohortium.privacy.secagg.layout import WordLayout


def opened(updates, layout, survivors=None):
    """Encode all, add the survivors' words, decode: the whole of fixed point without masks."""
    weights = {u.site: u.weight for u in updates}
    found = [exponents(u.parameters, layout, site=u.site) for u in updates]
    ranges = [int(max(column)) for column in zip(*found, strict=True)] if layout.groups else []
    total = {name: np.zeros(length, empty.dtype) for name, empty, length in layout.segments()}
    for update in updates:
        words = encode(update.parameters, layout, site=update.site, weights=weights, ranges=ranges)
        if survivors is None or update.site in survivors:
            for name in total:
                total[name] += words[name]
    return decode(total, layout, weights=weights, ranges=ranges), ranges


@pytest.mark.parametrize(
    ("largest", "expected"), [(1.0, 0), (0.75, 0), (1.01, 1), (3.0, 2), (4.0, 2), (0.0, -8), (1e-9, -8), (65536.0, 16)]
)
def test_exponent_is_the_power_of_two_above_the_largest_value(largest, expected) -> None:
    update = Parameters({"w": np.array([-largest, largest / 2])})
    assert exponents(update, WordLayout.of(update, word_bits=32), site="a").tolist() == [expected]


def test_values_beyond_the_largest_range_or_not_finite_are_refused_before_they_are_sent() -> None:
    for value, code in ((65537.0, "unusable"), (np.inf, "not_finite"), (np.nan, "not_finite")):
        update = Parameters({"w": np.array([0.0, value])})
        with pytest.raises(TrainingFailed, match="site 'a': array 'w'") as refused:
            exponents(update, WordLayout.of(update, word_bits=32), site="a")
        assert refused.value.code == code
        assert str(value) not in str(refused.value)


@pytest.mark.parametrize("word_bits", [16, 32, 64])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_mean_is_within_the_stated_error_for_every_word_width(word_bits, data) -> None:
    n = data.draw(st.integers(3, 20))
    size = data.draw(st.integers(1, 20))
    value = st.floats(-60_000, 60_000, width=32)
    updates = [
        Update(
            site=f"s{i:02d}",
            parameters=Parameters(
                {"w": np.array(data.draw(st.lists(value, min_size=size, max_size=size)), np.float32)}
            ),
            weight=data.draw(st.integers(1, 1 << 29)),
        )
        for i in range(n)
    ]
    layout = WordLayout.of(updates[0].parameters, word_bits=word_bits)
    total, (exponent,) = opened(updates, layout)
    whole = sum(u.weight for u in updates)
    bound = Fraction(error_bound(exponent, word_bits=word_bits, n=n)) + Fraction(2.0**exponent) * n / 2**50
    for at in range(size):
        exact = sum(u.weight * Fraction(float(u.parameters["w"][at])) for u in updates) / whole
        assert abs(Fraction(float(total["w"][at])) / whole - exact) <= bound


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_integer_totals_equal_the_plain_sum_bit_for_bit(data) -> None:
    n = data.draw(st.integers(3, 12))
    cell = st.integers(-(2**55), 2**55)
    updates = [
        Update(site=f"s{i:02d}", parameters=Parameters({"t": np.array(cells)}), weight=1)
        for i, cells in enumerate(data.draw(st.lists(st.lists(cell, min_size=4, max_size=4), min_size=n, max_size=n)))
    ]
    total, _ = opened(updates, WordLayout.of(updates[0].parameters, word_bits=32))
    assert total.digest == weighted_sum(updates).total.digest


def test_totals_of_learners_by_sums_fit_at_the_most_sites_masks_allow() -> None:
    update = Parameters({"t": np.array([2**55, -(2**55)])})
    updates = [Update(site=f"s{i:02d}", parameters=update, weight=1) for i in range(64)]
    total, _ = opened(updates, WordLayout.of(update, word_bits=32))
    assert total["t"].tolist() == [2**61, -(2**61)]


def test_integers_that_could_wrap_are_refused_at_the_site_and_one_less_is_taken() -> None:
    layout = WordLayout.of(Parameters({"t": np.zeros(1, np.int64)}), word_bits=32)
    limit = 2**62 // 3
    weights = {"a": 1, "b": 1, "c": 1}
    encode(Parameters({"t": np.array([-limit])}), layout, site="a", weights=weights, ranges=[])
    with pytest.raises(TrainingFailed, match="site 'a': array 't' may take the masked sum beyond 2\\^62"):
        encode(Parameters({"t": np.array([limit + 1])}), layout, site="a", weights=weights, ranges=[])
    with pytest.raises(TrainingFailed):
        encode(Parameters({"t": np.array([limit])}), layout, site="a", weights={**weights, "a": 2}, ranges=[])


def test_smaller_integers_and_their_dtypes_come_back_as_int64_totals() -> None:
    arrays = {"a": np.array([250], np.uint8), "b": np.array([[-3]], np.int32), "c": np.array(7, np.int64)}
    updates = [Update(site=s, parameters=Parameters(arrays), weight=2) for s in ("x", "y", "z")]
    total, _ = opened(updates, WordLayout.of(updates[0].parameters, word_bits=16))
    assert total.digest == weighted_sum(updates).total.digest


def test_sum_is_over_survivors_with_shares_of_all() -> None:
    updates = [Update(site=s, parameters=Parameters({"w": np.array([v])}), weight=w)
               for s, v, w in (("a", 1.0, 1), ("b", 2.0, 2), ("c", 4.0, 5))]  # fmt: skip
    total, _ = opened(updates, WordLayout.of(updates[0].parameters, word_bits=32), survivors=("a", "b"))
    assert float(total["w"][0]) == pytest.approx(1 * 1 + 2 * 2, abs=8 * 4 * 2e-9)


def test_empty_arrays_and_scalars_keep_their_shape() -> None:
    update = Parameters({"none": np.zeros((0, 3)), "one": np.float64(0.5)})
    updates = [Update(site=s, parameters=update, weight=1) for s in ("a", "b", "c")]
    total, _ = opened(updates, WordLayout.of(update, word_bits=32))
    assert (total["none"].shape, total["one"].shape) == ((0, 3), ())


def test_masks_that_did_not_cancel_and_sums_out_of_range_are_faults() -> None:
    layout = WordLayout.of(Parameters({"w": np.zeros(3)}), word_bits=32)
    words = np.zeros(11, np.uint32)
    decode({"floats": words.copy()}, layout, weights={"a": 1}, ranges=[0])
    for place, value, why in ((10, 1, "did not cancel"), (0, 2**30 + 1, "legal range"), (1, 2**31, "legal range")):
        wrong = words.copy()
        wrong[place] = value
        with pytest.raises(PeerError, match=why):
            decode({"floats": wrong}, layout, weights={"a": 1}, ranges=[0])


@pytest.mark.parametrize("word_bits", [16, 32, 64])
def test_largest_possible_sum_stays_below_the_guard_bit(word_bits) -> None:
    for n in (3, 10, 64):
        steps = scale(0, word_bits=word_bits, n=n)
        assert Fraction(steps) + Fraction(n, 2) + Fraction(steps) * n / 2**52 <= 2 ** (word_bits - 2)
    assert (MIN_EXPONENT, MAX_EXPONENT) == (-8, 16)
