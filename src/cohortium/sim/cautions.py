"""What a reader must know of the sites' data in a simulated run: warnings, and what the gates of all sites found.

Between hospitals a site compares its own columns with the consortium's and keeps the sentences (`node/gate.py`); here
all sites' stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from cohortium.core.check import Check
from cohortium.core.parameters import Parameters
from cohortium.quality.gate_consortium import compared
from cohortium.quality.gate_copies_stage import copies_found
from cohortium.quality.gate_free_rider import RiderWatch
from cohortium.sim.cohorts import Gathered
from cohortium.sim.comparison import SiteRows, TrainedModel

__all__ = ["gate_checks", "say_few", "warnings_of"]

_SAID = 3


def warnings_of(gathered: Gathered, checks: Iterable[Check]) -> list[str]:
    """Each sentence once."""
    said = [sentence for cohort in gathered.cohorts.values() for sentence in cohort.warnings]
    said += [f"{check.id}: {check.found}" for check in checks if check.level == "warn"]
    return list(dict.fromkeys(said))


def say_few(sentences: Sequence[str], warn: Callable[[str], None]) -> None:
    """Three lines at most: a run of 25 sites must not bury its rounds under warnings."""
    said = sentences if len(sentences) <= _SAID else sentences[: _SAID - 1]
    for sentence in said:
        warn(sentence)
    if left := len(sentences) - len(said):
        warn(f"{left} more warnings, all of them in the report")


def gate_checks(
    gathered: Gathered, rows: Sequence[SiteRows], model: TrainedModel, riders: RiderWatch
) -> tuple[Check, ...]:
    """What the sites that trained find when they compare themselves with the consortium, and of first updates."""
    units = {column.name: column.unit for column in gathered.schema.features}
    found = {one.site: compared(model.program, model.state, one.training, units=units) for one in rows}
    for one in rows:
        memory, places = model.memories.get(one.site, Parameters()), gathered.cohorts[one.site].places()
        whole = len(places["training"]) == len(one.training)  # an audit may have left records out
        found[one.site] += copies_found(model.program, model.state, memory, rows=places if whole else {})
    checks: list[Check] = []
    for name in ("units", "polarity", "copies"):
        of = [(site, one) for site, mine in found.items() for one in mine if one.id == name]
        odd = [replace(one, found=f"{site}: {one.found}") for site, one in of if one.level in ("warn", "fail")]
        n = len({site for site, one in of if one.level == "ok"})
        clean = f"no site is warned; {n} of {len(rows)} could be compared with the others"
        none = "; ".join(["no site could be compared with the others", *dict.fromkeys(one.found for _, one in of)])
        if not of and name == "copies":
            continue
        checks += odd or [Check(id=name, level="ok", found=clean) if n else Check(id=name, level="skipped", found=none)]
    return (*checks, *riders.checks(model.program))
