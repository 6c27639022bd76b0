"""One generator on one consortium: fitted in every setting and strategy, all drawn tables judged side by side.

All candidates are drawn from the same stream and scored on the same held-out patients between the same floor and
ceiling, so that equal states give equal figures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.errors import RunFailed
from cohortium.sim.cohorts import Gathered
from cohortium.sim.synthesis import Fitted, gathered_rows, train
from cohortium.synth.federate import FEDERATIONS
from cohortium.synth.federate.cells import REFERENCES, SINGLE, cell_refused
from cohortium.synth.federate.mixture import opened
from cohortium.synth.federate.plan import FederationPlan
from cohortium.synth.federate.rounds import states_by_round
from cohortium.synth.rows import Rows, joined, rows_of_examples
from cohortium.synth.study import build_federation, build_generator
from cohortium.synth.validation.anchors import interval, score_all
from cohortium.synth.validation.curves import km_gap, log_rank_p, tau_of
from cohortium.synth.validation.fidelity import classic_pair
from cohortium.synth.validation.privacy import judge_privacy
from cohortium.synth.validation.utility import utility

__all__ = ["Cells", "Trained", "parts_of", "score_parts", "train_part"]

_ROUNDS_SHOWN = 5


@dataclass(kw_only=True)
class Cells:
    """figures: by setting and name. main: the strategy that stands as `federated`. sites: training patients.

    by_round: skills after each round. refused: why a strategy was left out. shared: sites whose gate let them.
    """

    generator: str
    main: str = ""
    sites: dict[str, int] = field(default_factory=dict)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    equal: bool | None = None
    by_round: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    shared: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """One part of a generator's cells: what came of `central`, of `isolated`, or of one strategy.

    states, seconds: by setting, of CPU. curves: states round by round. refused: why there are none. shared: as `Cells`.
    """

    part: str
    states: Mapping[str, Parameters] = field(default_factory=dict)
    curves: Mapping[str, Sequence[Parameters]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    refused: str = ""
    shared: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _World:
    study: Study
    tables: Mapping[str, Table]
    gathered: Gathered
    generator: Any
    training: Mapping[str, Rows]
    pooled: Rows
    reserve: Rows
    seed: int


def parts_of(settings: Sequence[str], strategies: Sequence[str]) -> tuple[str, ...]:
    """What is trained for these settings: references first, then the strategies."""
    return (*(name for name in REFERENCES if name in settings), *(strategies if "federated" in settings else ()))


def train_part(study: Study, tables: Mapping[str, Table], *, generator: str, part: str, seed: int) -> Trained:
    """One part of `parts_of`. It needs no other, so that parts can be trained side by side."""
    world = _world(study, tables, generator=generator, seed=seed)
    return _reference(world, part) if part in REFERENCES else _federated(world, part)


def score_parts(
    study: Study, tables: Mapping[str, Table], parts: Sequence[Trained], *, generator: str, draws: int, seed: int
) -> Cells:
    """All figures of one generator and one seed, from all its parts."""
    world = _world(study, tables, generator=generator, seed=seed)
    found = Cells(generator=generator, sites={site: len(rows) for site, rows in world.training.items()})
    states: dict[str, Parameters] = {}
    for one in parts:
        states |= one.states
        if one.refused:
            found.refused[one.part] = one.refused
        if one.shared is not None:
            found.shared[one.part] = one.shared
        if "federated" in one.states:
            found.main = one.part
    if "central" in states and "federated" in states and world.generator.learns_by == "sums":
        found.equal = states["federated"].digest == states["central"].digest
    drawn = _drawn(world, states)
    scores = score_all(world.pooled, world.reserve, drawn, draws=draws, seed=seed)
    seconds = {name: spent for one in parts for name, spent in one.seconds.items()}
    for name, state in states.items():
        rows, scored = drawn[_key(state)], scores[_key(state)]
        found.figures[name] = _figures(scored, world, rows, private=not name.startswith("isolated:"))
        if name in seconds:
            found.figures[name]["seconds"] = seconds[name]
    alone = [values for name, values in found.figures.items() if name.startswith("isolated:")]
    if alone:
        found.figures["isolated"] = {key: _mean([one[key] for one in alone]) for key in alone[0]}
    _curves(found, world, {name: curve for one in parts for name, curve in one.curves.items()})
    return found


def _world(study: Study, tables: Mapping[str, Table], *, generator: str, seed: int) -> _World:
    plan = study.synth
    assert plan is not None  # noqa: S101 - a bench's study has a generator
    own = study.with_plans(
        synth=plan.model_copy(update={"generator": generator, "options": plan.options if plan.generator == generator
                                      else {}}),
        model=study.model.model_copy(update={"name": generator}),
    )  # fmt: skip
    chance = Chance(own.evaluation.seed, secrets_from_system=False)
    gathered, facts = gathered_rows(own, tables, chance=chance)
    parts = {one.site: (one.training, one.test) for one in gathered.rows()}
    training = {site: rows_of_examples(pair[0], facts) for site, pair in parts.items()}
    return _World(
        study=own,
        tables=tables,
        gathered=gathered,
        generator=build_generator(own, gathered.schema),
        training=training,
        pooled=joined(list(training.values())),
        reserve=joined([rows_of_examples(pair[1], facts) for pair in parts.values()]),
        seed=seed,
    )


def _reference(world: _World, name: str) -> Trained:
    began = time.process_time()
    made = FEDERATIONS.resolve(name)(plan=FederationPlan())
    states = made.fits(world.generator, world.training, rng=np.random.default_rng([world.seed, 3]))
    return Trained(
        part=name,
        states=states,
        curves={key: [state] for key, state in states.items()},
        seconds={name: time.process_time() - began} if name == "central" else {},
    )


def _federated(world: _World, strategy: str) -> Trained:
    """`exact` and `fedavg` stand as `federated`."""
    if why := cell_refused(world.study.model.name, world.generator.learns_by, strategy):
        return Trained(part=strategy, refused=why)
    plan, privacy = world.study.synth, world.study.privacy
    assert plan is not None  # noqa: S101
    study = world.study.with_plans(synth=plan.model_copy(update={"federation": strategy}))
    if strategy in SINGLE:
        study = study.with_plans(privacy=privacy.model_copy(update={"secure_aggregation": False}))
    elif privacy.masked(len(world.tables)) and len(world.tables) < 3:
        study = study.with_plans(privacy=privacy.model_copy(update={"secure_aggregation": None}))
    began, seen = time.process_time(), list[Parameters]()
    try:
        fitted = train(study, world.tables, gathered=world.gathered, watch=seen.append)
    except RunFailed as failed:
        return Trained(part=strategy, refused=failed.hint or str(failed))
    fitted.ledger.close()
    name = "federated" if strategy in ("exact", "fedavg") else strategy
    return Trained(
        part=strategy,
        states={name: fitted.saved.state},
        curves={name: _by_round(world, study, fitted, seen)},
        seconds={name: time.process_time() - began},
        shared=fitted.shared if strategy in SINGLE and strategy != "cyclic" else None,
    )


def _by_round(world: _World, study: Study, fitted: Fitted, seen: Sequence[Parameters]) -> list[Parameters]:
    federation = build_federation(study, world.generator, n_sites=len(world.tables))
    found = states_by_round(federation, world.generator, seen, list(world.training.values()))
    return [*found[-_ROUNDS_SHOWN:]] or [fitted.saved.state]


def _mean(values: Sequence[float]) -> float:
    """Of those there are; NaN where there is none, as of genes where nobody looked."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _key(state: Parameters) -> str:
    return state.digest.hex()


def _drawn(world: _World, states: Mapping[str, Parameters]) -> dict[str, Rows]:
    """As many patients as trained, by digest of the state: what is equal is drawn and scored once."""
    return {
        _key(state): opened(world.generator, state).sample(
            state, _n_of(state, len(world.pooled)), rng=np.random.default_rng([world.seed, 11])
        )
        for state in states.values()
    }


def _n_of(state: Parameters, n: int) -> int:
    """A pool of shared rows may hold fewer."""
    return min(n, len(state["pool/values"])) if "pool/values" in state else n


def _curves(found: Cells, world: _World, curves: Mapping[str, Sequence[Parameters]]) -> None:
    """Skills after every round, by one draw."""
    longest = max((len(states) for states in curves.values()), default=0)
    if longest < 2:
        return
    drawn = _drawn(world, {f"{name} {at}": s for name, states in curves.items() for at, s in enumerate(states)})
    scores = score_all(world.pooled, world.reserve, drawn, draws=1, seed=world.seed)
    for name, states in curves.items():
        found.by_round[name] = [
            {key: interval(one.skill)[0] for key, one in scores[_key(state)].items()} for state in states
        ]


def _figures(scored: Mapping[str, Any], world: _World, rows: Rows, *, private: bool) -> dict[str, float]:
    pooled, reserve, facts = world.pooled, world.reserve, world.pooled.facts
    values: dict[str, float] = {}
    for key, one in scored.items():
        for name in ("score", "floor", "ceiling", "skill"):
            values[f"{key}.{name}"] = interval(getattr(one, name))[0]
    values["classic.csf"], values["classic.gsf"] = classic_pair(pooled, rows)
    values["c2st"] = 1.0 - 0.5 * interval(scored["csf"].parts["indistinguishability"])[0]
    if facts.time:
        out, made = ((one[facts.time], one[facts.event]) for one in (reserve, rows))
        values["survival.km_gap"] = km_gap((pooled[facts.time], pooled[facts.event]), made, tau_of(pooled[facts.time]))
        values["survival.logrank_p"] = log_rank_p(out, made)
        found = utility(pooled, rows, reserve)
        for name, measure in (("c_index_tstr", found.c_synthetic), ("c_index_real", found.c_real)):
            values[f"survival.{name}"] = float("nan") if measure.value is None else measure.value
        values["survival.tstr_less_trtr"] = values["survival.c_index_tstr"] - values["survival.c_index_real"]
    if private:
        findings = judge_privacy(pooled, reserve, rows, seed=world.seed).findings(attack_risk_max=0.05)
        values["privacy.failed"] = float(sum(word == "fail" for word in findings.values()))
    return values
