"""Which exchange a learner by sums has come to: the whole number `phase` of its state.

Parameters({**at_phase(DONE), **arrays})
phase_of(state) == DONE
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters

__all__ = ["at_phase", "phase_of"]


def at_phase(phase: int) -> dict[str, NDArray[np.int64]]:
    """What a state says of it."""
    return {"phase": np.array([phase], dtype=np.int64)}


def phase_of(state: Parameters) -> int:
    """The phase a state is in. Raises KeyError for a state without one."""
    return int(state["phase"][0])
