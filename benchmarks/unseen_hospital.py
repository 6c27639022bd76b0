"""heart_uci: the model of three hospitals at the fourth, before and after that hospital's own recalibration.

    python -m benchmarks unseen_hospital --seeds 10

The model never sees the fourth hospital. Its recalibration and its threshold are fitted on that hospital's own
training rows (70 %), and judged on its test rows (30 %), as in clinical-learning.md 5.3. Threshold 0.5 before and
after, so that accuracy shows calibration and nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from benchmarks.datasets import data_folder, load
from cohortium.core.randomness import Chance
from cohortium.reports.observed import Observed
from cohortium.reports.panel import measure_values
from cohortium.reports.recalibration import CalibrationPart, recalibrate
from cohortium.sim.cohorts import gather
from cohortium.sim.comparison import train_plainly

__all__ = ["main"]

_SHOWN = ("accuracy", "brier", "ece")


def one_seed(seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """hospital -> way of recalibrating -> measures on its test rows."""
    task, tables = load("heart")
    study = task.study("unseen", seed=seed)
    chance = Chance(seed, secrets_from_system=False)
    rows = gather(study, tables, chance=chance).rows()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for here in rows:
        model = train_plainly(study, [one for one in rows if one is not here], chance=chance)
        seen = Observed.of({here.site: here.test})
        before = model.scores(here, here.test)
        part = CalibrationPart(y=here.training.y, p=model.scores(here, here.training))
        ways = {
            "raw": before,
            "intercept": recalibrate(part, kind="intercept").apply(before),
            "both": recalibrate(part, kind="slope").apply(before),
        }
        found[here.site] = {
            way: {name: measure_values(p, seen)[name] or 0.0 for name in _SHOWN} for way, p in ways.items()
        }
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print accuracy, Brier and calibration error: raw -> intercept -> intercept and slope."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    asked = parser.parse_args(arguments)
    if data_folder() is None:
        print("skipped: no data folder; set COHORTIUM_DATA")
        return 0
    runs = [one_seed(seed) for seed in range(asked.seeds)]
    for site in sorted(runs[0]):
        print(f"{site:12}", end="")
        for name in _SHOWN:
            values = [float(np.mean([run[site][way][name] for run in runs])) for way in ("raw", "intercept", "both")]
            print(f"  {name} " + " -> ".join(f"{v:.3f}" for v in values), end="")
        print()
    return 0


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
