"""The out-of-bag audit as a learner by sums: which question a round asks, what a site answers, what the sums decide.

    scale -> whole (one probe on all sites: a start for the others, and the measure of cost)
    -> for each pass: count -> train -> calibrate -> moments -> spread -> usual
    -> recheck -> (too weak: once more, with fresh halves) -> evidence -> done

A round's answer is sums over records, zeros in the slots of halves the site does not belong to, and in the last round
the site's own row of a table with zeros in all others: the masked sum is the evidence table. So the unchanged round
machine carries an audit, with or without masks. `advance` is pure and bit-exact; sites keep nothing between rounds.

Design: harmful-data.md 5.1 to 5.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters
from cohortium.core.verdicts import Evidence, Repair, Status
from cohortium.quality.calibrate import (
    LOGIT_CLIP,
    ROUNDS,
    calibration_step,
    calibration_terms,
    must_be_silent,
    weighted_auroc,
)
from cohortium.quality.decide import Rules, Table, decide
from cohortium.quality.evidence import SUSPECT
from cohortium.quality.halves import LEAST_BISECTIONS, LEAST_OF_A_CLASS, MAX_DRAWS, draw_halves
from cohortium.quality.judging import (
    Heads,
    Judged,
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
from cohortium.quality.slots import EXACT, ROUGH, X_BITS, Slots, begin, newton, slot_sums, weights_of

__all__ = ["DONE", "FIELDS", "AuditPlan", "Auditor", "Where"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SCALE, WHOLE, COUNT, TRAIN, CALIBRATE, MOMENTS, SPREAD, USUAL, RECHECK, EVIDENCE, DONE = range(11)

FIELDS = (
    "n", "two_class", "majority", "sound", "reversed", "shifted", "novelty", "contradicted", "flagged", "auroc",
    "expected", "ranking", "repair", "gain",
)  # fmt: skip
"""Columns of the evidence table; numbers that are not counts in millionths, `repair` counts from 1 in the library."""

_MICRO = 1_000_000
_REAL = {"sound", "reversed", "shifted", "novelty", "auroc", "expected", "ranking"}
_WEIGHT_BITS = 20
_SCORE_WIDTH = 2 * LOGIT_CLIP / CELLS
_ODDITY_WIDTH = 9.0 / CELLS


@dataclass(frozen=True, kw_only=True)
class AuditPlan:
    """What all sites agree on. sites: all, sorted. repairs: names, in the order of the library. seed: of the draws."""

    sites: tuple[str, ...]
    halves: int = 8
    passes: int = 2
    masked: bool = False
    anchors: frozenset[str] = frozenset()
    repairs: tuple[str, ...] = ()
    seed: int = 0

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
    """Both halves of the audit. repairs: the library itself, needed at sites only."""

    plan: AuditPlan
    repairs: Sequence[Repair] = field(default=())

    def initial(self) -> Parameters:
        """Before the first exchange."""
        return Where(stage=SCALE).write() | Parameters({"trained": np.zeros(2, dtype=np.int64)})

    def finished(self, state: Parameters) -> bool:
        """Whether the evidence table is there."""
        return Where.read(state).stage == DONE

    # a site's half

    def answer(self, state: Parameters, pool: Pool) -> Parameters:
        """The rows' part of the sums the state asks for."""
        where = Where.read(state)
        asked: Mapping[int, Callable[[Parameters, Where, Pool], Mapping[str, Integers]]] = {
            SCALE: lambda state, where, pool: scale_sums(pool.x),
            WHOLE: self._whole,
            COUNT: self._counts,
            TRAIN: self._training,
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
        found = distances(fp.from_fixed(self._x(state, pool)[trusted], X_BITS), read_basis(state, where.prefix))
        return {"cells": np.array([np.bincount(cell_of(column), minlength=CELLS) for column in found.T])}

    def _oddities(self, state: Parameters, where: Where, pool: Pool) -> Mapping[str, Integers]:
        x, prefix = self._x(state, pool), where.prefix
        oddity = oddities(x, read_basis(state, prefix), read_spreads(state, prefix))
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
        return {"five": calibration_terms(judged.z, pool.y, judged.q, a, b), **ranked}

    def _evidence(self, state: Parameters, where: Where, pool: Pool) -> Mapping[str, Integers]:
        table = np.zeros((len(self.plan.sites), len(FIELDS)), dtype=np.int64)
        if f"pass-{self.plan.passes - 1}/usual" not in state:  # no draw had both classes: nothing was scored
            return {"table": table}
        last = self.plan.passes - 1
        judged = self.judged(state, last, pool)
        models = PassModels.read(state, f"pass-{last}")
        for site in pool.examples:
            name, scale = self.plan.sites[site], _read_scale(state)
            if (one := published(name, site, pool, judged, models, scale, self.repairs)) is not None:
                table[site] = self._row(one, silent=bool(where.status))
        return {"table": table}

    def _row(self, one: Evidence, *, silent: bool) -> Integers:
        """A row of the table; where labels may not be judged, nothing that was found by labels is in it."""
        told = {name: getattr(one, name) for name in FIELDS}
        told["repair"] = 1 + self.plan.repairs.index(one.repair) if one.repair else 0
        if silent:
            told = {**dict.fromkeys(FIELDS, 0), "n": one.n, "two_class": one.two_class, "novelty": one.novelty,
                    "auroc": 0.5, "expected": 0.5}  # fmt: skip
        return np.array([round(told[f] * _MICRO) if f in _REAL else int(told[f]) for f in FIELDS], dtype=np.int64)

    def trust(self, state: Parameters, number: int, pool: Pool) -> Floats:
        """q of every row in pass `number`: 1 in the first, then from what the pass before has found."""
        return np.ones(len(pool.y)) if number == 0 else self.judged(state, number - 1, pool).q

    def judged(self, state: Parameters, number: int, pool: Pool) -> Judged:
        """What the rows' sites know after pass `number`; kept until its models change."""
        key = ("judged", number, state.under(f"pass-{number}").digest)
        if key not in pool.cache:
            anchors = frozenset(self.plan.sites.index(name) for name in self.plan.anchors)
            models = PassModels.read(state, f"pass-{number}")
            pool.cache[key] = judge(pool, self._x(state, pool), models, anchors=anchors)
        found: Judged = pool.cache[key]
        return found

    def _x(self, state: Parameters, pool: Pool) -> Integers:
        if "x" not in pool.cache:
            pool.cache["x"] = _read_scale(state).fixed(pool.x)
        found: Integers = pool.cache["x"]
        return found

    def _scores(self, state: Parameters, where: Where, pool: Pool) -> Floats:
        key = ("z", where.number, state.under(f"{where.prefix}/slots").digest)
        if key not in pool.cache:
            pool.cache[key] = scores(self._x(state, pool), pool.site, Heads.read(state, where.prefix))
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
        whole = begin(1, d, rng=self._rng("whole")).write("whole")
        rows = Parameters({"scale": np.array([scale.mean, scale.sd])})
        return state | rows | whole | Where(stage=WHOLE).write()

    def _whole_stepped(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        slots = newton(Slots.read(state, "whole"), total, settled=EXACT)
        trained = np.asarray(state["trained"]) + np.array([int(total["used"].sum()), 0])
        state |= slots.write("whole") | Parameters({"trained": trained})
        return self._draw(state, Where(stage=COUNT)) if slots.done.all() else state

    def _draw(self, state: Parameters, where: Where, *, keep: NDArray[np.bool_] | None = None) -> Parameters:
        """Fresh halves for the pass; `keep`: slots of the last draw that were good enough."""
        rng = self._rng("halves", where.attempt, where.number, where.draws)
        member = draw_halves(len(self.plan.sites), halves=self.plan.halves, rng=rng, masked=self.plan.masked)
        if keep is not None and not self.plan.masked:
            member[:, keep] = self._member(state, where)[:, keep]
        return state | Parameters({f"{where.prefix}/member": member}) | where.write()

    def _drawn(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        enough = np.minimum(total["cases"], total["others"]) >= LEAST_OF_A_CLASS
        good = np.repeat(enough[0::2] & enough[1::2], 2)
        if not good.all() and where.draws + 1 < MAX_DRAWS:
            return self._draw(state, _at(where, draws=where.draws + 1), keep=good)
        if int(good.sum()) < 2 * LEAST_BISECTIONS:
            return state | _at(where, stage=EVIDENCE, status=1).write() | _silence(0.5, 0.0)
        rng = self._rng("begin", where.attempt, where.number)
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
        return state | Parameters({f"{where.prefix}/calibration": np.zeros(2)}) | _at(where, stage=CALIBRATE).write()

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
        silent = must_be_silent(a, auroc)
        if silent and where.attempt == 0:
            names = [name for name in state if name.startswith("pass-")]
            return self._draw(state.without(names), Where(stage=COUNT, attempt=1))
        return state | _at(where, stage=EVIDENCE, status=int(silent)).write()

    def _told(self, state: Parameters, where: Where, total: Parameters) -> Parameters:
        return state | Parameters({"evidence": total["table"]}) | _at(where, stage=DONE).write()

    def _rng(self, *names: object) -> np.random.Generator:
        words = [self.plan.seed & 0xFFFFFFFF, self.plan.seed >> 32]
        for name in names:
            words += [name] if isinstance(name, int) else list(str(name).encode())
        return np.random.default_rng(words)

    # after the last exchange

    def evidence(self, state: Parameters) -> tuple[Evidence, ...]:
        """The table of a finished audit; sites without a row published nothing."""
        found = []
        for site, row in zip(self.plan.sites, np.asarray(state["evidence"], dtype=np.int64), strict=True):
            told = dict(zip(FIELDS, (int(v) for v in row), strict=True))
            if not told["n"]:
                continue
            found.append(Evidence(
                site=site,
                n=told["n"],
                two_class=bool(told["two_class"]),
                repair=self.plan.repairs[told["repair"] - 1] if told["repair"] else "",
                **{name: told[name] for name in ("majority", "contradicted", "flagged", "gain")},
                **{name: told[name] / _MICRO for name in sorted(_REAL)},  # type: ignore[arg-type]
            ))  # fmt: skip
        return tuple(found)

    def agrees(self, state: Parameters, pool: Pool) -> bool:
        """Whether the rows of the evidence table that belong to these sites are what they have sent themselves.

        Under masks anybody can write into any row; only the site itself can see it.
        """
        sent = self._evidence(state, Where.read(state), pool)["table"]
        told, places = np.asarray(state["evidence"], dtype=np.int64), list(pool.examples)
        return bool(np.array_equal(sent[places], told[places]))

    def table(self, state: Parameters, rules: Rules) -> Table:
        """The verdicts of a finished audit: the same bytes at every node."""
        auroc, slope = _pair(state["told"])
        return decide(self.evidence(state), sites=self.plan.sites, status=self.status(state), auroc=auroc,
                      slope=slope, rules=rules)  # fmt: skip

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


def _read_scale(state: Parameters) -> Scale:
    mean, sd = np.asarray(state["scale"], dtype=np.float64)
    return Scale(mean=mean, sd=sd)
