"""What the sites of a rehearsal bring, turned into every site's half of one program.

Loops bring weights: all start from those of the first site by name, and the swarm sees no rows. Estimators bring rows:
columns and labels must be the same everywhere; the grid of times becomes one that holds the longest follow-up, as a
study's schema would fix it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cohortium.assembly import build_strategy
from cohortium.core import payload
from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.entry.seat import Brought, Ready, Seat
from cohortium.errors import UsageError
from cohortium.models.own_loop import OwnLoop
from cohortium.strategies.exact_sums import ExactSums
from cohortium.swarm.program import Program, SiteWork, Stage, Stop

__all__ = ["loop_works", "row_works"]

_MOST_EXCHANGES = 400
_NO_ROWS = Examples(layout=Layout(features=(), outcome="number"), x=np.zeros((0, 0)))


def loop_works(study: Study, seats: Mapping[str, Seat], ready: Mapping[str, Ready]) -> dict[str, SiteWork]:
    """Works that ask each site's loop for its passes. Raises UsageError where models differ in shape."""
    first = min(ready)
    for site, word in ready.items():
        if not word.start.like(ready[first].start):
            raise UsageError(f"site '{site}' {_difference(word.start, ready[first].start)} as site '{first}' has")
    return {site: _loop_work(study, seats[site], ready[first].start) for site in ready}


def row_works(study: Study, brought: Mapping[str, Brought]) -> dict[str, SiteWork]:
    """Works that train the estimator's learner on each site's rows. Raises UsageError where rows differ in kind."""
    first = min(brought)
    layout, one = _agreed(brought), brought[first]
    stages = [] if one.preparation is None else [Stage(
        name="scale", learner=one.preparation, strategy=ExactSums(), max_rounds=_MOST_EXCHANGES)]  # fmt: skip
    strategy = build_strategy(study, one.learner, layout)
    most = int(getattr(one.learner, "max_rounds", _MOST_EXCHANGES))
    stages.append(Stage(name="model", learner=one.learner, strategy=strategy, max_rounds=most))
    program = Program(stages, layout, sites=sorted(brought), chance=_chance(study))
    return {
        site: SiteWork(program, site=site, training=replace(word.examples, layout=layout))
        for site, word in brought.items()
    }


def _loop_work(study: Study, seat: Seat, start: Parameters) -> SiteWork:
    learner = OwnLoop(start=start, train=seat.train)
    plan = study.strategy
    stage = Stage(name="model", learner=learner, strategy=build_strategy(study, learner), max_rounds=plan.rounds)
    stop = None if plan.stop is None else Stop(patience=plan.stop.patience, min_delta=plan.stop.min_delta)
    program = Program([stage], _NO_ROWS.layout, sites=seat.sites, chance=_chance(study), stop=stop)
    return SiteWork(program, site=seat.site, training=_NO_ROWS)


def _chance(study: Study) -> Chance:
    return Chance(study.evaluation.seed, secrets_from_system=False)


def _agreed(brought: Mapping[str, Brought]) -> Layout:
    first = min(brought)
    ours = brought[first]
    for site, word in brought.items():
        for what, mine, theirs in (
            ("columns", word.examples.layout.features, ours.examples.layout.features),
            ("labels", word.labels, ours.labels),
        ):
            if mine != theirs:
                raise UsageError(
                    f"site '{site}' has {len(mine)} {what}, expected the {len(theirs)} of site '{first}',"
                    " with the same names in the same order"
                )
    width = max(word.examples.layout.resolution for word in brought.values())
    if not width:
        return ours.examples.layout
    longest = max(word.examples.layout.horizon for word in brought.values())
    return replace(ours.examples.layout, resolution=width, horizon=math.ceil(longest / width) * width)


def _difference(found: Parameters, expected: Parameters) -> str:
    """The first array in which two layouts differ, in words."""
    theirs, ours = payload.layout(found), payload.layout(expected)
    for one, other in zip(theirs, ours, strict=False):
        if one != other:
            return f"has array '{one[0]}' {one[1]} {one[2]}, expected '{other[0]}' {other[1]} {other[2]}"
    return f"has {len(theirs)} arrays, expected {len(ours)}"
