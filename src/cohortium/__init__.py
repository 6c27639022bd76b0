"""Hospitals learn together without pooling patient data: swarm rounds on a ledger all can check.

    import cohortium as co
    result = co.simulate(sites={"porto": a, "bonn": b, "lund": c}, outcome="label", model="logistic")
    result.report("report.html")

Names are loaded when they are used, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import Any

__all__ = ["Study", "__version__", "fit", "join", "models", "quality", "rehearse", "simulate"]
__version__ = "0.1.0"

_PLACES = {
    "Study": ("cohortium.core.study", "Study"),
    "fit": ("cohortium.entry.fit", "fit"),
    "join": ("cohortium.entry.loop", "join"),
    "models": ("cohortium.models", ""),
    "quality": ("cohortium.quality", ""),
    "rehearse": ("cohortium.entry.rehearsal", "rehearse"),
    "simulate": ("cohortium.entry.simulation", "simulate"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'cohortium' has no attribute {name!r}")
    module, attribute = _PLACES[name]
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted(__all__)
