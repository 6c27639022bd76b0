"""What a table of `bn` would gain if its levels were drawn evenly, and what it would tell: why it draws them singly.

    python -m benchmarks synth_even [--data aml,mds] [--seeds 5] [--tables 4] [--json]

`singly` is how `bn` draws. `evenly`: of the k patients alike in a variable's parents each takes its chance from another
k-th of [0, 1), in random order (systematic sampling, Madow and Madow 1944), so every share is right to within one
patient. `in 25s`: 25 patients each share a 25th part of k, which leaves about as much chance in a count as random
rounding to multiples of five. Tables have as many rows as there are training patients; `ten fold` ten times as many,
drawn singly.

Classic CSF and GSF against the training patients, mean over seeds of the mean over tables (95 % interval, Student's t).
`told`: flags whose share in the table, times the patients, rounds to the real count. `attacker`: how often one who
knows all patients but one is right about that one's flag, asking whether the table has more than the others have; 0.5
is a guess. Flags `without parents` are the worst case.
"""

from __future__ import annotations

import argparse
import json
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.synth_uses import fitted
from cohortium.sim.synth_bench import mean_interval
from cohortium.synth.generators.climb import family_codes
from cohortium.synth.generators.network import Network
from cohortium.synth.rows import Rows
from cohortium.synth.validation.fidelity import classic_pair

__all__ = ["chances", "main"]

WAYS = {"singly": (0, 1), "in 25s": (25, 1), "evenly": (1, 1), "ten fold": (0, 10)}  # (stratum, times the patients)


def chances(alike: NDArray[np.int64], rng: np.random.Generator, *, stratum: int) -> NDArray[np.float64]:
    """A uniform number for every patient; of `stratum` neighbours in a random order of those alike each is drawn from
    their common part of [0, 1). Parts begin at a random place."""
    counts = np.bincount(alike, minlength=1)
    order = np.argsort(alike + rng.random(len(alike)), kind="stable")
    group = alike[order]
    k, place = counts[group], np.arange(len(alike)) - (np.cumsum(counts) - counts)[group]
    start = rng.integers(0, stratum, len(counts))[group]
    part = (place + start) // stratum
    low, high = np.maximum(part * stratum - start, 0), np.minimum((part + 1) * stratum - start, k)
    found = np.empty(len(alike))
    found[order] = (low + (high - low) * rng.random(len(alike))) / k
    return found


def _sample(stratum: int) -> Any:
    """`Network.sample`, with such chances."""

    def sample(self: Network, n: int, rng: np.random.Generator, *, given: Any = None) -> NDArray[np.int64]:
        codes = np.zeros((n, len(self.sizes)), dtype=np.int64)
        for child in self.order:
            row = np.asarray(family_codes(codes, self.families[child].parents, self.sizes))
            edges = np.cumsum(self.probabilities[child], axis=0)[:-1, :]
            codes[:, child] = (chances(row, rng, stratum=stratum) >= edges[:, row]).sum(axis=0)
        return codes

    return sample


def figures(real: Rows, tables: list[Rows], first: set[str]) -> dict[str, float]:
    """Of one way to draw. first: columns without parents in the network."""
    flags = [fact.name for fact in real.facts.columns if fact.kind == "flag"]
    true = np.array([(real[name] == 1).sum() for name in flags])
    seen = len(real) * np.array([[(table[name] == 1).mean() for name in flags] for table in tables])
    csf, gsf = np.mean([classic_pair(real, table) for table in tables], axis=0)
    right = 0.5 * ((seen > true - 0.5).mean(axis=0) + (seen < true + 0.5).mean(axis=0))  # a carrier; somebody else
    worst = right[[name in first for name in flags]]
    return {"classic CSF": float(csf), "classic GSF": float(gsf), "told": float((np.abs(seen - true) < 0.5).mean()),
            "attacker": float(right.mean()),
            "attacker, without parents": float(worst.mean()) if len(worst) else float("nan")}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="aml,mds", help="of sim, aml, mds; default %(default)s")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tables", type=int, default=4, help="of every way and seed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    document: dict[str, Any] = {}
    for name in options.data.split(","):
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        try:
            for seed in range(options.seeds):
                generator, state, training, _ = fitted(name, seed)
                named = generator.coding(state).named
                families = generator.network(state).families[: len(named)]
                first = {named[family.child].name for family in families if not family.parents}
                for way, (stratum, times) in WAYS.items():
                    with patch.object(Network, "sample", _sample(stratum) if stratum else Network.sample):
                        tables = [
                            generator.sample(state, times * len(training), rng=np.random.default_rng([seed, k]))
                            for k in range(options.tables)
                        ]
                    runs[way].append(figures(training, tables, first))
        except FileNotFoundError as error:
            print(f"{name}: skipped, {error}")
            continue
        document[name] = {
            way: {key: mean_interval([run[key] for run in found]) for key in found[0]} for way, found in runs.items()
        }
        for way, found in document[name].items() if not options.json else ():
            shown = ", ".join(f"{key} {mean:.3f} ({low:.3f} to {high:.3f})" for key, (mean, low, high) in found.items())
            print(f"{name:4} {way:8} {shown}", flush=True)
    if options.json:
        print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
