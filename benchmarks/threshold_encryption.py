"""What threshold encryption costs: seconds and bytes of one round, beside masks and a plain sum in the same process.

    python -m benchmarks.threshold_encryption [--sites 5] [--values 1000,100000] [--repeats 3] [--json]

Needs the extra `he`. CPU seconds of this process, best of the repeats; set OMP_NUM_THREADS=1 for one thread. `site_s`:
all steps of one site; `open_s`: the sum opened once. `bytes_up`: what a site sends to each other site before the sum is
agreed, `bytes_part`: its part in opening it. `wrong`: numbers that differ from the masked sum.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cohortium.core.exchange import Context, Guard
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Update
from cohortium.privacy.he.guard import CkksGuard
from cohortium.privacy.he.threshold import require_scheme
from cohortium.privacy.secagg.guard import MaskedGuard


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of all threads of this process, and what came of it."""
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


def one_round(guards: dict[str, Guard], updates: dict[str, Update], round: int) -> dict[str, Any]:
    """Seconds and bytes of a round of these guards, and the opened sum."""
    sites = tuple(sorted(guards))
    context = Context(
        consortium=bytes(32), study=bytes(32), run=1, round=round, attempt=1, base=bytes(32), frozen=sites,
        weights=dict.fromkeys(sites, 1), n_joiners=len(sites),
    )  # fmt: skip
    steps = [step for step in guards[sites[0]].recipe.steps if step.payload == "computed"]
    received: dict[str, dict[str, Parameters]] = {"survivors": dict.fromkeys(sites, Parameters())}
    seconds = {}
    for step in steps:
        seconds[step.name], received[step.name] = cpu(
            lambda name=step.name: {  # type: ignore[misc]
                site: guards[site].step(name, context, own=updates[site], received=received) for site in sites
            }
        )
    opening, opened = cpu(lambda: guards[sites[0]].open(context, survivors=sites, received=received))
    sizes = [received[step.name][sites[0]].size_bytes for step in steps]
    return {
        "site_s": sum(seconds.values()) / len(sites), "open_s": opening,
        "bytes_up": sum(sizes[:-1]), "bytes_part": sizes[-1], "opened": opened,
    }  # fmt: skip


def measure(*, n_sites: int, n_values: int, repeats: int) -> dict[str, Any]:
    """Figures of one size, by method."""
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=n_values).astype(np.float32) for _ in range(n_sites)]
    updates = {
        f"site-{i:02d}": Update(site=f"site-{i:02d}", parameters=Parameters({"w": vector}), weight=1)
        for i, vector in enumerate(vectors)
    }
    scheme = require_scheme()
    makers: dict[str, Callable[[str], Guard]] = {
        "threshold-ckks": lambda site: CkksGuard(site, scheme=scheme),
        "masks": lambda site: MaskedGuard(site, entropy=os.urandom),
    }
    found: dict[str, Any] = {"sites": n_sites, "values": n_values, "float32_bytes": 4 * n_values}
    sums: dict[str, Aggregate] = {}
    for name, make in makers.items():
        guards = {site: make(site) for site in updates}
        made = [one_round(guards, updates, round) for round in range(1, repeats + 1)]
        sums[name] = made[0].pop("opened")
        found[name] = {key: min(one[key] for one in made) for key in made[0]}
    found["plain_s"] = min(cpu(lambda: sum(vectors[1:], vectors[0].copy()))[0] for _ in range(20))
    found["wrong"] = int(np.sum(sums["masks"].total["w"] != sums["threshold-ckks"].total["w"]))
    exact = sum(vector.astype(np.float64) for vector in vectors)
    found["error"] = float(np.abs(sums["threshold-ckks"].total["w"] - exact).max() / n_sites)
    return found


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description="cost of threshold encryption beside masks")
    asked.add_argument("--sites", type=int, default=5)
    asked.add_argument("--values", default="1000,100000")
    asked.add_argument("--repeats", type=int, default=3)
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args()
    sizes = [int(one) for one in given.values.split(",")]
    found = [measure(n_sites=given.sites, n_values=size, repeats=given.repeats) for size in sizes]
    if given.json:
        print(json.dumps(found))
        return
    for one in found:
        print(f"{one['sites']} sites, {one['values']:,} values: plain sum {1e3 * one['plain_s']:.3f} ms")
        print(f"  {one['wrong']} numbers differ from the masked sum, largest error of the mean {one['error']:.2g}")
        for name in ("threshold-ckks", "masks"):
            cost = one[name]
            print(f"  {name:15} a site {cost['site_s']:.4f} s, opening {cost['open_s']:.4f} s,"
                  f" {cost['bytes_up']:,} bytes to each site, {cost['bytes_part']:,} to open")  # fmt: skip


if __name__ == "__main__":
    main()
