"""The 83-centre harm benchmark: the out-of-bag audit on consortia of real patients with known harm.

    python -m benchmarks harm --tasks xray-easy,flchain --scenarios S1,S2,S3,S4 --seeds 0-9 [--json FILE]
    python -m benchmarks harm --quick          2 seeds, xray-easy, S3 and S4

Shape `pd83`. Each row is one task and scenario; figures are means over seeds, in brackets the worst seed. After the
audit the same pooled logistic model is trained anew on what is left and judged on test patients no detector saw:

    nothing   nothing is removed            oracle     exactly the bad records are removed
    audit     as the verdicts say; every site also drops its own records above .95
    look      sites above .5, or whose records look new, are out as well
    unguarded as `look`, without ranking guard, shift, question and novelty condition
    mended    as `audit`, and every repair that was named is made, those of sites that are out as well
    again     as `on_harm = "repair"`: mended records are audited a second time, whose verdicts and repairs count
    again_look  the same, and sites above .5 or with new records are out unless a repair was named
    loss      told how many: sites by their mean out-of-bag loss       outlier  by their mean oddity

Site AUROC is that of the evidence, `guarded` after sites that still rank rightly were set to 0.
S5 is collusion (sites of 83, anchors), S6 (copies and free-riders) belongs to the local gate, S7 is the audit under
differential privacy: nothing is repaired or trained anew there, site AUROC is that of the noisy numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harm_tasks import load_task, seeds_of
from cohortium.core.parameters import Parameters
from cohortium.data.public_scale import PublicScale
from cohortium.data.ranks import auroc
from cohortium.quality.evidence import SiteEvidence, posterior
from cohortium.quality.noisy import posterior as posterior_of_number
from cohortium.quality.noisy_audit import NoisyOutOfBag
from cohortium.quality.out_of_bag import AuditResult, OutOfBag
from cohortium.quality.pool import scale_of, scale_sums
from cohortium.quality.repairs import library
from cohortium.quality.slots import EXACT, begin, logits, newton, slot_sums
from cohortium.sim.harm import Case, Task, World, cases, make_world

__all__ = ["audited", "main", "mended_world", "one_run", "summary", "trained"]

Mask = NDArray[np.bool_]
CONVICT, LOOK = 0.95, 0.5
_WAYS = ("audit", "look", "mended", "again", "again_look", "unguarded", "loss", "outlier")
_LEAST_IS_WORST = {
    "site_auroc", "site_auroc_two", "site_auroc_two_guarded", "site_auroc_20", "precision", "recall_two",
    "recall_two_look", "recall_two_unguarded", "named_two", "record_auroc", "flip_auroc", "flip_top5", "noise_recall",
    "inverted_recall", "listed_precision", "listed_values_precision", "repair", "repair_flip", "noisy_auroc_20",
    "noisy_auroc_20_two", "noisy_recall_20", "noisy_look_20", "strength", "certain",
}  # fmt: skip


def audited(world: World, seed: int) -> AuditResult:
    """The audit as it is: halves by Newton steps."""
    sites = {name: world.examples(world.rows(at)) for at, name in enumerate(world.sites)}
    return OutOfBag(anchors=world.anchors).run(sites, seed=seed)


def one_run(
    task: Task,
    case: Case,
    seed: int,
    *,
    models: bool = True,
    audit: Callable[[World, int], AuditResult] = audited,
) -> dict[str, float | str]:
    """One world audited: figures by name; NaN where a figure has no meaning. models: train anew as well."""
    world = make_world(task, case=case, seed=seed)
    if case.epsilon is not None:
        return _under_noise(world, case.epsilon, seed)
    began = time.process_time()
    result = audit(world, seed)
    figures: dict[str, float | str] = {"seconds": time.process_time() - began, "status": result.status}
    known = _Known(world, result)
    figures |= _of_sites(known) | _of_records(known) | _of_repairs(known)
    figures |= {"steps": result.cost.training_steps_ratio, "transfers": float(result.cost.model_transfers),
                "oob_auroc": result.table.auroc, "slope": result.table.slope}  # fmt: skip
    return figures | (_of_models(known, seed) if models else {})


def _under_noise(world: World, epsilon: float, seed: int) -> dict[str, float | str]:
    """The whole audit under differential privacy: probes, sums and numbers within epsilon; noise from a seed here.

    Ranges of a table's columns are 3 standard deviations to both sides, as a consortium would agree on from elsewhere.
    """
    sites = {name: world.examples(world.rows(at)) for at, name in enumerate(world.sites)}
    audit = NoisyOutOfBag(epsilon=epsilon, scale=PublicScale(ranges=() if world.side else (("*", -3.0, 3.0),)))
    began, noise = time.process_time(), np.random.default_rng([seed, round(1000 * epsilon)])
    result = audit.run(sites, entropy=noise.bytes, seed=seed)
    figures: dict[str, float | str] = {"seconds": time.process_time() - began, "status": result.table.status}
    auditor = audit.auditor(world.sites, next(iter(sites.values())).layout)
    known = auditor.known(result.state)
    told = {one.site: posterior_of_number(one, known) for one in auditor.evidence(result.state)}
    n = np.array([len(world.rows(at)) for at in range(len(world.sites))])
    score = np.array([told.get(name, np.nan) for name in world.sites])
    cases_of = np.array([int(world.y[world.rows(at)].sum()) for at in range(len(n))])
    large, two = n >= 20, np.minimum(cases_of, n - cases_of) >= 3
    verdicts = {one.site: one for one in result.table.verdicts}
    out = np.array([verdicts[name].left_out for name in world.sites])
    look = np.array([verdicts[name].look for name in world.sites]) | out
    good = ~world.harmful & (np.array(world.roles) != "partial")
    found = large & two & world.harmful
    return figures | {
        "noisy_auroc_20": _auroc(score[large], world.harmful[large]),
        "noisy_auroc_20_two": _auroc(score[large & two], world.harmful[large & two]),
        "noisy_recall_20": float(out[found].mean()) if found.any() else np.nan,
        "noisy_look_20": float(look[found].mean()) if found.any() else np.nan,
        "noisy_false": float(out[good].mean()),
        "noisy_false_look": float(look[good].mean()),
        "noisy_minority_lost": float(out[world.site][world.minority].mean()) if world.minority.any() else np.nan,
        "strength": known.strength,
        "certain": known.certain,
    }


class _Known:
    """A world, what the audit said of it, and what every site knows of itself."""

    def __init__(self, world: World, result: AuditResult) -> None:
        self.world, self.result = world, result
        self.names = np.array(world.sites)
        self.n = np.array([len(world.rows(at)) for at in range(len(self.names))])
        cases_of = np.array([int(world.y[world.rows(at)].sum()) for at in range(len(self.names))])
        self.two = np.minimum(cases_of, self.n - cases_of) >= 3
        self.out = np.isin(self.names, result.left_out)
        self.mended = np.array([bool(result.sites[name].repair) for name in world.sites])
        scored = result.status == "decided"
        self.posterior = np.array([result.posterior(name) if scored else 0.0 for name in self.names])
        told = [result.sites[name].look for name in world.sites]
        self.look = (self.posterior > LOOK) | np.array(told)
        self.evidence = self.posterior.copy()  # as if nobody were protected: what the site AUROC is about
        judged = result.judged() if scored else None
        self.suspicion = np.zeros(len(world.y)) if judged is None else judged.suspicion
        self.deformed = np.zeros(len(world.y), dtype=bool) if judged is None else judged.deformed
        self.loss = np.zeros(len(self.n))
        self.oddity = np.zeros(len(self.n))
        self.unguarded = np.zeros(len(self.n), dtype=bool)
        if judged is not None:
            for at in range(len(self.n)):
                rows, told = world.rows(at), judged.sites[at].evidence
                self.evidence[at] = posterior(told)
                self.loss[at] = float(np.logaddexp(0.0, -judged.margin[rows]).mean())
                self.oddity[at] = float(judged.oddity[rows].mean())
                plain = SiteEvidence(n=told.n, two_class=True, sound=told.sound, reversed=told.reversed, shifted=0.0,
                                     novelty=told.novelty)  # fmt: skip
                self.unguarded[at] = posterior(plain) > LOOK

    def role(self, *names: str) -> Mask:
        return np.array([role in names for role in self.world.roles])


def _of_sites(k: _Known) -> dict[str, float]:
    harmful, enough = k.world.harmful, k.n >= 5
    good = ~harmful & ~k.role("partial")
    minority = k.world.minority

    def share(chosen: Mask, of: Mask) -> float:
        return float((chosen & of).sum() / of.sum()) if of.any() else np.nan

    def lost(out: Mask) -> float:
        return share(out[k.world.site], minority)

    return {
        "site_auroc": _auroc(k.evidence, harmful),
        "site_auroc_two": _auroc(k.evidence[k.two], harmful[k.two]),
        "site_auroc_20": _auroc(k.evidence[k.n >= 20], harmful[k.n >= 20]),
        "site_auroc_two_guarded": _auroc(k.posterior[k.two], harmful[k.two]),
        "precision": float((~good)[k.out].mean()) if k.out.any() else np.nan,
        "recall_two": share(k.out, harmful & k.two & enough),
        "recall_two_look": share(k.look, harmful & k.two & enough),
        "recall_two_unguarded": share(k.unguarded, harmful & k.two & enough),
        "named_two": share(k.out | k.mended, harmful & k.two & enough),
        "false": share(k.out, good),
        "false_look": share(k.look, good),
        "false_unguarded": share(k.unguarded, good),
        "false_scanner": share(k.out, k.role("scanner")),
        "false_one_class": share(k.out, good & ~k.two),
        "minority_lost": lost(k.out),
        "minority_lost_look": lost(k.look),
        "minority_lost_unguarded": lost(k.unguarded),
        "questions": float(sum(bool(v.question) for v in k.result.table.verdicts)),
    }


def _of_records(k: _Known) -> dict[str, float]:
    sound = ~k.world.harmful[k.world.site]
    bad = k.world.bad
    inside = sound & ~np.isin(k.world.site, np.flatnonzero(k.look))
    ranked, top = [], []
    for at in np.flatnonzero(~k.world.harmful):
        rows = k.world.rows(at)
        wrong = k.world.fault[rows] == "flip"
        if wrong.any() and not wrong.all():
            own = k.suspicion[rows]
            ranked.append(_auroc(own, wrong))
            first = np.argsort(-own, kind="stable")[: max(1, round(0.05 * len(rows)))]
            top.append(float(wrong[first].sum() / wrong.sum()))
    listed = (k.suspicion > LOOK) & inside
    values = listed & k.deformed
    noise, turned = ((k.world.fault == fault) & inside for fault in ("noise", "inverted"))
    return {
        "record_auroc": _auroc(np.maximum(k.suspicion, k.posterior[k.world.site]), bad),
        "flip_auroc": float(np.mean(ranked)) if ranked else np.nan,
        "flip_top5": float(np.mean(top)) if top else np.nan,
        "noise_recall": float(listed[noise].mean()) if noise.any() else np.nan,
        "inverted_recall": float(listed[turned].mean()) if turned.any() else np.nan,
        "listed_precision": float(bad[listed].mean()) if listed.any() else np.nan,
        "listed_values_precision": float(bad[values].mean()) if values.any() else np.nan,
    }


def _of_repairs(k: _Known) -> dict[str, float]:
    """Right repairs among sites of five records and more whose fault has one; wrong ones among good sites."""
    right, wrong, good = [], 0, 0
    for at, name in enumerate(k.names):
        if k.n[at] < 5:
            continue
        repair, role = k.result.sites[name].repair, k.world.roles[at]
        if not k.world.harmful[at]:
            good, wrong = good + 1, wrong + bool(repair)
        elif role == "flip" and k.two[at]:
            right.append(repair == "label-polarity")
        elif k.world.side and role in ("inverted", "preparation"):
            right.append(repair == {"inverted": "intensity", "preparation": "rotate-270"}[role])
    flips = [k.result.sites[n].repair == "label-polarity" for at, n in enumerate(k.names)
             if k.world.roles[at] == "flip" and k.two[at] and k.n[at] >= 5]  # fmt: skip
    return {
        "repair": float(np.mean(right)) if right else np.nan,
        "repair_flip": float(np.mean(flips)) if flips else np.nan,
        "repair_wrong": wrong / good if good else np.nan,
    }


def _of_models(k: _Known, seed: int) -> dict[str, float]:
    world = k.world
    dropped = k.suspicion > CONVICT
    n_harmful = int(world.harmful.sum())

    def worst(score: NDArray[np.float64]) -> Mask:
        out = np.zeros(len(score), dtype=bool)
        out[np.argsort(-score, kind="stable")[:n_harmful]] = True
        return out

    kept: Mapping[str, Mask] = {
        "nothing": np.ones(len(world.y), dtype=bool),
        "oracle": ~world.bad,
        "audit": ~k.out[world.site] & ~dropped,
        "look": ~(k.out | k.look)[world.site] & ~dropped,
        "unguarded": ~k.unguarded[world.site] & ~dropped,
        "loss": ~worst(k.loss)[world.site],
        "outlier": ~worst(k.oddity)[world.site],
    }
    found: dict[str, float] = {}
    for name, rows in kept.items():
        score = trained(world, rows & ~world.held_out)
        found[f"test_{name}"] = _auroc(score(world.test_x), world.test_y == 1)
        found[f"minority_{name}"] = _auroc(score(world.minority_x), world.minority_y == 1)
    mended = mended_world(world, k.result)
    second = _Known(mended, audited(mended, seed + 1000))
    again = mended_world(mended, second.result)
    dropped_again = second.suspicion > CONVICT
    for name, trained_on, rows in (
        ("mended", mended, (~k.out | k.mended)[world.site] & ~dropped),
        ("again", again, (~second.out | second.mended)[world.site] & ~dropped_again),
        ("again_look", again, (~(second.out | second.look) | second.mended)[world.site] & ~dropped_again),
    ):
        score = trained(trained_on, rows & ~world.held_out)
        found[f"test_{name}"] = _auroc(score(world.test_x), world.test_y == 1)
        found[f"minority_{name}"] = _auroc(score(world.minority_x), world.minority_y == 1)
    good = ~world.harmful & ~k.role("partial")
    found["false_again"] = float(second.out[good].mean())
    found["steps_again"] = k.result.cost.training_steps_ratio + second.result.cost.training_steps_ratio
    return found


def mended_world(world: World, result: AuditResult) -> World:
    """The world after every repair that the verdicts name."""
    x, y = world.x.copy(), world.y.copy()
    for at, name in enumerate(world.sites):
        if found := result.sites[name].repair:
            rows = world.rows(at)
            own = world.examples(rows)
            done = next(one for one in library(own.layout) if one.name == found).apply(own)
            x[rows] = np.asarray(done.x, dtype=np.float64).reshape(len(rows), -1)
            y[rows] = np.asarray(done.y).astype(np.int8)
    return replace(world, x=x, y=y)


def trained(world: World, rows: Mask) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A pooled logistic model (C = .1) on these rows, as the audit's probes are trained; scores of any records."""
    x, y = world.x[rows], world.y[rows].astype(np.float64)
    scale = scale_of(Parameters(scale_sums(x)))
    fixed, everyone = scale.fixed(x), np.ones((len(y), 1), dtype=bool)
    slots = begin(1, x.shape[1], rng=np.random.default_rng(0))
    while not slots.done.all():
        slots = newton(slots, Parameters(slot_sums(fixed, y, np.ones(len(y)), everyone, slots)), settled=EXACT)
    return lambda other: logits(scale.fixed(other), slots.point)[:, 0]


def _auroc(score: NDArray[np.float64], positive: Mask) -> float:
    if positive.all() or not positive.any():
        return np.nan
    return float(auroc(score[:, None], positive)[0])


def summary(runs: Sequence[Mapping[str, float | str]]) -> dict[str, object]:
    """Mean and worst of every figure over seeds; recovered shares of the means."""
    found: dict[str, object] = {"seeds": len(runs), "inconclusive": sum(r["status"] == "inconclusive" for r in runs)}
    for name in runs[0]:
        if name == "status":
            continue
        values = np.array([float(r[name]) for r in runs])
        known = values[~np.isnan(values)]
        if len(known):
            models = name.startswith(("test_", "minority_")) and not name.startswith("minority_lost")
            worst = known.min() if models or name in _LEAST_IS_WORST else known.max()
            found[name] = [round(float(known.mean()), 4), round(float(worst), 4), round(float(known.std()), 4)]
    means = {name: value[0] for name, value in found.items() if isinstance(value, list)}
    if "test_oracle" not in means:
        return found
    gain = means["test_oracle"] - means["test_nothing"]
    of_seeds = {name: np.array([float(run[f"test_{name}"]) for run in runs]) for name in ("nothing", "oracle", *_WAYS)}
    gains = of_seeds["oracle"] - of_seeds["nothing"]
    enough = gains >= 0.01
    found["seeds_with_gain"] = int(enough.sum())
    for name in _WAYS:
        share = (of_seeds[name] - of_seeds["nothing"])[enough] / gains[enough]
        found[f"recovered_{name}"] = None if gain <= 0.002 else [
            round((means[f"test_{name}"] - means["test_nothing"]) / gain, 3),
            round(float(share.min()), 3) if len(share) else None,
        ]  # fmt: skip
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked; print one block a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="xray-easy,flchain")
    parser.add_argument("--scenarios", default="S1,S2,S3,S4")
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sites-only", action="store_true", help="who is found; train no model on what is left")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    if asked.quick:
        asked.tasks, asked.scenarios, asked.seeds = "xray-easy", "S3,S4", "0-1"
    table: dict[str, dict[str, object]] = {}
    for name in asked.tasks.split(","):
        task = load_task(name)
        for case in (case for scenario in asked.scenarios.split(",") for case in cases(scenario)):
            runs = [one_run(task, case, seed, models=not asked.sites_only) for seed in seeds_of(asked.seeds)]
            table[f"{name} {case.label}"] = {**summary(runs), "runs": runs}
            _print(f"{name} {case.label}", table[f"{name} {case.label}"])
            if asked.json:
                asked.json.write_text(json.dumps(table, indent=1, allow_nan=True), encoding="utf-8")
    return 0


def _print(title: str, row: Mapping[str, object]) -> None:
    print(f"\n{title}: {row['seeds']} seeds, {row['inconclusive']} inconclusive")
    for name, value in row.items():
        if isinstance(value, list) and name != "runs":
            print(f"  {name:26} {value[0]:8.3f} [{'-' if value[1] is None else format(value[1], '.3f')}]")
        elif name.startswith(("recovered", "seeds_with")):
            print(f"  {name:26} {value}")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
