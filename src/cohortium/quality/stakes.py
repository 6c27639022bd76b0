"""Whether leaving a site out would leave part of a registered subgroup out: then a person signs first. Pure.

Every site adds its patients by subgroup and code to a sum; from the totals each finds out whether it holds a share of
`STAKE` of any, and shows that one bit beside its evidence: neither which subgroup nor how many. A site that claims a
share it has not gains a signature, not a verdict. Design: harmful-data.md 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters

__all__ = ["STAKE", "SUBGROUPS", "counted", "holds_a_stake", "registered"]

STAKE = 0.05
"""Share of a subgroup's patients from which its site is not left out without a signature."""

SUBGROUPS = "subgroups"
"""Where the totals stand in an audit's state; absent where the study registers no subgroup."""

_CODES = 128  # of int8, without -1 for unknown


def counted(sites: Iterable[Examples]) -> dict[str, NDArray[np.int64]]:
    """Patients of these sites by subgroup, in the order of names, and code, (subgroups, 128); empty without any."""
    held = list(sites)
    names = sorted(held[0].subgroups) if held else []
    rows = [
        sum(
            (np.bincount(one.subgroups[name][one.subgroups[name] >= 0], minlength=_CODES) for one in held),
            start=np.zeros(_CODES, dtype=np.int64),
        )
        for name in names
    ]
    return {SUBGROUPS: np.array(rows, dtype=np.int64)} if rows else {}


def registered(state: Mapping[str, object] | Parameters) -> bool:
    """Whether the study of this audit registers a subgroup."""
    return SUBGROUPS in state


def holds_a_stake(site: Examples, state: Parameters) -> bool:
    """Whether a site holds `STAKE` or more of the patients of any subgroup. state: of an audit after its first sums."""
    if not registered(state):
        return False
    total, own = np.asarray(state[SUBGROUPS], dtype=np.int64), counted([site])[SUBGROUPS]
    return bool(((own > 0) & (own >= STAKE * total)).any())
