"""Liars: sites with reversed labels that report good scores to the audit - who is believed, who is looked at.

    python -m benchmarks liars --tasks flchain,xray-easy --shapes twelve,pd83 --seeds 0-9 [--json FILE]

In each seed one or three two-class sites of 20 records and more reverse all labels and lie (`sim.harm.liars`). Shown
are shares over liars (convicted or asked to be looked at, by which check), and of all other sites those that are looked
at because of a check: what the tripwires cost honest sites. `none` is the same site, honest.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.harm_tasks import load_task, seeds_of
from cohortium.quality.out_of_bag import OutOfBag
from cohortium.quality.repairs import LabelPolarity
from cohortium.sim.harm import PD83, Case, Task, make_world
from cohortium.sim.harm.liars import LIES, Lie, lied_to
from cohortium.sim.harm.shapes import Shape, parse_shape

__all__ = ["main"]

SHAPES = {"twelve": parse_shape(" ".join(["60:20/20:7"] * 12), name="twelve"), "pd83": PD83}


def one_run(task: Task, shape: Shape, lie: Lie, *, n_liars: int, seed: int) -> dict[str, float]:
    """One consortium in which nothing is wrong but the liars; counts of sites."""
    world = make_world(task, case=Case(scenario="S4"), seed=seed, shape=shape)
    sites = {name: world.examples(world.rows(at)) for at, name in enumerate(world.sites)}
    rng = np.random.default_rng([seed, n_liars])
    plain = [at for at, role in enumerate(world.roles) if role == "sound"]
    able = [at for at in plain if _two_class(world.y[world.rows(at)]) and len(world.rows(at)) >= 20]
    liars = [world.sites[at] for at in rng.permutation(able)[:n_liars]]
    sites = {name: LabelPolarity().apply(one) if name in liars else one for name, one in sites.items()}
    told: dict[str, Lie] = {} if lie == "none" else dict.fromkeys(liars, lie)
    found = lied_to(sites, told, detector=OutOfBag(), seed=seed)
    named = {one.site for one in found.table.verdicts if one.left_out or one.repair}
    looked = {one.site for one in found.table.verdicts if one.look}
    others = set(world.sites) - set(liars)
    return {
        "decided": float(found.table.status == "decided"),
        "liars": len(liars),
        "convicted": len(named & set(liars)),
        "looked": len(looked & set(liars) - named),
        **{check: len(some & set(liars)) for check, some in found.doubted.items()},
        "others": len(others),
        "others_convicted": len(named & others),
        **{f"others_{check}": len(some & others) for check, some in found.doubted.items()},
    }


def _two_class(y: np.ndarray) -> bool:  # type: ignore[type-arg]
    return bool(3 <= int(y.sum()) <= len(y) - 3)


def summary(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Shares over all seeds."""
    whole = {name: sum(one[name] for one in runs) for name in runs[0]}
    liars, others = max(whole["liars"], 1), max(whole["others"], 1)
    caught = sum(min(one["convicted"] + one["looked"], one["liars"]) for one in runs)
    return {
        "runs": len(runs),
        "decided": whole["decided"] / len(runs),
        "escalated": caught / liars,
        **{name: whole[name] / liars for name in ("convicted", "halves", "influence")},
        **{name: whole[name] / others for name in ("others_convicted", "others_halves", "others_influence")},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="flchain")
    parser.add_argument("--shapes", default="twelve,pd83")
    parser.add_argument("--seeds", default="0-9", help="FIRST-LAST")
    parser.add_argument("--liars", default="1,3")
    parser.add_argument("--lies", default=",".join(LIES))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    seeds, document = seeds_of(asked.seeds), []
    columns = ("decided", "escalated", "convicted", "halves", "influence", "others_convicted", "others_halves",
               "others_influence")  # fmt: skip
    print("| task, shape, liars | lie | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 2) + "|")
    for name in asked.tasks.split(","):
        task = load_task(name)
        for shape in asked.shapes.split(","):
            for n_liars in (int(one) for one in asked.liars.split(",")):
                for lie in (one for one in LIES if one in asked.lies.split(",")):
                    runs = [one_run(task, SHAPES[shape], lie, n_liars=n_liars, seed=seed) for seed in seeds]
                    found = summary(runs)
                    document.append({"task": name, "shape": shape, "liars": n_liars, "lie": lie, "runs": runs, **found})
                    told = " | ".join(f"{found[column]:.2f}" for column in columns)
                    print(f"| {name}, {shape}, {n_liars} | {lie} | {told} |", flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
