"""Networks by averaged weights on real hospitals: strategies against pooled training and single sites.

    python -m benchmarks networks --seeds 3                 perceptron 32-16 on four cohorts
    python -m benchmarks networks --xray --rounds 25        small CNN on chest X-rays, five skewed nodes

Perceptron: SGD 0.05, batch 16, 40 rounds x 2 local epochs, 30 % of every site's patients held out; AUROC over all
test rows, mean over seeds. X-ray: the published training images over five Dirichlet(0.5) nodes, Adam, one epoch a
round, judged on the published validation and test images; `pooled` trains as many epochs on all of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.datasets import data_folder, load
from cohortium.assembly import build_program
from cohortium.core.examples import Examples, Layout
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.partition import label_skew
from cohortium.reports.discrimination import auroc
from cohortium.reports.observed import Observed
from cohortium.reports.panel import measure_values
from cohortium.sim.cohorts import gather
from cohortium.sim.comparison import compare, train_plainly
from cohortium.sim.engines import choose_engine
from cohortium.sim.evaluation import score
from cohortium.sim.plain import learn
from cohortium.swarm.program import SiteWork

__all__ = ["main"]

TASKS = ("heart", "tb", "autism", "covid19")
STRATEGIES = ("fedavg", "mean", "fedprox", "scaffold", "fedavgm", "fedadam", "coordinate-median")
MLP = {"name": "mlp", "layers": [32, 16], "optimiser": "sgd", "learning_rate": 0.05, "batch_size": 16}


def perceptrons(seeds: int, tasks: Sequence[str], strategies: Sequence[str]) -> None:
    """One row a task: every strategy, pooled, mean single site."""
    print("task      " + "".join(f"{name:>18}" for name in (*strategies, "pooled", "single")))
    for name in tasks:
        found: dict[str, list[float]] = {}
        for seed in range(seeds):
            for model, value in _one(name, seed, strategies).items():
                found.setdefault(model, []).append(value)
        print(
            f"{name:10}" + "".join(f"{np.mean(found[m]):18.3f}" for m in (*strategies, "pooled", "single")), flush=True
        )


def _one(name: str, seed: int, strategies: Sequence[str]) -> dict[str, float]:
    task, tables = load(name)
    chance = Chance(seed, secrets_from_system=False)
    plan: dict[str, Any] = {"rounds": 40, "local_epochs": 2}
    study = task.study(name, seed=seed, strategy={"name": "fedavg", **plan})
    study = Study.model_validate({**study.model_dump(exclude_none=True), "model": MLP})
    rows = gather(study, tables, chance=chance).rows()
    observed = Observed.of({one.site: one.test for one in rows if len(one.test)})
    models = dict(compare(study, rows, chance=chance).models)
    for strategy in strategies:
        changed = {**study.model_dump(exclude_none=True), "strategy": {"name": strategy, **plan}}
        models[strategy] = train_plainly(Study.model_validate(changed), rows, chance=chance, engine="stacked")
    values = {m: measure_values(observed.stack(s), observed)["auroc"] or 0.5 for m, s in score(models, rows).items()}
    single = [values[m] for m in values if m.startswith("own/")]
    return {**{m: values[m] for m in (*strategies, "pooled")}, "single": float(np.mean(single))}


def xray(rounds: int, seed: int) -> None:
    """Swarm of five nodes against pooled, on validation and official test images."""
    folder = data_folder()
    assert folder is not None
    with np.load(folder / "pneumonia_xray28.npz", allow_pickle=False) as held:
        parts = {name: _images(held[f"{name}_images"], held[f"{name}_labels"]) for name in ("train", "val", "test")}
    chance = Chance(seed, secrets_from_system=False)
    labels = parts["train"].y
    assert labels is not None
    nodes = label_skew(labels, 5, alpha=0.5, rng=chance.stream("nodes"), least=50)
    content = {
        "study": {"name": "xray", "outcome": "label"},
        "cohort": {"scale": "standard", "fill": "none"},
        "model": {"name": "cnn-small"},
        "strategy": {"name": "fedavg", "rounds": rounds},
    }
    study = Study.model_validate(content)
    for who, sites in (("swarm", nodes), ("pooled", {"all": np.arange(len(labels))})):
        began = time.process_time()
        program = build_program(study, parts["train"].layout, sites=list(sites), chance=chance)
        works = [SiteWork(program, site=site, training=parts["train"].take(r)) for site, r in sites.items()]
        state = learn(program, works, engine=choose_engine("sequential", works))
        figures = []
        for part in ("val", "test"):
            seen = works[0].view(state, parts[part])
            assert seen.y is not None
            figures.append(f"{part} {auroc(seen.y, program.learner.predict(program.model(state), seen)):.4f}")
        print(
            f"{who:7} {', '.join(figures)}  ({rounds} rounds, seed {seed}, {time.process_time() - began:.0f} CPU-s)",
            flush=True,
        )


def _images(pixels: np.ndarray, labels: np.ndarray) -> Examples:
    layout = Layout(features=(), outcome="binary", classes=("normal", "pneumonia"), image=(1, 28, 28))
    x = pixels.reshape(-1, 1, 28, 28).astype(np.float32) / 255
    return Examples(layout=layout, x=x, y=labels.reshape(-1).astype(np.float64))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--xray", action="store_true")
    parser.add_argument("--rounds", type=int, default=25)
    asked = parser.parse_args(arguments)
    if data_folder() is None:
        print("skipped: no data folder; set COHORTIUM_DATA")
        return 0
    if asked.xray:
        for seed in range(asked.seeds):
            xray(asked.rounds, seed)
    else:
        perceptrons(asked.seeds, asked.tasks.split(","), asked.strategies.split(","))
    return 0


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
