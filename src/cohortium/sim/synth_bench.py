"""What stands behind `synth bench`: generators by setting and strategy on one consortium, over seeds.

    found = bench(consortium("sim"), generators=("bn",), strategies=("exact", "sharing"), seeds=3)
    found.document()["bn"]["federated"]["csf"]["skill"]

One job trains one generator by one strategy (or reference) with one seed, or scores all of a generator's side by side;
processes share the jobs out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import stats

from cohortium.core.study import Study
from cohortium.data.csv_reader import CsvFormat
from cohortium.data.mds_like import simulate
from cohortium.data.partition import by_column, iid, take
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import UsageError
from cohortium.sim.synth_cells import Cells, Trained, parts_of, score_parts, train_part
from cohortium.sim.synth_tables import bench_study, demo_study
from cohortium.synth.federate import FEDERATIONS
from cohortium.synth.federate.cells import REFERENCES
from cohortium.synth.generators import GENERATORS

__all__ = ["ALIASES", "PARTITIONS", "SETTINGS", "Bench", "Consortium", "bench", "consortium", "mean_interval", "parted"]

SETTINGS: Final = ("central", "isolated", "federated")
PARTITIONS: Final = ("natural", "iid", "uneven")
ALIASES: Final[Mapping[str, str]] = {"weighted": "similarity"}
"""Other names a strategy may be asked for by."""
_UNEVEN = (100, 1000)

Consortium = Callable[[int], tuple[Mapping[str, Table], Study]]
"""Tables by site and the study, for a seed; a function of a module, so that another process can call it too."""


@dataclass(kw_only=True)
class Bench:
    """Figures by generator, setting and name, one value a seed. equal: whether federated was central, to the bit.

    by_round: skills after each round, one list a seed. refused: why a strategy was left out, by generator.
    shared: how often each site's rows or models passed its gate, of so many seeds.
    """

    data: str
    seeds: int
    partition: str = "natural"
    figures: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    equal: dict[str, bool] = field(default_factory=dict)
    by_round: dict[str, dict[str, list[list[dict[str, float]]]]] = field(default_factory=dict)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)
    shared: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    main: dict[str, str] = field(default_factory=dict)
    sites: dict[str, int] = field(default_factory=dict)

    def add(self, cells: Cells) -> None:
        """One generator's figures of one seed."""
        name = cells.generator
        for setting, values in cells.figures.items():
            held = self.figures.setdefault(name, {}).setdefault(setting, {})
            for key, value in values.items():
                held.setdefault(key, []).append(float(value))
        if cells.equal is not None:
            self.equal[name] = self.equal.get(name, True) and cells.equal
        for setting, curve in cells.by_round.items():
            self.by_round.setdefault(name, {}).setdefault(setting, []).append(curve)
        self.refused.setdefault(name, {}).update(cells.refused)
        for strategy, sites in cells.shared.items():
            counts = self.shared.setdefault(name, {}).setdefault(strategy, dict.fromkeys(cells.sites, 0))
            for site in sites:
                counts[site] += 1
        self.main[name] = cells.main
        self.sites = dict(cells.sites)

    def document(self) -> dict[str, Any]:
        """For `--json`: `<generator>.<setting>.csf.skill` and so on, means over seeds, intervals beside them."""
        found: dict[str, Any] = {
            "data": self.data,
            "seeds": self.seeds,
            "partition": self.partition,
            "sites": self.sites,
            "by_round": {name: self._curves(name) for name in self.by_round},
        }
        for name, settings in self.figures.items():
            mine: dict[str, Any] = {setting: _tree(values) for setting, values in settings.items()}
            if "federated" in mine and self.main[name]:
                mine[self.main[name]] = mine["federated"]
            mine["federated_equals_central"] = self.equal.get(name)
            mine["gain"] = {
                setting.partition(":")[2]: {key: self._difference(name, setting, key) for key in ("csf", "gsf")}
                for setting in settings
                if setting.startswith("isolated:") and "federated" in settings
            }
            mine["loss"] = self._losses(name)
            mine["refused"] = self.refused.get(name, {})
            mine["passed_gate"] = self.shared.get(name, {})
            found[name] = mine
        return found

    def rows(self) -> list[tuple[str, ...]]:
        """For people."""
        names = ("csf.skill", "gsf.skill", "classic.csf", "classic.gsf", "survival.km_gap", "seconds")
        return [
            (generator, setting, *(_shown(values.get(name)) for name in names))
            for generator, settings in self.figures.items()
            for setting, values in settings.items()
        ]

    def _curves(self, name: str) -> dict[str, list[dict[str, float]]]:
        """Means over seeds, by setting and round."""
        found = {}
        for setting, curves in self.by_round[name].items():
            rounds = range(min(len(curve) for curve in curves))
            found[setting] = [
                {
                    key: mean
                    for key in curves[0][at]
                    if math.isfinite(mean := float(np.mean([curve[at][key] for curve in curves])))
                }
                for at in rounds
            ]
        return found

    def _difference(self, name: str, setting: str, key: str) -> dict[str, Any]:
        """Federated less a single site's, paired by seed: plain score and skill."""
        pairs = {
            f"{key}.{kind}": (self.figures[name]["federated"][f"{key}.{kind}"], held)
            for kind in ("score", "skill")
            if (held := self.figures[name][setting].get(f"{key}.{kind}", []))
        }
        gained = {what: np.subtract(*pair).tolist() for what, pair in pairs.items() if len(pair[0]) == len(pair[1])}
        return dict(_tree(gained).get(key, {}))

    def _losses(self, name: str) -> dict[str, dict[str, Any]]:
        """(central - federated) / central of the plain scores, by setting that is neither, paired by seed."""
        found: dict[str, dict[str, Any]] = {}
        central = self.figures[name].get("central", {})
        for setting, values in self.figures[name].items():
            if setting == "central" or setting.startswith("isolated:"):
                continue
            for key in ("csf", "gsf"):
                best, own = (np.array(one.get(f"{key}.score", [])) for one in (central, values))
                if not len(own) or len(own) != len(best):
                    continue
                mean, low, high = mean_interval(((best - own) / best).tolist())
                if math.isfinite(mean):
                    found.setdefault(setting, {})[key] = {"value": mean, "low": low, "high": high}
        return found


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high): 95 % interval of the mean by Student's t; no width for a single value."""
    there = np.array([value for value in values if math.isfinite(value)])
    if len(there) < 2:
        mean = float(there.mean()) if len(there) else float("nan")
        return mean, mean, mean
    half = float(stats.t.ppf(0.975, len(there) - 1) * there.std(ddof=1) / np.sqrt(len(there)))
    return float(there.mean()), float(there.mean()) - half, float(there.mean()) + half


def consortium(
    data: str, *, site_column: str | None = None, study: Study | None = None, partition: str = "natural"
) -> Consortium:
    """The tables and study behind `--data`: a file, or `sim` for the simulated consortium. Raises UsageError."""
    if partition not in PARTITIONS:
        raise UsageError(f"unknown partition '{partition}'; available: {', '.join(PARTITIONS)}")
    if data != "sim":
        if not Path(data).is_file():
            raise UsageError(f"data file '{data}' does not exist; the simulated consortium is called sim")
        if site_column is None:
            raise UsageError("name the column with the hospital: --site-column COLUMN")
    return partial(_opened, data, site_column, study, partition)


def parted(table: Table, *, site_column: str, partition: str, seed: int) -> Mapping[str, Table]:
    """The table's sites as they are, as many of equal size at random, or 100, 1,000 and the rest."""
    if partition == "natural":
        return take(table, by_column(table, site_column), without=[site_column])
    rng = np.random.default_rng([seed, 19])
    if partition == "iid":
        return take(table, iid(len(table), len(by_column(table, site_column)), rng=rng), without=[site_column])
    if len(table) < 2 * sum(_UNEVEN):
        raise UsageError(f"partition 'uneven' needs {2 * sum(_UNEVEN)} patients, found {len(table)}")
    parts = np.split(rng.permutation(len(table)), np.cumsum(_UNEVEN))
    rows = dict(zip(("small", "middle", "rest"), (np.sort(part) for part in parts), strict=True))
    return take(table, rows, without=[site_column])


def bench(
    world: Consortium,
    *,
    data: str = "",
    partition: str = "natural",
    generators: Sequence[str] = ("bn",),
    strategies: Sequence[str] | None = None,
    settings: Sequence[str] = SETTINGS,
    seeds: int = 3,
    draws: int = 3,
    jobs: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> Bench:
    """Generators by setting and strategy. Raises UsageError. jobs: processes that share the work out.

    strategies: of each generator its own plain one, if None; what was asked for and cannot be is refused in words.
    """
    wanted = None if strategies is None else [ALIASES.get(one, one) for one in strategies]
    offered = tuple(name for name in FEDERATIONS if name not in REFERENCES)
    for what, given, known in (("generator", generators, tuple(GENERATORS)), ("setting", settings, SETTINGS),
                               ("strategy", wanted or (), offered)):  # fmt: skip
        if unknown := [one for one in given if one not in known]:
            raise UsageError(f"unknown {what} '{unknown[0]}'; available: {', '.join(known)}")
    if seeds < 1:
        raise UsageError(f"seeds must be at least 1, got {seeds}")
    found = Bench(data=data, seeds=seeds, partition=partition)
    asked = [(generator, seed) for seed in range(seeds) for generator in generators]
    by_name = {name: tuple(_plain(name) if wanted is None else wanted) for name in generators}
    waiting = {
        (name, seed): [partial(_trained, world, name, seed, part) for part in parts_of(settings, by_name[name])]
        for name, seed in asked
    }
    scored = partial(_scored, world, draws=draws)
    if jobs == 1:
        for (name, seed), parts in waiting.items():
            found.add(scored([part() for part in parts], name, seed))
            say(f"seed {seed}: {name}")
        return found
    pool: Executor
    with ProcessPoolExecutor(max_workers=jobs, mp_context=get_context("spawn")) as pool:
        slowest_first = sorted(waiting, key=lambda one: GENERATORS.resolve(one[0]).learns_by == "sums")
        training = {one: [pool.submit(part) for part in waiting[one]] for one in slowest_first}
        scoring = {}
        for name, seed in slowest_first:
            trained = [part.result() for part in training[name, seed]]
            say(f"seed {seed}: {name} is trained in every way")
            scoring[name, seed] = pool.submit(scored, trained, name, seed)
        for name, seed in asked:
            found.add(scoring[name, seed].result())
            say(f"seed {seed}: {name}")
    return found


def _plain(generator: str) -> tuple[str, ...]:
    """Sums or means, whichever it learns by."""
    return ("exact",) if GENERATORS.resolve(generator).learns_by == "sums" else ("fedavg",)


def _trained(world: Consortium, generator: str, seed: int, part: str) -> Trained:
    tables, study = world(seed)
    return train_part(study, tables, generator=generator, part=part, seed=seed)


def _scored(world: Consortium, parts: Sequence[Trained], generator: str, seed: int, *, draws: int) -> Cells:
    tables, study = world(seed)
    return score_parts(study, tables, parts, generator=generator, draws=draws, seed=seed)


def _opened(
    data: str, site_column: str | None, study: Study | None, partition: str, seed: int
) -> tuple[Mapping[str, Table], Study]:
    if data == "sim":
        table = simulate(seed=seed).table
        return parted(table, site_column="site", partition=partition, seed=seed), study or demo_study(seed=seed)
    path = Path(data)
    table = read(path, CsvFormat() if path.suffix == ".csv" else None)
    column = site_column or ""
    plan = study or bench_study(table, site_column=column, name=path.stem.replace(" ", "-"), seed=seed)
    return parted(table, site_column=column, partition=partition, seed=seed), plan.with_seed(seed)


def _tree(values: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """`csf.skill` -> {"csf": {"skill": mean, "intervals": {"skill": (low, high)}}}; what was never measured is left."""
    tree: dict[str, Any] = {}
    for name, series in values.items():
        mean, low, high = mean_interval(series)
        if not math.isfinite(mean):
            continue
        *path, last = name.split(".")
        place = tree
        for step in path:
            place = place.setdefault(step, {})
        place[last] = mean
        place.setdefault("intervals", {})[last] = (low, high)
    return tree


def _shown(series: Sequence[float] | None) -> str:
    return "" if not series else f"{float(np.nanmean(series)):.3f}"
