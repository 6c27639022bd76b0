"""Real hospitals: the swarm (real nodes, ledger `memory`) against every site's own model and pooled data.

    python -m benchmarks clinical --seeds 10 [--tasks heart,tb] [--json FILE]

For each task and seed: 30 % of every site's patients are held out, within outcome; all models are judged on the
same held-out patients of all sites. Printed: mean over seeds with the 95 % interval of that mean (t), and the
largest distance of the swarm from the pooled model over the seeds. `single` is the mean over the sites' own models.
Figures: AUROC over all test rows (`within`: within hospitals), C-index for survival, RMSE for numbers (less is
better).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from benchmarks.datasets import DATASETS, data_folder, load
from cohortium.assembly import build_program
from cohortium.core.randomness import Chance
from cohortium.reports.observed import Observed
from cohortium.reports.panel import PRIMARY, measure_values
from cohortium.sim.cohorts import gather
from cohortium.sim.comparison import TrainedModel, compare
from cohortium.sim.evaluation import score
from cohortium.sim.swarm import Setting, run_swarm
from cohortium.swarm.program import SiteWork

__all__ = ["Figures", "main", "one_seed"]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One task at one seed: the primary figure of every model on the same patients."""

    swarm: float
    pooled: float
    single: float
    swarm_within: float
    pooled_within: float
    rounds: int
    status: str
    seconds: float
    untrained: int


def one_seed(name: str, seed: int) -> Figures:
    """Train and judge everything of one task at one seed."""
    began = time.process_time()
    task, tables = load(name)
    study = task.study(name, seed=seed)
    chance = Chance(seed, secrets_from_system=False)
    gathered = gather(study, tables, chance=chance)
    rows = gathered.rows()
    program = build_program(study, rows[0].training.layout, sites=[one.site for one in rows], chance=chance)
    works = {one.site: SiteWork(program, site=one.site, training=one.training) for one in rows}
    run = run_swarm(Setting(study=study, works=works, chance=chance))
    merges = sum(event.name == "Final" for event in run.events)
    run.ledger.close()
    others = compare(study, rows, chance=chance)
    models = {"swarm": TrainedModel(program=program, state=run.state, memories=run.memories), **others.models}
    observed = Observed.of({one.site: one.test for one in rows if len(one.test)})
    measured = {m: measure_values(observed.stack(s), observed) for m, s in score(models, rows).items() if len(s)}
    primary = PRIMARY[observed.outcome]
    single = [measured[m][primary] for m in measured if m.startswith("own/")]
    return Figures(
        swarm=measured["swarm"][primary] or 0.0,
        pooled=measured["pooled"][primary] or 0.0,
        single=float(np.mean([v for v in single if v is not None])),
        swarm_within=measured["swarm"].get(f"{primary}_within") or math.nan,
        pooled_within=measured["pooled"].get(f"{primary}_within") or math.nan,
        rounds=merges,
        status=str(run.outcome),
        seconds=time.process_time() - began,
        untrained=len(others.missing),
    )


def mean_and_interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % interval by Student's t."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), float("nan")
    return float(np.mean(values)), float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(n))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one row a task. Returns 0, or 1 where a run is not complete."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--tasks", default=",".join(DATASETS))
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    if data_folder() is None:
        print("skipped: no data folder; set COHORTIUM_DATA")
        return 0
    print(
        "task         sites  swarm             pooled  single            within"
        "  max|swarm-pooled|  rounds  CPU s  status"
    )
    worst = 0
    kept = {}
    for name in asked.tasks.split(","):
        found = [one_seed(name, seed) for seed in range(asked.seeds)]
        swarm, single = (mean_and_interval([getattr(f, m) for f in found]) for m in ("swarm", "single"))
        pooled, within = (float(np.mean([getattr(f, m) for f in found])) for m in ("pooled", "swarm_within"))
        gap = max(np.nanmax([abs(f.swarm - f.pooled), abs(f.swarm_within - f.pooled_within)]) for f in found)
        states = {f.status for f in found}
        worst |= states != {"complete"}
        n_sites = len(load(name)[1])
        print(
            f"{name:12} {n_sites:5}  {swarm[0]:.4f} ± {swarm[1]:.4f}  {pooled:.4f}  {single[0]:.4f} ± {single[1]:.4f}"
            f"  {within:.4f}  {gap:.2e}           {np.mean([f.rounds for f in found]):5.1f}"
            f"  {np.mean([f.seconds for f in found]):5.2f}  {', '.join(sorted(states))}",
            flush=True,
        )
        kept[name] = [asdict(f) for f in found]
    if asked.json is not None:
        asked.json.write_text(json.dumps(kept, indent=1))
    return worst


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
