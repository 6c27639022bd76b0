"""The survival outcome of a generator by sums: two hazards, of death and of the end of follow-up, in one place.

The state carries both under `hazard/event` and `hazard/censored`; sites answer with the sums of a Newton step until
neither moves. A drawn record is whichever comes first of death, censoring and the longest allowed time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.synth.facts import Facts
from cohortium.synth.generators.coding import Coding
from cohortium.synth.generators.design import Design
from cohortium.synth.generators.hazard import Hazard, hazard_sums, started
from cohortium.synth.generators.normal_scores import scores_of
from cohortium.synth.generators.preparing import ENDS
from cohortium.synth.rows import Rows

__all__ = ["design_of", "hazard_answer", "hazards_begun", "hazards_moved", "hazards_of", "sampled_outcome"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def design_of(coding: Coding) -> Design:
    """Columns of the regressions: reference levels are the most frequent ones."""
    reference = tuple(coding.middle[c.name] for c in coding.named) + (0,) * len(coding.stated)
    return Design(coding.sizes, reference, len(coding.numbers))


def hazards_begun(facts: Facts, state: Parameters, design: Design) -> dict[str, object]:
    """Arrays of the first point of both; none without survival."""
    found: dict[str, object] = {}
    if facts.time:
        times = scores_of(state.under(f"table/{facts.time}"))
        for end in ENDS:
            own = scores_of(state.under(f"table/{facts.time} {end}"))
            found |= dict(started(own, times, design).to_parameters().prefixed(f"hazard/{end}").items())
    return found


def hazard_answer(facts: Facts, state: Parameters, design: Design, x: Integers, rows: Rows) -> dict[str, object]:
    """This site's sums for those that still move."""
    found: dict[str, object] = {}
    for end, point in hazards_of(facts, state).items():
        if not point.converged:
            died = rows[facts.event] == 1
            sums = hazard_sums(point, design, x, rows[facts.time], died if end == "event" else ~died)
            found |= dict(sums.prefixed(f"hazard/{end}").items())
    return found


def hazards_moved(facts: Facts, start: Parameters, total: Parameters) -> tuple[dict[str, object], bool]:
    """(arrays of both after the step, whether both stand still)."""
    found: dict[str, object] = {}
    still = True
    for end, point in hazards_of(facts, start).items():
        if not point.converged:
            point = point.advanced(total.under(f"hazard/{end}"))
            found |= dict(point.to_parameters().prefixed(f"hazard/{end}").items())
        still = still and point.converged
    return found, still


def hazards_of(facts: Facts, state: Parameters) -> dict[str, Hazard]:
    """Both hazards by end; none without survival."""
    return {end: Hazard.from_parameters(state.under(f"hazard/{end}")) for end in ENDS if facts.time}


def sampled_outcome(
    facts: Facts, state: Parameters, coding: Coding, design: Design, x: Integers, rng: np.random.Generator
) -> dict[str, Floats]:
    """Time and event of patients with these covariates."""
    table = coding.tables[facts.time]
    died, lost = (hazard.sample(x, design, rng) for hazard in hazards_of(facts, state).values())
    unit = float(table.grid[3])
    time = np.minimum(np.minimum(died, lost), table.high)
    event = (died <= lost) & (died <= table.high)
    time = np.maximum(np.round(np.rint(time / unit) * unit, 6), unit) if unit > 0 else time
    return {facts.time: time, facts.event: event.astype(np.float64)}
