"""The out-of-bag audit as a learner by sums: which question a round asks, what a site answers, what the sums decide.

    scale -> whole (one probe on all sites: a start for the others, and the measure of cost)
    -> for each pass: count -> train -> calibrate -> moments -> spread -> usual
    -> recheck -> (too weak: once more, with fresh halves) -> evidence -> done

In the last pass `bind` comes after the training: each site shows the root of its records' scores before it learns more.
A round's answer is sums over records, zeros in the slots of halves the site does not belong to. In `bind` and
`evidence` it is the site's own row of a table, which is public and shown as it was committed on the ledger
(`core.marks`): into a masked sum anybody could write anything. All draws follow from the ledger's seed. `advance` is
pure and bit-exact; sites keep nothing between rounds.

Design: harmful-data.md 5.1 to 5.4, 5.9.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.marks import SHOWN, drawn_by, lot_of, showing
from cohortium.core.parameters import Parameters
from cohortium.core.verdicts import Evidence, Repair, Status
from cohortium.errors import PeerError
from cohortium.quality.binding import ROOT_WORDS, leaves, own_rows, root_of, root_words, salts
from cohortium.quality.calibrate import (
    LOGIT_CLIP,
    ROUNDS,
    calibration_step,
    calibration_terms,
    must_be_silent,
    weighted_auroc,
)
from cohortium.quality.decide import Rules, Table, decide
from cohortium.quality.doubts import INFLUENCE_COLUMNS, by_halves, influence, influence_sums, with_doubts
from cohortium.quality.evidence import SUSPECT
from cohortium.quality.halves import LEAST_BISECTIONS, LEAST_OF_A_CLASS, MAX_DRAWS, halves_drawn, stream_of
from cohortium.quality.judging import (
    OF_SITES,
    Heads,
    Judged,
    Logits,
    PassModels,
    judge,
    oddities,
    published,
    read_basis,
    read_spreads,
    scores,
)
from cohortium.quality.novelty import CELLS, cell_of, distances, site_oddity, spread_of
from cohortium.quality.pool import Pool, Scale, scale_of, scale_sums
from cohortium.quality.rows import FIELDS, read_row, row_of
from cohortium.quality.slots import EXACT, ROUGH, X_BITS, Slots, begin, logits, newton, slot_sums, weights_of
from cohortium.quality.stakes import SUBGROUPS, counted, holds_a_stake

__all__ = ["BIND", "DONE", "EVIDENCE", "TRAIN", "AuditPlan", "Auditor", "Where"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SCALE, WHOLE, COUNT, TRAIN, BIND, CALIBRATE, MOMENTS, SPREAD, USUAL, RECHECK, EVIDENCE, DONE = range(12)

_WEIGHT_BITS = 20
_SCORE_WIDTH = 2 * LOGIT_CLIP / CELLS
_ODDITY_WIDTH = 9.0 / CELLS


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """What all sites agree on. sites: all, sorted. repairs: names, in the order of the library."""

    sites: tuple[str, ...]
    halves: int = 8
    passes: int = 2
    masked: bool = False
    anchors: frozenset[str] = frozenset()
    repairs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.halves % 2 or not 4 <= self.halves <= 16:
            raise ValueError(f"halves must be even, 4 to 16, got {self.halves}")
        if not 1 <= self.passes <= 3:
            raise ValueError(f"passes must be 1 to 3, got {self.passes}")
        if unknown := self.anchors - set(self.sites):
            raise ValueError(f"unknown anchor {min(unknown)!r}; sites: {', '.join(self.sites)}")


@dataclass(frozen=True, kw_only=True)
class Where:
    """The clock of an audit. number: of the pass; attempt: 0, or 1 after a silent one; draws: of this pass's halves;

    exchange: within the stage. status: 0, or 1 = nothing may be said about labels.
    """

    stage: int
    number: int = 0
    attempt: int = 0
    draws: int = 0
    exchange: int = 0
    status: int = 0

    @classmethod
    def read(cls, state: Parameters) -> Where:
        """From a state."""
        stage, number, attempt, draws, exchange, status = (int(v) for v in state["clock"])
        return cls(stage=stage, number=number, attempt=attempt, draws=draws, exchange=exchange, status=status)

    def write(self) -> Parameters:
        """Into a state."""
        told = [self.stage, self.number, self.attempt, self.draws, self.exchange, self.status]
        return Parameters({"clock": np.array(told, dtype=np.int64)})

    @property
    def prefix(self) -> str:
        """Where this pass's arrays stand."""
        return f"pass-{self.number}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Auditor:
    """Both halves of the audit. repairs: the library itself, needed at sites only; secret: the site's own key.

    logits: what a probe says of rows; only benchmarks have others than logistic ones.
    """

    plan: AuditPlan
    repairs: Sequence[Repair] = field(default=())
    secret: bytes = field(default=b"", repr=False)
    logits: Logits = field(default=logits, repr=False)

    def initial(self, lot: int | bytes = 0) -> Parameters:
        """Before the first exchange. lot: what all draws follow from, 32 bytes of the ledger, or a number."""
        return drawn_by(Where(stage=SCALE).write() | Parameters({"trained": np.zeros(2, dtype=np.int64)}), lot)

    def finished(self, state: Parameters) -> bool:
        """Whether the evidence table is there."""
        return Where.read(state).stage == DONE

    # a site's half

    def answer(self, state: Parameters, pool: Pool) -> Parameters:
        """The rows' part of the sums the state asks for."""
        where = Where.read(state)
        asked: Mapping[int, Callable[[Parameters, Where, Pool], Mapping[str, Integers]]] = {
            SCALE: lambda state, where, pool: {**scale_sums(pool.x), **counted(pool.examples.values())},
            WHOLE: self._whole,
            COUNT: self._counts,
            TRAIN: self._training,
            BIND: self._roots,
            CALIBRATE: self._calibration,
            MOMENTS: self._moments,
            SPREAD: self._distances,
            USUAL: self._oddities,
            RECHECK: self._recheck,
            EVIDENCE: self._evidence,
        }
        return Parameters(asked[where.stage](state, where, pool))

    def _whole(self, state: Parameters, where: Where, pool: Pool) -> Mapping[str, Integers]:
        everyone = np.ones((len(pool.y), 1), dtype=bool)
        return slot_sums(self._x(state, pool), pool.y, np.ones(len(pool.y)), everyone, Slots.read(state, "whole"))

    def _counts(self, state: Parameters, where: Where, pool: Pool) -> Mapping[str, Integers]:
        trusted = self.trust(state, where.number, pool) > SUSPECT
        member = self._member(state, where)[pool.site]
        cases = (member & (trusted & (pool.y == 1))[:, None]).sum(axis=0)
        others = (member & (trusted & (pool.y == 0))[:, None]).sum(axis=0)
        return {"cases": cases.astype(np.int64), "others": others.astype(np.int64)}

    def _training(self, state: Parameters, where: Where, pool: Pool) -> Mapping[str, Integers]:
        q = weights_of(self.trust(state, where.number, pool))
        member = self._member(state, where)[pool.site]
        return slot_sums(self._x(state, pool), pool.y, q, member, Slots.read(state, f"{where.prefix}/slots"))

    def _roots(self, state: Parameters, where: Where, pool: Pool) -> Mapping[str, Integers]:
        table, z = np.zeros((len(self.plan.sites), ROOT_WORDS), dtype=np.int64), self._scores(state, where, pool)
        for site in pool.examples:
            rows = pool.rows(site)
            table[site] = root_words(root_of(leaves(z[rows], pool.y[rows], self.salts(state, len(rows)))))
        return {"roots": table}

    def _calibration(self, state: Parameters, where: Where, pool: Pool) -> Mapping[str, Integers]:
        a, b = (float(v) for v in state[f"{where.prefix}/calibration"])
        z, q = self._scores(state, where, pool), self.trust(state, where.number, pool)
        return {"five": calibration_terms(z, pool.y, q, a, b)}

    def _moments(self, state: Parameters, where: Where, pool: Pool) -> Mapping[str, Integers]:
        trusted = self.trust(state, where.number, pool) > SUSPECT
        x = self._x(state, pool)[trusted]
        square = fp.weighted_gram(x, np.ones(len(x), dtype=np.int64), what="moments")
        return {
            "n": np.array([len(x)], dtype=np.int64),
            "sum": x.sum(axis=0).astype(np.int64),
            "products": square[np.triu_indices(len(square))],
        }

    def _distances(self, state: Parameters, where: Where, pool: Pool) -> Mapping[str, Integers]:
        trusted = self.trust(state, where.number, pool) > SUSPECT
        x, basis = fp.from_fixed(self._x(state, pool)[trusted], X_BITS), read_basis(state, where.prefix)
        found = distances(x, basis, images=any(one.layout.image is not None for one in pool.examples.values()))
        return {"cells": np.array([np.bincount(cell_of(column), minlength=CELLS) for column in found.T])}

    def _oddities(self, state: Parameters, where: Where, pool: Pool) -> Mapping[str, Integers]:
        x, prefix = self._x(state, pool), where.prefix
        oddity = oddities(x, read_basis(state, prefix), read_spreads(state, prefix)[:OF_SITES])
        usual = [site_oddity(oddity[pool.rows(site)]) for site in pool.examples if len(pool.rows(site))]
        cells = cell_of(np.array(usual), lowest=-1.0, width=_ODDITY_WIDTH)
        return {"sites": np.bincount(cells, minlength=CELLS).astype(np.int64)}

    def _recheck(self, state: Parameters, where: Where, pool: Pool) -> Mapping[str, Integers]:
        a, b = (float(v) for v in state["recheck"])
        judged = self.judged(state, self.plan.passes - 1, pool)
        sound = np.ones(len(pool.y))
        for site, one in judged.sites.items():
            sound[pool.rows(site)] = 1.0 - one.harmful
        weight = fp.to_fixed(sound, _WEIGHT_BITS, what="weights")
        cells = cell_of(judged.z, lowest=-LOGIT_CLIP, width=_SCORE_WIDTH)
        ranked = {}
        for name, label in (("cases", 1), ("others", 0)):
            ranked[name] = np.zeros(CELLS, dtype=np.int64)
            np.add.at(ranked[name], cells[pool.y == label], weight[pool.y == label])
        return {"five": calibration_terms(judged.z, pool.y, judged.q, a, b), **ranked, **self._cross(state, pool)}

    def _cross(self, state: Parameters, pool: Pool) -> Mapping[str, Integers]:
        """What is compared with the rows that sites will show: see `doubts`."""
        last, key = self.plan.passes - 1, ("cross", state.under(f"pass-{self.plan.passes - 1}/slots").digest)
        if key not in pool.cache:
            heads, judged = Heads.read(state, f"pass-{last}"), self.judged(state, last, pool)
            found = self.logits(self._x(state, pool), heads.point)
            moved = np.zeros((len(self.plan.sites), INFLUENCE_COLUMNS), dtype=np.int64)
            for site in pool.examples:
                rows = pool.rows(site)
                moved += influence_sums(found[rows], pool.y[rows], judged.q[rows], site=site, member=heads.member,
                                        usable=heads.usable)  # fmt: skip
            told = heads.member.T.astype(np.int64) @ self._table(state, pool, silent=False)
            pool.cache[key] = {"told": told, "influence": moved}
        cross: Mapping[str, Integers] = pool.cache[key]
        return cross

    def _evidence(self, state: Parameters, where: Where, pool: Pool) -> Mapping[str, Integers]:
        return {"table": self._table(state, pool, silent=bool(where.status))}

    def _table(self, state: Parameters, pool: Pool, *, silent: bool) -> Integers:
        table = np.zeros((len(self.plan.sites), len(FIELDS)), dtype=np.int64)
        if f"pass-{self.plan.passes - 1}/usual" not in state:  # no draw had both classes: nothing was scored
            return table
        last = self.plan.passes - 1
        judged = self.judged(state, last, pool)
        models = PassModels.read(state, f"pass-{last}", self.logits)
        for site in pool.examples:
            name, scale = self.plan.sites[site], Scale.read(state)
            if (one := published(name, site, pool, judged, models, scale, self.repairs)) is not None:
                one = replace(one, at_stake=holds_a_stake(pool.examples[site], state))
                table[site] = row_of(one, repairs=self.plan.repairs, silent=silent)
        return table

    def trust(self, state: Parameters, number: int, pool: Pool) -> Floats:
        """q of every row in pass `number`: 1 in the first, then from what the pass before has found."""
        return np.ones(len(pool.y)) if number == 0 else self.judged(state, number - 1, pool).q

    def judged(self, state: Parameters, number: int, pool: Pool) -> Judged:
        """What the rows' sites know after pass `number`; kept until its models change."""
        key = ("judged", number, state.under(f"pass-{number}").digest)
        if key not in pool.cache:
            anchors = frozenset(self.plan.sites.index(name) for name in self.plan.anchors)
            models = PassModels.read(state, f"pass-{number}", self.logits)
            pool.cache[key] = judge(pool, self._x(state, pool), models, anchors=anchors)
        found: Judged = pool.cache[key]
        return found

    def _x(self, state: Parameters, pool: Pool) -> Integers:
        if "x" not in pool.cache:
            pool.cache["x"] = Scale.read(state).fixed(pool.x)
        found: Integers = pool.cache["x"]
        return found

    def _scores(self, state: Parameters, where: Where, pool: Pool) -> Floats:
        key = ("z", where.number, state.under(f"{where.prefix}/slots").digest)
        if key not in pool.cache:
            pool.cache[key] = scores(self._x(state, pool), pool.site, Heads.read(state, where.prefix, self.logits))
        found: Floats = pool.cache[key]
        return found

    @staticmethod
    def _member(state: Parameters, where: Where) -> NDArray[np.bool_]:
        return np.asarray(state[f"{where.prefix}/member"], dtype=bool)

    # the leader's half: pure, repeated by every node

    def advance(self, state: Parameters, total: Parameters) -> Parameters:
        """The next state from the merged sums."""
        where = Where.read(state)
        step: Mapping[int, Callable[[Parameters, Where, Parameters], Parameters]] = {
            SCALE: self._scaled,
            WHOLE: self._whole_stepped,
            COUNT: self._drawn,
            TRAIN: self._stepped,
            BIND: self._bound,
            CALIBRATE: self._calibrated,
            MOMENTS: self._known_moments,
            SPREAD: self._known_spread,
            USUAL: self._known_usual,
            RECHECK: self._rechecked,
            EVIDENCE: self._told,
        }
        return step[where.stage](state, where, total)

    def _scaled(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        scale = scale_of(total)
        d = len(scale.mean)
        whole = begin(1, d, rng=stream_of(lot_of(state), "whole")).write("whole")
        stakes = Parameters({name: total[name] for name in (SUBGROUPS,) if name in total})
        return state | scale.write() | stakes | whole | Where(stage=WHOLE).write()

    def _whole_stepped(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        slots = newton(Slots.read(state, "whole"), total, settled=EXACT)
        trained = np.asarray(state["trained"]) + np.array([int(total["used"].sum()), 0])
        state |= slots.write("whole") | Parameters({"trained": trained})
        return self._draw(state, Where(stage=COUNT)) if slots.done.all() else state

    def _draw(self, state: Parameters, where: Where, *, keep: NDArray[np.bool_] | None = None) -> Parameters:
        """Fresh halves for the pass; `keep`: slots of the last draw that were good enough."""
        member = halves_drawn(
            lot_of(state), attempt=where.attempt, number=where.number, draw=where.draws,
            n_sites=len(self.plan.sites), halves=self.plan.halves, masked=self.plan.masked,
        )  # fmt: skip
        if keep is not None and not self.plan.masked:
            member[:, keep] = self._member(state, where)[:, keep]
        return state | Parameters({f"{where.prefix}/member": member}) | where.write()

    def _drawn(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        enough = np.minimum(total["cases"], total["others"]) >= LEAST_OF_A_CLASS
        good = np.repeat(enough[0::2] & enough[1::2], 2)
        if not good.all() and where.draws + 1 < MAX_DRAWS:
            return self._draw(state, _at(where, draws=where.draws + 1), keep=good)
        if int(good.sum()) < 2 * LEAST_BISECTIONS:
            return showing(state | _at(where, stage=EVIDENCE, status=1).write() | _silence(0.5, 0.0))
        rng = stream_of(lot_of(state), "begin", where.attempt, where.number)
        whole = Slots.read(state, "whole").point[0]
        slots = begin(self.plan.halves, len(whole) - 1, rng=rng, around=whole)
        slots.done[~good] = True
        state |= slots.write(f"{where.prefix}/slots") | Parameters({f"{where.prefix}/usable": good})
        return state | _at(where, stage=TRAIN).write()

    def _stepped(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        slots = newton(Slots.read(state, f"{where.prefix}/slots"), total, settled=ROUGH)
        trained = np.asarray(state["trained"]) + np.array([0, int(total["used"].sum())])
        state |= slots.write(f"{where.prefix}/slots") | Parameters({"trained": trained})
        if not slots.done.all():
            return state
        state |= Parameters({f"{where.prefix}/calibration": np.zeros(2)})
        if where.number + 1 == self.plan.passes:
            return showing(state | _at(where, stage=BIND).write())
        return state | _at(where, stage=CALIBRATE).write()

    def _bound(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        return state.without([SHOWN]) | Parameters({"roots": total["roots"]}) | _at(where, stage=CALIBRATE).write()

    def _calibrated(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        a, b, settled = calibration_step(np.asarray(total["five"]), *_pair(state[f"{where.prefix}/calibration"]))
        settled = settled or where.exchange + 1 >= ROUNDS
        state |= Parameters({f"{where.prefix}/calibration": np.array([a, b])})
        return state | (_at(where, stage=MOMENTS) if settled else _at(where, exchange=where.exchange + 1)).write()

    def _known_moments(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        return state | total.prefixed(f"{where.prefix}/moments") | _at(where, stage=SPREAD).write()

    def _known_spread(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        found = [spread_of(row) for row in np.asarray(total["cells"], dtype=np.int64)]
        spreads = np.array([[one.median, one.sd] for one in found])
        return state | Parameters({f"{where.prefix}/spreads": spreads}) | _at(where, stage=USUAL).write()

    def _known_usual(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        cells = np.asarray(total["sites"], dtype=np.int64)
        usual = spread_of(cells, lowest=-1.0, width=_ODDITY_WIDTH).median
        state |= Parameters({f"{where.prefix}/usual": np.array([usual])})
        if where.number + 1 < self.plan.passes:
            return self._draw(state, Where(stage=COUNT, number=where.number + 1, attempt=where.attempt))
        return state | Parameters({"recheck": np.zeros(2)}) | _at(where, stage=RECHECK).write()

    def _rechecked(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        a, b, settled = calibration_step(np.asarray(total["five"]), *_pair(state["recheck"]))
        state |= Parameters({"recheck": np.array([a, b])})
        if not settled and where.exchange + 1 < ROUNDS:
            return state | _at(where, exchange=where.exchange + 1).write()
        cases, others = (np.asarray(total[name], dtype=np.int64) for name in ("cases", "others"))
        auroc = weighted_auroc(cases, others)
        state |= _silence(auroc, a)
        silent = must_be_silent(a, auroc, attempt=where.attempt)
        if silent and where.attempt == 0:
            names = [name for name in state if name.startswith("pass-")]
            return self._draw(state.without(names), Where(stage=COUNT, attempt=1))
        state |= Parameters({name: total[name] for name in ("told", "influence")}).prefixed("cross")
        return showing(state | _at(where, stage=EVIDENCE, status=int(silent)).write())

    def _told(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        return state.without([SHOWN]) | Parameters({"evidence": total["table"]}) | _at(where, stage=DONE).write()

    def gather(self, state: Parameters, answers: Mapping[str, Parameters]) -> Parameters:
        """The table of an exchange whose answers are shown: each site's own row as it has committed it.

        Raises PeerError naming a site that shows anything else, or numbers that no site can have found.
        """
        name, width = ("roots", ROOT_WORDS) if Where.read(state).stage == BIND else ("table", len(FIELDS))
        table = np.zeros((len(self.plan.sites), width), dtype=np.int64)
        for at, row in own_rows(answers, name, sites=self.plan.sites, width=width).items():
            site, table[at] = self.plan.sites[at], row
            try:
                if name == "table":
                    read_row(site, row, repairs=self.plan.repairs)
            except ValueError as wrong:
                raise PeerError(
                    f"site '{site}' shows evidence that no site can have found: {wrong}", site=site
                ) from None
        return Parameters({name: table})

    # after the last exchange

    def evidence(self, state: Parameters) -> tuple[Evidence, ...]:
        """The table of a finished audit; sites without a row published nothing."""
        rows = zip(self.plan.sites, np.asarray(state["evidence"], dtype=np.int64), strict=True)
        found = [read_row(site, row, repairs=self.plan.repairs) for site, row in rows]
        return tuple(one for one in found if one is not None)

    def table(self, state: Parameters, rules: Rules) -> Table:
        """The verdicts of a finished audit: the same bytes at every node."""
        auroc, slope = _pair(state["told"])
        found = decide(self.evidence(state), sites=self.plan.sites, status=self.status(state), auroc=auroc,
                       slope=slope, rules=rules)  # fmt: skip
        if found.status == "inconclusive":
            return found
        member = np.asarray(state[f"pass-{self.plan.passes - 1}/member"], dtype=bool)
        rows, told = (np.asarray(state[name], dtype=np.int64) for name in ("evidence", "cross/told"))
        return with_doubts(found, self.plan.sites, halves=by_halves(told, rows, member),
                           influence=influence(np.asarray(state["cross/influence"])).places())  # fmt: skip

    def salts(self, state: Parameters, n: int) -> list[bytes]:
        """Of this site's records under the probes of the last pass."""
        context = lot_of(state) + state.under(f"pass-{self.plan.passes - 1}/slots").digest
        return salts(self.secret, context, n)

    @staticmethod
    def status(state: Parameters) -> Status:
        """Whether labels could be judged."""
        return "inconclusive" if Where.read(state).status else "decided"

    @staticmethod
    def training_ratio(state: Parameters) -> float:
        """Records all probes were trained on, each exchange anew, over those of one probe trained on everybody."""
        whole, slots = (int(v) for v in state["trained"])
        return (whole + slots) / whole if whole else math.nan


def _at(where: Where, **changes: int) -> Where:
    """The same pass in another stage, or at another exchange of this one."""
    kept = {"stage": where.stage, "number": where.number, "attempt": where.attempt, "status": where.status,
            "draws": where.draws, "exchange": 0}  # fmt: skip
    return Where(**{**kept, **changes})


def _silence(auroc: float, slope: float) -> Parameters:
    return Parameters({"told": np.array([auroc, slope])})


def _pair(values: NDArray[np.generic]) -> tuple[float, float]:
    first, second = (float(v) for v in values)
    return first, second
