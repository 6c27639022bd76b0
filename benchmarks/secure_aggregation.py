"""What secure aggregation costs: CPU and bytes of one masked round as ratios to a plain mean in the same process.

    python -m benchmarks.secure_aggregation [--sites 5] [--parameters 1000000] [--lost 0] [--repeats 9] [--json]

Plain: numpy in-place sum of one float32 vector a site and one scaling. Masked: keys, shares, vector and answer of all
sites and one leader's pass, with 16-bit and with 32-bit words. CPU time of this thread, best of the repeats; plain and
masked rounds take turns, so that both meet the same machine and the same caches. Rounds follow each other at the same
sites, as in a run. `ratio_hash` is SHA-256 apart: each site hashes its vector once, the leader those of all. Error: the
largest distance to the float64 mean, in units of the range R, beside its bound. `plain_again_ms`: the plain mean
repeated on its own, when the vectors still lie in the cache. Others beside it: `benchmarks.secure_aggregation_peers`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from cohortium.core.exact import weighted_sum
from cohortium.core.exchange import Context
from cohortium.core.frames import pack
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Update
from cohortium.privacy.secagg.fixed_point import FixedPoint, exponents
from cohortium.privacy.secagg.guard import MaskedGuard
from cohortium.privacy.secagg.layout import WordLayout

WIDTHS = (16, 32)


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


class Rounds:
    """Masked rounds of the same sites, one after the other. best: fewest CPU seconds of each step so far."""

    def __init__(self, updates: dict[str, Update], *, word_bits: int, n_lost: int) -> None:
        self.updates, self.word_bits = updates, word_bits
        self.sites = sorted(updates)
        self.survivors = self.sites[: len(self.sites) - n_lost]
        self.guards = {site: MaskedGuard(site, entropy=os.urandom, word_bits=word_bits) for site in self.sites}
        self.n_rounds = 0
        self.best: dict[str, float] = {}
        self.bytes_sent: dict[str, int] = {}

    def once(self) -> Aggregate:
        """One round: every step of every site, and the leader's pass."""
        self.n_rounds += 1
        context = Context(
            consortium=bytes(32), study=bytes(32), run=1, round=self.n_rounds, attempt=1, base=bytes(32),
            frozen=tuple(self.sites), weights={site: update.weight for site, update in self.updates.items()},
            n_joiners=len(self.sites),
        )  # fmt: skip
        received: dict[str, dict[str, Parameters]] = {}
        for step, asked in (("keys", self.sites), ("shares", self.sites), ("masked", self.sites),
                            ("unmask", self.survivors)):  # fmt: skip
            held = received | {"survivors": dict.fromkeys(self.survivors, Parameters())}
            seconds, received[step] = cpu(
                lambda step=step, asked=asked, held=held: {
                    site: self.guards[site].step(step, context, own=self.updates[site], received=held) for site in asked
                }
            )
            self._note(step, seconds)
            self.bytes_sent[step] = received[step][self.survivors[0]].size_bytes
        leader = self.guards[self.survivors[0]]
        seconds, opened = cpu(lambda: leader.open(context, survivors=self.survivors, received=received))
        self._note("open", seconds)
        seconds, _ = cpu(lambda: [pack(received["masked"][site]) for site in self.sites])
        self._note("hash", 2 * seconds)  # once where it is made, once where it is read
        result: Aggregate = opened
        return result

    def _note(self, step: str, seconds: float) -> None:
        self.best[step] = min(seconds, self.best.get(step, seconds))

    def figures(self, opened: Aggregate, *, plain_s: float, n_parameters: int) -> dict[str, Any]:
        """All figures of this word width."""
        kept = [self.updates[site] for site in opened.contributors]
        exact = sum(u.weight * u.parameters["w"].astype(np.float64) for u in kept)
        whole = sum(update.weight for update in self.updates.values())
        layout = WordLayout.of(kept[0].parameters, word_bits=self.word_bits)
        exponent = max(int(exponents(u.parameters, layout, site=u.site)[0]) for u in self.updates.values())
        point = FixedPoint(word_bits=self.word_bits, n=len(self.sites), whole=whole)
        steps = {step: seconds for step, seconds in self.best.items() if step != "hash"}
        at_sites = sum(seconds for step, seconds in steps.items() if step != "open")
        return {
            "ratio": sum(steps.values()) / plain_s,
            "ratio_hash": self.best["hash"] / plain_s,
            "ratio_site": at_sites / len(self.sites) / plain_s,
            "ratio_leader": steps["open"] / plain_s,
            "bytes": sum(self.bytes_sent.values()) / (4 * n_parameters),
            "error": float(np.abs(opened.total["w"] - exact).max() / whole / 2.0**exponent),
            "bound": point.error_bound(exponent) / 2.0**exponent,
            "cpu_ms": {step: 1e3 * seconds for step, seconds in self.best.items()},
        }


def measure(*, n_sites: int, n_parameters: int, n_lost: int, repeats: int) -> dict[str, Any]:
    """All figures, by name and then by word width."""
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=n_parameters).astype(np.float32) for _ in range(n_sites)]
    updates = {
        f"site-{i:02d}": Update(site=f"site-{i:02d}", parameters=Parameters({"w": vector}), weight=100 + i)
        for i, vector in enumerate(vectors)
    }
    rounds = {bits: Rounds(updates, word_bits=bits, n_lost=n_lost) for bits in WIDTHS}
    opened, plain = {}, []
    for _ in range(repeats):
        for bits in WIDTHS:
            plain.append(cpu(lambda: plain_mean(vectors))[0])
            opened[bits] = None  # what the last round opened is let go, as a merge lets it go
            opened[bits] = rounds[bits].once()
    again = min(cpu(lambda: plain_mean(vectors))[0] for _ in range(repeats))
    found = {
        bits: rounds[bits].figures(opened[bits], plain_s=min(plain), n_parameters=n_parameters)  # type: ignore[arg-type]
        for bits in WIDTHS
    }
    return {
        "sites": n_sites, "parameters": n_parameters, "lost": n_lost, "repeats": repeats,
        "plain_ms": min(plain) * 1e3,
        "plain_again_ms": again * 1e3,
        "merge_ms": min(cpu(lambda: weighted_sum(list(updates.values())))[0] for _ in range(min(repeats, 5))) * 1e3,
        **{name: {f"u{bits}": found[bits][name] for bits in WIDTHS} for name in found[WIDTHS[0]]},
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(description="cost of secure aggregation against a plain mean")
    asked.add_argument("--sites", type=int, default=5)
    asked.add_argument("--parameters", type=int, default=1_000_000)
    asked.add_argument("--lost", type=int, default=0)
    asked.add_argument("--repeats", type=int, default=0, help="0: as many as fit into about ten seconds")
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args()
    repeats = given.repeats or max(5, min(60, 60_000_000 // given.parameters))
    found = measure(n_sites=given.sites, n_parameters=given.parameters, n_lost=given.lost, repeats=repeats)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{given.sites} sites, {given.parameters:,} parameters, {given.lost} lost; best of {repeats}")
    print(f"plain mean {found['plain_ms']:.2f} ms ({found['plain_again_ms']:.2f} ms when repeated),"
          f" the swarm's plain merge {found['merge_ms']:.2f} ms")  # fmt: skip
    print(f"{'':44}{'16-bit':>12}{'32-bit':>12}")
    for name, what in (
        ("ratio", "CPU of all sites and the leader, x plain"), ("ratio_hash", "SHA-256 of all that, x plain"),
        ("ratio_site", "CPU of one site, x plain"), ("ratio_leader", "the leader's pass, x plain"),
        ("bytes", "bytes a site sends, x float32"), ("error", "largest error, in ranges R"),
        ("bound", "its bound"),
    ):  # fmt: skip
        print(f"{what:44}" + "".join(f"{found[name][f'u{bits}']:12.4g}" for bits in WIDTHS))
    for step in found["cpu_ms"]["u16"]:
        print(f"{step + ' ms':44}" + "".join(f"{found['cpu_ms'][f'u{bits}'][step]:12.2f}" for bits in WIDTHS))


if __name__ == "__main__":
    main()
