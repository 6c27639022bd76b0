"""What the page of a run has, by what the run was for: its sections in order, and the report's own checks.

What does not apply is not there, and is no `skipped`: a generator of patients predicts nothing, so nothing can be said
of its calibration, and an audit trains no model that could be attacked.
"""

from __future__ import annotations

from typing import Literal

from cohortium.reports.record import RunRecord

__all__ = ["CHECKED_IN", "TITLES", "Purpose", "applies", "outline", "purpose"]

Purpose = Literal["model", "generator", "audit"]

TITLES = {
    "summary": "Summary",
    "help": "Does it help?",
    "use": "Can it be used?",
    "patients": "Patients",
    "training": "Training",
    "quality": "Harmful data",
    "privacy": "Privacy",
    "ledger": "Ledger",
    "words": "Words, method, limits",
}
"""Section -> its title, in the order of the page."""

CHECKED_IN = {
    "run-complete": "training",
    "gain": "help",
    "accuracy": "use",
    "slope": "use",
    "within": "help",
    "attested": "ledger",
    "verified": "ledger",
    "harm": "quality",
    "leakage": "privacy",
    "budget": "privacy",
    "randomness": "training",
}
"""Check -> section of the page that shows what it looked at."""

_OF_PREDICTIONS = {"help", "use"}


def purpose(record: RunRecord) -> Purpose:
    """What the run was for."""
    if record.quality is not None and record.quality.on_harm == "audit":
        return "audit"
    return "generator" if record.study.get("synth") else "model"


def outline(record: RunRecord) -> tuple[str, ...]:
    """The sections of the record's page."""
    absent = set() if purpose(record) == "model" else set(_OF_PREDICTIONS)
    if purpose(record) == "generator" and record.quality is None:
        absent.add("quality")
    return tuple(section for section in TITLES if section not in absent)


def applies(check: str, record: RunRecord) -> bool:
    """Whether one of the report's own checks has something to look at: the section it looks at, and a predictor."""
    return CHECKED_IN[check] in outline(record) and (check != "leakage" or purpose(record) == "model")
