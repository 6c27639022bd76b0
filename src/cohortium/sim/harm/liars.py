"""Sites that lie to an audit: what each kind of liar answers, so that it can be measured who of them is believed.

    result = lied_to(sites, {"site-03": "scores"}, detector=OutOfBag(), seed=0)
    result.doubted["influence"]            # asked to be looked at

`sites` hold what is in the sites' tables; a liar's labels are reversed there, and it reports good scores for them:

    row      all sums are honest; the row it shows is that of a sound site of its size
    scores   the probes learn from its bad labels with full weight; all it says afterwards is computed with right ones
    loud     as `scores`, and each of its records is counted `LOUD` times while the probes learn
    table    it gives the audit right labels throughout, and keeps the wrong ones for the training

A row written for somebody else, or one that was not committed, is no lie that can be told: see `quality.binding` and
`swarm.showing`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples
from cohortium.core.parameters import Parameters
from cohortium.quality.decide import Table
from cohortium.quality.doubts import by_halves, influence
from cohortium.quality.out_of_bag import OutOfBag
from cohortium.quality.pool import Pool, pool_of
from cohortium.quality.repairs import LabelPolarity, library
from cohortium.quality.rows import FIELDS
from cohortium.quality.stages import EVIDENCE, TRAIN, Auditor, Where

__all__ = ["LIES", "LOUD", "Lie", "Lied", "lied_to"]

Lie = Literal["none", "row", "scores", "loud", "table"]
LIES: tuple[Lie, ...] = ("none", "row", "scores", "loud", "table")
LOUD = 20
"""Under masks nobody sees how many records a site's part of a sum stands for."""

_LEARNING = TRAIN
_N = FIELDS.index("n")


@dataclass(frozen=True, kw_only=True)
class Lied:
    """Verdicts, who is to be looked at by which check, and t(s) of the influence of each site."""

    table: Table
    doubted: Mapping[str, frozenset[str]]
    t: Mapping[str, float]


def lied_to(sites: Mapping[str, Examples], liars: Mapping[str, Lie], *, detector: OutOfBag, seed: int) -> Lied:
    """An audit of these sites in one process, some of which lie. Raises as `OutOfBag.run` does."""
    names = sorted(sites)
    repairs = library(sites[names[0]].layout)
    plan = detector.plan(names, repairs=repairs)
    honest = Auditor(plan=plan, repairs=repairs)
    believed = Auditor(plan=replace(plan, anchors=plan.anchors | set(liars)), repairs=repairs)
    right = {name: LabelPolarity().apply(one) if name in liars else one for name, one in sites.items()}
    groups = {lie: [name for name in names if liars.get(name, "none") == lie] for lie in LIES}

    def pool(content: Mapping[str, Examples], chosen: Sequence[str]) -> Pool:
        return pool_of({names.index(name): content[name] for name in chosen})

    as_it_is, claimed = (
        {lie: pool(content, some) for lie, some in groups.items() if some} for content in (sites, right)
    )

    def answer(state: Parameters, lie: Lie) -> Parameters:
        learning = Where.read(state).stage <= _LEARNING
        if lie == "table":
            return honest.answer(state, claimed[lie])
        if lie in ("scores", "loud"):
            if not learning:
                return honest.answer(state, claimed[lie])
            told = believed.answer(state, as_it_is[lie])
            louder = LOUD if lie == "loud" and Where.read(state).stage == TRAIN else 1
            return Parameters({name: np.asarray(part) * louder for name, part in told.items()})
        return honest.answer(state, as_it_is[lie])

    state = honest.initial(seed)
    while not honest.finished(state):
        parts = [answer(state, lie) for lie in LIES if groups[lie]]
        total = {name: sum(np.asarray(part[name]) for part in parts) for name in parts[0]}
        if Where.read(state).stage == EVIDENCE:
            total["table"] = _with_forged_rows(np.asarray(total["table"]), [names.index(one) for one in groups["row"]])
        state = honest.advance(state, Parameters(total))
    return _found(honest, state, detector, names)


def _with_forged_rows(table: NDArray[np.int64], liars: Sequence[int]) -> NDArray[np.int64]:
    """The row of the sound site that is nearest in size, in the place of a liar's own."""
    column = {name: FIELDS.index(name) for name in ("sound", "reversed", "repair")}
    sound = (table[:, column["sound"]] > np.maximum(table[:, column["reversed"]], 0)) & (
        table[:, column["repair"]] == 0
    )
    sound[list(liars)] = False
    forged = table.copy()
    for at in liars:
        if sound.any() and table[at, _N]:
            nearest = min(np.flatnonzero(sound), key=lambda one: (abs(table[one, _N] - table[at, _N]), one))
            forged[at] = table[nearest]
    return forged


def _found(auditor: Auditor, state: Parameters, detector: OutOfBag, names: Sequence[str]) -> Lied:
    table = auditor.table(state, detector.rules)
    if table.status == "inconclusive":
        return Lied(table=table, doubted={"halves": frozenset(), "influence": frozenset()}, t={})
    member = np.asarray(state[f"pass-{detector.passes - 1}/member"], dtype=bool)
    rows, told = (np.asarray(state[name], dtype=np.int64) for name in ("evidence", "cross/told"))
    moved = influence(np.asarray(state["cross/influence"], dtype=np.int64))
    doubted = {"halves": by_halves(told, rows, member), "influence": moved.places()}
    return Lied(
        table=table,
        doubted={check: frozenset(names[at] for at in places) for check, places in doubted.items()},
        t=dict(zip(names, moved.t.tolist(), strict=True)),
    )
