"""The simulated consortium as files: what stands behind `synth simulate`, for whoever has no patients to try with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohortium.data.csv_writer import csv_bytes
from cohortium.data.mds_like import GENES, KARYOTYPE, RANGES, SITES, simulate
from cohortium.errors import UsageError
from cohortium.sim.folder import write_together

__all__ = ["Simulated", "simulated_sizes", "study_text", "write_world"]

_LEAST = 30


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What was written: the table, the study beside it, patients by hospital."""

    table: Path
    study: Path
    sites: Mapping[str, int]

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {"table": str(self.table), "study": str(self.study), "sites": dict(self.sites)}


def simulated_sizes(n: int) -> dict[str, int]:
    """So many patients in the shares of the simulator's hospitals. Raises UsageError below 30."""
    if n < _LEAST:
        raise UsageError(f"{n} patients are too few for {len(SITES)} hospitals; at least {_LEAST} are needed")
    total = sum(SITES.values())
    sizes = {site: round(n * size / total) for site, size in SITES.items()}
    largest = max(sizes, key=lambda site: sizes[site])
    return sizes | {largest: sizes[largest] + n - sum(sizes.values())}


def study_text(*, seed: int = 0) -> str:
    """The study of these patients, as a file. `[cohort] ranges` serve private generators and harm no other."""
    genes = ", ".join(f'"{name}"' for name in (*GENES, *KARYOTYPE))
    ranges = ", ".join(f"{name} = [{low:g}, {high:g}]" for name, (low, high, _) in RANGES.items())
    return f"""# Invented patients with myelodysplastic syndromes, no real one among them: cohortium synth simulate.
[study]
name = "mds-like"
outcome = {{ time = "os_years", event = "died", unit = "years" }}
exclude = ["karyotype_risk", "who_class", "risk_score"]   # derived from other columns

[cohort]
ranges = {{ {ranges} }}

[synth]
generator = "bn"
genes = [{genes}]
rules = ["wbc >= anc"]

[privacy]
secure_aggregation = true

[evaluation]
seed = {seed}
"""


def write_world(table: Path, *, study: Path, n: int, seed: int, gaps: bool = True, shift: bool = True) -> Simulated:
    """Patients with their hospital in `site`, and their study. Raises UsageError."""
    if table.resolve() == study.resolve():
        raise UsageError(f"the table and the study need two files, both are '{table}'")
    for path in (table, study):
        if path.exists():
            raise UsageError(f"'{path}' exists already; choose another name or remove it")
    sizes = simulated_sizes(n)
    patients = simulate(seed=seed, sites=sizes, missing=gaps, shift=shift).table
    write_together({table: [csv_bytes(patients)], study: [study_text(seed=seed).encode()]})
    return Simulated(table=table, study=study, sites=sizes)
