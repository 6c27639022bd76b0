from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.exact import weighted_sum
from cohortium.core.exchange import Context
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import TrainingFailed
from cohortium.privacy.secagg.context import Binding
from cohortium.privacy.secagg.fixed_point import MAX_EXPONENT, MIN_EXPONENT, FixedPoint, exponents
from cohortium.privacy.secagg.layout import WordLayout


def opened(privacy, updates, *, word_bits=32, survivors=None, largest_weight=0):
    """Encode all, add the survivors' words, decode: the whole of fixed point without masks."""
    sites = [update.site for update in updates]
    context = Context(
        consortium=b"", study=b"", run=1, round=1, attempt=1, base=b"", frozen=tuple(sites),
        weights={update.site: update.weight for update in updates},
    )  # fmt: skip
    layout = WordLayout.of(updates[0].parameters, word_bits=word_bits, hidden_weight=largest_weight > 0)
    binding = Binding(context=context, layout=layout, largest_weight=largest_weight)
    found = [exponents(u.parameters, layout, site=u.site) for u in updates]
    ranges = [int(max(column)) for column in zip(*found, strict=True)] if layout.groups else []
    total = {name: np.zeros(length, empty.dtype) for name, empty, length in layout.segments()}
    kept = survivors or sites
    for update in updates:
        words = privacy.encoded(update, binding, ranges)
        for name in total if update.site in kept else ():
            total[name] += words[name]
    return privacy.decoded(total, binding, ranges, kept), binding.point, ranges


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


def draw_updates(data, n, size, *, most=1 << 29):
    value = st.floats(-60_000, 60_000, width=32)
    return [
        Update(
            site=f"s{i:02d}",
            parameters=Parameters(
                {"w": np.array(data.draw(st.lists(value, min_size=size, max_size=size)), np.float32)}
            ),
            weight=data.draw(st.integers(1, most)),
        )
        for i in range(n)
    ]


@pytest.mark.parametrize("word_bits", [16, 32, 64])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_mean_is_within_the_stated_error_for_every_word_width(privacy, word_bits, data) -> None:
    n, size = data.draw(st.integers(3, 20)), data.draw(st.integers(1, 20))
    updates = draw_updates(data, n, size)
    total, point, (exponent,) = opened(privacy, updates, word_bits=word_bits)
    whole = sum(u.weight for u in updates)
    for at in range(size):
        exact = sum(u.weight * Fraction(float(u.parameters["w"][at])) for u in updates) / whole
        assert abs(Fraction(float(total["w"][at])) / whole - exact) <= Fraction(point.error_bound(exponent))


@pytest.mark.parametrize("word_bits", [32, 64])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_mean_under_hidden_weights_is_within_its_error_and_its_weight_exact(privacy, word_bits, data) -> None:
    n = data.draw(st.integers(3, 12))
    updates = draw_updates(data, n, 5, most=1000)
    (total, weight), point, (exponent,) = opened(privacy, updates, word_bits=word_bits, largest_weight=1000)
    assert weight == sum(u.weight for u in updates)
    for at in range(5):
        exact = sum(u.weight * Fraction(float(u.parameters["w"][at])) for u in updates) / weight
        assert abs(Fraction(float(total["w"][at])) / weight - exact) <= Fraction(point.error_bound(exponent))


def test_stated_error_is_half_a_step_of_each_site_and_not_much_more() -> None:
    for n in (3, 5, 10, 64):
        for word_bits in (16, 32):
            bound = FixedPoint(word_bits=word_bits, n=n, whole=1).error_bound(0)
            design = n / 2 / ((1 << (word_bits - 2)) - n)
            assert design <= bound <= design * 1.003


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_integer_totals_equal_the_plain_sum_bit_for_bit(privacy, data) -> None:
    n = data.draw(st.integers(3, 12))
    cell = st.integers(-(2**55), 2**55)
    updates = [
        Update(site=f"s{i:02d}", parameters=Parameters({"t": np.array(cells)}), weight=1)
        for i, cells in enumerate(data.draw(st.lists(st.lists(cell, min_size=4, max_size=4), min_size=n, max_size=n)))
    ]
    total, _, _ = opened(privacy, updates)
    assert total.digest == weighted_sum(updates).total.digest


def test_totals_of_learners_by_sums_fit_at_the_most_sites_masks_allow(privacy) -> None:
    update = Parameters({"t": np.array([2**55, -(2**55)])})
    updates = [Update(site=f"s{i:02d}", parameters=update, weight=1) for i in range(64)]
    total, _, _ = opened(privacy, updates)
    assert total["t"].tolist() == [2**61, -(2**61)]


def test_smaller_integers_and_their_dtypes_come_back_as_int64_totals(privacy) -> None:
    arrays = {"a": np.array([250], np.uint8), "b": np.array([[-3]], np.int32), "c": np.array(7, np.int64)}
    updates = [Update(site=s, parameters=Parameters(arrays), weight=2) for s in ("x", "y", "z")]
    total, _, _ = opened(privacy, updates, word_bits=16)
    assert total.digest == weighted_sum(updates).total.digest


def test_sum_is_over_survivors_with_shares_of_all(privacy) -> None:
    updates = [Update(site=s, parameters=Parameters({"w": np.array([v])}), weight=w)
               for s, v, w in (("a", 1.0, 1), ("b", 2.0, 2), ("c", 4.0, 5))]  # fmt: skip
    total, _, _ = opened(privacy, updates, survivors=("a", "b"))
    assert float(total["w"][0]) == pytest.approx(1 * 1 + 2 * 2, abs=8 * 4 * 2e-9)


def test_empty_arrays_and_scalars_keep_their_shape(privacy) -> None:
    update = Parameters({"none": np.zeros((0, 3)), "one": np.float64(0.5)})
    updates = [Update(site=s, parameters=update, weight=1) for s in ("a", "b", "c")]
    total, _, _ = opened(privacy, updates)
    assert (total["none"].shape, total["one"].shape) == ((0, 3), ())


@pytest.mark.parametrize("word_bits", [16, 32, 64])
def test_largest_possible_sum_stays_at_or_below_the_guard_bit(word_bits) -> None:
    """Every site at the end of the range, all rounded away from zero: still no wrap."""
    for n in (3, 10, 64):
        point = FixedPoint(word_bits=word_bits, n=n, whole=n)
        steps = Fraction(point.steps(0))
        most = (
            n * (steps / n * (1 + Fraction(1, 2**22)) + 1) if word_bits == 16 else steps * (1 + Fraction(n, 2**52)) + n
        )
        assert int(most) <= 2 ** (word_bits - 2)
    assert (MIN_EXPONENT, MAX_EXPONENT) == (-8, 16)


def test_16_bit_sites_at_the_end_of_the_range_do_not_leave_it(privacy) -> None:
    for sign in (1, -1):
        update = Parameters({"w": np.full(20_000, sign * 2.0, np.float32)})
        updates = [Update(site=f"s{i:02d}", parameters=update, weight=1 + i) for i in range(64)]
        total, _, _ = opened(privacy, updates, word_bits=16)
        assert np.allclose(total["w"] / (64 * 65 / 2), sign * 2.0, atol=2 * 33 / 2**14)


@pytest.mark.parametrize(
    ("word_bits", "n", "largest", "bits"),
    [(32, 8, 1024, 18), (64, 8, 1024, 48), (64, 64, 1 << 29, 28), (32, 3, 4096, 17)],
)
def test_hidden_weights_leave_these_bits_for_a_value(word_bits, n, largest, bits) -> None:
    point = FixedPoint(word_bits=word_bits, n=n, largest=largest)
    assert point.hidden_bits == bits
    assert n * largest * (2 ** (bits - 1) - 1) <= 2 ** (word_bits - 2)


def test_hidden_weights_that_leave_too_few_bits_are_refused_with_the_numbers() -> None:
    with pytest.raises(ValueError, match="up to 65536 leave 11 bits of 32 for a value of 10 sites, at least 12"):
        FixedPoint(word_bits=32, n=10, largest=65_536)
    with pytest.raises(ValueError, match="either public"):
        FixedPoint(word_bits=32, n=10)
