"""Units: every known factor is found both ways, honest differences are not."""

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.quality.gate_units import check_units, likely_factor, medians


@pytest.mark.parametrize("factor", [10.0, 18.0, 38.67, 88.4, 1000.0, 1 / 10, 1 / 18, 1 / 38.67, 1 / 88.4, 1 / 1000])
def test_every_known_factor_is_found_both_ways(factor):
    assert likely_factor(3.1, 3.1 * factor) == pytest.approx(factor)
    assert likely_factor(3.1, 3.1 * factor * 1.05) == pytest.approx(factor)


def test_honest_differences_say_nothing_and_far_ones_say_only_that():
    assert likely_factor(60.0, 78.0) is None
    assert likely_factor(1.0, 7.9) is None
    assert likely_factor(1.0, 30.0) == 0.0
    assert likely_factor(1.0, 21.0) == 18.0  # far, and nearest to 18
    assert likely_factor(21.0, 1.0) == pytest.approx(1 / 18)
    assert likely_factor(1.0, 13.4) == 0.0
    assert likely_factor(0.0, 5.0) is None
    assert likely_factor(-3.0, 30.0) is None


def test_the_warning_names_column_unit_and_factor_and_asks_for_a_person():
    (check,) = check_units(
        {"creatinine": 88.4, "age": 60.0}, {"creatinine": 1.0, "age": 64.0}, units={"creatinine": "mg/dL"}
    )
    assert check.level == "warn"
    assert check.found == "column 'creatinine': looks like umol/L (median 88.4 times the consortium's)"
    assert check.fix == "multiply by 0.0113122, once a person has confirmed the unit"
    (check,) = check_units({"x": 18.0}, {"x": 1.0})
    assert check.found == "column 'x': its median is 18 times that of all sites"


def test_a_far_column_without_a_known_factor_is_compared_by_a_person():
    (check,) = check_units({"x": 30.0}, {"x": 1.0})
    assert check.fix.startswith("compare this column's unit with the study's")


def test_nothing_suspicious_is_one_pass():
    assert [check.level for check in check_units({"a": 5.0, "b": 0.0}, {"a": 6.0, "b": 1.0})] == ["ok"]


def test_a_median_needs_five_values():
    x = np.array([[1.0, np.nan]] * 4 + [[9.0, 2.0]])
    layout = Layout(features=("a", "b"), outcome="binary", classes=("0", "1"))
    assert medians(Examples(layout=layout, x=x, y=np.zeros(5))) == {"a": 1.0}
