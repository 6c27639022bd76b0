"""Harmful data found, explained and repaired, one detector or check per file.

`cohortium.quality.OutOfBag` and the other names of `_PLACES` are loaded when they are asked for.
"""

from importlib import import_module
from typing import Any

from cohortium.core.registry import Registry

__all__ = ["DETECTORS"]

DETECTORS = Registry(
    "detector",
    {
        "agreement": "cohortium.quality.agreement:Agreement",
        "out-of-bag": "cohortium.quality.out_of_bag:OutOfBag",
        "travelling": "cohortium.quality.travelling:Travelling",
    },
    group="cohortium.detector",
)

_PLACES: dict[str, str] = {
    "Agreement": "cohortium.quality.agreement",
    "OutOfBag": "cohortium.quality.out_of_bag",
    "Travelling": "cohortium.quality.travelling",
}
"""Public names by the module that holds them."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'cohortium.quality' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_PLACES})
