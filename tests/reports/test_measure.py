import math

import pytest

from cohortium.reports.measure import Measure, unavailable


def test_unavailable_says_how_many_there_were():
    assert unavailable(7).reason == "not available: n = 7"
    assert unavailable(7).value is None
    assert unavailable(7, "one class").text() == "not available: n = 7, one class"


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_becomes_none_with_a_reason(broken):
    measure = Measure(value=broken, low=0.1, high=0.2, n=9)
    assert (measure.value, measure.low, measure.high) == (None, None, None)
    assert measure.reason == "not available: n = 9"


def test_a_missing_interval_is_never_printed_as_zero():
    assert Measure(value=0.5, n=7, reason="not available: n = 7").text() == "0.500 (interval not available: n = 7)"
    assert Measure(value=0.5, low=0.4, high=math.nan, n=7).interval is None


def test_text_holds_value_and_interval():
    assert Measure(value=0.875, low=0.84, high=0.91, n=200).text() == "0.875 (0.840 to 0.910)"


def test_nothing_is_printed_as_minus_zero():
    assert Measure(value=-0.0001, low=-0.0004, high=0.1, n=9).text() == "0.000 (0.000 to 0.100)"
