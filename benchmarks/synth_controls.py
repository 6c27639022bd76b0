"""Controls and attacks of the report over seeds: does every table that must fail fail, and do the attacks find a copy?

    python -m benchmarks synth_controls [--data sim,aml,mds] [--seeds 5] [--draws 3] [--json]

Every seed holds out another fifth of each site, fits `bn` to the rest and judges one table of as many patients.
Controls: mean of the figure with 95 % interval over seeds (Student's t), and in how many seeds the table failed as it
must. Attacks: risk on a copy of the training rows (their power) and on the table; inference by its worst column, on the
copy the mean of the columns. Seconds of CPU: of the judgement, and of what it took without attacks (singling out,
linkability, inference, on table and copy), each timed by itself.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from typing import Any

import numpy as np

from benchmarks.synth_uses import fitted
from benchmarks.synth_worlds import WORLDS
from cohortium.sim.synth_bench import mean_interval
from cohortium.synth.validation.controls import power_of_attacks
from cohortium.synth.validation.judge import judge
from cohortium.synth.validation.privacy import judge_privacy, nearness

__all__ = ["main", "one_seed"]


def one_seed(name: str, *, seed: int, draws: int) -> tuple[dict[str, float], dict[str, bool]]:
    """(figures by name, whether each control failed as it must)."""
    generator, state, training, held_out = fitted(name, seed)
    table = generator.sample(state, len(training), rng=np.random.default_rng([seed, 11]))
    began = time.process_time()
    found = judge(training, held_out, table, seed=seed, draws=draws)
    whole = time.process_time() - began
    began = time.process_time()
    privacy = judge_privacy(training, held_out, table, seed=seed)
    power_of_attacks(training, held_out, privacy, seed=seed)
    attacks = time.process_time() - began
    began = time.process_time()
    nearness(training, held_out, table, np.random.default_rng(seed))  # distances are no attack
    attacks -= time.process_time() - began
    figures = {f"{one.name}: {one.measure}": one.value for one in found.controls}
    document = found.document()
    for key in ("csf", "gsf"):
        figures |= {f"table: {key} skill": document[key]["skill"], f"table: classic {key}": document["classic"][key]}
    near = document["privacy"]
    figures |= {f"table: {key}": near[key] for key in ("membership_auc", "dcr_share")}
    figures["table: nndr less that of held-out patients"] = near["nndr"] - near["nndr_holdout"]
    power = dict(found.power)
    for kind in ("singling_out", "linkability"):
        figures[f"attack on a copy: {kind}"] = power.pop(kind).value
    figures["attack on a copy: inference"] = float(np.mean([risk.value for risk in power.values()]))
    figures |= {f"attack on the table: {kind}": risk.value for kind, risk in found.privacy.attacks.items()}
    figures |= {"CPU-s": whole, "CPU-s without attacks": whole - attacks}
    return figures, {f"{one.name}: {one.measure}": one.failed for one in found.controls}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=",".join(WORLDS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=3, help="behind each score")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    document: dict[str, Any] = {}
    for name in options.data.split(","):
        try:
            runs = [one_seed(name, seed=seed, draws=options.draws) for seed in range(options.seeds)]
        except FileNotFoundError as error:
            print(f"{name}: skipped, {error}")
            continue
        failed = Counter(control for _, controls in runs for control, one in controls.items() if one)
        asked = Counter(control for _, controls in runs for control in controls)
        document[name] = {
            key: {"value": mean_interval([figures[key] for figures, _ in runs if key in figures]),
                  **({"failed": failed[key], "of": asked[key]} if key in asked else {})}
            for key in dict.fromkeys(key for figures, _ in runs for key in figures)
        }  # fmt: skip
        for key, held in document[name].items() if not options.json else ():
            mean, low, high = held["value"]
            said = f", failed as it must in {held['failed']} of {held['of']}" if "of" in held else ""
            print(f"{name:4} {key:40} {mean:.3f} ({low:.3f} to {high:.3f}){said}", flush=True)
    if options.json:
        print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
