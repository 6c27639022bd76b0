"""The published quality control on the 83 centres: what it bans at which tolerance, what that costs, and for whom.

    python -m benchmarks travelling --tasks xray-easy --scenarios S1+S2,S3,S4 --seeds 10
    python -m benchmarks travelling --tasks flchain --tolerances 0.02,0.005,0.002 --starts clean,dirty

One row a task, scenario, start and tolerance, means over seeds (worst in brackets): share of records banned in wholly
harmful centres, of single bad records in good ones, of sound records, of a legitimate minority; harmful centres that
are out, good ones that are; AUROC of the final model on test patients (and of the minority) beside the same training
without control and without the bad records; evaluations against an undisturbed journey, and transfers.
    python -m benchmarks travelling --separation --tasks xray-easy,flchain --seeds 10

Free of any threshold: from the harmless model, every site alone makes one whole visit, every training record of a site
that is not harmful one single step; by how much the worse of the two rates rises tells harmful sites from others, and
single bad records from sound ones, with which AUROC?

Probe: running normalisation, 24 hidden units, Adam 1e-3 x exp(-0.1 cycle), batches of 5; 10 free and 20 controlled
cycles.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.harm_tasks import load_task
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.quality.relay import travel_freely
from cohortium.quality.relay_probe import RelayProbe
from cohortium.quality.travelling import RelaySite, Travelling
from cohortium.reports.discrimination import auroc
from cohortium.sim.harm import Case, World, cases, make_world

__all__ = ["Row", "main", "one_run"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One seed. Shares of banned records; NaN where a world has none of a kind."""

    task: str
    case: str
    start: str
    tolerance: float
    learning_rate: float
    seed: int
    whole: float
    single: float
    sound: float
    minority: float
    sites_out: float
    good_sites_out: float
    auroc: float
    auroc_minority: float
    auroc_nothing: float
    auroc_oracle: float
    steps_ratio: float
    transfers: int
    seconds: float


def relay_sites(world: World) -> dict[str, RelaySite]:
    """The world as the detector sees it; harmless records are known to the published protocol."""
    sites = {}
    for at, name in enumerate(world.sites):
        training = world.rows(at, held_out=False)
        sites[name] = RelaySite(
            training=world.examples(training),
            held_out=world.examples(world.rows(at, held_out=True)),
            harmless=~world.bad[training],
        )
    return sites


def one_run(world: World, detector: Travelling) -> Row:
    """One journey and what became of whom."""
    began = time.process_time()
    found = detector.run(relay_sites(world), seed=world.seed)
    banned = np.concatenate([found.journey.relay.banned[name] for name in world.sites])
    training = np.flatnonzero(~world.held_out)
    order = np.concatenate([world.rows(at, held_out=False) for at in range(len(world.sites))])
    flags = np.zeros(len(world.y), dtype=bool)
    flags[order] = banned
    bad, harmful_site = world.bad[training], world.harmful[world.site[training]]
    single = bad & np.array([role == "single" for role in world.roles])[world.site[training]]
    minority = world.minority[training]
    out = np.array([found.journey.relay.out(name) for name in world.sites])
    flagged = flags[training]
    probe = RelayProbe(n_features=world.x.shape[1], hidden=detector.hidden)
    state = found.journey.state
    return Row(
        task=world.task,
        case=world.case.label,
        start=detector.start,
        tolerance=detector.tolerance,
        learning_rate=detector.learning_rate,
        seed=world.seed,
        whole=_share(flagged, harmful_site),
        single=_share(flagged, single),
        sound=_share(flagged, ~bad),
        minority=_share(flagged, minority),
        sites_out=_share(out, world.harmful),
        good_sites_out=_share(out, ~world.harmful),
        auroc=auroc(world.test_y.astype(float), probe.predict(state, world.test_x)),
        auroc_minority=auroc(world.minority_y.astype(float), probe.predict(state, world.minority_x)),
        auroc_nothing=_free(world, detector, training),
        auroc_oracle=_free(world, detector, training[~bad]),
        steps_ratio=found.training_steps_ratio,
        transfers=found.model_transfers,
        seconds=time.process_time() - began,
    )


def _share(flags: np.ndarray, among: np.ndarray) -> float:
    return float(flags[among].mean()) if among.any() else float("nan")


_FREE: dict[tuple[object, ...], float] = {}


def _free(world: World, detector: Travelling, rows: np.ndarray) -> float:
    """AUROC of the same journey over these records without control, as long as the controlled one."""
    key = (
        world.task,
        world.case.label,
        world.seed,
        detector.learning_rate,
        detector.clean_cycles,
        detector.cycles,
        len(rows),
    )
    if key not in _FREE:
        chance, rules = Chance(world.seed, secrets_from_system=False), detector.rules
        probe, rng = RelayProbe(n_features=world.x.shape[1], hidden=detector.hidden), chance.stream("free", "order")
        tables = {
            name: (world.x[own], world.y[own].astype(float))
            for at, name in enumerate(world.sites)
            if len(own := rows[world.site[rows] == at])
        }
        state = travel_freely(
            rules,
            tables,
            probe,
            probe.initial(rng=chance.stream("travelling", "start")),
            shuffle=lambda names: [names[at] for at in rng.permutation(len(names))],
            shuffle_rows=lambda one: [one[at] for at in rng.permutation(len(one))],
            cycles=rules.clean_cycles + rules.cycles,
            rate=rules.rate_of_clean_cycle,
        )
        _FREE[key] = auroc(world.test_y.astype(float), probe.predict(state, world.test_x))
    return _FREE[key]


@dataclass(frozen=True, kw_only=True)
class Separation:
    """AUROC of the rise in error. sites: all, and those of 5 and more records; records: all kinds, labels, images."""

    sites: float
    sites_from_5: float
    records: float
    records_flipped: float
    records_changed: float


def separation(world: World, detector: Travelling) -> Separation:
    """How well one visit tells a harmful site, and one step a single bad record, from sound ones."""
    chance, rules = Chance(world.seed, secrets_from_system=False), detector.rules
    probe = RelayProbe(n_features=world.x.shape[1], hidden=detector.hidden)
    rng = chance.stream("separation", "order")
    held_x, held_y = world.x[world.held_out], world.y[world.held_out].astype(float)
    tables = {name: _rows_of(world, at, bad=True) for at, name in enumerate(world.sites)}
    good = {name: _rows_of(world, at, bad=False) for at, name in enumerate(world.sites)}
    start = travel_freely(
        rules,
        {name: table for name, table in good.items() if len(table[1])},
        probe,
        probe.initial(rng=chance.stream("travelling", "start")),
        shuffle=lambda names: [names[at] for at in rng.permutation(len(names))],
        shuffle_rows=lambda one: [one[at] for at in rng.permutation(len(one))],
        cycles=rules.clean_cycles,
        rate=rules.rate_of_clean_cycle,
    )

    def rise(state: Parameters) -> float:
        before, after = (_rates(held_y, probe.predict(one, held_x)) for one in (start, state))
        return max(after[0] - before[0], after[1] - before[1])

    rate = rules.rate_of_cycle(1)
    visits = []
    for name in world.sites:
        x, y = tables[name]
        state = start
        for batch in rules.batches(list(range(len(y)))):
            state = probe.step(state, x[list(batch)], y[list(batch)], learning_rate=rate)
        visits.append(rise(state))
    rows = np.flatnonzero(~world.held_out & ~world.harmful[world.site])
    solo = np.array(
        [
            rise(probe.step(start, world.x[r : r + 1], world.y[r : r + 1].astype(float), learning_rate=rate))
            for r in rows
        ]
    )
    site_rise, large = np.array(visits), np.array(world.shape.training) >= 5
    fault, sound = world.fault[rows], world.fault[rows] == ""
    flipped, changed = fault == "flip", ~sound & (fault != "flip")
    return Separation(
        sites=_told(world.harmful, site_rise),
        sites_from_5=_told(world.harmful[large], site_rise[large]),
        records=_told(~sound, solo),
        records_flipped=_told(flipped[sound | flipped], solo[sound | flipped]),
        records_changed=_told(changed[sound | changed], solo[sound | changed]),
    )


def _rows_of(world: World, at: int, *, bad: bool) -> tuple[np.ndarray, np.ndarray]:
    rows = world.rows(at, held_out=False)
    rows = rows if bad else rows[~world.bad[rows]]
    return world.x[rows], world.y[rows].astype(float)


def _rates(y: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    called = scores >= 0.5
    return float(called[y == 0].mean()), float((~called)[y == 1].mean())


def _told(which: np.ndarray, score: np.ndarray) -> float:
    return auroc(which.astype(float), score) if 0 < which.sum() < len(which) else float("nan")


_COLUMNS = ("whole", "single", "sound", "minority", "sites_out", "good_sites_out", "auroc", "auroc_minority",
            "auroc_nothing", "auroc_oracle", "steps_ratio")  # fmt: skip


def _summary(rows: Sequence[Row]) -> str:
    said = []
    for name in _COLUMNS:
        values = np.array([getattr(row, name) for row in rows], dtype=float)
        values = values[~np.isnan(values)]
        said.append(
            "      -      " if not len(values) else f"{values.mean():5.3f} [{values.min():4.2f} {values.max():4.2f}]"
        )
    return "  ".join(said)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", default="xray-easy")
    parser.add_argument("--scenarios", default="S1+S2,S3,S4")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tolerances", default="0.02,0.01,0.005,0.002,0.001")
    parser.add_argument("--starts", default="clean")
    parser.add_argument("--references", default="last-accepted")
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--separation", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.separation:
        for task in [load_task(name) for name in asked.tasks.split(",")]:
            detector = Travelling(learning_rate=asked.rate, cycles=asked.cycles)
            made = [
                separation(make_world(task, case=Case(scenario="S1+S2"), seed=seed), detector)
                for seed in range(asked.seeds)
            ]
            for name in asdict(made[0]):
                values = np.array([getattr(one, name) for one in made])
                values = values[~np.isnan(values)]
                print(
                    f"{task.name} {name:16} {values.mean():.3f} sd {values.std():.3f} worst {values.min():.3f}",
                    flush=True,
                )
        return 0
    kept: list[Row] = []
    print("task scenario start reference tolerance: " + "  ".join(_COLUMNS) + "  transfers")
    for task in [load_task(name) for name in asked.tasks.split(",")]:
        for case in [case for name in asked.scenarios.split(",") for case in cases(name)]:
            worlds = [make_world(task, case=case, seed=seed) for seed in range(asked.seeds)]
            for start in asked.starts.split(","):
                for reference in asked.references.split(","):
                    for tolerance in map(float, asked.tolerances.split(",")):
                        detector = Travelling(
                            start=start,
                            reference=reference,
                            tolerance=tolerance,
                            learning_rate=asked.rate,
                            cycles=asked.cycles,
                        )
                        rows = [one_run(world, detector) for world in worlds]
                        kept += rows
                        cost = int(np.mean([row.transfers for row in rows]))
                        print(
                            f"{task.name} {case.label} {start} {reference} {tolerance:g}: {_summary(rows)}  {cost}",
                            flush=True,
                        )
    if asked.json:
        asked.json.write_text(json.dumps([asdict(row) for row in kept], indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
