"""Synthetic patients as in the published study (Asti et al. 2025): settings, strategies and generators over seeds.

    python -m benchmarks synth_mds [--data sim,aml,mds,tcga] [--generators bn] [--seeds 5] [--jobs 1]
    python -m benchmarks synth_mds --data sim --generators bn,copula,vae_bgm --out sim.json
    python -m benchmarks synth_mds --table sim.json aml.json        # the target table from earlier runs

Each document is that of `cohortium synth bench --json`. `tcga` has six regions and no genes; `mds` is one registry in
three random parts of 60, 30 and 10 %; AML patients that were not genotyped are left out: their 0 means nobody looked.
Published: CSF 0.942, GSF 0.902 (other patients, other formulas). Gains and losses are paired by seed; intervals are
Student's t over seeds. AML by its 45 centres: tests/end_to_end/test_synth_exact.py, federated is central there, too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets import DATASETS, data_folder
from benchmarks.synth_worlds import genes_of
from cohortium.core.study import Study
from cohortium.core.study_text import study_of
from cohortium.data.mds_like import simulate
from cohortium.data.partition import by_column, take
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.sim.synth_bench import bench, parted
from cohortium.sim.synth_tables import demo_study

WORLDS = ("sim", "aml", "mds", "tcga")
STRATEGIES = ("exact", "fedavg", "sharing", "weighted", "ensemble", "cyclic")
PUBLISHED = {"classic.csf": "0.942", "classic.gsf": "0.902"}
TARGETS = {  # goal and moonshot of the design, by data and figure
    ("sim", "classic.csf"): (">= 0.97", ""), ("sim", "classic.gsf"): (">= 0.94", ""),
    ("mds", "classic.csf"): (">= 0.96", ""), ("mds", "classic.gsf"): (">= 0.94", ""),
    ("aml", "classic.csf"): (">= 0.96", ""), ("aml", "classic.gsf"): (">= 0.91", ""),
    ("sim", "csf.skill"): (">= 0.90", ">= 0.95"), ("sim", "gsf.skill"): (">= 0.85", ">= 0.95"),
    ("mds", "csf.skill"): (">= 0.85", ">= 0.95"), ("mds", "gsf.skill"): (">= 0.85", ">= 0.95"),
    ("aml", "csf.skill"): (">= 0.90", ">= 0.95"), ("aml", "gsf.skill"): (">= 0.70", ">= 0.95"),
    ("sim", "c2st"): ("<= 0.55", "<= 0.55"), ("aml", "c2st"): ("<= 0.55", "<= 0.55"),
    ("mds", "c2st"): ("<= 0.62", "<= 0.55"),
    **{(data, "survival.km_gap"): ("<= 0.02", "<= 0.008") for data in ("sim", "aml", "mds")},
    **{(data, "survival.tstr_less_trtr"): (">= -0.015", ">= -0.005") for data in ("sim", "aml", "mds")},
}  # fmt: skip
FIGURES = {
    "csf.skill": "CSF skill", "gsf.skill": "GSF skill", "classic.csf": "classic CSF", "classic.gsf": "classic GSF",
    "c2st": "real against synthetic, AUC", "survival.tstr_less_trtr": "TSTR - TRTR", "survival.km_gap": "KM gap",
}  # fmt: skip
_MDS_SHARES = (0.6, 0.3)


def consortium_of(name: str, partition: str, seed: int) -> tuple[Mapping[str, Table], Study]:
    """Tables by site, and the study. Raises FileNotFoundError where a file is absent."""
    if name == "sim":
        table = simulate(seed=seed).table
        return parted(table, site_column="site", partition=partition, seed=seed), demo_study(seed=seed)
    task = DATASETS[{"aml": "aml-trial"}.get(name, name)]
    folder = data_folder()
    if folder is None or not (folder / task.file).is_file():
        raise FileNotFoundError(f"no {task.file}: set COHORTIUM_DATA")
    table = task.prepare(read(folder / task.file))
    if "genotyped" in table:
        table = table.take(table.column("genotyped") == 1)
    column = task.site_column
    genes, rare = genes_of(table)
    plan = study_of(
        {
            "study": {"name": name, "outcome": task.outcome,
                      "exclude": sorted({*task.exclude, *rare} - {column})},
            "synth": {"genes": genes},
            "evaluation": {"seed": seed},
        }
    )  # fmt: skip
    if name == "mds":
        order = np.random.default_rng([seed, 23]).permutation(len(table))
        cuts = np.cumsum([int(share * len(table)) for share in _MDS_SHARES])
        rows = {f"part-{k + 1}": np.sort(part) for k, part in enumerate(np.split(order, cuts))}
        return take(table, rows, without=[column]), plan
    if partition != "natural":
        return parted(table, site_column=column, partition=partition, seed=seed), plan
    return take(table, by_column(table, column), without=[column]), plan


def target_table(documents: list[Mapping[str, Any]]) -> str:
    """Markdown: every figure by data, generator and setting, with interval, published value, goal and moonshot."""
    lines = ["| data | generator | setting | figure | ours (95 % interval) | published | goal | moonshot |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for document in documents:
        for generator, settings in document["by_generator"].items():
            for setting in ("federated", "central"):
                for figure in FIGURES:
                    shown = shown_figure(settings.get(setting, {}), figure)
                    if shown and (setting == "federated" or generator not in ("bn", "copula")):
                        goal, moonshot = TARGETS.get((document["data"], figure), ("", ""))
                        lines.append(f"| {document['data']} | {generator} | {setting} | {figure} | {shown} |"
                                     f" {PUBLISHED.get(figure, '')} | {goal} | {moonshot} |")  # fmt: skip
    return "\n".join(lines)


def settings_table(documents: list[Mapping[str, Any]]) -> str:
    """Markdown: one line a data, generator and setting; mean, and half of its 95 % interval."""
    lines = [f"| data | generator | setting | {' | '.join(FIGURES.values())} |", "|---" * (len(FIGURES) + 3) + "|"]
    for document in documents:
        for generator, settings in document["by_generator"].items():
            for setting, held in settings.items():
                if isinstance(held, dict) and "classic" in held and setting not in ("exact", "fedavg"):
                    shown = [shown_figure(held, figure, short=True) for figure in FIGURES]
                    lines.append(f"| {document['data']} | {generator} | {setting} | {' | '.join(shown)} |")
    return "\n".join(lines)


def shown_figure(held: Mapping[str, Any], figure: str, *, short: bool = False) -> str:
    """A figure with its interval, or half of it; empty where it was not measured."""
    *path, last = figure.split(".")
    for step in path:
        held = held.get(step, {})
    if last not in held:
        return ""
    low, high = held["intervals"][last]
    mean = f"{held[last]:{'+' if '_less_' in last else ''}.3f}"
    if low == high:
        return mean
    return f"{mean} ± {(high - low) / 2:.3f}" if short else f"{mean} ({low:.3f} to {high:.3f})"


def gains(documents: list[Mapping[str, Any]]) -> str:
    """Lines for people: loss by strategy, gain by site, gates."""
    lines = []
    for document in documents:
        for generator, settings in document["by_generator"].items():
            where = f"{document['data']} {generator}"
            for setting, losses in settings.get("loss", {}).items():
                lines += [f"{where} loss {key} {setting}: {one['value']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f})"
                          for key, one in losses.items()]  # fmt: skip
            for site, keys in settings.get("gain", {}).items():
                shown = ", ".join(
                    f"{key} {kind} {one[kind]:+.3f} ({one['intervals'][kind][0]:+.3f} to"
                    f" {one['intervals'][kind][1]:+.3f})"
                    for key, one in keys.items()
                    for kind in ("score", "skill")
                    if kind in one
                )
                lines.append(f"{where} gain of site {site} (n = {document['sites'].get(site)}): {shown}")
            lines += [f"{where} gate {name}: {sites}" for name, sites in settings.get("passed_gate", {}).items()]
            lines += [f"{where} left out {name}: {why}" for name, why in settings.get("refused", {}).items()]
            lines.append(f"{where} federated equals central: {settings.get('federated_equals_central')}")
    return "\n".join(lines)


def main() -> None:
    """Run, or show earlier runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=",".join(WORLDS), help="%(default)s")
    parser.add_argument("--generators", default="bn", help="bn, copula, marginal_dp, vae_bgm, ctgan; default bn")
    parser.add_argument("--strategies", default=",".join(STRATEGIES), help="%(default)s; what cannot be is told")
    parser.add_argument("--settings", default="central,isolated,federated", help="%(default)s")
    parser.add_argument("--partition", default="natural", help="natural, iid or uneven")
    parser.add_argument("--seeds", type=int, default=5, help="how many, from 0 on; default 5")
    parser.add_argument("--draws", type=int, default=3, help="tables drawn of every generator; default 3")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the work")
    parser.add_argument("--out", type=Path, default=None, help="a file for the documents, as JSON")
    parser.add_argument("--table", type=Path, nargs="+", default=None, help="such files, shown in place of a run")
    options = parser.parse_args()
    documents: list[dict[str, Any]] = []
    if options.table is not None:
        documents = [one for path in options.table for one in json.loads(path.read_text())]
    for name in options.data.split(",") if options.table is None else ():
        began = time.perf_counter()
        world = partial(consortium_of, name, options.partition)
        try:
            world(0)
        except FileNotFoundError as error:
            print(f"{name}: skipped, {error}", file=sys.stderr)
            continue
        found = bench(
            world,
            data=name,
            partition=options.partition,
            generators=tuple(options.generators.split(",")),
            strategies=tuple(options.strategies.split(",")),
            settings=tuple(options.settings.split(",")),
            seeds=options.seeds,
            draws=options.draws,
            jobs=options.jobs,
            say=lambda text, name=name: print(f"{name}: {text}", file=sys.stderr, flush=True),
        )
        document = found.document()
        document["by_generator"] = {generator: document.pop(generator) for generator in found.figures}
        document["wall_s"] = time.perf_counter() - began
        documents.append(document)
        if options.out is not None:
            options.out.write_text(json.dumps(documents))
    print(target_table(documents), settings_table(documents), gains(documents), sep="\n\n")


if __name__ == "__main__":
    main()
