"""Uses of synthetic patients, measured on real held-out ones: `impute`, `augment`, `balance`, `arm`.

    python -m benchmarks synth_uses impute [--data sim,aml,mds] [--seeds 5] [--sets 39] [--generator bn] [--json]
    python -m benchmarks synth_uses augment [--data sim,aml,mds] [--seeds 5]
    python -m benchmarks synth_uses balance [--data sim,aml,mds] [--seeds 5]
    python -m benchmarks synth_uses arm [--data sim,aml] [--seeds 60] [--sets 5]

`augment`: the smallest site's rows alone, and with patients of the generator of all sites (`all sites`) or of a
generator of these rows (`own rows`); and the rows of all sites with patients of their own generator (`whole`).
`balance`: the rarest group of `GROUPS` is made 30 % of all rows. C-index on held-out patients of all sites.
`arm` is a negative control: patients taken out at random, never treated with anything else, against an arm from a
generator of all others. Their hazard ratio is 1, and 95 % intervals must hold 1 in about 95 % of the seeds.

Each line is one cohort over its seeds: mean and 95 % interval of the mean (Student's t). Generator: `bn`, to `impute`
also `vae_bgm`, fitted to the training rows of all sites; every seed holds out another fifth of each site.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.synth_worlds import WORLDS, halves, joined, world
from cohortium.core.parameters import Parameters
from cohortium.sim.synth_bench import mean_interval
from cohortium.synth.exchange import fit_by_sums, fit_network
from cohortium.synth.generators import GENERATORS
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.rows import Rows
from cohortium.synth.uses.augment import augment
from cohortium.synth.uses.balance import balance
from cohortium.synth.uses.control_arm import control_arm
from cohortium.synth.uses.impute import METHODS, judge_imputation

Figures = Mapping[str, float]


def fitted(name: str, seed: int, generator: str = "bn") -> tuple[Any, Parameters, Rows, Rows]:
    """(generator, state, training rows, held-out rows) of one cohort and seed."""
    facts, sites = world(name, seed=seed)
    training, held_out = halves(sites, seed=seed)
    made, parts = GENERATORS.resolve(generator)(facts=facts), list(training.values())
    if made.learns_by == "sums":
        state = fit_by_sums(made, parts)
    else:
        state = fit_network(made, parts, rng=np.random.default_rng([seed, 3]))
    return made, state, joined(parts), held_out


def impute(name: str, seed: int, options: argparse.Namespace) -> Figures:
    """Error, share right and coverage of one seed."""
    generator, state, training, held_out = fitted(name, seed, options.generator)
    found = judge_imputation(generator, state, training, held_out, sets=options.sets, seed=seed)
    figures = {f"error {method}": found.mean_error(method) for method in METHODS}
    figures |= {f"right {method}": found.mean_right(method) for method in METHODS}
    figures |= {f"error generator - {m}": found.mean_error("generator") - found.mean_error(m) for m in METHODS[1:]}
    figures |= {f"right generator - {m}": found.mean_right("generator") - found.mean_right(m) for m in METHODS[1:]}
    return figures | {"coverage": found.coverage, "nominal": found.nominal}


def arm(name: str, seed: int, options: argparse.Namespace) -> Figures:
    """The negative control of one seed."""
    facts, sites = world(name, seed=1000 + seed)
    rows = joined(list(sites.values()))
    order = np.random.default_rng([seed, 3]).permutation(len(rows))
    treated, others = rows.take(order[: options.treated]), rows.take(order[options.treated :])
    generator = BayesianNetwork(facts=facts)
    state = fit_by_sums(generator, [others])
    found = control_arm(generator, state, treated, n_real=len(others), sets=options.sets, bootstraps=30, seed=seed)
    return {
        "covers 1": float(found.covers_one),
        "log hazard ratio": found.log_ratio,
        "error": found.error,
        "imbalance before": found.before,
        "imbalance after": found.after,
        "effective n": found.effective_n,
    }


GROUPS = {"sim": "TP53 = 1", "aml": "age < 35", "mds": "complex = complex"}


def augmented(name: str, seed: int, options: argparse.Namespace) -> Figures:
    """Gain of one to three times as many synthetic patients, of one seed."""
    facts, sites = world(name, seed=seed)
    training, held_out = halves(sites, seed=seed)
    small = min(training.values(), key=len)
    generator = BayesianNetwork(facts=facts)
    whole = joined(list(training.values()))
    ways = {
        "all sites": (fit_by_sums(generator, list(training.values())), small),
        "own rows": (fit_by_sums(generator, [small]), small),
        "whole": (fit_by_sums(generator, [whole]), whole),
    }
    found: dict[str, float] = {}
    for way, (state, real) in ways.items():
        curve = augment(generator, state, real, held_out, shares=(1.0,), draws=3, seed=seed)
        for point in curve.points:
            found[f"{way}, x {point.factor}"] = point.gain.difference
            found[f"{way}, x {point.factor}, says gain"] = float(point.gain.verdict == "gain")
        found[f"{way}, without"] = curve.points[0].gain.without
    return found


def balanced(name: str, seed: int, options: argparse.Namespace) -> Figures:
    """Gain in a rare group, and in all others, of one seed."""
    generator, state, training, held_out = fitted(name, seed)
    found = balance(generator, state, training, held_out, where=GROUPS[name], share=0.3, seed=seed)
    return {
        "group, real patients": found.n_group,
        "group, without": found.inside.without,
        "group, gain": found.inside.difference,
        "group, says gain": float(found.inside.verdict == "gain"),
        "others, gain": found.outside.difference,
        "others, says harm": float(found.outside.verdict == "harm"),
        "classic CSF of the group": found.fidelity,
    }


USES: dict[str, Callable[[str, int, argparse.Namespace], Figures]] = {
    "impute": impute, "augment": augmented, "balance": balanced, "arm": arm,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("use", choices=list(USES))
    parser.add_argument("--data", default=",".join(WORLDS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--treated", type=int, default=200)
    parser.add_argument("--generator", default="bn", choices=["bn", "vae_bgm"], help="to impute by")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    document: dict[str, Any] = {}
    for name in options.data.split(","):
        try:
            runs = [USES[options.use](name, seed, options) for seed in range(options.seeds)]
        except FileNotFoundError as error:
            print(f"{name}: skipped, {error}")
            continue
        if "covers 1" in runs[0]:
            k, n = int(sum(run["covers 1"] for run in runs)), len(runs)
            print(f"{name}: {k} of {n} intervals hold 1 ({stats.binomtest(k, n).proportion_ci(method='wilson')})")
            print(f"  sd of the estimates {np.std([run['log hazard ratio'] for run in runs], ddof=1):.3f}")
        document[name] = {key: mean_interval([run[key] for run in runs]) for key in runs[0]}
        if not options.json:
            print(f"\n{name}, {options.seeds} seeds")
            for key, (mean, low, high) in document[name].items():
                print(f"  {key:34} {mean:8.3f}  ({low:.3f} to {high:.3f})")
    if options.json:
        print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
