"""Which repair is named where a site made one mistake, and what the mended records bring back.

    python -m benchmarks harm_repairs --tasks xray-easy,xray-hard,flchain --seeds 0-9 [--sites 12]

Shape `pd83`, eight other scanners and four minority sites as in S4; in each world so many sound sites of five records
and more (labels: of both classes) make one mistake each, kinds in turn:

    labels reversed     images and table
    inverted, axes      images; axes is one of the seven turns and mirrors
    units               table in its own units (`flchain`): kappa, lambda or creatinine times or by a factor of the gate

Shares over all sites of all seeds: right name, another name, by kind; repairs offered to sites without a mistake. Units
are also asked of the local gate, which compares medians and needs no model: the factor it names, and alarms at sites
without a mistake. Then the same pooled logistic model, AUROC on test patients: nothing done, named repairs made, every
mistake undone. regained: (mended - nothing) / (clean - nothing) of the means. In brackets the worst seed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.harm import mended_world, trained
from benchmarks.harm_tasks import load_task, raw_table, seeds_of
from cohortium.data.ranks import auroc
from cohortium.quality.gate_units import likely_factor, medians
from cohortium.quality.out_of_bag import OutOfBag
from cohortium.quality.repairs import FACTORS, Axes, Intensity, LabelPolarity, UnitFactor
from cohortium.sim.harm import Case, Task, World, make_world

__all__ = ["main", "mistaken"]

_AXES = ("flip-horizontal", "flip-vertical", "rotate-90", "rotate-180", "rotate-270", "transpose", "anti-transpose")
_UNITS = ("x2", "x3", "x4")  # kappa, lambda, creatinine


def mistaken(world: World, *, n_sites: int, rng: np.random.Generator) -> tuple[World, dict[int, tuple[str, str]]]:
    """The world with one mistake at each of some sites, and kind and right repair by site."""
    kinds = ("labels", "inverted", "axes") if world.side else ("labels", "units")
    x, y, truth = world.x.copy(), world.y.copy(), {}
    fit = [at for at, role in enumerate(world.roles) if role == "sound" and len(world.rows(at)) >= 5]
    order = [fit[at] for at in rng.permutation(len(fit))]
    for turn in range(n_sites):
        kind = kinds[turn % len(kinds)]
        at = next((one for one in order if kind != "labels" or _two_class(world, one)), None)
        if at is None:
            continue
        order.remove(at)
        made = {
            "labels": LabelPolarity(),
            "inverted": Intensity(),
            "axes": Axes(str(rng.choice(_AXES))),
            "units": UnitFactor(str(rng.choice(_UNITS)), float(rng.choice(FACTORS)) ** int(rng.choice((-1, 1)))),
        }[kind]
        rows = world.rows(at)
        done = made.apply(world.examples(rows))
        x[rows] = np.asarray(done.x, dtype=np.float64).reshape(len(rows), -1)
        y[rows] = np.asarray(done.y).astype(np.int8)
        truth[at] = (kind, made.inverse.name)
    return replace(world, x=x, y=y), truth


def _two_class(world: World, at: int) -> bool:
    cases = int(world.y[world.rows(at)].sum())
    return min(cases, len(world.rows(at)) - cases) >= 3


def _gate(world: World, truth: dict[int, tuple[str, str]]) -> dict[str, Counter[str]]:
    """What the local gate says of units: sites with such a mistake, and all others of five records and more."""
    merged = medians(world.examples(np.arange(len(world.y))))
    found: dict[str, Counter[str]] = {"gate: units": Counter(), "gate: others": Counter()}
    for at in range(len(world.sites)):
        rows = world.rows(at)
        if len(rows) < 5:
            continue
        own = medians(world.examples(rows))
        named = {f"{c}:{f:.6g}" for c in _UNITS if (f := likely_factor(own[c], merged[c])) is not None}
        kind, right = truth.get(at, ("", ""))
        if kind != "units":
            found["gate: others"]["another" if named else "right"] += 1
            continue
        column, factor = right.split(":")[1:]
        times = float(factor[1:]) if factor.startswith("x") else 1.0 / float(factor[1:])
        ok = named == {f"{column}:{times:.6g}"}
        found["gate: units"]["right" if ok else "another" if named else "none"] += 1
    return found


def _run(task: Task, seeds: Sequence[int], n_sites: int) -> None:
    told: dict[str, Counter[str]] = {}
    worst: dict[str, float] = {}
    areas: dict[str, list[float]] = {"nothing": [], "mended": [], "clean": []}
    offered = good = silent = 0
    for seed in seeds:
        clean = make_world(task, case=Case(scenario="S4"), seed=seed)
        world, truth = mistaken(clean, n_sites=n_sites, rng=np.random.default_rng([seed, 83]))
        result = OutOfBag().run(
            {name: world.examples(world.rows(at)) for at, name in enumerate(world.sites)}, seed=seed
        )
        silent += result.status == "inconclusive"
        of_seed: dict[str, list[bool]] = {}
        before = offered
        for at, name in enumerate(world.sites):
            named = result.sites[name].repair
            if at in truth:
                kind, right = truth[at]
                size = " >=20" if len(world.rows(at)) >= 20 else " <20"
                end = "right" if named == right else "another" if named else "none"
                of_seed.setdefault(kind, []).append(end == "right")
                for key in (kind, kind + size):
                    told.setdefault(key, Counter())[end] += 1
            elif len(world.rows(at)) >= 5:
                good, offered = good + 1, offered + bool(named)
        if not task.side:
            for key, ends in _gate(world, truth).items():
                told.setdefault(key, Counter()).update(ends)
        for kind, ends_of in of_seed.items():
            worst[kind] = min(worst.get(kind, 1.0), float(np.mean(ends_of)))
        worst["offered"] = max(worst.get("offered", 0.0), float(offered - before))
        for what, one in (("nothing", world), ("mended", mended_world(world, result)), ("clean", clean)):
            score = trained(one, ~one.held_out)(world.test_x)
            areas[what].append(float(auroc(score[:, None], world.test_y == 1)[0]))
    means = {what: float(np.mean(values)) for what, values in areas.items()}
    print(f"\n{task.name}: {len(seeds)} seeds, {silent} inconclusive")
    for kind, ends in sorted(told.items()):
        whole = sum(ends.values())
        share = f"{ends['right'] / whole:.2f}" + (f" [{worst[kind]:.2f}]" if kind in worst else "")
        print(f"  {kind:14} right {share}, another {ends['another'] / whole:.2f} of {whole} sites")
    most = f"in one seed {worst['offered']:.0f} at most"
    print(f"  offered to {offered} of {good} sites without a mistake ({100 * offered / max(good, 1):.2f} %, {most})")
    gain = means["clean"] - means["nothing"]
    gains = np.array(areas["clean"]) - areas["nothing"]
    shares = (np.array(areas["mended"]) - areas["nothing"])[gains >= 0.01] / gains[gains >= 0.01]
    print("  AUROC " + ", ".join(f"{what} {value:.4f}" for what, value in means.items()), end="; ")
    print(
        f"regained {(means['mended'] - means['nothing']) / gain:.2f}" if gain > 0.002 else "nothing to regain", end=""
    )
    print(f" [{shares.min():.2f} of {len(shares)} seeds with .01 to gain]" if len(shares) else "", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one block a task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="xray-easy,xray-hard,flchain")
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--sites", type=int, default=12)
    asked = parser.parse_args(arguments)
    for name in asked.tasks.split(","):
        task = raw_table() if name == "flchain" else load_task(name)
        _run(task, seeds_of(asked.seeds), asked.sites)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
