"""Robust merges on the 83 centres: what they save when sites are harmful, and what they cost when nobody is.

    python -m benchmarks robust_merges --tasks xray-easy --scenarios S3,S4 --seeds 5

A perceptron of 24 units, 30 rounds of one pass at every site (SGD .1, batches of 5); rules that count liars are told
the true number. AUROC on test patients and on the minority, mean over seeds [worst]; `left out`: share of the rounds
in which minority sites, and harmful ones, were not among those Multi-Krum kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.harm_tasks import load_task
from cohortium.core.exact import weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Turn, Update
from cohortium.quality.relay_probe import RelayProbe
from cohortium.reports.discrimination import auroc
from cohortium.sim.harm import World, cases, make_world
from cohortium.strategies import STRATEGIES
from cohortium.strategies.krum_scores import changes, ranked, squared_distances

__all__ = ["main"]

RULES = ("fedavg", "mean", "norm-bound", "centred-clipping", "geometric-median", "coordinate-median", "trimmed-mean",
         "krum", "multi-krum", "bulyan")  # fmt: skip
_ROUNDS = 30
_RATE = 0.1


def run(world: World, rule: str, rows: np.ndarray) -> tuple[float, float, float, float]:
    """(AUROC, AUROC of the minority, minority left out, harmful left out) after 30 rounds over these rows."""
    probe = RelayProbe(n_features=world.x.shape[1])
    at_site = {name: rows[world.site[rows] == at] for at, name in enumerate(world.sites)}
    names = tuple(name for name in world.sites if len(at_site[name]))
    mean, scale = world.x[rows].mean(axis=0), world.x[rows].std(axis=0) + 1e-6
    x, y = (world.x - mean) / scale, world.y.astype(float)
    liars = int(sum(role in ("partial",) for role in world.roles) + world.harmful.sum())
    options: dict[str, Any] = {"f": liars} if rule in ("krum", "multi-krum", "bulyan") else {}
    if rule == "trimmed-mean":
        options = {"beta": max(0.01, liars / len(names))}
    strategy = STRATEGIES.resolve(rule)(**options)
    model = Parameters({"w": probe.initial(rng=np.random.default_rng(world.seed))["w"]})
    state, memory = strategy.init(model), dict.fromkeys(names, Parameters())
    rounds = _ROUNDS * (getattr(strategy, "passes", 0) + 1)
    absent = np.zeros(len(names))
    for number in range(rounds):
        updates = []
        for name in names:
            turn = Turn(round=number, sites=names, start=model, state=state, site=name, memory=memory[name])
            (asked,) = strategy.instruct(turn)
            first = model if asked.start is None else asked.start
            trained = first if asked.max_steps == 0 else _pass(probe, first, x, y, at_site[name], world.seed, number)
            updates.append(strategy.conclude(turn, (Fitted(parameters=trained, n_samples=len(at_site[name])),)))
        leader = Turn(round=number, sites=names, start=model, state=state)
        if rule == "multi-krum":
            absent += _left_out(leader, updates, liars)
        whole = weighted_sum(updates)
        model, state = strategy.merge(leader, replace(whole, single=None) if strategy.sums else whole)
        memory = {one.site: one.memory for one in updates}
    roles = dict(zip(world.sites, world.roles, strict=True))
    minority = np.array([roles[name] == "minority" for name in names])
    harmful = np.array([roles[name] in ("flip", "random", "noise", "inverted", "preparation") for name in names])
    return (
        auroc(world.test_y.astype(float), _logits(probe, model, (world.test_x - mean) / scale)),
        auroc(world.minority_y.astype(float), _logits(probe, model, (world.minority_x - mean) / scale)),
        float(absent[minority].mean() / rounds) if rule == "multi-krum" and minority.any() else float("nan"),
        float(absent[harmful].mean() / rounds) if rule == "multi-krum" and harmful.any() else float("nan"),
    )


def _pass(
    probe: RelayProbe, start: Parameters, x: np.ndarray, y: np.ndarray, rows: np.ndarray, seed: int, number: int
) -> Parameters:
    w = np.array(start["w"])
    order = np.random.default_rng([seed, number, int(rows[0])]).permutation(rows)
    for at in range(0, len(order), 5):
        some = order[at : at + 5]
        w -= _RATE * probe.gradient(w, x[some], y[some])
    return Parameters({"w": w})


def _logits(probe: RelayProbe, model: Parameters, x: np.ndarray) -> np.ndarray:
    norm = {"mean": np.zeros(x.shape[1]), "variance": np.ones(x.shape[1])}
    return probe.predict(model | Parameters(norm), x)


def _left_out(turn: Turn, updates: Sequence[Update], f: int) -> np.ndarray:
    vectors = changes(turn, weighted_sum(updates))
    kept = ranked(squared_distances(vectors), range(len(vectors)), f=f)[: len(vectors) - f]
    out = np.ones(len(vectors))
    out[kept] = 0
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", default="xray-easy")
    parser.add_argument("--scenarios", default="S3,S4")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rules", default=",".join(RULES))
    asked = parser.parse_args(arguments)
    print("task scenario rule: AUROC, AUROC of the minority, minority left out, harmful left out; mean [worst]")
    for task in [load_task(name) for name in asked.tasks.split(",")]:
        for case in [case for name in asked.scenarios.split(",") for case in cases(name)]:
            worlds = [make_world(task, case=case, seed=seed) for seed in range(asked.seeds)]
            training = [np.flatnonzero(~world.held_out) for world in worlds]
            plans = [(rule, rule, training) for rule in asked.rules.split(",")]
            clean = [rows[~world.bad[rows]] for world, rows in zip(worlds, training, strict=True)]
            for title, rule, rows in [*plans, ("fedavg, bad records removed", "fedavg", clean)]:
                found = np.array([run(world, rule, own) for world, own in zip(worlds, rows, strict=True)])
                said = "  ".join(
                    f"{column.mean():.3f} [{column.min() if at < 2 else column.max():.3f}]"
                    for at, column in enumerate(found.T)
                    if not np.isnan(column).any()
                )
                print(f"{task.name} {case.label} {title}: {said}", flush=True)
    return 0


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
