"""Would the audit work on our consortium? The out-of-bag audit on simulated consortia of a given shape, and the truth.

    found = try_audit(PD83, "S3", seeds=10, auroc=0.85)
    found[0].sentence

Records are drawn from two normal clouds whose best score has the AUROC that the consortium expects of its own task;
sizes, classes and their distribution over the sites are those of the shape. A site is *named* when the audit leaves it
out or names a repair. S6 tries the local gate instead (`gate_trial`); S7 runs in `benchmarks/harm.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cohortium.errors import UsageError
from cohortium.quality.out_of_bag import OutOfBag
from cohortium.sim.harm.scenarios import SCENARIOS, Case, cases, find_scenario
from cohortium.sim.harm.shapes import Shape
from cohortium.sim.harm.tasks import gaussian_task
from cohortium.sim.harm.world import World, make_world

__all__ = ["AuditTrial", "Outcome", "outcome_of", "try_audit"]

_LEAST = 5  # records of a site that can be named at all
_RIGHT = {"flip": "label-polarity", "inverted": "intensity", "preparation": "rotate-270"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One simulated consortium. Counts of sites, but for minority_records.

    judgeable: harmful sites with 5 records and 3 of each class. questions: one-class sites that were asked to confirm
    their coding. repairs_right: of the named repairs.
    """

    seed: int
    decided: bool
    auroc: float
    harmful: int
    harmful_named: int
    judgeable: int
    judgeable_named: int
    good: int
    good_named: int
    minority_records: int
    minority_records_lost: int
    repairs: int
    repairs_right: int
    questions: int


@dataclass(frozen=True, kw_only=True)
class AuditTrial:
    """All seeds of one case."""

    case: str
    title: str
    n_sites: int
    outcomes: tuple[Outcome, ...]

    def total(self, name: str) -> int:
        """Sum of a count over the seeds."""
        return sum(int(getattr(one, name)) for one in self.outcomes)

    @property
    def false_alarm_odds(self) -> float:
        """Share of sites without harm that were named."""
        return self.total("good_named") / max(self.total("good"), 1)

    @property
    def sentence(self) -> str:
        """The trial in words."""
        silent = sum(not one.decided for one in self.outcomes)
        parts = []
        if self.total("harmful"):
            found = f"{self.total('harmful_named')} of {self.total('harmful')} harmful sites named"
            known = f"{self.total('judgeable_named')} of {self.total('judgeable')} with five records and both classes"
            parts.append(f"{found}, {known}")
        parts.append(
            f"{self.total('good_named')} of {self.total('good')} other sites named by mistake"
            f" ({100 * self.false_alarm_odds:.1f} %)"
        )
        if self.total("minority_records"):
            lost = 100 * self.total("minority_records_lost") / self.total("minority_records")
            parts.append(f"{lost:.1f} % of the minority's records lost")
        if silent:
            parts.append(f"{silent} of {len(self.outcomes)} audits inconclusive")
        n = len(self.outcomes)
        draws = f"{n} draw{'' if n == 1 else 's'}"
        return f"{self.case} ({self.title}), {self.n_sites} sites, {draws}: {'; '.join(parts)}"

    def document(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "case": self.case,
            "title": self.title,
            "sites": self.n_sites,
            "false_alarm_odds": self.false_alarm_odds,
            "draws": [asdict(one) for one in self.outcomes],
        }


def try_audit(
    shape: Shape, scenario: str, *, seeds: int, auroc: float = 0.85, say: Callable[[str], None] = lambda _: None
) -> tuple[AuditTrial, ...]:
    """One trial for each member of a scenario. Raises UsageError for S6 and S7, or no seeds; DataError for the task."""
    key = find_scenario(scenario)
    if key == "S7":
        raise UsageError(
            "scenario 'S7' needs an audit with noise; it runs in: python -m benchmarks harm --scenarios S7"
        )
    if key == "S6":
        raise UsageError("scenario 'S6' tries the local gate; call try_gate")
    if not 1 <= seeds <= 1000:
        raise UsageError(f"seeds must be 1 to 1000, got {seeds}")
    task = gaussian_task(auroc=auroc, n=max(6000, 4 * shape.n_records))
    found = []
    for case in cases(key):
        made = []
        for seed in range(seeds):
            say(f"{case.label}: draw {seed + 1} of {seeds}")
            made.append(outcome_of(make_world(task, case=case, seed=seed, shape=shape)))
        found.append(_trial(case, shape, made))
    return tuple(found)


def outcome_of(world: World) -> Outcome:
    """The audit of one consortium, against the truth."""
    audit = OutOfBag(anchors=world.anchors)
    result = audit.run({name: world.examples(world.rows(at)) for at, name in enumerate(world.sites)}, seed=world.seed)
    verdicts = [result.sites[name] for name in world.sites]
    named = np.array([one.left_out or one.kind == "repair" for one in verdicts])
    harmful = world.harmful
    judgeable = harmful & _judgeable(world)
    good = ~harmful & np.array([role != "partial" for role in world.roles])
    minority = np.array([role == "minority" for role in world.roles])
    sizes = np.array([len(world.rows(at)) for at in range(len(world.sites))])
    right = [one.repair == _RIGHT.get(role, "") for one, role in zip(verdicts, world.roles, strict=True) if one.repair]
    return Outcome(
        seed=world.seed,
        decided=result.status == "decided",
        auroc=result.table.auroc,
        harmful=int(harmful.sum()),
        harmful_named=int((harmful & named).sum()),
        judgeable=int(judgeable.sum()),
        judgeable_named=int((judgeable & named).sum()),
        good=int(good.sum()),
        good_named=int((good & named).sum()),
        minority_records=int(sizes[minority].sum()),
        minority_records_lost=int(sizes[minority & np.array([one.left_out for one in verdicts])].sum()),
        repairs=len(right),
        repairs_right=sum(right),
        questions=sum(bool(one.question) for one in verdicts),
    )


def _judgeable(world: World) -> np.ndarray:
    """Sites of at least 5 records and 3 of each class, as their given labels say."""
    found = []
    for at in range(len(world.sites)):
        y = world.y[world.rows(at)]
        found.append(len(y) >= _LEAST and min(int(y.sum()), int(len(y) - y.sum())) >= 3)
    return np.array(found)


def _trial(case: Case, shape: Shape, made: Sequence[Outcome]) -> AuditTrial:
    title = SCENARIOS[case.scenario].title
    return AuditTrial(case=case.label, title=title, n_sites=len(shape.sites), outcomes=tuple(made))
