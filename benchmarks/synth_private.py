"""What epsilon costs a synthetic table: `marginal_dp` at several epsilons, beside no noise and beside `bn`.

    python -m benchmarks synth_private [--data sim,aml] [--epsilon 1,2,4,8,16] [--seeds 5] [--draws 3] [--json]
    python -m benchmarks synth_private --generators vae_bgm,ctgan [--mode local]     # networks, beside `marginal_dp`

Three sites share the noise as in mode `distributed` with nobody lost and nobody colluding: the sum carries the whole of
it. Noise comes from the seed, so nothing here protects anybody. Ranges of the numbers are agreed beforehand (`RANGES`).
Classic CSF and GSF against the training rows, skills and the KM gap; mean and 95 % interval over seeds (Student's t).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.synth_worlds import halves, joined, world
from cohortium.sim.synth_bench import mean_interval
from cohortium.synth.exchange import fit_by_sums, fit_privately
from cohortium.synth.facts import Facts
from cohortium.synth.federate.private_reference import fit_network_privately
from cohortium.synth.generators import GENERATORS
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.generators.marginal_dp import MarginalDP
from cohortium.synth.rows import Rows
from cohortium.synth.validation.anchors import interval, score_all
from cohortium.synth.validation.curves import km_gap, tau_of
from cohortium.synth.validation.fidelity import classic_pair

DELTA = 1e-5
RANGES: dict[str, tuple[float, float, bool]] = {
    "age": (18, 100, True), "blasts": (0, 20, False), "hb": (2, 20, False), "platelets": (1, 2000, True),
    "anc": (0, 50, False), "wbc": (0, 500, False), "ring_sideroblasts": (0, 100, True), "ldh": (50, 10000, True),
    "ferritin": (1, 20000, True), "ecog": (0, 4, True), "bm_blasts": (0, 100, True), "pb_blasts": (0, 100, True),
    "os_years": (0, 12, False), "os_days": (0, 6000, True),
}  # fmt: skip
"""Low, high, and whether values are whole: what a clinician knows without looking at these patients."""


def ranged(rows: Rows) -> Rows:
    """The rows with agreed ranges in their facts; values beyond them are set to the ends."""
    columns = tuple(
        replace(c, low=RANGES[c.name][0], high=RANGES[c.name][1], whole=RANGES[c.name][2]) if c.is_number else c
        for c in rows.facts.columns
    )
    facts = Facts(columns=columns)
    return Rows(facts, {c.name: np.clip(rows[c.name], c.low, c.high) if c.is_number else rows[c.name] for c in columns})


def figures(
    name: str, seed: int, epsilons: list[float], *, most_flags: int, draws: int, networks: list[str], mode: str
) -> Mapping[str, Mapping[str, float]]:
    """Figures by way of one seed."""
    _, sites = world(name, seed=seed)
    training, held_out = halves({site: ranged(rows) for site, rows in sites.items()}, seed=seed)
    pooled = joined(list(training.values()))
    generator = MarginalDP(facts=pooled.facts, most_flags=most_flags)
    network = BayesianNetwork(facts=pooled.facts)
    drawn: dict[str, Rows] = {}
    for epsilon in (*epsilons, None):
        if epsilon is None:
            state = fit_by_sums(generator, list(training.values()))
        else:
            entropy = np.random.default_rng([seed, 99]).bytes
            state = fit_privately(generator, list(training.values()), epsilon=epsilon, delta=DELTA, entropy=entropy)
        way = "no noise" if epsilon is None else f"epsilon {epsilon:g}"
        drawn[way] = generator.sample(state, len(pooled), rng=np.random.default_rng([seed, 11]))
        for one in networks if epsilon is not None else ():
            private = GENERATORS.resolve(one)(facts=pooled.facts)
            state = fit_network_privately(
                private, list(training.values()), epsilon=epsilon, delta=DELTA, mode=mode,
                entropy=np.random.default_rng([seed, 98]).bytes, rng=np.random.default_rng([seed, 3]),
            )  # fmt: skip
            drawn[f"{one} {epsilon:g}"] = private.sample(state, len(pooled), rng=np.random.default_rng([seed, 11]))
    state = fit_by_sums(network, list(training.values()))
    drawn["bn"] = network.sample(state, len(pooled), rng=np.random.default_rng([seed, 11]))
    scores = score_all(pooled, held_out, drawn, draws=draws, seed=seed) if draws else {}
    found = {}
    time, event = pooled.facts.time, pooled.facts.event
    for way, rows in drawn.items():
        csf, gsf = classic_pair(pooled, rows)
        gap = km_gap((pooled[time], pooled[event]), (rows[time], rows[event]), tau_of(pooled[time]))
        found[way] = {
            "classic CSF": csf,
            "classic GSF": gsf,
            "KM gap": gap,
        }
        if draws:
            found[way] |= {f"{key.upper()} skill": interval(scores[way][key].skill)[0] for key in ("csf", "gsf")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="sim,aml")
    parser.add_argument("--epsilon", default="1,2,4,8,16")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=3, help="behind each skill; 0 leaves skills out")
    parser.add_argument("--most-flags", type=int, default=6)
    parser.add_argument("--generators", default="", help="networks to train privately as well: vae_bgm, ctgan")
    parser.add_argument("--mode", default="distributed", choices=["distributed", "local"], help="of the networks")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    epsilons = [float(one) for one in options.epsilon.split(",")]
    document: dict[str, Any] = {}
    for name in options.data.split(","):
        try:
            runs = [
                figures(
                    name,
                    seed,
                    epsilons,
                    most_flags=options.most_flags,
                    draws=options.draws,
                    mode=options.mode,
                    networks=[one for one in options.generators.split(",") if one],
                )
                for seed in range(options.first_seed, options.first_seed + options.seeds)
            ]
        except FileNotFoundError as error:
            print(f"{name}: skipped, {error}")
            continue
        document[name] = {
            way: {key: mean_interval([run[way][key] for run in runs]) for key in runs[0][way]} for way in runs[0]
        }
        if not options.json:
            print(f"\n{name}, {options.seeds} seeds")
            for way, held in document[name].items():
                shown = "; ".join(f"{k} {m:.3f} ({lo:.3f} to {hi:.3f})" for k, (m, lo, hi) in held.items())
                print(f"  {way:12} {shown}")
    if options.json:
        print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
