"""How often the gate against the consortium warns sound sites, and whether it finds what is wrong.

    python -m benchmarks gate --seeds 0-9 [--scenario S4] [--sites 12]
    python -m benchmarks gate --heart
    python -m benchmarks gate --copies [--tasks xray-easy,xray-hard] --seeds 0-9

`flchain` in the units it was measured in, dealt to shape `pd83` (S4: eight other scanners, four wards of the elderly,
nobody wrong). The study's own program in one process, `gate = "consortium"`, a perceptron of 64 and 32 units by fedavg,
one round of the model. Three times for each seed: as dealt; with one mistake at each of so many sites (labels reversed,
a column times or by a factor of the gate, in turn); with three sites that send a random vector of their update's
length. Warned: sites by check, of those without a mistake, of wards of the elderly, and of those with one.

--heart: the four hospitals of heart_uci as they are.

--copies: scenario S6, 40 training images of one site that are another's with 5 % gain and noise .02, through the stages
of the gate with `copies = true`, as a run makes them. Recall: pairs of which a site is warned of its row; of which both
are. Precision: rows with a copy among all rows that any site is warned of, training and held-out.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import data_folder
from benchmarks.harm_repairs import mistaken
from benchmarks.harm_tasks import load_task, raw_table, seeds_of
from cohortium.assembly import build_program
from cohortium.core.examples import Examples, Layout
from cohortium.core.randomness import Chance
from cohortium.core.study_text import study_of
from cohortium.core.update import Update
from cohortium.data.readers import read
from cohortium.quality.gate_consortium import compared
from cohortium.quality.gate_copies_stage import copies_remembered
from cohortium.quality.gate_free_rider import RiderWatch
from cohortium.sim.harm import Case, World, make_world
from cohortium.swarm.program import SiteWork

__all__ = ["main"]

_CHECKS = ("units", "polarity", "free-rider")
_HEART = ("age", "trestbps", "chol", "thalach", "oldpeak", "sex", "exang")
_RIDERS = 3


def _warned(sites: Mapping[str, Examples], *, riders: Sequence[str] = (), seed: int = 0) -> dict[str, set[str]]:
    """Which sites are warned of, by check; with riders they send noise in the model's first round."""
    study = study_of({
        "study": {"name": "gate", "outcome": "y"}, "quality": {"gate": "consortium"},
        "model": {"name": "mlp", "layers": [64, 32]}, "strategy": {"name": "fedavg", "rounds": 1},
        "privacy": {"secure_aggregation": False},
    })  # fmt: skip
    chance, watch = Chance(seed), RiderWatch()
    program = build_program(study, next(iter(sites.values())).layout, sites=list(sites), chance=chance)
    works = [SiteWork(program, site=name, training=one) for name, one in sites.items()]
    state, round, rng = program.start(), 1, np.random.default_rng([seed, 20])
    while not program.finished(state):
        updates = [work.train(round, state) for work in works]
        if program.position(state)[0] == len(program.stages) - 1:
            updates = [_noise(one, rng) if one.site in riders else one for one in updates]
        watch.hear(program, state, updates)
        state, round = program.merge(state, updates), round + 1
    found: dict[str, set[str]] = {name: set() for name in _CHECKS}
    for name, one in sites.items():
        for check in compared(program, state, one):
            if check.level == "warn":
                found[check.id].add(name)
    found["free-rider"] = {check.found.split("'")[1] for check in watch.checks(program) if check.level == "warn"}
    return found


def _noise(update: Update, rng: np.random.Generator) -> Update:
    length = float(np.linalg.norm(update.parameters.vector()))
    made = rng.normal(size=update.parameters.vector().shape)
    noisy = update.parameters.with_vector(made * (length / float(np.linalg.norm(made))))
    return Update(site=update.site, parameters=noisy, weight=update.weight)


def _training(world: World) -> dict[str, Examples]:
    rows = {name: world.rows(at, held_out=False) for at, name in enumerate(world.sites)}
    return {name: world.examples(mine) for name, mine in rows.items() if len(mine)}


def _run(seeds: Sequence[int], scenario: str, n_sites: int) -> None:
    told: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    worst: Counter[str] = Counter()
    for seed in seeds:
        clean = make_world(raw_table(), case=Case(scenario=scenario), seed=seed)
        sites = _training(clean)
        roles = dict(zip(clean.sites, clean.roles, strict=True))
        found = _warned(sites, seed=seed)
        for check in _CHECKS:
            for name in sites:
                for key in (f"as dealt, {check}", f"as dealt, {check}, {roles[name]}"):
                    whole[key] += 1
                    told[key] += name in found[check]
            worst[check] = max(worst[check], len(found[check]))
        world, truth = mistaken(clean, n_sites=n_sites, rng=np.random.default_rng([seed, 83]))
        sites, found = _training(world), _warned(_training(world), seed=seed)
        for at, name in enumerate(world.sites):
            if name not in sites:
                continue
            kind = truth[at][0] if at in truth else "none"
            for check in ("units", "polarity"):
                for key in (f"mistake {kind}, {check}", f"mistake {kind}, {check}, {_size(sites[name])}"):
                    whole[key] += 1
                    told[key] += name in found[check]
        sites = _training(clean)
        order = [name for name in sites if len(sites[name]) >= 5]
        riders = [order[at] for at in np.random.default_rng([seed, 3]).permutation(len(order))[:_RIDERS]]
        odd = _warned(sites, riders=riders, seed=seed)["free-rider"]
        for name in sites:
            key = "rider, free-rider" if name in riders else "beside riders, free-rider"
            whole[key] += 1
            told[key] += name in odd
    print(f"flchain, {scenario}: {len(seeds)} seeds")
    for key in sorted(whole):
        print(f"  {key:44} {told[key]:4} of {whole[key]} sites")
    print("  most in one seed as dealt: " + ", ".join(f"{check} {worst[check]}" for check in _CHECKS))


def _size(one: Examples) -> str:
    return ">=20" if len(one) >= 20 else "<20"


def _heart() -> None:
    folder = data_folder()
    if folder is None:
        raise FileNotFoundError("no data folder: set COHORTIUM_DATA")
    table = read(folder / "heart_uci.parquet")
    x: NDArray[np.float64] = np.stack([np.asarray(table.column(name), dtype=np.float64) for name in _HEART], axis=1)
    y, site = np.asarray(table.column("label"), dtype=np.float64), table.texts("site")
    layout = Layout(features=_HEART, outcome="binary", classes=("0", "1"))
    sites = {str(one): Examples(layout=layout, x=x[site == one], y=y[site == one]) for one in np.unique(site)}
    found = _warned(sites)
    print(f"heart_uci: {len(sites)} hospitals; warned: " + ", ".join(f"{c} {sorted(found[c])}" for c in _CHECKS))


def _copies(names: Sequence[str], seeds: Sequence[int]) -> None:
    for name in names:
        task = load_task(name)
        found = np.array([_copies_of(make_world(task, case=Case(scenario="S6"), seed=seed), seed) for seed in seeds])
        mean, worst = found.mean(axis=0), found.min(axis=0)
        told = [f"{what} {mean[at]:.3f} [{worst[at]:.3f}]" for at, what in enumerate(("recall", "both", "precision"))]
        print(f"{name}, S6: {len(seeds)} seeds; " + ", ".join(told), flush=True)


def _copies_of(world: World, seed: int) -> tuple[float, float, float]:
    """Pairs of which a site is warned, of which both are, and the share of warned rows that have a copy."""
    study = study_of({
        "study": {"name": "gate", "outcome": "y"}, "model": {"name": "cnn-small"},
        "quality": {"gate": "consortium", "copies": True},
    })  # fmt: skip
    parts = [[world.rows(at, held_out=held) for held in (False, True)] for at in range(len(world.sites))]
    chance, whole = Chance(seed, secrets_from_system=False), world.examples(world.rows(0))
    program = build_program(study, whole.layout, sites=world.sites, chance=chance)
    works = [
        SiteWork(program, site=site, training=world.examples(training), held_back=world.examples(held))
        for site, (training, held) in zip(world.sites, parts, strict=True)
    ]
    state, round = program.start(), 1
    while program.position(state)[0] < len(program.stages) - 1:
        updates = [work.train(round, state) for work in works]
        state, round = program.merge(state, updates), round + 1
        for work, one in zip(works, updates, strict=True):
            work.adopt(round, state, one)
    warned: set[int] = set()
    for work, rows in zip(works, parts, strict=True):
        found = copies_remembered(work.memory())
        for marks, own in zip((found.training, found.held_out), rows, strict=True) if found else ():
            warned |= set(own[marks > 0].tolist())
    hit = np.array([[row in warned for row in pair] for pair in world.copies.tolist()])
    return float(hit.any(axis=1).mean()), float(hit.all(axis=1).mean()), int(hit.sum()) / max(len(warned), 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one block."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--scenario", default="S4")
    parser.add_argument("--sites", type=int, default=12)
    parser.add_argument("--heart", action="store_true")
    parser.add_argument("--copies", action="store_true")
    parser.add_argument("--tasks", default="xray-easy,xray-hard")
    asked = parser.parse_args(arguments)
    if asked.copies:
        _copies(asked.tasks.split(","), seeds_of(asked.seeds))
        return 0
    if asked.heart:
        _heart()
        return 0
    _run(seeds_of(asked.seeds), asked.scenario, asked.sites)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
