"""The demonstration's question asked again with differential privacy, and put beside the first answer.

An exact model cannot be private. So the same hospitals, with all labels right, also share a logistic regression step by
step: every step's sum is opened under masks with its noise in it, every site books what it costs, and the model is
attacked like any other. The ranges of the columns are round public numbers, not taken from these patients.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.errors import MissingExtra
from cohortium.privacy.dp.accounting import require_accountant
from cohortium.reports.privacy import PrivateStudy
from cohortium.reports.record import RunRecord
from cohortium.sim.demonstration import demo_study
from cohortium.sim.folder import write_together
from cohortium.sim.results import page_file
from cohortium.sim.simulate import Options, Result, run_simulation

__all__ = ["FOLDER", "add_private_study", "private_demo_study", "private_sentence", "with_private"]

FOLDER = "private"
"""Where its files are, in the folder of the demonstration."""

Say = Callable[[str], None]

_STEPS, _STEPS_A_ROUND = 20, 5
_SITE_STEPS = 160  # of all sites together: what a person still waits for
_RANGES = {
    "mean_texture": [5, 40], "error_texture": [0, 4], "worst_texture": [10, 50],
    "mean_smoothness": [0.05, 0.17], "error_smoothness": [0, 0.03], "worst_smoothness": [0.05, 0.25],
    "mean_symmetry": [0.1, 0.3], "error_symmetry": [0, 0.08], "worst_symmetry": [0.1, 0.7],
    "mean_fractal_dimension": [0.04, 0.1], "error_fractal_dimension": [0, 0.03],
    "worst_fractal_dimension": [0.04, 0.21],
}  # fmt: skip


def private_demo_study(*, n_sites: int, seed: int) -> Study:
    """Epsilon 3 in 20 steps, fewer at many sites; noise of all together (mode `distributed`) where masks allow it."""
    shared = n_sites >= 3
    a_round = 1 if shared else _STEPS_A_ROUND
    steps = min(_STEPS, max(_SITE_STEPS // n_sites, 8))
    content = demo_study(model="logistic", seed=seed).model_dump(exclude_none=True)
    content |= {
        "cohort": {"scale": "public", "fill": "none", "ranges": _RANGES},
        "model": {"name": "logistic", "learn": "weights", "l2": 0.0, "learning_rate": 4.0 if shared else 1.0},
        "strategy": {"rounds": steps // a_round, "sync_every": a_round},
        "privacy": {
            "dp": {"mode": "distributed" if shared else "local", "epsilon": 3.0, "sample_rate": 0.3},
        },
        "evaluation": {"seed": seed, "per_site": False, "leave_one_out": False},
    }
    content["study"]["name"] = "demo-private"
    return Study.model_validate(content)


def add_private_study(
    result: Result, tables: Mapping[str, Table], *, out: Path, options: Options, say: Say
) -> RunRecord:
    """Run the private study into `out/private`, and write record and page of the demonstration anew with it.

    tables: of the same hospitals, with right labels. Without the accountant the record stays, and `say` hears why.
    """
    try:
        require_accountant()
    except MissingExtra as error:
        say(f"no private study: {error}")
        return result.record
    began = time.monotonic()
    study = private_demo_study(n_sites=len(tables), seed=options.seed or 0)
    say("the same question with differential privacy: epsilon 3, every step's sum with noise in it")
    found = run_simulation(study, tables, out=out / FOLDER, options=replace(options, ledger="memory")).record
    record = with_private(result.record, found, seconds=time.monotonic() - began)
    write_together(
        {out / "report.html": page_file(record, scope="site"), out / "run.json": [record.to_json().encode()]}
    )
    say(private_sentence(record))
    say(f"its spending, composed anew: cohortium audit privacy budget {out / FOLDER / 'ledger.jsonl'}")
    return record


def with_private(record: RunRecord, found: RunRecord, *, seconds: float) -> RunRecord:
    """The record with what the private run came to."""
    if found.privacy is None:
        return record
    beside = PrivateStudy(
        name=found.name,
        folder=FOLDER,
        status=found.status,
        model=found.model.name,
        digest=found.model.digest,
        privacy=found.privacy,
        test=found.test.swarm,
        notes=(*_labels(record), *(note for note in found.notes if "privacy" in note or "noise" in note)),
    )
    stages = {**record.timings.stages, "the private study": seconds}
    timings = replace(record.timings, stages=stages)
    return replace(record, private_study=beside, timings=timings, seconds=record.seconds + seconds)


def _labels(record: RunRecord) -> tuple[str, ...]:
    """That nothing was reversed here; the audit of data has no noise and cannot be part of a private study."""
    repaired = record.quality is not None and record.quality.repaired
    return ("all labels are right in this study, as after the repair in section 6",) if repaired else ()


def private_sentence(record: RunRecord) -> str:
    """What came of it, in one line."""
    held = record.private_study
    if held is None or not held.privacy.spending:
        return "no private study"
    worst = max(held.privacy.spending, key=lambda one: one.total)
    words = [f"private study {held.status}: epsilon {worst.total:.2f} of each site's {worst.cap:g} spent (simulated)"]
    auroc, exact = held.test.get("auroc"), record.test.swarm.get("auroc")
    if auroc is not None and auroc.value is not None and exact is not None and exact.value is not None:
        words.append(f"AUROC {auroc.value:.3f} instead of {exact.value:.3f}")
    audit = held.privacy.audit
    words += [
        f"attacked: AUC {one.figure.text()}, guessing 0.5, {one.verdict}"
        for one in (audit.attacks if audit is not None else ())
        if one.name == "model" and not one.site and one.figure is not None
    ]
    return "; ".join(words)
