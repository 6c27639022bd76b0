"""Harm in real consortia: blood expression (9 sub-series), hearts (4 hospitals), brain MRI (25 scanners).

    python -m benchmarks harm_sites [--sets tb,tb-unseen,heart,autism] [--seeds 0-9] [--halves 8] [--passes 2]
        [--embedding raw] [--json FILE]

tb: nothing wrong; then each sub-series with labels reversed in turn. tb-unseen: each two-class sub-series is kept for
the test in turn, one or two of the others are reversed at random; AUROC there of a model trained with nothing wrong,
with what is wrong, and with the repairs that were named and whoever is convicted without one left out; and how often
each detector named the reversed ones, by their share of the patients of two-class sub-series. heart:
`agreement`, each hospital reversed in turn and none. autism: five folds of scanners by falling size, dealt round robin;
0, 3, 6 of the 20 training scanners reversed, with noise of 1 sd on all features, or with a third of the columns in
another unit; AUROC on the five unseen scanners with nothing removed, what the audit leaves, and the oracle; no repairs
are tried. --embedding, what the probe sees: columns as they are, scaled by each scanner itself, 20 directions of all,
or 200 random rectified units on those.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import data_folder
from benchmarks.harm_tasks import seeds_of
from cohortium.core.parameters import Parameters
from cohortium.data.ranks import auroc
from cohortium.data.readers import read
from cohortium.quality.agreement import Agreement
from cohortium.quality.gate_units import likely_factor
from cohortium.quality.out_of_bag import AuditResult, OutOfBag
from cohortium.quality.pool import scale_of, scale_sums
from cohortium.quality.repairs import FACTORS
from cohortium.quality.slots import EXACT, begin, logits, newton, slot_sums

__all__ = ["autism_folds", "by_share", "load_sites", "main", "reversed_at", "unseen_auroc"]

Site = tuple[NDArray[np.float64], NDArray[np.float64]]
Sites = dict[str, Site]

_FILES = {"tb": "tb_blood_expression.parquet", "heart": "heart_uci.parquet", "autism": "autism_brain_mri.parquet"}
_SHARES = (0.2, 0.35, 0.5)
_NO_FEATURE = {"label", "site", "status", "study", "num", "qc"}


def load_sites(name: str) -> Sites:
    """x (n, d) with NaN where missing, y (n,), by site. Raises FileNotFoundError where the data are absent."""
    folder = data_folder()
    if folder is None:
        raise FileNotFoundError("no data folder: set COHORTIUM_DATA")
    table = read(folder / _FILES[name])
    columns = []
    for column in table.names:
        if column not in _NO_FEATURE:
            texts = column == "sex" and name == "autism"
            values = (table.texts(column) == "M") if texts else np.asarray(table.column(column))
            columns.append(values.astype(np.float64))
    x, y, site = np.column_stack(columns), np.asarray(table.column("label"), dtype=np.float64), table.texts("site")
    return {str(one): (x[site == one], y[site == one]) for one in sorted(set(site.tolist()))}


def reversed_at(sites: Sites, *names: str) -> Sites:
    """The same sites, the named ones with labels reversed."""
    return {name: (x, 1.0 - y) if name in names else (x, y) for name, (x, y) in sites.items()}


def noisy_at(sites: Sites, names: Sequence[str], rng: np.random.Generator) -> Sites:
    """The same sites, the named ones with noise of one standard deviation on every feature."""
    sd = np.nanstd(np.concatenate([x for x, _ in sites.values()]), axis=0)
    return {n: (x + rng.normal(size=x.shape) * sd, y) if n in names else (x, y) for n, (x, y) in sites.items()}


def units_at(sites: Sites, names: Sequence[str], rng: np.random.Generator) -> Sites:
    """The same sites, at the named ones a third of the columns in another unit: one factor of the gate."""
    found = dict(sites)
    for name in names:
        x, y = sites[name]
        wrong, factor = rng.random(x.shape[1]) < 1 / 3, float(rng.choice(FACTORS)) ** int(rng.choice((-1, 1)))
        found[name] = (np.where(wrong, x * factor, x), y)
    return found


HARMS = ("none-0", "reversed-3", "reversed-6", "noise-3", "noise-6", "units-3", "units-6")


def autism_folds(sites: Sites) -> list[tuple[Sites, Sites]]:
    """Five folds of scanners: by falling size (ties: lower number), dealt round robin; (training, unseen)."""
    order = sorted(sites, key=lambda name: (-len(sites[name][1]), int(float(name))))
    return [({n: sites[n] for k, n in enumerate(order) if k % 5 != fold},
             {n: sites[n] for k, n in enumerate(order) if k % 5 == fold}) for fold in range(5)]  # fmt: skip


def unseen_auroc(training: Sites, unseen: Sites) -> float:
    """A logistic model (C = .1) of the training sites, on all patients of the unseen ones."""
    x, y = (np.concatenate([one[k] for one in training.values()]) for k in (0, 1))
    scale = scale_of(Parameters(scale_sums(x)))
    slots = begin(1, x.shape[1], rng=np.random.default_rng(0))
    fixed, ones = scale.fixed(x), np.ones(len(y))
    while not slots.done.all():
        answer = slot_sums(fixed, y, ones, np.ones((len(y), 1), dtype=bool), slots)
        slots = newton(slots, Parameters(answer), settled=EXACT)
    other, labels = (np.concatenate([one[k] for one in unseen.values()]) for k in (0, 1))
    return float(auroc(logits(scale.fixed(other), slots.point), labels == 1)[0])


def tb(seeds: Sequence[int], *, halves: int) -> dict[str, object]:
    """False convictions with nothing wrong, and how each reversed sub-series ends."""
    sites, audit = load_sites("tb"), OutOfBag(halves=halves)
    clean = [audit.run(sites, seed=seed) for seed in seeds]
    ends: dict[str, Counter[str]] = {}
    wrong = 0
    for name in sites:
        runs = [audit.run(reversed_at(sites, name), seed=seed) for seed in seeds]
        wrong += sum(any(other != name for other in run.left_out) for run in runs)
        ends[name] = Counter(_ending(run.status, run.sites[name]) for run in runs)
    return {
        "clean_convicted": sum(len(run.left_out) for run in clean),
        "clean_status": Counter(run.status for run in clean),
        "reversed": ends,
        "wrong_site_convicted_runs": wrong,
        "runs": len(sites) * len(seeds),
    }


def tb_unseen(seeds: Sequence[int], *, halves: int) -> dict[str, object]:
    """AUROC on an unseen two-class sub-series before and after the named repairs, by detector and number reversed."""
    sites, audit = load_sites("tb"), OutOfBag(halves=halves)
    detectors = {"out-of-bag": lambda bad, seed: audit.run(bad, seed=seed).table,
                 "agreement": lambda bad, seed: Agreement().run(bad, seed=seed)}  # fmt: skip
    two = [name for name, (_, y) in sites.items() if min(y.sum(), len(y) - y.sum()) >= 3]
    found: dict[str, object] = {}
    told: dict[str, list[Mapping[str, float]]] = {detector: [] for detector in detectors}
    for detector, number in ((detector, number) for detector in detectors for number in (1, 2)):
        rows = []
        for at, unseen in enumerate(two):
            training, test = {n: one for n, one in sites.items() if n != unseen}, {unseen: sites[unseen]}
            clean = unseen_auroc(training, test)
            for seed in seeds:
                rng = np.random.default_rng([seed, at, number])
                names = {str(n) for n in rng.choice([n for n in two if n != unseen], size=number, replace=False)}
                bad = reversed_at(training, *names)
                table = detectors[detector](bad, seed)
                named = {one.site for one in table.verdicts if one.repair == "label-polarity"}
                out = {one.site for one in table.verdicts if one.left_out} - named
                after = unseen_auroc(reversed_at({n: one for n, one in bad.items() if n not in out}, *named), test)
                patients = {name: len(training[name][1]) for name in two if name != unseen}
                rows.append({
                    "share": sum(patients[name] for name in names) / sum(patients.values()),
                    "named": len(named & names) / number,
                    "inconclusive": float(table.status == "inconclusive"),
                    "wrong": float(len((named | out) - names)),
                    "clean": clean, "nothing": unseen_auroc(bad, test), "mended": after, "lost": clean - after,
                })  # fmt: skip
        means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        found[f"{detector}, {number} reversed"] = {
            **means, "most_lost": max(row["lost"] for row in rows), "runs": len(rows),
        }  # fmt: skip
        told[detector] += rows
    return found | {f"{detector}, by share of reversed patients": by_share(rows) for detector, rows in told.items()}


def by_share(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Share of runs in which all reversed sites were named, nobody could be, or another was; by share of patients.

    rows: share of reversed patients, `named` of the reversed sites, `inconclusive` and `wrong` sites of each run.
    """
    found = {}
    for low, high in pairwise((0.0, *_SHARES, 1.0)):
        held = [row for row in rows if low <= row["share"] < high]
        if held:
            found[f"{low:g} to {high:g}"] = {
                "named": float(np.mean([row["named"] == 1 for row in held])),
                "inconclusive": float(np.mean([row["inconclusive"] for row in held])),
                "another": float(np.mean([row["wrong"] > 0 for row in held])),
                "runs": len(held),
            }
    return found


def _ending(status: str, verdict: object) -> str:
    if status == "inconclusive":
        return status
    kind, repair, asked = (getattr(verdict, name) for name in ("kind", "repair", "question"))
    return f"{kind}{': ' + repair if repair else ''}{' + question' if asked else ''}"


def heart(seeds: Sequence[int], *, halves: int) -> dict[str, object]:
    """`agreement`: who is named with each hospital reversed in turn, and with none; seeds only move the start."""
    sites = load_sites("heart")
    found: dict[str, Counter[str]] = {}
    for name in ("nobody", *sites):
        tables = [Agreement().run(reversed_at(sites, name), seed=seed) for seed in seeds]
        found[name] = Counter(",".join(v.site for v in table.verdicts if v.left_out) for table in tables)
    return {"agreement": found}


def autism(
    seeds: Sequence[int], *, halves: int, embedding: str = "raw", passes: int = 2, harms: Sequence[str] = HARMS
) -> dict[str, object]:
    """Status, convictions, site AUROC and AUROC on unseen scanners, by kind and number of harmful scanners."""
    folds, found = autism_folds(load_sites("autism")), {}
    audit = OutOfBag(halves=halves, passes=passes)
    for harm in harms:
        kind, n = harm.split("-")[0], int(harm.split("-")[1])
        rows = []
        for seed in seeds:
            for fold, (training, unseen) in enumerate(folds):
                rng = np.random.default_rng([seed, fold])
                names = [str(name) for name in rng.choice(sorted(training), size=n, replace=False)]
                bad = _harmed(training, names, kind, rng)
                run = audit.run(EMBEDDINGS[embedding](bad), seed=seed, repairs=())
                rows.append({**_autism_row(run, bad, unseen, names), **_gate_row(bad, names)})
        known = {key: [row[key] for row in rows if not np.isnan(row[key])] for key in rows[0]}
        means = {key: round(float(np.mean(values)), 4) for key, values in known.items() if values}
        found[f"{kind} {n}"] = {**means, "runs": len(rows)}
        print(json.dumps({f"{embedding} {kind} {n}": found[f"{kind} {n}"]}), flush=True)
    return found


def _harmed(training: Sites, names: Sequence[str], kind: str, rng: np.random.Generator) -> Sites:
    if kind == "reversed":
        return reversed_at(training, *names)
    return units_at(training, names, rng) if kind == "units" else noisy_at(training, names, rng)


def _scaled(sites: Sites) -> Sites:
    """Every scanner's columns by its own mean and standard deviation; missing values at the mean."""
    found = {}
    for name, (x, y) in sites.items():
        sd = np.nanstd(x, axis=0)
        found[name] = (np.nan_to_num((x - np.nanmean(x, axis=0)) / np.where(sd > 0, sd, 1.0)), y)
    return found


def _components(sites: Sites, *, number: int = 20) -> Sites:
    """Leading directions of all scanners together, after each was scaled by itself."""
    scaled = _scaled(sites)
    directions = np.linalg.svd(np.concatenate([x for x, _ in scaled.values()]), full_matrices=False)[2][:number]
    return {name: (x @ directions.T, y) for name, (x, y) in scaled.items()}


def _units_of_net(sites: Sites, *, number: int = 200) -> Sites:
    """A layer of random rectified units on those directions: a probe that is not linear in the columns."""
    held, rng = _components(sites), np.random.default_rng(0)
    sd = np.concatenate([x for x, _ in held.values()]).std(axis=0)
    weights, offset = rng.normal(size=(len(sd), number)) / np.sqrt(len(sd)), rng.normal(size=number)
    return {name: (np.maximum((x / sd) @ weights + offset, 0.0), y) for name, (x, y) in held.items()}


EMBEDDINGS: Mapping[str, Callable[[Sites], Sites]] = {
    "raw": lambda sites: sites, "scaled": _scaled, "components": _components, "net": _units_of_net,
}  # fmt: skip


def _gate_row(bad: Sites, names: Sequence[str]) -> dict[str, float]:
    """Scanners whose medians the local gate `units` warns of, of the harmed ones and of the others."""
    middle = np.nanmedian(np.concatenate([x for x, _ in bad.values()]), axis=0)
    warned = {}
    for name, (x, _) in bad.items():
        own = np.nanmedian(x, axis=0)
        warned[name] = any(likely_factor(float(a), float(b)) is not None for a, b in zip(own, middle, strict=True))
    others = [warned[name] for name in bad if name not in names]
    return {"gate_warned": float(np.mean([warned[n] for n in names])) if names else np.nan,
            "gate_warned_good": float(np.mean(others))}  # fmt: skip


def _autism_row(run: AuditResult, bad: Sites, unseen: Sites, names: Sequence[str]) -> dict[str, float]:
    sites, left_out = run.sites, run.left_out
    looked = {name for name, v in sites.items() if v.look or v.left_out}
    good = len(bad) - len(names)
    kept = {name: one for name, one in bad.items() if name not in left_out}
    harmful = np.array([name in names for name in sorted(bad)])
    own = np.array([[run.posterior(name)] for name in sorted(bad)])
    nothing = unseen_auroc(bad, unseen)
    judged, at = run.judged(), {name: k for k, name in enumerate(sorted(bad))}
    new = np.array([[float(judged.oddity[_rows(bad, name)].mean())] for name in at])
    return {
        "inconclusive": float(run.status == "inconclusive"),
        "good_convicted": float(len(set(left_out) - set(names))),
        "harmful_convicted": float(len(set(left_out) & set(names))),
        "harmful_looked": len(looked & set(names)) / len(names) if names else np.nan,
        "good_looked": len(looked - set(names)) / good,
        "site_auroc": float(auroc(own, harmful)[0]) if names else np.nan,
        "site_auroc_new": float(auroc(new, harmful)[0]) if names else np.nan,
        "oob_auroc": run.table.auroc,
        "slope": run.table.slope,
        "unseen_nothing": nothing,
        "unseen_audit": unseen_auroc(kept, unseen) if left_out else nothing,
        "unseen_oracle": unseen_auroc({n: one for n, one in bad.items() if n not in names}, unseen),
    }


def _rows(sites: Sites, name: str) -> slice:
    """Where a site's records stand in an audit of all: by sorted name."""
    before = sum(len(sites[one][1]) for one in sorted(sites) if one < name)
    return slice(before, before + len(sites[name][1]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sets asked for and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="tb,tb-unseen,heart,autism")
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--halves", type=int, default=8)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--embedding", choices=sorted(EMBEDDINGS), default="raw")
    parser.add_argument("--harms", default=",".join(HARMS), help="of autism: kind and number of scanners")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    seeds = seeds_of(asked.seeds)
    sets = {
        "tb": tb,
        "tb-unseen": tb_unseen,
        "heart": heart,
        "autism": partial(autism, embedding=asked.embedding, passes=asked.passes, harms=asked.harms.split(",")),
    }
    found: dict[str, Mapping[str, object]] = {}
    for name in asked.sets.split(","):
        found[name] = sets[name](seeds, halves=asked.halves)
        print(json.dumps({name: found[name]}, indent=1), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
