"""Tables with nothing to find, and tables that leak, before the privacy rules: how often chance fails, what is caught.

    python -m benchmarks synth_null [--sizes 264:112,1200:300] [--seeds 20] [--json]

Of every seed three samples of the simulated patients (no gaps): training, held-out, and a table to judge. `null`: other
patients; `noisy copies`: training patients with 1 % noise on every number; `one in five`, `one in twenty`: so many rows
of the null table are such copies. The gate fails what `judge_privacy` fails (`attack_risk_max` 0.05).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

import numpy as np

from benchmarks.synth_truth import patients
from benchmarks.synth_worlds import joined
from cohortium.synth.rows import Rows
from cohortium.synth.validation.privacy import judge_privacy

__all__ = ["KINDS", "main", "one_seed"]

KINDS = {"null": 0.0, "one in twenty": 0.05, "one in five": 0.2, "noisy copies": 1.0}


def one_seed(n_train: int, n_out: int, *, seed: int) -> dict[str, dict[str, str]]:
    """Findings (pass, warn, fail by measure) of every kind of table."""
    whole = joined(list(patients(seed, 2 * n_train + n_out + 60).values()))
    rng = np.random.default_rng([seed, 17])
    order = rng.permutation(len(whole))
    training, held_out, other = (
        whole.take(order[a:b])
        for a, b in ((0, n_train), (n_train, n_train + n_out), (n_train + n_out, 2 * n_train + n_out))
    )
    copies = _noisy(training, rng)
    found = {}
    for kind, share in KINDS.items():
        leaked = rng.random(n_train) < share
        table = joined([copies.take(leaked), other.take(~leaked)])
        found[kind] = dict(judge_privacy(training, held_out, table, seed=seed).findings(attack_risk_max=0.05))
    return found


def _noisy(rows: Rows, rng: np.random.Generator) -> Rows:
    return rows.with_columns(
        {f.name: rows[f.name] + 0.01 * np.nanstd(rows[f.name]) * rng.normal(size=len(rows))
         for f in rows.facts.columns if f.kind == "numeric"}
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="264:112,1200:300", help="training:held out, by commas")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    document: dict[str, Any] = {}
    for size in options.sizes.split(","):
        n_train, n_out = (int(one) for one in size.split(":"))
        runs = [one_seed(n_train, n_out, seed=seed) for seed in range(options.seeds)]
        for kind in KINDS:
            failed = [sorted(name for name, word in run[kind].items() if word == "fail") for run in runs]
            by_measure = dict(Counter(name for names in failed for name in names))
            document.setdefault(size, {})[kind] = {"failed": sum(map(bool, failed)), "of": len(runs), "by": by_measure}
            if not options.json:
                said = document[size][kind]
                print(f"{size:10} {kind:14} failed {said['failed']} of {said['of']}  {said['by']}", flush=True)
    if options.json:
        print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
