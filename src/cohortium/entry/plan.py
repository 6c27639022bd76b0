"""A study given as a file, as sections in a dict, or as an object: all are checked the same way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cohortium.assembly import check_study
from cohortium.core.study import Study
from cohortium.core.study_text import study_of
from cohortium.errors import Problem, StudyError
from cohortium.sim.inputs import read_study

__all__ = ["Plan", "read_plan"]

Plan = Study | Mapping[str, Any] | str | Path
"""What users may give: a `Study`, its sections as a dict, or the path of a study file."""


def read_plan(study: Plan, *, n_sites: int | None = None) -> Study:
    """The study, whole and possible. Raises StudyError with every problem, UsageError for a file nobody can read."""
    if isinstance(study, str | Path):
        plan, problems = read_study(Path(study), n_sites=n_sites), []
    else:
        plan = study if isinstance(study, Study) else study_of(study)
        problems = [*check_study(plan, n_sites=n_sites)]
    if plan.quality.detector != "none":
        problems.append(Problem("quality.detector", "your own loop trains without an audit; leave [quality] out"))
    if problems:
        raise StudyError(problems)
    return plan
