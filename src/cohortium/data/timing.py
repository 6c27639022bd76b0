"""Which features cannot be known when the prediction is made: by what the schema declares, and by their names.

A declaration is certain: `known` of a column against the study's `predict_at`. Names are a safety net for
studies that declare nothing: a second outcome comes as a pair such as `efs_event` and `efs_days`, or is
called survival, relapse or length of stay. What neither tells - that `bleed` is a complication and `hma` a
drug given months later - only `predict_at` can. Names of treatments are pointed out, not refused: whether
they were given before time zero is not written in them. Design: clinical-learning.md 1.8, L3 and L7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["MOMENTS", "known_too_late", "outcome_like", "treatment_like"]

MOMENTS = ("birth", "history", "referral", "diagnosis", "baseline", "admission", "treatment", "discharge", "follow-up")
"""Words for `predict_at` and `known`, in order of time; a study may use its own."""

_EVENT = r"events?|status|death|dead|died|cens|censor|censored|indicator|flag"
_TIME = r"time|times|days?|weeks?|months?|mos?|years?|yrs?|dur|duration"
_EVENT_OF = re.compile(rf"^(?P<stem>.+?)(?:{_EVENT})$")
_TIME_OF = re.compile(rf"^(?P<stem>.+?)(?:{_TIME})$")
_OUTCOMES = frozenset(
    """os pfs efs dfs rfs css ttp ttf ttnt survival survived followup futime fu los stay stayed discharge discharged
    death dead died deceased mortality relapse relapsed recurrence progression readmission readmitted autopsy""".split()  # noqa: SIM905
)
_BEFORE = frozenset("prior previous past history hx family baseline pre before earlier since".split())  # noqa: SIM905
_TREATMENTS = frozenset(
    """transplant transplantation hsct sct transplanted chemo chemotherapy radiotherapy therapy treatment treated drug
    dose surgery operation hma hormonal ventilation ventilated intubated icu dialysis""".split()  # noqa: SIM905
)
_DRUG = re.compile(r"(mab|nib|lidomide?|citabine|platin|rubicin|taxel|ciclib|parib|vir)$")


def known_too_late(
    features: Sequence[str], *, known: Mapping[str, str], predict_at: str, moments: Sequence[str] = MOMENTS
) -> dict[str, str]:
    """Column -> reason, for features declared as known only after `predict_at`, or at a moment out of order.

    known: column (`cp` for the features `cp=typical`, ...) -> moment; absent = at `predict_at`.
    """
    if not predict_at:
        return {}
    order = {moment: place for place, moment in enumerate(moments)}
    late: dict[str, str] = {}
    for column in dict.fromkeys(feature.partition("=")[0] for feature in features):
        moment = known.get(column, predict_at)
        if moment == predict_at:
            continue
        if moment not in order or predict_at not in order:
            late[column] = f"is known at '{moment}', which has no place in time beside '{predict_at}'"
        elif order[moment] > order[predict_at]:
            late[column] = f"is known at '{moment}', after '{predict_at}'"
    return late


def outcome_like(features: Sequence[str], *, outcome: Sequence[str] = ()) -> dict[str, str]:
    """Column -> reason, for names of a second outcome: half of an event-and-time pair, or a word for one.

    outcome: names of the study's own outcome columns, which complete a pair too.
    """
    columns = list(dict.fromkeys(feature.partition("=")[0] for feature in features))
    names = [*columns, *outcome]
    events, times = _stems(names, _EVENT_OF), _stems(names, _TIME_OF)
    reasons: dict[str, str] = {}
    for column in columns:
        partner = _partner(column, events, times)
        words = _words(column)
        if partner:
            reasons[column] = f"makes a time-and-event pair with '{partner}'"
        elif words & _OUTCOMES and not words & _BEFORE:
            reasons[column] = "is named like an outcome or a follow-up time"
    return reasons


def treatment_like(features: Sequence[str]) -> list[str]:
    """Columns whose names say treatment; whether it was given before time zero must be declared."""
    columns = dict.fromkeys(feature.partition("=")[0] for feature in features)
    return [name for name in columns if _words(name) & _TREATMENTS or any(map(_DRUG.search, _words(name)))]


def _words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))


def _stems(names: Sequence[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Stem -> name of those that end in a word of the pattern: `efs_days` -> `efs`."""
    found = {}
    for name in names:
        match = pattern.match(re.sub(r"[^a-z0-9]", "_", name.lower()))
        stem = match["stem"].strip("_") if match and match["stem"].endswith("_") else ""
        if stem:
            found[stem] = name
    return found


def _partner(column: str, events: Mapping[str, str], times: Mapping[str, str]) -> str:
    for one, other in ((events, times), (times, events)):
        stem = next((stem for stem, name in one.items() if name == column), "")
        if stem and stem in other:
            return other[stem]
    return ""
