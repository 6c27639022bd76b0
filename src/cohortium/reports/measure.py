"""`Measure`: one figure with its interval, sample size and method, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["MIN_CLASS", "Measure", "unavailable"]

MIN_CLASS = 5
"""Fewer patients of a class (or events) than this: no interval is claimed."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measured figure. value: None where it is not defined; low, high: 95 % interval, None where not claimed.

    n: test records behind it. method: how the interval was made. reason: why value or interval is missing,
    `not available: n = 7`. A value that is not finite becomes None: no report ever prints NaN or a made-up 0.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = 0
    method: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            object.__setattr__(self, name, float(number) if number is not None and math.isfinite(number) else None)
        if self.value is None or self.low is None or self.high is None:
            object.__setattr__(self, "low", None)
            object.__setattr__(self, "high", None)
        if self.value is None and not self.reason:
            object.__setattr__(self, "reason", f"not available: n = {self.n}")

    @property
    def interval(self) -> tuple[float, float] | None:
        """(low, high), or None where none is claimed."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def text(self, digits: int = 3) -> str:
        """What the report prints, e.g. `0.875 (0.840 to 0.910)` or `not available: n = 7`."""
        if self.value is None:
            return self.reason
        if self.low is None or self.high is None:
            return f"{self.value:z.{digits}f}" + (f" (interval {self.reason})" if self.reason else "")
        return f"{self.value:z.{digits}f} ({self.low:z.{digits}f} to {self.high:z.{digits}f})"


def unavailable(n: int, because: str = "") -> Measure:
    """A measure that is not there, with its reason: `not available: n = 7` or `not available: n = 7, one class`."""
    return Measure(value=None, n=n, reason=f"not available: n = {n}" + (f", {because}" if because else ""))
