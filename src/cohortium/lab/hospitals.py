"""The patients of a lab: tables by site, a study whose columns are pinned, and one file a site to read.

Real patients (Wisconsin breast cancer, as scikit-learn ships them) over simulated hospitals, or the user's own tables.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.partition import iid, take
from cohortium.data.readers import read
from cohortium.data.table import Table
from cohortium.errors import UsageError
from cohortium.sim.demonstration import demo_study, demo_tables
from cohortium.sim.inputs import read_sites, read_study
from cohortium.sim.pinning import pin

__all__ = ["Hospitals", "demo_hospitals", "own_hospitals", "write_tables"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Hospitals:
    """Everybody's patients. text: of the pinned study."""

    study: Study
    text: str
    tables: Mapping[str, Table]


def demo_hospitals(n_sites: int, *, seed: int) -> Hospitals:
    """569 women over so many hospitals, a logistic model by exact sums. Raises MissingExtra without scikit-learn."""
    tables = demo_tables(n_sites=n_sites, seed=seed)
    study = demo_study(model="logistic", seed=seed)
    return _pinned(study.model_dump(mode="json", exclude_none=True, exclude_defaults=True), tables)


def own_hospitals(study: Path, data: Sequence[str], *, site_column: str | None, n_sites: int = 5) -> Hospitals:
    """The user's own study and tables, as `simulate` takes them; a study that is not pinned is pinned here.

    One table without a site column is dealt to n_sites hospitals, at random by the study's seed.
    """
    if site_column is None and len(data) == 1 and "=" not in data[0]:
        table, seed = read(Path(data[0])), read_study(study).evaluation.seed
        tables = take(table, iid(len(table), n_sites, rng=Chance(seed).stream("lab", "sites")))
    else:
        tables = dict(read_sites(data, site_column=site_column))
    read_study(study, n_sites=len(tables))  # all of its problems at once, with their lines
    return _pinned(tomllib.loads(study.read_text(encoding="utf-8-sig")), tables)


def _pinned(content: Mapping[str, Any], tables: Mapping[str, Table]) -> Hospitals:
    made = pin(content, tables)
    return Hospitals(study=made.study, text=made.text, tables=tables)


def write_tables(hospitals: Hospitals, folders: Mapping[str, Path]) -> Mapping[str, Table]:
    """`table.csv` in every site's folder; what a node will read there. Raises UsageError for images."""
    for site, table in hospitals.tables.items():
        if any(table.is_array(name) for name in table.names):
            raise UsageError("a lab has tables of numbers and text, no images; try: cohortium simulate")
        with (folders[site] / "table.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(table.names)
            writer.writerows(zip(*(table.texts(name).tolist() for name in table.names), strict=True))
    return {site: read(folders[site] / "table.csv") for site in hospitals.tables}
