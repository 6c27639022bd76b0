"""Private training: what a step costs (`step`), and what epsilon costs on real patients (`utility`).

    python -m benchmarks privacy step [--json]
    python -m benchmarks privacy audit [--json]                      (see `benchmarks leakage`)
    python -m benchmarks privacy utility [--tasks xray,heart,tb,aml] [--epsilon 1,3,8] [--seeds 10] [--masks]

`utility` trains central DP-SGD (one trusted party holds all), the swarm in mode `distributed` and in mode `local`,
single sites, and pooled data without noise, and scores the same held-out patients. With `--masks` both modes run on
real nodes through the real masks; without, in a plain loop, which gives mode `distributed` the same bits (each masked
run is compared with the loop: `same_bits`) and `local` the same within the masks' rounding. Each way's learning rate is
picked by the mean over other draws of patients (X-rays: validation images; tables: other splits), and that is not
charged: a study would take it from public data. Noise comes from the seed. `low` and `high`: 95 % interval of the mean
over seeds (Student's t); `above`: a way's mean distance to another, seed by seed, with its interval.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.datasets import DATASETS, data_folder, load
from cohortium.assembly import build_program
from cohortium.core.examples import Examples, Layout, concatenate
from cohortium.core.private import PrivateSteps
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.core.update import Instructions
from cohortium.reports.discrimination import auroc
from cohortium.sim.cohorts import gather
from cohortium.sim.comparison import SiteRows, TrainedModel
from cohortium.sim.plain import learn
from cohortium.sim.swarm import Setting, run_swarm
from cohortium.swarm.program import SiteWork

# --- what a step costs -------------------------------------------------------------------------------------------

_LAYERS = (1024, 512, 256)
_GENES = 2000
_BATCH = 256
_TRIES = 6


def step(*, repeats: int) -> dict[str, float]:
    """CPU seconds of one step of an MLP of 2.7 million parameters at a batch of 256, plain and private."""
    from cohortium.models.mlp import MLP
    from cohortium.privacy.dp.grid import Grid
    from cohortium.privacy.dp.noise import IntegerGaussian, SecretStream

    rng = np.random.default_rng(0)
    layout = Layout(features=tuple(f"g{i}" for i in range(_GENES)), outcome="binary", classes=("0", "1"))
    rows = Examples(layout=layout, x=rng.normal(size=(_BATCH, _GENES)), y=rng.integers(0, 2, _BATCH).astype(float))
    model = MLP(layers=_LAYERS, batch_size=_BATCH, learning_rate=0.01)
    start = model.initial(layout, rng=rng)
    size = sum(array.size for array in start.values())
    terms = PrivateSteps(sample_rate=1.0, steps=repeats, clipping_norm=1.0, noise_multiplier=1.0, entropy=bytes)
    weights = {name: np.array(array) for name, array in start.items()}
    gradients = model.patient_gradients(layout)

    def fit(asked: Instructions) -> None:
        model.fit(start, rows, instructions=asked, rng=np.random.default_rng(0))

    asked = {
        "plain": Instructions(local_epochs=repeats),
        "plain start": Instructions(local_epochs=1, max_steps=0),
        "private": Instructions(private=terms),
        "private start": Instructions(private=replace(terms, steps=0)),
    }
    best = dict.fromkeys(asked, float("inf"))
    for _ in range(_TRIES):  # in turn, so that a busy machine is as busy for all
        for name, one in asked.items():
            best[name] = min(best[name], _seconds(lambda one=one: fit(one), best_of=1))  # type: ignore[misc]
    plain = (best["plain"] - best["plain start"]) / repeats
    private = (best["private"] - best["private start"]) / repeats
    clipped = _seconds(lambda: gradients.clipped(weights, rows, norm=1.0, chance=rng), best_of=2 * repeats)
    noise, units = IntegerGaussian(Grid(n=size, norm=1.0).sensitivity), np.zeros(size, dtype=np.int64)
    stream = SecretStream(bytes, use="bench")
    drawn = _seconds(lambda: noise.add(units, stream), best_of=repeats)
    return {
        "parameters": size, "plain_s": plain, "private_s": private, "ratio": private / plain,
        "clipped_gradient_ratio": clipped / plain, "noise_ratio": drawn / plain, "noise_ns": 1e9 * drawn / size,
    }  # fmt: skip


def _seconds(work: Callable[[], Any], *, best_of: int = 3) -> float:
    found = []
    for _ in range(best_of):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


# --- what epsilon costs ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Task:
    """One question. rows(seed): sites with training and test parts. rates: learning rates to pick from.

    picking: seeds of the draws they are picked on.
    """

    rows: Callable[[Study, int], list[SiteRows]]
    model: Mapping[str, Any]
    cohort: Mapping[str, Any]
    rounds: int
    sync_every: int
    sample_rate: float
    rates: Sequence[float]
    clipping_norm: float = 1.0
    dataset: str = ""
    picking: Sequence[int] = (1000, 1001, 1002)

    def study(self, mode: str, *, epsilon: float, rate: float, seed: int) -> Study:
        """The study of one run; mode `plain` has no privacy."""
        dp = {"mode": mode, "epsilon": epsilon, "sample_rate": self.sample_rate, "clipping_norm": self.clipping_norm}
        return Study.model_validate(
            {
                "study": {"name": "utility", "outcome": "label", **self._columns()},
                "cohort": {"scale": "public", "fill": "none", **self.cohort},
                "model": {**self.model, "learning_rate": rate},
                "strategy": {"name": "auto", "rounds": self.rounds, "sync_every": self.sync_every},
                "privacy": {"secure_aggregation": mode != "plain", **({} if mode == "plain" else {"dp": dp})},
                "evaluation": {"seed": seed, "calibration_fraction": 0.0},
            }
        )

    def _columns(self) -> dict[str, Any]:
        """Outcome of the table and the columns that are no features."""
        if not self.dataset:
            return {}
        table = DATASETS[self.dataset]
        return {"outcome": table.outcome, "exclude": sorted(table.exclude), "acknowledged": dict(table.acknowledged)}


def swarm(study: Study, rows: Sequence[SiteRows], seed: int) -> TrainedModel:
    """Real nodes, through the real masks."""
    chance = Chance(seed, secrets_from_system=False)
    program = build_program(study, rows[0].training.layout, sites=[one.site for one in rows], chance=chance)
    works = {one.site: SiteWork(program, site=one.site, training=one.training) for one in rows}
    run = run_swarm(Setting(study=study, works=works, chance=chance))
    run.ledger.close()
    return TrainedModel(program=program, state=run.state, memories=run.memories)


def plain_swarm(study: Study, rows: Sequence[SiteRows], seed: int) -> TrainedModel:
    """The same program in a plain loop, without nodes and masks."""
    chance = Chance(seed, secrets_from_system=False)
    program = build_program(study, rows[0].training.layout, sites=[one.site for one in rows], chance=chance)
    works = [SiteWork(program, site=one.site, training=one.training) for one in rows]
    return TrainedModel(program=program, state=learn(program, works), memories={w.site: w.memory() for w in works})


def alone(study: Study, training: Examples, site: str, seed: int) -> TrainedModel:
    """One trainer in a plain loop: a single hospital, or all patients together."""
    chance = Chance(seed, secrets_from_system=False)
    program = build_program(study, training.layout, sites=[site], chance=chance)
    work = SiteWork(program, site=site, training=training)
    return TrainedModel(program=program, state=learn(program, [work]), memories={site: work.memory()})


def scored(model: TrainedModel, rows: Sequence[SiteRows]) -> float:
    """AUROC over all held-out patients (concordance for survival)."""
    risk = np.concatenate([model.scores(one, one.test) for one in rows if len(one.test)])
    test = concatenate([one.test for one in rows if len(one.test)])
    if test.y is not None:
        return auroc(test.y, risk)
    from cohortium.reports.survival_measures import c_index

    assert test.time is not None
    assert test.event is not None
    return c_index(test.time, test.event == 1, risk)


def measure(
    task: Task, *, epsilon: float, seeds: int, modes: Sequence[str], masks: bool, first: int = 0
) -> dict[str, Any]:
    """Every way to train over seeds (from `first` on), each at the learning rate that won on other patients."""
    picked = {way: _pick(task, way, epsilon=epsilon) for way in modes}
    found: dict[str, list[float]] = {way: [] for way in modes}
    same, began = [], time.process_time()
    for seed in range(first, first + seeds):
        for way in modes:
            value, equal = _value(task, way, epsilon=epsilon, rate=picked[way], seed=seed, masks=masks)
            found[way].append(value)
            same += [equal] if equal is not None else []
        print(seed, {way: round(values[-1], 4) for way, values in found.items()}, file=sys.stderr, flush=True)
    ways = {way: {**_over(v), "each": [round(one, 4) for one in v], "rate": picked[way]} for way, v in found.items()}
    pairs = [(a, b) for a, b in (("distributed", "central"), ("distributed", "local")) if {a, b} <= set(found)]
    above = {f"{a} above {b}": _over(np.subtract(found[a], found[b]).tolist()) for a, b in pairs}
    told = {"epsilon": epsilon, "seeds": seeds, "cpu_s": round(time.process_time() - began, 1)}
    return {**told, **ways, "above": above, **({"same_bits": f"{sum(same)} of {len(same)}"} if same else {})}


def _over(values: Sequence[float]) -> dict[str, float]:
    """Mean, sd and 95 % interval of the mean over seeds."""
    mean, n = float(np.mean(values)), len(values)
    sd = float(np.std(values, ddof=1)) if n > 1 else 0.0
    reach = float(stats.t.ppf(0.975, n - 1)) * sd / np.sqrt(n) if n > 1 else 0.0
    return {"mean": mean, "sd": sd, "low": mean - reach, "high": mean + reach}


def _pick(task: Task, way: str, *, epsilon: float) -> float:
    """The learning rate that does best on patients who are not measured; modes in a plain loop, without masks."""

    def worth(rate: float) -> float:
        seen = [_value(task, way, epsilon=epsilon, rate=rate, seed=seed, masks=False)[0] for seed in task.picking]
        return float(np.mean(seen))

    return max(task.rates, key=worth)


def _value(task: Task, way: str, *, epsilon: float, rate: float, seed: int, masks: bool) -> tuple[float, bool | None]:
    """One training of one way: `central`, `distributed`, `local`, `single` or `plain`.

    Also whether the masked run ended with the bits of the plain loop; None where no masks were used.
    """
    mode = way if way in ("distributed", "plain") else "local"
    study = task.study(mode, epsilon=epsilon, rate=rate, seed=seed)
    rows = task.rows(study, seed)
    if way in ("central", "plain"):
        return scored(alone(study, concatenate([one.training for one in rows]), "pooled", seed), rows), None
    if way == "single":
        return float(np.mean([scored(alone(study, one.training, one.site, seed), rows) for one in rows])), None
    if not masks:
        return scored(plain_swarm(study, rows, seed), rows), None
    model = swarm(study, rows, seed)
    equal = model.state.digest == plain_swarm(study, rows, seed).state.digest if way == "distributed" else None
    return scored(model, rows), equal


def _xray(study: Study, seed: int) -> list[SiteRows]:
    """10 sites of 60 patients each, drawn by seed; the official test images (validation ones from seed 1000 on)."""
    folder = data_folder()
    assert folder is not None
    with np.load(folder / "pneumonia_xray28.npz") as held:
        part = "val" if seed >= 1000 else "test"
        arrays = {name: held[name] for name in ("train_images", "train_labels", f"{part}_images", f"{part}_labels")}
    layout = Layout(features=(), outcome="binary", classes=("normal", "pneumonia"), image=(1, 28, 28))

    def examples(kind: str, chosen: Any) -> Examples:
        x = arrays[f"{kind}_images"][chosen][:, None].astype(np.float32) / 255
        return Examples(layout=layout, x=x, y=arrays[f"{kind}_labels"][chosen].astype(float))

    order = np.random.default_rng([7, seed]).permutation(len(arrays["train_labels"]))
    test, none = examples(part, slice(None)), examples(part, slice(0, 0))
    return [
        SiteRows(
            site=f"ward-{i:02d}",
            training=examples("train", order[60 * i : 60 * (i + 1)]),
            calibration=none,
            test=test if i == 0 else none,
        )
        for i in range(10)
    ]


def _table(name: str) -> Callable[[Study, int], list[SiteRows]]:
    def rows(study: Study, seed: int) -> list[SiteRows]:
        _, tables = load(name)
        found = gather(study, tables, chance=Chance(seed, secrets_from_system=False)).rows()
        return [one for one in found if len(one.training)]

    return rows


_HEART = {
    "age": [20, 80], "trestbps": [80, 200], "chol": [100, 400], "thalach": [60, 220], "oldpeak": [-2, 6], "cp": [1, 4],
    "restecg": [0, 2], "slope": [1, 3], "ca": [0, 3], "thal": [3, 7], "*": [0, 1],
}  # fmt: skip

_AML = {
    "age": [18, 80], "wbc": [0, 100], "hb": [5, 15], "platelets": [0, 200], "ldh": [100, 1500], "bm_blasts": [0, 100],
    "pb_blasts": [0, 100], "ecog": [0, 4], "*": [-1, 1],
}  # fmt: skip
_LOGISTIC = {"name": "logistic", "learn": "weights", "l2": 0.0}
_RATES = (0.06, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0)

TASKS = {
    "xray": Task(
        rows=_xray, model={"name": "mlp", "layers": [64]}, cohort={}, rounds=30, sync_every=10, sample_rate=0.1,
        rates=(0.1, 0.25, 0.5, 1.0), picking=(1000, 1001),
    ),
    "heart": Task(
        rows=_table("heart"), model=_LOGISTIC, cohort={"ranges": _HEART}, rounds=10, sync_every=10, sample_rate=0.1,
        rates=_RATES, dataset="heart",
    ),
    "tb": Task(
        rows=_table("tb"), model=_LOGISTIC, cohort={"ranges": {"*": [4, 14]}}, rounds=10, sync_every=10,
        sample_rate=0.2, rates=_RATES, dataset="tb",
    ),
    "aml": Task(
        rows=_table("aml-trial"), model={"name": "hazard"}, cohort={"ranges": _AML}, rounds=10, sync_every=10,
        sample_rate=0.1, rates=_RATES, dataset="aml-trial",
    ),
}  # fmt: skip


def main() -> None:
    """Run what was asked and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("step", "utility", "audit"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tasks", default="heart")
    parser.add_argument("--epsilon", default="1,3,8")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--modes", default="central,distributed,local,single,plain")
    parser.add_argument("--rounds", type=int, default=0, help="of 10 steps each; 0: as many as the task has")
    parser.add_argument("--masks", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.what == "audit":
        from benchmarks.leakage import audit

        print(json.dumps(audit()) if asked.json else "\n".join(f"{n:34} {v:.4g}" for n, v in audit().items()))
        return
    if asked.what == "step":
        found = step(repeats=asked.repeats)
        print(json.dumps(found) if asked.json else "\n".join(f"{name:24} {value:.4g}" for name, value in found.items()))
        return
    for name in asked.tasks.split(","):
        task = replace(TASKS[name], rounds=asked.rounds or TASKS[name].rounds)
        for epsilon in asked.epsilon.split(","):
            row = measure(
                task,
                epsilon=float(epsilon),
                seeds=asked.seeds,
                modes=asked.modes.split(","),
                masks=asked.masks,
                first=asked.first,
            )
            print(json.dumps({"task": name, **row}) if asked.json else _line(name, row), flush=True)


def _line(name: str, row: Mapping[str, Any]) -> str:
    held = {way: v for way, v in row.items() if isinstance(v, Mapping) and "mean" in v}
    ways = [f"{way} {v['mean']:.3f} ({v['low']:.3f} to {v['high']:.3f}, sd {v['sd']:.3f})" for way, v in held.items()]
    pairs = [f"{pair} {v['mean']:+.3f} ({v['low']:+.3f} to {v['high']:+.3f})" for pair, v in row["above"].items()]
    bits = [f"same bits as the plain loop: {row['same_bits']}"] if "same_bits" in row else []
    return f"{name} epsilon {row['epsilon']:g}, {row['seeds']} seeds\n  " + "\n  ".join(ways + pairs + bits)


if __name__ == "__main__":
    main()
