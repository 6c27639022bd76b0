"""The real cohorts of the benchmarks: file, hospitals, outcome, and the columns that must not be features.

The files are public patient data that stay outside this repository (COHORTIUM_DATA, or ../shared/data
beside the checkout). What is excluded is an outcome or happens after baseline; the reason stands beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cohortium.core.study import Study
from cohortium.data.partition import by_column, take
from cohortium.data.readers import read
from cohortium.data.table import Table

__all__ = ["DATASETS", "Dataset", "data_folder", "load"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One benchmark task. prepare: adds the hospital column where it has to be derived."""

    file: str
    site_column: str
    outcome: Any
    exclude: Mapping[str, str] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=lambda: {"name": "logistic", "l2": 0.05})
    cohort: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Table], Table] = lambda table: table
    acknowledged: Mapping[str, str] = field(default_factory=dict)

    def study(self, name: str, *, seed: int, **sections: Any) -> Study:
        """The study of this task."""
        content: dict[str, Any] = {
            "study": {
                "name": name,
                "outcome": self.outcome,
                "exclude": sorted(self.exclude),
                "acknowledged": dict(self.acknowledged),
            },
            "cohort": dict(self.cohort),
            "model": dict(self.model),
            "evaluation": {"seed": seed, "calibration_fraction": 0.0, "leave_one_out": False},
        }
        for section, changes in sections.items():
            content[section] = {**content.get(section, {}), **changes}
        return Study.model_validate(content)


def data_folder() -> Path | None:
    """The folder of real data, None where it is absent."""
    asked = os.environ.get("COHORTIUM_DATA")
    folder = Path(asked) if asked else Path(__file__).parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


def load(name: str) -> tuple[Dataset, Mapping[str, Table]]:
    """One task and its hospitals' tables. Raises FileNotFoundError where the data are absent."""
    folder = data_folder()
    if folder is None:
        raise FileNotFoundError("no data folder: set COHORTIUM_DATA")
    task = DATASETS[name]
    table = task.prepare(read(folder / task.file))
    return task, take(table, by_column(table, task.site_column), without=[task.site_column])


def _with_site(table: Table, names: list[str]) -> Table:
    return table.with_column("hospital", np.array(names))


def _aml_centres(table: Table) -> Table:
    """Centres of at least 30 patients are nodes; the others join into one node per trial."""
    centres, trials = table.texts("center"), table.texts("trial")
    sizes = {c: int((centres == c).sum()) for c in set(centres.tolist())}
    return _with_site(table, [f"c{c}" if sizes[c] >= 30 else f"rest-{t}" for c, t in zip(centres, trials, strict=True)])


def _tb_africa(table: Table) -> Table:
    return _with_site(table, [f"{r} {h}" for r, h in zip(table.texts("region"), table.texts("hiv"), strict=True)])


def _tcga(table: Table) -> Table:
    return table.take(table.texts("region") != "Other")


def _mds_nodes(table: Table) -> Table:
    """One registry: three pseudo-nodes by row number."""
    return _with_site(table, [f"node-{row % 3 + 1}" for row in range(len(table))])


_AML_LATER = {
    "efs_days": "second outcome", "efs_event": "second outcome", "transplant": "after baseline",
    "genotyped": "marks missing sequencing",
}  # fmt: skip

DATASETS: dict[str, Dataset] = {
    "heart": Dataset(file="heart_uci.parquet", site_column="site", outcome="label", exclude={"num": "the outcome"}),
    "tb": Dataset(
        file="tb_blood_expression.parquet", site_column="site", outcome="label",
        exclude={"status": "the outcome", "study": "names the hospital"},
    ),
    "tb-africa": Dataset(
        file="tb_africa_gse37250.parquet", site_column="hospital", outcome="label", prepare=_tb_africa,
        exclude={
            "status": "the outcome", "region": "names the hospital", "hiv": "names the hospital",
            "patient": "0 in every row, no identifier",
        },
    ),
    "autism": Dataset(
        file="autism_brain_mri.parquet", site_column="site", outcome="label", exclude={"qc": "rating of the image"}
    ),
    "aml-trial": Dataset(
        file="aml_amlsg.parquet", site_column="trial", outcome={"time": "os_days", "event": "os_event"},
        exclude={**_AML_LATER, "center": "names the hospital"}, model={"name": "cox", "l2": 0.05},
    ),
    "aml-centre": Dataset(
        file="aml_amlsg.parquet", site_column="hospital", outcome={"time": "os_days", "event": "os_event"},
        exclude={**_AML_LATER, "center": "names the hospital", "trial": "names the hospital"},
        model={"name": "cox", "l2": 0.05}, prepare=_aml_centres,
    ),
    "tcga": Dataset(
        file="breast_tcga_regions.parquet", site_column="region", outcome={"time": "days", "event": "event"},
        exclude={"tss": "names the hospital", "fold": "published split"}, model={"name": "cox", "l2": 0.05},
        prepare=_tcga,
    ),
    "pbc3": Dataset(
        file="pbc3_hospitals.parquet", site_column="unit", outcome={"time": "time", "event": "event"},
        model={"name": "cox", "l2": 0.05},
    ),
    "nw-england": Dataset(
        file="leukaemia_nwengland.parquet", site_column="district", outcome={"time": "time", "event": "event"},
        exclude={"xcoord": "place of living", "ycoord": "place of living"}, model={"name": "cox", "l2": 0.05},
    ),
    "ercp": Dataset(
        file="ercp_trial_sites.parquet", site_column="site", outcome="outcome", exclude={"bleed": "after baseline"}
    ),
    "covid19": Dataset(
        file="covid19_tongji.parquet", site_column="site", outcome="death", exclude={"stay_days": "after baseline"}
    ),
    "ovarian": Dataset(
        file="ovarian_expression_survival.parquet", site_column="group", outcome={"time": "time", "event": "event"},
        model={"name": "cox", "l2": 0.05},
    ),
    "mds": Dataset(
        file="mds_tp53.parquet", site_column="hospital",
        outcome={"time": "os_years", "event": "os_event", "unit": "years"},
        exclude={
            "aml_years": "second outcome", "aml_event": "second outcome", "hma": "after baseline",
            "lenalidomid": "after baseline", "transplant": "after baseline",
        },
        model={"name": "cox", "l2": 0.05}, prepare=_mds_nodes,
    ),
    "aqsol": Dataset(
        file="solubility_aqsoldb.parquet", site_column="source", outcome="Solubility", exclude={"SMILES": "no number"},
        model={"name": "linear", "l2": 0.01},
    ),
}  # fmt: skip
