import numpy as np
import pytest

from cohortium.data.units import CONVERSIONS, find_conversion, unit_warning
from cohortium.errors import DataError


@pytest.mark.parametrize(
    ("quantity", "source", "target", "value", "expected"),
    [
        ("glucose", "mg/dL", "mmol/L", 100, 5.55),
        ("creatinine", "mg/dL", "umol/L", 1, 88.42),
        ("creat", "µmol/L", "mg/dL", 88.42, 1),
        ("bilirubin", "mg/dL", "umol/L", 2, 34.2),
        ("chol", "mg/dl", "mmol/l", 200, 5.172),
        ("hb", "g/dL", "g/L", 13.5, 135),
        ("haemoglobin", "mmol/L", "g/dL", 0.6206, 1),
        ("hba1c", "%", "mmol/mol", 7, 53.01),
        ("hba1c", "mmol/mol", "%", 53.01, 7),
        ("weight", "lb", "kg", 150, 68.0388555),
        ("height", "cm", "m", 180, 1.8),
        ("temperature", "°F", "°C", 98.6, 37),
        ("temperature", "°C", "°F", 37, 98.6),
        ("time", "years", "d", 2, 730.5),
        ("time", "months", "years", 18, 1.5),
        ("platelets", "10^9/L", "10^3/uL", 250, 250),
    ],
)
def test_values_a_clinician_knows(quantity, source, target, value, expected):
    assert find_conversion(quantity, source, target)(np.array([value]))[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("known", CONVERSIONS, ids=lambda c: f"{c.quantity} {c.source}")
def test_every_conversion_has_its_way_back(known):
    values = np.array([0.3, 5.0, 120.0])
    np.testing.assert_allclose(known.inverse(known(values)), values, rtol=1e-13, atol=1e-12)


def test_the_same_unit_changes_nothing():
    assert find_conversion("crp", "mg/L", "mg/l")(np.array([3.3]))[0] == 3.3


def test_the_quantity_decides_the_factor():
    assert find_conversion("glucose", "mg/dL", "mmol/L").factor != find_conversion("ldl", "mg/dL", "mmol/L").factor


def test_an_unknown_unit_is_refused_with_those_that_are_known():
    with pytest.raises(DataError) as refusal:
        find_conversion("glucose", "teaspoons", "mmol/L", column="bg")
    assert str(refusal.value) == (
        "column 'bg': no conversion from 'teaspoons' to 'mmol/L' for 'glucose'; known to 'mmol/L': mg/dL; "
        "set quantity to what is measured"
    )
    with pytest.raises(DataError, match="known to 'furlongs': none"):
        find_conversion("x", "kg", "furlongs")


def test_a_site_in_another_unit_is_suspected_and_an_ordinary_one_is_not():
    assert unit_warning("glucose", quantity="", unit="mmol/L", median=97.9, reference=5.5) == (
        "column 'glucose': looks like mg/dL (median 17.8 times the consortium's)"
    )
    assert unit_warning("glucose", quantity="", unit="mg/dL", median=5.5, reference=99).startswith(
        "column 'glucose': looks like mmol/L"
    )
    for median in (5.5, 7.0, 60.0, 0.0, float("nan")):
        assert unit_warning("glucose", quantity="", unit="mmol/L", median=median, reference=5.5) == ""


def test_days_taken_for_months_are_suspected():
    assert "looks like d" in unit_warning("follow-up", quantity="time", unit="months", median=913.0, reference=30.0)
