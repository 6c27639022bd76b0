"""What is known of the simulated patients, found again in synthetic ones: hazard ratios, signs, coverage.

    python -m benchmarks synth_truth [--repeats 100] [--first 0] [--sets 5] [--n 4427] [--options JSON] [--out FILE]
    python -m benchmarks synth_truth --read FILE,FILE        # several parts as one

Every repeat draws other patients (no gaps, no differences between sites), fits `bn` by sums over three sites, draws m
tables of as many patients, and runs the Cox regression that is true for the real ones (with the interaction of TP53 and
a complex karyotype) on each. Coverage: share of 95 % intervals that hold the true coefficient: of the real table, of
one synthetic table as if it were real, of m pooled tables. `twelve` leaves out TP53, complex and their interaction;
`all` does not. Signs: of gene pairs significant in the real table (|z| > 3) the share with the same sign, |z| > 1.64,
in one synthetic table, in the mean of all m, and in as many other real patients: chance alone loses some.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.synth_worlds import joined
from cohortium.data.inference import infer_schema
from cohortium.data.mds_like import GENES, KARYOTYPE, SITES, SPLICING, simulate, truth
from cohortium.data.table import Table
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.facts import Facts
from cohortium.synth.generators.bn import BayesianNetwork
from cohortium.synth.pooling import pool
from cohortium.synth.rows import Rows, rows_of_table
from cohortium.synth.uses.weighted_cox import weighted_cox

__all__ = ["LINKED", "NAMES", "covariates", "one_repeat"]

Floats = NDArray[np.float64]

NAMES = tuple(name for name in truth() if name != "site c")
LINKED = ("TP53", "complex", "TP53 x complex")
_Z = stats.norm.ppf(0.975)


def covariates(rows: Rows) -> Floats:
    """The columns of the true model, in the order of NAMES."""
    made = {
        "age": (rows["age"] - 70) / 10,
        "TP53 x complex": rows["TP53"] * rows["complex"],
        "log_blasts": np.log1p(rows["blasts"]),
        "log_platelets": np.log(np.maximum(rows["platelets"], 1.0)),
    }
    return np.column_stack([made[name] if name in made else rows[name] for name in NAMES])


def patients(seed: int, n: int) -> dict[str, Rows]:
    """Three sites without gaps and differences."""
    sizes = {site: max(round(n * size / sum(SITES.values())), 1) for site, size in SITES.items()}
    table = simulate(seed=seed, sites=sizes, shift=False, missing=False).table
    site = table.texts("site")
    dropped = ("site", "karyotype_risk", "who_class", "risk_score")
    kept = Table({name: held for name, held in table.columns.items() if name not in dropped})
    schema = infer_schema({"all": kept}, outcome={"time": "os_years", "event": "died", "unit": "years"})
    rows = rows_of_table(kept, Facts.of(schema, genes=(*GENES, *KARYOTYPE)))
    return {name: rows.take(site == name) for name in sizes}


def one_repeat(seed: int, *, n: int, sets: int, options: Mapping[str, Any] | None = None) -> dict[str, Floats]:
    """Estimates and errors (coefficients,) of the real table, of one synthetic one, of all pooled; and counts."""
    sites = patients(seed, n)
    real = joined(list(sites.values()))
    generator = BayesianNetwork(facts=real.facts, **(options or {}))
    state = fit_by_sums(generator, list(sites.values()))
    rng = np.random.default_rng([seed, 7])
    drawn = [generator.sample(state, len(real), rng=rng) for _ in range(sets)]
    fits = [weighted_cox(covariates(rows), rows["os_years"], rows["died"]) for rows in (real, *drawn)]
    pooled = pool(
        [fit.coefficients for fit in fits[1:]], [fit.errors**2 for fit in fits[1:]], n_real=len(real),
        n_synthetic=len(real),
    )  # fmt: skip
    return {
        "real": fits[0].coefficients, "real error": fits[0].errors,
        "single": fits[1].coefficients, "single error": fits[1].errors,
        "pooled": pooled.estimate, "pooled error": pooled.error,
        "two splicing genes": np.array([_two_splicing(rows) for rows in drawn], dtype=np.float64),
        "signs of pairs": np.array([_signs_kept(real, [drawn[0]])]),
        "signs of pairs, all sets": np.array([_signs_kept(real, drawn)]),
        "signs of pairs, other real patients": np.array(
            [_signs_kept(real, [joined(list(patients(seed + 100_000, n).values()))])]
        ),
    }  # fmt: skip


def _two_splicing(rows: Rows) -> int:
    """Most patients that carry both genes of one pair of splicing genes."""
    pairs = [(a, b) for k, a in enumerate(SPLICING) for b in SPLICING[:k]]
    return max(int(((rows[a] == 1) & (rows[b] == 1)).sum()) for a, b in pairs)


def _signs_kept(real: Rows, drawn: list[Rows]) -> float:
    """Share of gene pairs with |ln OR / SE| > 3 in the real table whose sign is kept, at the precision of one table.

    Of several tables the mean of the z values is judged: log odds ratios of all, the standard error of one.
    """
    from cohortium.synth.validation.fidelity import kept_signs, pair_z

    genes = (*GENES, *KARYOTYPE)
    z = [pair_z(np.column_stack([rows[name] for name in genes])) for rows in (real, *drawn)]
    return kept_signs(z[0], np.mean(z[1:], axis=0))["kept"]


def summary(runs: list[Mapping[str, Floats]]) -> dict[str, object]:
    """Coverage with Wilson intervals over repeats x coefficients, means of the estimates, signs."""
    true = np.array([truth()[name] for name in NAMES])
    twelve = np.array([name not in LINKED for name in NAMES])
    found: dict[str, object] = {}
    for kind in ("real", "single", "pooled"):
        estimate, error = (np.stack([run[name] for run in runs]) for name in (kind, f"{kind} error"))
        inside = np.abs(estimate - true) <= _Z * error
        for name, which in (("twelve", twelve), ("all", np.ones(len(NAMES), dtype=bool))):
            k, n = int(inside[:, which].sum()), int(inside[:, which].size)
            interval = stats.binomtest(k, n).proportion_ci(method="wilson")
            found[f"{kind} coverage, {name}"] = (k / n, interval.low, interval.high)
        found[f"{kind} by coefficient"] = {
            name: {"true": float(true[j]), "mean": float(estimate[:, j].mean()), "covered": float(inside[:, j].mean())}
            for j, name in enumerate(NAMES)
        }
    strong = (np.abs(true) >= 0.3) & np.array([name != "TP53 x complex" for name in NAMES])
    signs = np.stack([np.sign(run["pooled"]) == np.sign(true) for run in runs])[:, strong]
    found["signs of |ln HR| >= 0.3 kept, pooled"] = float(signs.mean())
    for key in ("signs of pairs", "signs of pairs, all sets", "signs of pairs, other real patients"):
        found[f"{key}, kept"] = float(np.mean([run[key] for run in runs]))
    twice = np.concatenate([run["two splicing genes"] for run in runs])
    found["tables with at most 2 patients with two splicing genes of one pair"] = float((twice <= 2).mean())
    found["most such patients in any table"] = int(twice.max())
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--n", type=int, default=sum(SITES.values()))
    parser.add_argument("--options", default="{}", help="options of bn, as JSON")
    parser.add_argument("--out", default="", help="a file that keeps every repeat")
    parser.add_argument("--read", default="", help="such files, in place of repeats")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    runs: list[Mapping[str, Floats]] = []
    for name in filter(None, given.read.split(",")):
        held = json.loads(Path(name).read_text(encoding="utf-8"))
        runs += [{key: np.array(value) for key, value in run.items()} for run in held]
    for seed in range(given.first, given.first + given.repeats) if not given.read else ():
        runs.append(one_repeat(seed, n=given.n, sets=given.sets, options=json.loads(given.options)))
        if given.out:
            plain = [{key: value.tolist() for key, value in run.items()} for run in runs]
            Path(given.out).write_text(json.dumps(plain), encoding="utf-8")
    found = summary(runs)
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for key, value in found.items():
        if isinstance(value, dict):
            print(f"{key}:")
            for name, one in value.items():
                print(f"  {name:16} true {one['true']:6.2f}  mean {one['mean']:6.3f}  covered {one['covered']:.2f}")
        else:
            print(f"{key}: {value}")


if __name__ == "__main__":
    main()
