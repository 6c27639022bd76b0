"""The survival outcome of a generator by sums: two hazards, of death and of the end of follow-up, in one place.

The state carries both under `hazard/event` and `hazard/censored`, what their covariates are under `curve` and
`hazard pairs`; sites answer with the sums of a Newton step until neither moves. A drawn record is whichever comes first
of death, censoring and the longest allowed time.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.synth.facts import Facts
from cohortium.synth.generators.coding import Coding
from cohortium.synth.generators.covariates import Covariates, curves_begun, curves_of, linked_pairs
from cohortium.synth.generators.design import Design
from cohortium.synth.generators.hazard import Hazard, hazard_sums, started
from cohortium.synth.generators.normal_scores import scores_of
from cohortium.synth.generators.preparing import ENDS
from cohortium.synth.rows import Rows

__all__ = [
    "covariates_of",
    "design_of",
    "hazard_answer",
    "hazards_begun",
    "hazards_moved",
    "hazards_of",
    "hazards_stirred",
    "log_risk",
    "products_added",
    "sampled_outcome",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def design_of(coding: Coding) -> Design:
    """Columns of the regressions: reference levels are the most frequent ones."""
    reference = tuple(coding.middle[c.name] for c in coding.named) + (0,) * len(coding.stated)
    return Design(coding.sizes, reference, len(coding.numbers))


def covariates_of(coding: Coding, state: Parameters) -> Covariates:
    """Columns of the hazards, by a state in which they have begun; those of the design alone without survival."""
    if "hazard pairs" not in state:
        return Covariates(coding, design_of(coding), (), np.zeros((0, 2), dtype=np.int64))
    pairs = np.asarray(state["hazard pairs"], dtype=np.int64).reshape(-1, 2)
    return Covariates(coding, design_of(coding), curves_of(coding, state), pairs)


def hazards_begun(facts: Facts, state: Parameters, coding: Coding) -> dict[str, object]:
    """Arrays of the first point of both and of their covariates; none without survival."""
    if not facts.time:
        return {}
    missing = np.asarray(state["missing"], dtype=np.int64)
    measured = dict(zip(facts.names, (int(state["n"][0]) - int(one) for one in missing), strict=True))
    found = curves_begun(coding, measured) | {"hazard pairs": np.zeros((0, 2), dtype=np.int64)}
    covariates = covariates_of(coding, Parameters(dict(state.items()) | found))
    times = scores_of(state.under(f"table/{facts.time}"))
    for end in ENDS:
        own = scores_of(state.under(f"table/{facts.time} {end}"))
        found |= dict(started(own, times, covariates).to_parameters().prefixed(f"hazard/{end}").items())
    return found


def products_added(
    facts: Facts, found: Mapping[str, object], coding: Coding, joint: Integers, starts: Integers
) -> dict[str, object]:
    """The state with products of linked flags among the covariates, once pairs of levels are counted.

    joint, starts: see `linked_pairs`. Both hazards must move again.
    """
    if not facts.time or not coding.named:
        return dict(found)
    pairs = linked_pairs(coding, design_of(coding), joint, starts)
    added = dict(found) | {"hazard pairs": pairs}
    for end, point in hazards_of(facts, Parameters(found)).items():
        if len(pairs):
            added |= dict(point.widened(len(pairs)).to_parameters().prefixed(f"hazard/{end}").items())
    return added


def hazard_answer(
    facts: Facts, state: Parameters, coding: Coding, codes: Integers, z: Floats, rows: Rows
) -> dict[str, object]:
    """This site's sums for those that still move. codes, z: of the rows."""
    moving = {end: point for end, point in hazards_of(facts, state).items() if not point.converged}
    if not moving:
        return {}
    covariates = covariates_of(coding, state)
    x, died = covariates.rows(codes, z), rows[facts.event] == 1
    found: dict[str, object] = {}
    for end, point in moving.items():
        sums = hazard_sums(point, covariates, x, rows[facts.time], died if end == "event" else ~died)
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


def hazards_stirred(facts: Facts, state: Parameters) -> dict[str, object]:
    """Arrays of both at the same points, to be moved again."""
    found: dict[str, object] = {}
    for end, point in hazards_of(facts, state).items():
        found |= dict(point.widened(0).to_parameters().prefixed(f"hazard/{end}").items())
    return found


def hazards_of(facts: Facts, state: Parameters) -> dict[str, Hazard]:
    """Both hazards by end; none without survival."""
    return {end: Hazard.from_parameters(state.under(f"hazard/{end}")) for end in ENDS if facts.time}


def log_risk(facts: Facts, state: Parameters, coding: Coding, rows: Rows) -> Floats:
    """b' x of the event's hazard, (n,)."""
    covariates = covariates_of(coding, state)
    x = covariates.rows(coding.codes(rows), coding.scores(rows))
    return np.asarray((x * covariates.scale) @ hazards_of(facts, state)["event"].b)


def sampled_outcome(
    facts: Facts, state: Parameters, coding: Coding, columns: Mapping[str, Floats], rng: np.random.Generator
) -> dict[str, Floats]:
    """Time and event of patients with these other columns, read as a site would read them."""
    n = len(next(iter(columns.values()))) if columns else 0
    unknown = {name: np.full(n, np.nan) for name in (facts.time, facts.event)}
    rows = Rows(facts, {**columns, **unknown})
    covariates, table = covariates_of(coding, state), coding.tables[facts.time]
    x = covariates.rows(coding.codes(rows), coding.scores(rows))
    died, lost = (hazard.sample(x, covariates, rng) for hazard in hazards_of(facts, state).values())
    unit = float(table.grid[3])
    time = np.minimum(np.minimum(died, lost), table.high)
    event = (died <= lost) & (died <= table.high)
    time = np.maximum(np.round(np.rint(time / unit) * unit, 6), unit) if unit > 0 else time
    return {facts.time: time, facts.event: event.astype(np.float64)}
