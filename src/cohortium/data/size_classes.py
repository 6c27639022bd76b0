"""Size classes: what a site of so many training records may do, and pools of sites too small to stand alone.

    full    >= 50 records and >= 10 of each class, or events    everything
    small   10-49, or too few of a class                        trains; its own figures stay at home
    tiny    1-9                                                 only in a pool that enters and leaves as one

A pool has at least 3 sites and 30 records, and works only under secure aggregation
(clinical-learning.md 1.9). Counts are of training records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from cohortium.core.check import Check
from cohortium.data.cohort import Cohort

__all__ = [
    "FULL",
    "MIN_POOL_RECORDS",
    "MIN_POOL_SITES",
    "SMALL",
    "SizeClass",
    "check_sizes",
    "pools",
    "size_class",
    "size_of",
]

SizeClass = Literal["full", "small", "tiny", "empty"]

FULL = 50
SMALL = 10
MIN_OF_CLASS = 10
MIN_POOL_SITES = 3
MIN_POOL_RECORDS = 30


def size_class(n_records: int, smallest: int | None = None) -> SizeClass:
    """The class of a site. smallest: records of its rarest class, or its events; None where neither exists."""
    if n_records < 1:
        return "empty"
    if n_records < SMALL:
        return "tiny"
    return "full" if n_records >= FULL and (smallest is None or smallest >= MIN_OF_CLASS) else "small"


def size_of(cohort: Cohort) -> SizeClass:
    """The class of a cohort's training part."""
    rows, outcome = cohort.rows("train"), cohort.schema.outcome
    kind = cohort.schema.outcome_kind
    if kind == "survival":
        return size_class(len(rows), int((cohort.columns[f"{outcome.name}/event"][rows] > 0).sum()))
    if kind in ("binary", "classes"):
        counts = np.bincount(cohort.columns[outcome.name][rows], minlength=len(outcome.values))
        return size_class(len(rows), int(counts.min()))
    return size_class(len(rows))


def check_sizes(n_records: Mapping[str, int], *, masks: bool) -> tuple[Check, ...]:
    """One check per site that may not train as things stand. masks: whether secure aggregation is on."""
    found = []
    pooled = {site for pool in pools(n_records) for site in pool} if masks else set()
    for site in sorted(n_records):
        n, size = n_records[site], size_class(n_records[site])
        if size == "empty":
            found.append(Check(id="size", level="fail", found=f"site '{site}': no training records"))
        elif size == "tiny" and site not in pooled:
            why = (
                f"pools need {MIN_POOL_SITES} sites and {MIN_POOL_RECORDS} records together"
                if masks
                else f"without secure aggregation at least {SMALL} are needed"
            )
            sentence = f"site '{site}': {n} record{'' if n == 1 else 's'}; {why}"
            found.append(
                Check(id="size", level="fail", found=sentence, fix="join its rows with another site's, or leave it out")
            )
    return tuple(found)


def pools(n_records: Mapping[str, int]) -> tuple[tuple[str, ...], ...]:
    """Tiny sites put together: as many pools as reach 3 sites and 30 records; empty when none does.

    Sites are taken largest first and dealt to the smallest pool, so that pools are alike. Deterministic.
    """
    tiny = sorted((s for s, n in n_records.items() if size_class(n) == "tiny"), key=lambda s: (-n_records[s], s))
    for n_pools in range(len(tiny) // MIN_POOL_SITES, 0, -1):
        dealt: list[list[str]] = [[] for _ in range(n_pools)]
        for site in tiny:
            min(dealt, key=lambda pool: (sum(n_records[s] for s in pool), len(pool))).append(site)
        if all(len(p) >= MIN_POOL_SITES and sum(n_records[s] for s in p) >= MIN_POOL_RECORDS for p in dealt):
            return tuple(sorted(tuple(sorted(pool)) for pool in dealt))
    return ()
