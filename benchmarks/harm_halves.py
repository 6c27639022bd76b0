"""Halves trained in three ways, on the same worlds, draws and passes: who is found with each.

    python -m benchmarks harm_halves --tasks flchain,xray-easy,xray-hard --scenarios S3 --seeds 0-9

    newton      logistic probes by exact sums: the detector in use, near the probe of everybody from the start
    fedavg      every round each site of a half takes eight SGD steps of an eighth of its records, weights are averaged
    travelling  one model a half visits its sites one after another, batches of five (Adam), its moments travel with it

`--probe mlp-24` has 24 hidden units, `logistic` none; of `newton` it is always `logistic`. The last two begin at random
points of their own, use trust as weight, and score with the mean logit of three checkpoints. Payloads and millions of
numbers are what sites send while halves are trained; passes: over a record, by one probe. Site AUROC: see `harm`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harm import one_run, summary
from benchmarks.harm_tasks import load_task, seeds_of
from cohortium.core import fixed_point as fp
from cohortium.core.parameters import Parameters
from cohortium.quality.out_of_bag import AuditResult, OutOfBag
from cohortium.quality.pool import Pool, Scale, pool_of
from cohortium.quality.slots import X_BITS, Slots, weights_of
from cohortium.quality.stages import TRAIN, Auditor, Where
from cohortium.sim.harm import World, cases

__all__ = ["Halves", "main"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_BATCH = 5
_PENALTY = 10.0  # of a logistic half's whole loss, as by Newton: 1 / C
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_SHOWN = ("site_auroc_two", "site_auroc", "precision", "recall_two", "recall_two_look", "false", "false_look",
          "minority_lost", "oob_auroc", "slope", "passes", "payloads", "numbers", "seconds")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Probe:
    """hidden: rectified units, 0 for a logistic probe; weights (d,): first layer, its bias, last layer, offset."""

    hidden: int

    def width(self, n_columns: int) -> int:
        return n_columns * self.hidden + 2 * self.hidden + 1 if self.hidden else n_columns + 1

    def initial(self, n_columns: int, rng: np.random.Generator) -> Floats:
        """He for the first layer; near zero for a logistic probe."""
        if not self.hidden:
            return rng.normal(scale=0.05, size=n_columns + 1)
        first = rng.normal(scale=np.sqrt(2.0 / n_columns), size=n_columns * self.hidden)
        last = rng.normal(scale=np.sqrt(1.0 / self.hidden), size=self.hidden)
        return np.concatenate([first, np.zeros(self.hidden), last, np.zeros(1)])

    def logits(self, w: Floats, x: Floats) -> Floats:
        return self._forward(w, x)[1]

    def gradient(self, w: Floats, x: Floats, y: Floats, q: Floats) -> Floats:
        """Of sum q_i loss_i / m on a batch (m, n_columns)."""
        inner, logits = self._forward(w, x)
        error = q * (1.0 / (1.0 + np.exp(-np.clip(logits, -500.0, 500.0))) - y) / len(y)
        if not self.hidden:
            return np.append(x.T @ error, error.sum())
        back = (error[:, None] * w[-self.hidden - 1 : -1]) * (inner > 0)
        return np.concatenate([(x.T @ back).ravel(), back.sum(axis=0), inner.T @ error, [error.sum()]])

    def _forward(self, w: Floats, x: Floats) -> tuple[Floats, Floats]:
        if not self.hidden:
            return x, x @ w[:-1] + w[-1]
        at = x.shape[1] * self.hidden
        inner = np.maximum(x @ w[:at].reshape(-1, self.hidden) + w[at : at + self.hidden], 0.0)
        return inner, inner @ w[at + self.hidden : -1] + w[-1]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Records that train one half. site: of each; decay: of the weights, 0 but for logistic probes."""

    x: Floats
    y: Floats
    q: Floats
    site: Integers
    decay: float

    def of(self, site: int) -> Integers:
        return np.flatnonzero(self.site == site)


@dataclass(kw_only=True)
class Halves:
    """One way to train halves, as an audit of a world; counts what it cost.

    steps: of a site in a round of fedavg; 0: a pass in batches of five, so that large sites take more of them.
    """

    way: str
    probe: Probe
    rounds: int
    rate: float
    steps: int = 0
    passes: float = 0.0
    payloads: float = 0.0
    numbers: float = 0.0

    def audit(self, world: World, seed: int) -> AuditResult:
        """The stages of `out-of-bag`, unchanged but for the training of halves."""
        detector, names = OutOfBag(anchors=world.anchors), world.sites
        pool = pool_of({at: world.examples(world.rows(at)) for at in range(len(names))})
        plan = detector.plan(names)
        auditor = Auditor(plan=plan) if self.way == "newton" else Auditor(plan=plan, logits=self._logits)
        state, exchanges = auditor.initial(seed), 0
        while not auditor.finished(state):
            where = Where.read(state)
            if where.stage != TRAIN:
                state, exchanges = auditor.advance(state, auditor.answer(state, pool)), exchanges + 1
            elif self.way == "newton":
                total = auditor.answer(state, pool)
                self._count(passes=int(total["used"].sum()), payloads=len(names),
                            numbers=len(names) * sum(np.asarray(total[name]).size for name in total))  # fmt: skip
                state = auditor.advance(state, total)
            else:
                state = auditor.advance(*self._trained(auditor, state, where, pool, seed))
        self.passes /= len(pool.y)  # of every record
        return detector.result(auditor, state, pool, exchanges=exchanges)

    def _trained(
        self, auditor: Auditor, state: Parameters, where: Where, pool: Pool, seed: int
    ) -> tuple[Parameters, Parameters]:
        """The state with finished slots, and the sums that end its training."""
        x = fp.from_fixed(Scale.read(state).fixed(pool.x), X_BITS)
        q = weights_of(auditor.trust(state, where.number, pool))
        slots = Slots.read(state, f"{where.prefix}/slots")
        rng = np.random.default_rng([seed, where.attempt, where.number])
        member = np.asarray(state[f"{where.prefix}/member"], dtype=bool)
        found, before = [], self.passes
        for slot in range(len(slots.point)):
            chosen = np.flatnonzero(member[pool.site, slot] & (q > 0))
            decay = 0.0 if self.probe.hidden else _PENALTY / max(q[chosen].sum(), 1.0)
            rows = Rows(x=x[chosen], y=pool.y[chosen], q=q[chosen], site=pool.site[chosen], decay=decay)
            train = self._averaged if self.way == "fedavg" else self._travelled
            found.append(train(rows, self.probe.initial(x.shape[1], rng), rng))
        if self.way == "fedavg":
            width, n_sites = self.probe.width(x.shape[1]), len(member)
            self._count(passes=0, payloads=self.rounds * n_sites,
                        numbers=self.rounds * n_sites * len(slots.point) * (width + 1))  # fmt: skip
        point, used = np.array(found), int(self.passes - before)
        done = replace(slots, point=point, accepted=point, step=np.zeros_like(point),
                       done=np.ones(len(point), dtype=bool))  # fmt: skip
        return state | done.write(f"{where.prefix}/slots"), Parameters({"used": np.array([used], dtype=np.int64)})

    def _averaged(self, rows: Rows, w: Floats, rng: np.random.Generator) -> Floats:
        sites, kept = np.unique(rows.site), []
        share = np.array([rows.q[rows.of(site)].sum() for site in sites])
        share /= share.sum()
        own = [rows.of(site) for site in sites]
        for number in range(self.rounds):
            mean, rate = np.zeros_like(w), self.rate * np.exp(-self._fall * number)
            for part, weight in zip(own, share, strict=True):
                local = w.copy()
                for batch in self._steps(part, rng):
                    local -= rate * self._slope(local, rows, batch)
                    self.passes += len(batch)
                mean += weight * local
            w = mean
            kept.append(w)
        return np.concatenate(kept[-1:-7:-2])

    def _travelled(self, rows: Rows, w: Floats, rng: np.random.Generator) -> Floats:
        sites, kept, t = np.unique(rows.site), [], 0
        m, v = np.zeros_like(w), np.zeros_like(w)
        for cycle in range(self.rounds):
            rate = self.rate * np.exp(-self._fall * cycle)
            for site in rng.permutation(sites):
                for batch in _batches(rows.of(site), rng):
                    g, t = self._slope(w, rows, batch), t + 1
                    m, v = _BETA_1 * m + (1 - _BETA_1) * g, _BETA_2 * v + (1 - _BETA_2) * g * g
                    w = w - rate * np.sqrt(1 - _BETA_2**t) / (1 - _BETA_1**t) * m / (np.sqrt(v) + _EPSILON)
            kept.append(w)
        visits = self.rounds * len(sites)
        self._count(passes=self.rounds * len(rows.y), payloads=visits, numbers=3 * visits * len(w))
        return np.concatenate(kept[-1:-7:-2])

    def _steps(self, part: Integers, rng: np.random.Generator) -> list[Integers]:
        """The batches of one site in one round; of fewer records than steps all in each."""
        if not self.steps:
            return _batches(part, rng)
        return np.array_split(rng.permutation(part), self.steps) if len(part) >= self.steps else [part] * self.steps

    @property
    def _fall(self) -> float:
        """Of the rate, so that it ends at a third of its start."""
        return 1.2 / self.rounds

    def _slope(self, w: Floats, rows: Rows, batch: Integers) -> Floats:
        found = self.probe.gradient(w, rows.x[batch], rows.y[batch], rows.q[batch])
        if rows.decay:
            found[:-1] += rows.decay * w[:-1]
        return found

    def _logits(self, x: Integers, points: Floats) -> Floats:
        held = fp.from_fixed(x, X_BITS)
        thirds = [np.split(point, 3) for point in points]
        return np.array([np.mean([self.probe.logits(w, held) for w in three], axis=0) for three in thirds]).T

    def _count(self, *, passes: float, payloads: float, numbers: float) -> None:
        self.passes += passes
        self.payloads += payloads
        self.numbers += numbers / 1e6


def _batches(rows: Integers, rng: np.random.Generator) -> list[Integers]:
    order = rng.permutation(rows)
    return [order[at : at + _BATCH] for at in range(0, len(order), _BATCH)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a block for every task, scenario and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="flchain,xray-easy,xray-hard")
    parser.add_argument("--scenarios", default="S3")
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--halves", default="newton,fedavg,travelling")
    parser.add_argument("--probe", choices=("mlp-24", "logistic"), default="mlp-24")
    parser.add_argument("--rounds", type=int, default=30, help="of fedavg")
    parser.add_argument("--rate", type=float, default=0.1, help="of fedavg, at the start")
    parser.add_argument("--steps", type=int, default=8, help="of fedavg, in a round; 0: a pass in batches of five")
    parser.add_argument("--cycles", type=int, default=12, help="of travelling")
    parser.add_argument("--cycle-rate", type=float, default=2.5e-3, help="of travelling, at the start")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    seeds, probe = seeds_of(asked.seeds), Probe(hidden=24 if asked.probe == "mlp-24" else 0)
    plans = {"newton": (0, 0.0), "fedavg": (asked.rounds, asked.rate), "travelling": (asked.cycles, asked.cycle_rate)}
    table: dict[str, dict[str, object]] = {}
    for task in [load_task(name) for name in asked.tasks.split(",")]:
        for case in (case for scenario in asked.scenarios.split(",") for case in cases(scenario)):
            for way in asked.halves.split(","):
                runs = []
                for seed in seeds:
                    halves = Halves(way=way, probe=probe, rounds=plans[way][0], rate=plans[way][1], steps=asked.steps)
                    figures = one_run(task, case, seed, models=False, audit=halves.audit)
                    cost = {"passes": halves.passes, "payloads": halves.payloads, "numbers": halves.numbers}
                    runs.append(figures | cost)
                title = f"{task.name} {case.label} {way}"
                table[title] = {**summary(runs), "runs": runs}
                _print(title, table[title])
                if asked.json:
                    asked.json.write_text(json.dumps(table, indent=1), encoding="utf-8")
    return 0


def _print(title: str, row: Mapping[str, object]) -> None:
    print(f"\n{title}: {row['seeds']} seeds, {row['inconclusive']} inconclusive")
    for name in _SHOWN:
        if isinstance(value := row.get(name), list):
            print(f"  {name:18} {value[0]:9.3f} [{value[1]:.3f}]")
    print(end="", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
