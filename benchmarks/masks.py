"""What masks cost: CPU and bytes of one masked round as ratios to a plain mean in the same process.

    python -m benchmarks masks [--sites 5] [--parameters 1000000] [--lost 0] [--word-bits 32] [--repeats 5] [--json]

Plain: numpy in-place sum of float32 vectors and one scaling; beside it the swarm's own plain merge (`core.exact`),
which adds in float64 so that every peer gets the same bits. Masked: keys, shares, vector and answer of all sites, and
one leader's pass; CPU time of this thread, best of the repeats. The small steps are told apart because they do not grow
with the vector. Error: the largest distance to the float64 mean, in units of the range R, beside its bound.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cohortium.core.exact import weighted_sum
from cohortium.core.exchange import Context
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.privacy.secagg.fixed_point import error_bound, exponents
from cohortium.privacy.secagg.guard import MaskedGuard
from cohortium.privacy.secagg.layout import WordLayout


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this thread, and what came of it."""
    began = time.thread_time()
    made = work()
    return time.thread_time() - began, made


def plain_mean(vectors: list[np.ndarray]) -> np.ndarray:
    """The yardstick."""
    total = vectors[0].copy()
    for vector in vectors[1:]:
        total += vector
    total *= np.float32(1 / len(vectors))
    return total


def masked_round(
    updates: dict[str, Update], *, word_bits: int, n_lost: int
) -> tuple[dict[str, float], dict[str, int], Any]:
    """CPU seconds by step, bytes one site sends by step, and the opened sum."""
    sites = sorted(updates)
    survivors = sites[: len(sites) - n_lost]
    guards = {site: MaskedGuard(site, entropy=os.urandom, word_bits=word_bits) for site in sites}
    context = Context(
        consortium=bytes(32), study=bytes(32), run=1, round=1, attempt=1, base=bytes(32), frozen=tuple(sites),
        weights={site: update.weight for site, update in updates.items()}, n_joiners=len(sites),
    )  # fmt: skip
    seconds: dict[str, float] = {}
    sent: dict[str, int] = {}
    received: dict[str, dict[str, Parameters]] = {}
    for step, asked in (("keys", sites), ("shares", sites), ("masked", sites), ("unmask", survivors)):
        held = received | {"survivors": dict.fromkeys(survivors, Parameters())}
        seconds[step], received[step] = cpu(
            lambda step=step, asked=asked, held=held: {
                site: guards[site].step(step, context, own=updates[site], received=held) for site in asked
            }
        )
        sent[step] = received[step][survivors[0]].size_bytes
    seconds["open"], opened = cpu(lambda: guards[survivors[0]].open(context, survivors=survivors, received=received))
    return seconds, sent, opened


def measure(*, n_sites: int, n_parameters: int, n_lost: int, word_bits: int, repeats: int) -> dict[str, Any]:
    """All figures of one setting."""
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=n_parameters).astype(np.float32) for _ in range(n_sites)]
    updates = {
        f"site-{i:02d}": Update(site=f"site-{i:02d}", parameters=Parameters({"w": vector}), weight=100 + i)
        for i, vector in enumerate(vectors)
    }
    plain = min(cpu(lambda: plain_mean(vectors))[0] for _ in range(max(repeats, 5)))
    merge = min(cpu(lambda: weighted_sum(list(updates.values())))[0] for _ in range(max(repeats, 5)))
    runs = [masked_round(updates, word_bits=word_bits, n_lost=n_lost) for _ in range(repeats)]
    seconds = {step: min(run[0][step] for run in runs) for step in runs[0][0]}
    sent, opened = runs[0][1], runs[0][2]
    kept = [updates[site] for site in opened.contributors]
    exact = sum(u.weight * u.parameters["w"].astype(np.float64) for u in kept)
    whole = sum(update.weight for update in updates.values())
    layout = WordLayout.of(kept[0].parameters, word_bits=word_bits)
    exponent = max(int(exponents(u.parameters, layout, site=u.site)[0]) for u in updates.values())
    reach = 2.0**exponent
    return {
        "sites": n_sites, "parameters": n_parameters, "lost": n_lost, "word_bits": word_bits,
        "plain_ms": plain * 1e3,
        "plain_merge_ms": merge * 1e3,
        "cpu_ms": {step: 1e3 * value for step, value in seconds.items()},
        "cpu_ms_per_site": 1e3 * sum(value for step, value in seconds.items() if step != "open") / n_sites,
        "ratio_all": sum(seconds.values()) / plain,

        "ratio_leader": seconds["open"] / plain,
        "ratio_leader_to_merge": seconds["open"] / merge,
        "bytes_per_site": sent,
        "ratio_bytes": sum(sent.values()) / (4 * n_parameters),
        "error_in_ranges": float(np.abs(opened.total["w"] - exact).max() / whole / reach),
        "bound_in_ranges": error_bound(exponent, word_bits=word_bits, n=n_sites) / reach,
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description="cost of masks against a plain mean")
    asked.add_argument("--sites", type=int, default=5)
    asked.add_argument("--parameters", type=int, default=1_000_000)
    asked.add_argument("--lost", type=int, default=0)
    asked.add_argument("--word-bits", type=int, default=32)
    asked.add_argument("--repeats", type=int, default=5)
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args()
    found = measure(
        n_sites=given.sites, n_parameters=given.parameters, n_lost=given.lost, word_bits=given.word_bits,
        repeats=given.repeats,
    )  # fmt: skip
    if given.json:
        print(json.dumps(found))
        return
    print(f"{given.sites} sites, {given.parameters:,} parameters, {given.lost} lost, {given.word_bits}-bit words")
    print(f"  plain mean                {found['plain_ms']:10.2f} ms")
    print(f"  the swarm's plain merge   {found['plain_merge_ms']:10.2f} ms")
    for step, value in found["cpu_ms"].items():
        print(f"  {step:8} {'(leader)' if step == 'open' else '(all sites)':16} {value:10.2f} ms")
    print(f"  CPU of all sites and the leader    {found['ratio_all']:8.1f} x plain")
    print(f"  the leader's pass                  {found['ratio_leader']:8.1f} x plain")
    print(f"  the same                           {found['ratio_leader_to_merge']:8.1f} x the swarm's plain merge")
    print(f"  CPU of one site                    {found['cpu_ms_per_site']:8.2f} ms")
    print(f"  bytes a site sends                 {found['ratio_bytes']:8.4f} x float32")
    print(f"  largest error {found['error_in_ranges']:.1e} R, bound {found['bound_in_ranges']:.1e} R")


if __name__ == "__main__":
    main()
