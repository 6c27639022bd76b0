"""What the leakage audit costs, and what it finds: tiers 0 and 1 against the training they watch.

    python -m benchmarks leakage [--patients 300] [--rounds 10] [--json]        # also: benchmarks privacy audit
    python -m benchmarks leakage --runs 20 [--epsilon 3] [--json]               # bounds of honest private runs

CPU time of every attack over CPU time of the local trainings it belongs to, in one process, one thread: a network of
2.7 million parameters on 2,000 synthetic genes, open and under masks; a logistic regression by exact sums. Then how
many patients of a batch can be read out of one step, over 20 batches. `--runs`: so many private runs (logistic, 1,000
columns, 300 patients trained on and 300 not, by chance; half of the 600 are guessed), each with its lower bound on
epsilon at 95 %, beside the same runs without noise, of which the same is claimed falsely.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

from cohortium.assembly import build_program
from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.seams import Leaving
from cohortium.core.study import Study
from cohortium.privacy.leakage.inversion import match, recovered_rows
from cohortium.privacy.leakage.losses import patient_losses
from cohortium.privacy.leakage.one_run import ceiling, even_coins, guess
from cohortium.sim.plain import learn
from cohortium.sim.site_auditor import SiteAuditor
from cohortium.swarm.program import SiteWork

_GENES = 2000
_COLUMNS = 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--epsilon", type=float, default=3.0)
    asked = parser.parse_args()
    if asked.runs:
        print(json.dumps(bounds(runs=asked.runs, epsilon=asked.epsilon)))
        return
    found = audit(patients=asked.patients, rounds=asked.rounds)
    print(json.dumps(found) if asked.json else "\n".join(f"{name:34} {value:.4g}" for name, value in found.items()))


def audit(*, patients: int = 300, rounds: int = 10) -> dict[str, float]:
    """Shares of training: `<case>.tier0`, `<case>.tier1`; recovered: share of the patients of a batch."""
    import torch

    torch.set_num_threads(1)
    found: dict[str, float] = {}
    network = {"name": "mlp", "layers": [1024, 512, 256], "batch_size": 32}
    cases: dict[str, tuple[dict[str, Any], bool, int]] = {
        "network open": (network, False, _GENES),
        "network masked": (network, True, _GENES),
        "logistic by sums": ({"name": "logistic"}, False, 50),
    }
    for name, (model, masked, columns) in cases.items():
        for tier, share in _cost(model, masked=masked, columns=columns, patients=patients, rounds=rounds).items():
            found[f"{name} {tier}"] = share
    for batch in (1, 4, 8, 16, 32):
        found[f"recovered of a batch of {batch}"] = _recovered(batch)
    return found


def _cost(model: dict[str, Any], *, masked: bool, columns: int, patients: int, rounds: int) -> dict[str, float]:
    """CPU of the attacks over CPU of the trainings of one site."""
    study = Study.model_validate(
        {
            "study": {"name": "cost", "outcome": "label"},
            "cohort": {"scale": "none", "fill": "none"},
            "model": model,
            "strategy": {"rounds": rounds},
            "privacy": {"secure_aggregation": masked},
        }
    )
    rng = np.random.default_rng(0)
    layout = Layout(features=tuple(f"g{i}" for i in range(columns)), outcome="binary", classes=("0", "1"))
    effect = rng.normal(0, 1 / np.sqrt(columns), columns)

    def rows(n: int) -> Examples:
        x = rng.normal(size=(n, columns))
        return Examples(layout=layout, x=x, y=(x @ effect + rng.normal(0, 1, n) > 0).astype(float))

    training, held_out = rows(patients), rows(patients // 2)
    program = build_program(study, layout, sites=["bonn", "lund", "porto"], chance=Chance(0, secrets_from_system=False))
    auditor = SiteAuditor(study, program, held_out=held_out, shuffled=rng.permutation)
    spent = {"watch": 0.0, "whole": 0.0}

    def watch(leaving: Leaving) -> None:
        began = time.process_time()
        auditor.watch(leaving)
        spent["watch"] += time.process_time() - began

    work = SiteWork(program, site="bonn", training=training, watch=watch)
    state, round = program.start(), 0
    while not program.finished(state) and round < rounds:
        round += 1
        began = time.process_time()
        update = work.train(round, state)
        spent["whole"] += time.process_time() - began
        state = program.merge(state, [update])
        work.adopt(round, state, update)
    trained = spent["whole"] - spent["watch"]
    began = time.process_time()
    auditor.close(work, state)
    return {"tier 0": spent["watch"] / trained, "tier 1": (time.process_time() - began) / trained}


def bounds(*, runs: int, epsilon: float) -> dict[str, Any]:
    """One-run lower bounds of private runs and of the same runs without noise, and how many stay below the claim."""
    found: dict[str, list[float]] = {"private": [], "plain": []}
    for seed in range(runs):
        rng = np.random.default_rng([11, seed])
        layout = Layout(features=tuple(f"g{i}" for i in range(_COLUMNS)), outcome="binary", classes=("0", "1"))
        x = rng.normal(size=(600, _COLUMNS)) / np.sqrt(_COLUMNS)
        y = (x[:, :20].sum(axis=1) * np.sqrt(_COLUMNS / 20) + rng.normal(0, 1, 600) > 0).astype(float)
        rows = Examples(layout=layout, x=x, y=y)
        member = np.zeros(600, dtype=bool)
        member[rng.permutation(600)[:300]] = True
        for way in found:
            chance = Chance(seed, secrets_from_system=False)
            program = build_program(_bounded(way, epsilon), layout, sites=["bonn"], chance=chance)
            state = learn(program, [SiteWork(program, site="bonn", training=rows.take(member))])
            losses = patient_losses(program.learner.predict(program.model(state), rows), rows)
            coins = even_coins(-losses[member], -losses[~member], shuffled=rng.permutation)
            found[way].append(round(guess(*coins).bound(delta=1e-5), 3))
    below = {way: sum(one <= epsilon for one in values) for way, values in found.items()}
    return {"epsilon": epsilon, "runs": runs, "most_possible": round(ceiling(300), 3), "not_above": below, **found}


def _bounded(way: str, epsilon: float) -> Study:
    privacy = {"secure_aggregation": False, **({"dp": {"epsilon": epsilon}} if way == "private" else {})}
    return Study.model_validate(
        {
            "study": {"name": way, "outcome": "label"},
            "cohort": {"scale": "none", "fill": "none"},
            "model": {"name": "logistic", "learn": "weights", "l2": 0.0, "learning_rate": 30.0, "batch_size": 30},
            "strategy": {"name": "fedavg", "rounds": 20, "sync_every": 10},
            "privacy": privacy,
        }
    )


def _recovered(batch: int, *, neurons: int = 1024, batches: int = 20) -> float:
    """Mean share of a batch's patients that stand exactly in one step of a hidden layer on 2,000 genes."""
    shares = []
    for number in range(batches):
        rng = np.random.default_rng(100 + number)
        x, y, bound = rng.normal(size=(batch, _GENES)), rng.integers(0, 2, batch), 1 / np.sqrt(_GENES)
        weight, bias = rng.uniform(-bound, bound, (neurons, _GENES)), rng.uniform(-bound, bound, neurons)
        out = rng.normal(0, 0.3, neurons)
        before = x @ weight.T + bias
        risk = 1 / (1 + np.exp(-(np.maximum(before, 0) @ out)))
        back = ((risk - y) / batch)[:, None] * out * (before > 0)
        change = Parameters({"weight": back.T @ x, "bias": back.sum(axis=0)})
        shares.append(match(recovered_rows(change, _GENES), x).n_recovered / batch)
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
