"""Units of clinical measurements: conversion both ways, and the suspicion that a site used another one.

A factor depends on what is measured (1 mg/dL of glucose is 0.0555 mmol/L, of cholesterol 0.02586), so a
column has a `quantity`, by default its own name. Factors: molar masses and the usual conversion tables
(AMA Manual of Style, 11th ed., ch. 17.5). Length, mass, time and temperature convert for any quantity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.data.schema import DAYS_PER
from cohortium.errors import DataError

__all__ = ["CONVERSIONS", "Conversion", "find_conversion", "unit_warning"]

TOLERANCE = 0.10
"""A ratio of medians this near to a known factor is suspicious."""


@dataclass(frozen=True)
class Conversion:
    """value in `target` = value in `source` * factor + offset."""

    quantity: str
    source: str
    target: str
    factor: float
    offset: float = 0.0

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values in the target unit."""
        return values * self.factor + self.offset

    @property
    def inverse(self) -> Conversion:
        """The way back."""
        return Conversion(self.quantity, self.target, self.source, 1 / self.factor, -self.offset / self.factor)


_ANY = ""
CONVERSIONS = (
    Conversion("glucose", "mg/dL", "mmol/L", 0.0555),
    Conversion("creatinine", "mg/dL", "umol/L", 88.42),
    Conversion("bilirubin", "mg/dL", "umol/L", 17.1),
    Conversion("cholesterol", "mg/dL", "mmol/L", 0.02586),
    Conversion("triglycerides", "mg/dL", "mmol/L", 0.01129),
    Conversion("urea", "mg/dL", "mmol/L", 0.1665),
    Conversion("urea nitrogen", "mg/dL", "mmol/L", 0.357),
    Conversion("uric acid", "mg/dL", "umol/L", 59.48),
    Conversion("calcium", "mg/dL", "mmol/L", 0.2495),
    Conversion("magnesium", "mg/dL", "mmol/L", 0.4114),
    Conversion("phosphate", "mg/dL", "mmol/L", 0.3229),
    Conversion("lactate", "mg/dL", "mmol/L", 0.111),
    Conversion("iron", "ug/dL", "umol/L", 0.1791),
    Conversion("ammonia", "ug/dL", "umol/L", 0.587),
    Conversion("cortisol", "ug/dL", "nmol/L", 27.59),
    Conversion("folate", "ng/mL", "nmol/L", 2.266),
    Conversion("vitamin b12", "pg/mL", "pmol/L", 0.7378),
    Conversion("vitamin d", "ng/mL", "nmol/L", 2.496),
    Conversion("testosterone", "ng/dL", "nmol/L", 0.0347),
    Conversion("troponin", "ng/mL", "ng/L", 1000.0),
    Conversion("d-dimer", "ug/mL", "ng/mL", 1000.0),
    Conversion("haemoglobin", "g/dL", "mmol/L", 0.6206),
    Conversion("hba1c", "%", "mmol/mol", 10.93, -23.5),
    Conversion(_ANY, "g/dL", "g/L", 10.0),
    Conversion(_ANY, "mg/dL", "mg/L", 10.0),
    Conversion(_ANY, "10^9/L", "cells/uL", 1000.0),
    Conversion(_ANY, "10^9/L", "10^3/uL", 1.0),
    Conversion(_ANY, "10^12/L", "10^6/uL", 1.0),
    Conversion(_ANY, "ukat/L", "U/L", 60.0),
    Conversion(_ANY, "mmHg", "kPa", 0.133322),
    Conversion(_ANY, "lb", "kg", 0.45359237),
    Conversion(_ANY, "g", "kg", 0.001),
    Conversion(_ANY, "in", "cm", 2.54),
    Conversion(_ANY, "m", "cm", 100.0),
    Conversion(_ANY, "degF", "degC", 5 / 9, -160 / 9),
    Conversion(_ANY, "%", "fraction", 0.01),
    Conversion(_ANY, "weeks", "d", DAYS_PER["weeks"]),
    Conversion(_ANY, "months", "d", DAYS_PER["months"]),
    Conversion(_ANY, "years", "d", DAYS_PER["years"]),
    Conversion(_ANY, "years", "months", 12.0),
)

_SAME_QUANTITY = {
    "chol": "cholesterol", "ldl": "cholesterol", "hdl": "cholesterol", "total_cholesterol": "cholesterol",
    "crea": "creatinine", "creat": "creatinine", "serum_creatinine": "creatinine",
    "bili": "bilirubin", "total_bilirubin": "bilirubin", "direct_bilirubin": "bilirubin",
    "hb": "haemoglobin", "hgb": "haemoglobin", "hemoglobin": "haemoglobin",
    "gluc": "glucose", "glu": "glucose", "blood_glucose": "glucose", "fasting_glucose": "glucose",
    "bun": "urea nitrogen", "tg": "triglycerides", "triglyceride": "triglycerides", "ca": "calcium",
    "d_dimer": "d-dimer", "b12": "vitamin b12", "phosphorus": "phosphate", "uric_acid": "uric acid",
}  # fmt: skip
_SAME_UNIT = {
    "mg/dl": "mg/dL", "mmol/l": "mmol/L", "umol/l": "umol/L", "µmol/l": "umol/L", "μmol/l": "umol/L",
    "g/dl": "g/dL", "g/l": "g/L", "mg/l": "mg/L", "ug/dl": "ug/dL", "µg/dl": "ug/dL", "u/l": "U/L", "iu/l": "U/L",
    "10^9/l": "10^9/L", "g/l (10^9)": "10^9/L", "°c": "degC", "c": "degC", "°f": "degF", "f": "degF",
    "days": "d", "day": "d", "week": "weeks", "month": "months", "year": "years", "lbs": "lb", "inch": "in",
    "mmhg": "mmHg", "kpa": "kPa", "ng/ml": "ng/mL", "pg/ml": "pg/mL", "ug/ml": "ug/mL", "µg/ml": "ug/mL",
    "ng/l": "ng/L", "nmol/l": "nmol/L", "pmol/l": "pmol/L", "ng/dl": "ng/dL",
}  # fmt: skip


def find_conversion(quantity: str, source: str, target: str, *, column: str = "") -> Conversion:
    """The conversion of one quantity. Raises DataError naming the units known for it."""
    wanted, start, end = _quantity(quantity), _unit(source), _unit(target)
    if start == end:
        return Conversion(wanted, start, end, 1.0)
    for known in _of(wanted):
        if (known.source, known.target) == (start, end):
            return known
    units = sorted({known.source for known in _of(wanted) if known.target == end})
    raise DataError(
        f"column '{column or quantity}': no conversion from '{source}' to '{target}' for '{wanted}'; "
        f"known to '{target}': {', '.join(units) or 'none'}; set quantity to what is measured"
    )


def unit_warning(column: str, *, quantity: str, unit: str, median: float, reference: float) -> str:
    """A sentence when a site's median over the consortium's is near a known factor of this unit, else "".

    median: the site's; reference: the consortium's, same agreed unit. Offsets (temperature) are not looked at.
    """
    if not (np.isfinite(median) and np.isfinite(reference)) or median == 0 or reference == 0:
        return ""
    ratio = median / reference
    for known in _of(_quantity(quantity or column)):
        if known.target != _unit(unit) or known.offset or known.factor == 1:
            continue
        looks = 1 / known.factor  # values still in `source` where `target` was agreed
        if abs(ratio / looks - 1) <= TOLERANCE:
            return f"column '{column}': looks like {known.source} (median {ratio:.3g} times the consortium's)"
    return ""


def _of(quantity: str) -> tuple[Conversion, ...]:
    """All conversions of a quantity, both directions; its own before the general ones."""
    own = [known for known in CONVERSIONS if known.quantity == quantity != _ANY]
    free = [known for known in CONVERSIONS if known.quantity == _ANY]
    return tuple(way for known in own + free for way in (known, known.inverse))


def _quantity(name: str) -> str:
    lower = name.strip().lower()
    return _SAME_QUANTITY.get(lower, lower.replace("_", " "))


def _unit(name: str) -> str:
    text = name.strip()
    return _SAME_UNIT.get(text.lower(), text)
