"""Cohorts of the benchmarks of synthetic patients, as rows: the simulated one, AML of three trials, MDS in three parts.

    facts, sites = world("aml")          # rows by site; a fifth of each is put aside by `halves`

Gene columns are flags of the names of genes and karyotypes that at least 1.5 % carry; rarer ones are left out. AML
patients that were not genotyped are left out: their 0 means nobody looked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from benchmarks.datasets import DATASETS, data_folder
from cohortium.data.inference import infer_schema
from cohortium.data.mds_like import GENES, KARYOTYPE, simulate
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.synth.facts import Facts
from cohortium.synth.rows import Rows, rows_of_table

__all__ = ["WORLDS", "genes_of", "halves", "joined", "world"]

WORLDS = ("sim", "aml", "mds")
_GENE = re.compile(r"^(mut_|cyto_)|^[A-Z][A-Z0-9]{2,}$")
_LEAST_SHARE = 0.015
_SIM_DERIVED = ("karyotype_risk", "who_class", "risk_score")


def world(name: str, *, seed: int = 0, missing: bool = True) -> tuple[Facts, dict[str, Rows]]:
    """Facts, and rows by site. seed: of the simulated patients. Raises FileNotFoundError where a file is absent."""
    if name == "sim":
        table = simulate(seed=seed, missing=missing).table
        return _rows(table, site_column="site", outcome={"time": "os_years", "event": "died", "unit": "years"},
                     exclude=_SIM_DERIVED, genes=(*GENES, *KARYOTYPE))  # fmt: skip
    task = DATASETS[{"aml": "aml-trial", "mds": "mds"}[name]]
    folder = data_folder()
    if folder is None or not (folder / task.file).is_file():
        raise FileNotFoundError(f"no {task.file}: set COHORTIUM_DATA")
    table = task.prepare(read(folder / task.file))
    if "genotyped" in table:
        table = table.take(table.column("genotyped") == 1)
    genes, rare = genes_of(table)
    exclude = [n for n in table.names if n in task.exclude or n in rare]
    return _rows(table, site_column=task.site_column, outcome=task.outcome, exclude=exclude, genes=genes)


def genes_of(table: Table) -> tuple[list[str], list[str]]:
    """(flags of genes and karyotypes that enough patients carry, those too rare)."""
    flags = [n for n in table.names if _GENE.search(n) and not table.is_text(n) and _is_flag(table.column(n))]
    genes = [n for n in flags if np.nanmean(table.column(n)) >= _LEAST_SHARE]
    return genes, [n for n in flags if n not in genes]


def halves(sites: Mapping[str, Rows], *, seed: int, share: float = 0.2) -> tuple[dict[str, Rows], Rows]:
    """(training rows by site, held-out rows of all sites)."""
    training, held_out = {}, []
    for place, (site, rows) in enumerate(sorted(sites.items())):
        order = np.random.default_rng([seed, place, 77]).permutation(len(rows))
        n_out = round(share * len(rows))
        training[site] = rows.take(np.sort(order[n_out:]))
        held_out.append(rows.take(np.sort(order[:n_out])))
    return training, joined(held_out)


def joined(parts: list[Rows]) -> Rows:
    """Rows of several tables, one after another."""
    return Rows(parts[0].facts, {name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


def _rows(
    table: Table, *, site_column: str, outcome: Mapping[str, str], exclude: tuple[str, ...] | list[str],
    genes: tuple[str, ...] | list[str],
) -> tuple[Facts, dict[str, Rows]]:  # fmt: skip
    site = table.texts(site_column)
    kept = Table({name: held for name, held in table.columns.items() if name != site_column and name not in exclude})
    facts = Facts.of(infer_schema({"all": kept}, outcome=dict(outcome)), genes=genes)
    rows = rows_of_table(kept, facts)
    time = rows[facts.time]
    whole = ~np.isnan(time) & ~np.isnan(rows[facts.event]) & (time >= 0)
    return facts, {name: rows.take((site == name) & whole) for name in sorted(set(site.tolist()))}


def _is_flag(values: np.ndarray) -> bool:
    there = values[~np.isnan(values.astype(np.float64))]
    return bool(len(there)) and set(np.unique(there).tolist()) <= {0, 1}
