"""Harm in real consortia: blood expression (9 sub-series), hearts (4 hospitals), brain MRI (25 scanners).

    python -m benchmarks harm_sites [--sets tb,heart,autism] [--seeds 0-9] [--halves 8] [--json FILE]

tb: nothing wrong; then each sub-series with labels reversed in turn. heart: `agreement`, each hospital reversed in turn
and none. autism: five folds of scanners by falling size, dealt round robin; 0, 3, 6 of the 20 training
scanners reversed, or noise of 1 sd on all features; AUROC on the five unseen scanners with nothing removed, what the
audit leaves, and the oracle.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets import data_folder
from cohortium.core.parameters import Parameters
from cohortium.data.ranks import auroc
from cohortium.data.readers import read
from cohortium.quality.agreement import Agreement
from cohortium.quality.out_of_bag import OutOfBag
from cohortium.quality.pool import scale_of, scale_sums
from cohortium.quality.slots import EXACT, begin, logits, newton, slot_sums

__all__ = ["autism_folds", "load_sites", "main", "reversed_at", "unseen_auroc"]

Site = tuple[NDArray[np.float64], NDArray[np.float64]]
Sites = dict[str, Site]

_FILES = {"tb": "tb_blood_expression.parquet", "heart": "heart_uci.parquet", "autism": "autism_brain_mri.parquet"}
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


def autism(seeds: Sequence[int], *, halves: int) -> dict[str, object]:
    """Status, convictions, site AUROC and AUROC on unseen scanners, by kind and number of harmful scanners."""
    folds, found = autism_folds(load_sites("autism")), {}
    for kind, n in (("none", 0), ("reversed", 3), ("reversed", 6), ("noise", 3), ("noise", 6)):
        rows = []
        for seed in seeds:
            for fold, (training, unseen) in enumerate(folds):
                rng = np.random.default_rng([seed, fold])
                names = [str(name) for name in rng.choice(sorted(training), size=n, replace=False)]
                bad = reversed_at(training, *names) if kind == "reversed" else noisy_at(training, names, rng)
                run = OutOfBag(halves=halves).run(bad, seed=seed)
                rows.append(_autism_row(run, bad, unseen, names))
        known = {key: [row[key] for row in rows if not np.isnan(row[key])] for key in rows[0]}
        means = {key: float(np.mean(values)) for key, values in known.items() if values}
        found[f"{kind} {n}"] = {**means, "runs": len(rows)}
    return found


def _autism_row(run: object, bad: Sites, unseen: Sites, names: Sequence[str]) -> dict[str, float]:
    status, left_out, sites = run.status, run.left_out, run.sites  # type: ignore[attr-defined]
    looked = {name for name, v in sites.items() if v.look or v.left_out}
    kept = {name: one for name, one in bad.items() if name not in left_out}
    harmful = np.array([name in names for name in sorted(bad)])
    own = np.array([[run.posterior(name)] for name in sorted(bad)])  # type: ignore[attr-defined]
    return {
        "inconclusive": float(status == "inconclusive"),
        "good_convicted": float(len(set(left_out) - set(names))),
        "harmful_convicted": float(len(set(left_out) & set(names))),
        "harmful_looked": len(looked & set(names)) / len(names) if names else np.nan,
        "site_auroc": float(auroc(own, harmful)[0]) if names else np.nan,
        "oob_auroc": run.table.auroc,  # type: ignore[attr-defined]
        "slope": run.table.slope,  # type: ignore[attr-defined]
        "unseen_nothing": unseen_auroc(bad, unseen),
        "unseen_audit": unseen_auroc(kept, unseen),
        "unseen_oracle": unseen_auroc({n: one for n, one in bad.items() if n not in names}, unseen),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sets asked for and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="tb,heart,autism")
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--halves", type=int, default=8)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    first, _, last = asked.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    sets = {"tb": tb, "heart": heart, "autism": autism}
    found: dict[str, Mapping[str, object]] = {}
    for name in asked.sets.split(","):
        found[name] = sets[name](seeds, halves=asked.halves)
        print(json.dumps({name: found[name]}, indent=1), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
