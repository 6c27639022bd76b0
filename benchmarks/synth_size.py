"""How many patients a generator needs: fidelity on held-out patients by the number it was learned from.

    python -m benchmarks synth_size [--sizes 300,900,2000,4427] [--seeds 3] [--draws 3] [--json]

Simulated patients of three hospitals with gaps; `bn` by sums. A fifth of a consortium of 4,427 is held out and is the
same for all sizes of a seed; the training patients are the first so many of the others, or the whole of another
consortium's four fifths for the largest. Mean over seeds (95 % interval, Student's t).
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from benchmarks.synth_worlds import halves, joined, world
from cohortium.sim.synth_bench import mean_interval
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.validation.anchors import interval, score_all
from cohortium.synth.validation.fidelity import classic_pair

__all__ = ["main", "one_seed"]


def one_seed(sizes: list[int], *, seed: int, draws: int) -> dict[int, dict[str, float]]:
    """Figures by number of training patients."""
    facts, sites = world("sim", seed=seed)
    training, held_out = halves(sites, seed=seed)
    more = joined([*training.values(), *world("sim", seed=1000 + seed)[1].values()])
    own = sum(len(rows) for rows in training.values())
    order = np.concatenate([np.random.default_rng([seed, 5]).permutation(own), np.arange(own, len(more))])
    generator = BayesianNetwork(facts=facts)
    found = {}
    for n in sizes:
        real = more.take(order[:n])
        state = fit_by_sums(generator, [real])
        drawn = generator.sample(state, n, rng=np.random.default_rng([seed, n]))
        scores = score_all(real, held_out, {"bn": drawn}, draws=draws, seed=seed)["bn"]
        csf, gsf = classic_pair(real, drawn)
        found[n] = {
            "CSF skill": interval(scores["csf"].skill)[0], "GSF skill": interval(scores["gsf"].skill)[0],
            "classic CSF": csf, "classic GSF": gsf, "edges": float(generator.network(state).n_edges),
        }  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="300,900,2000,4427")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sizes = [int(one) for one in options.sizes.split(",")]
    runs = [one_seed(sizes, seed=seed, draws=options.draws) for seed in range(options.seeds)]
    document: dict[int, Any] = {
        n: {key: mean_interval([run[n][key] for run in runs]) for key in runs[0][n]} for n in sizes
    }
    if options.json:
        print(json.dumps(document, indent=1))
        return
    for n, figures in document.items():
        print(f"{n:6}  " + "  ".join(f"{k} {m:.3f} ({a:.3f} to {b:.3f})" for k, (m, a, b) in figures.items()))


if __name__ == "__main__":
    main()
