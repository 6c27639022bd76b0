"""A saved swarm model on patients it has never seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.cohort import build_cohort
from cohortium.data.parts import Split
from cohortium.data.table import Table
from cohortium.errors import UsageError
from cohortium.reports.measure import Measure
from cohortium.reports.observed import Observed
from cohortium.reports.panel import measure_all
from cohortium.reports.record import flat
from cohortium.sim.comparison import SiteRows
from cohortium.sim.inputs import read_sites, read_study
from cohortium.sim.own_code import blamed_on, loaded_code
from cohortium.sim.results import SavedModel, load_model
from cohortium.sim.round_measures import cause_of

__all__ = ["NewData", "approve_code", "evaluate_folder", "evaluate_model"]


@dataclass(frozen=True, kw_only=True)
class NewData:
    """Measures over all new patients and per site. notes: what the reader must know, e.g. absent columns."""

    digest: str
    n: int
    measures: dict[str, Measure]
    per_site: dict[str, dict[str, Measure]]
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """For `--json`: metric names at top level, intervals beside them."""
        return {
            **flat(self.measures),
            "n": self.n,
            "model": {"digest": self.digest},
            "per_site": {site: flat(measures) for site, measures in self.per_site.items()},
            "notes": list(self.notes),
        }

    def rows(self) -> list[tuple[str, str, str, str]]:
        """For people: measure, value, interval, n."""
        found = []
        for name, m in self.measures.items():
            value = f"{m.value:.3f}" if m.value is not None else (m.reason or "not available")
            interval = "" if m.interval is None else f"{m.interval[0]:.3f} to {m.interval[1]:.3f}"
            found.append((name, value, interval, "" if m.n is None else str(m.n)))
        return found


def evaluate_folder(
    folder: Path, data: Sequence[str], *, site_column: str | None, study: Path | None = None
) -> NewData:
    """The model in a run's folder on new tables; one FILE without a site column is one site, `new`.

    study: the file of the approved study, needed where the model runs code of its own.
    """
    saved = load_model(
        folder / "model.safetensors" if folder.is_dir() else folder, approve=partial(approve_code, study)
    )
    if site_column is None and len(data) == 1 and "=" not in data[0]:
        data = [f"new={data[0]}"]
    return evaluate_model(saved, read_sites(data, site_column=site_column))


def evaluate_model(saved: SavedModel, tables: Mapping[str, Table]) -> NewData:
    """The saved model, through its saved preprocessing, on every row of the tables."""
    rows, notes = [], []
    if saved.personal:
        notes.append(
            f"{', '.join(saved.personal)}: parts of the model stayed at these sites; the shared model is measured"
        )
    schema = replace(saved.schema, bad_records="skip")  # what is impossible in new data is counted, not fatal
    for site in sorted(tables):
        nobody_held_out = Split(test=0.0, calibration=0.0)
        cohort = build_cohort(tables[site], schema, site=site, secret=Chance(0).secret(32), split=nobody_held_out)
        examples = cohort.examples("all")
        nothing = examples.take(np.zeros(0, dtype=np.int64))
        rows.append(SiteRows(site=site, training=examples, calibration=nothing, test=examples))
        notes += list(cohort.flow.sentences)
        if cohort.flow.absent:
            names = ", ".join(cohort.flow.absent[:10]) + (", ..." if len(cohort.flow.absent) > 10 else "")
            notes.append(f"site '{site}': columns absent and treated as missing: {names}")
    cause = cause_of(saved.model.program.learner)
    observed = Observed.of({one.site: one.test for one in rows}, cause=cause)
    with blamed_on(loaded_code(saved.study)):
        scores = {one.site: saved.model.scores(one, one.test) for one in rows}
    rng = Chance(saved.study.evaluation.seed).stream("evaluate")
    return NewData(
        digest=saved.digest,
        n=len(observed),
        measures=measure_all(observed.stack(scores), observed, rng=rng),
        per_site={one.site: measure_all(scores[one.site], observed.at(one.site), rng=rng) for one in rows},
        notes=tuple(notes),
    )


def approve_code(approved: Path | None, saved: Study) -> None:
    """Load the code a model brings from the study a person has approved, never from the model's own folder."""
    if saved.model.name != "module":
        return
    digest, factory = saved.model.code_digest, saved.model.options.get("factory")
    if approved is None:
        raise UsageError(
            f"the model runs code: '{factory}' of digest {digest}; name the study you have approved with --study"
        )
    named = read_study(approved).model.code_digest
    if named != digest:
        raise UsageError(f"the model runs code of digest {digest}, study '{approved}' approves {named}")
