"""What a study asks of secure aggregation: what rules it out, and one sentence on what it does."""

from __future__ import annotations

from collections.abc import Mapping

from cohortium.core.exchange import n_colluders, threshold
from cohortium.core.study import Study
from cohortium.errors import Problem
from cohortium.privacy.he.terms import encrypted
from cohortium.privacy.he.terms import sentence_on as sentence_on_encryption
from cohortium.privacy.secagg.context import MAX_SITES
from cohortium.privacy.secagg.fixed_point import LEAST_HIDDEN_BITS, FixedPoint
from cohortium.privacy.secagg.halves import least_with_halves
from cohortium.privacy.secagg.survivors import warnings_of

__all__ = ["LEAST_MASKED", "notes_on", "sentence_on", "unmaskable"]

LEAST_MASKED = 3
"""With two sites, each sees the other's update as the difference of the sum and its own."""


def unmaskable(study: Study, n_sites: int | None) -> list[Problem]:
    """What is wrong with a study under masks, whatever its model; n_sites: None where it is not known."""
    problems = _of_halves(study, n_sites)
    off = "or say secure_aggregation = false under [privacy]"
    if study.swarm.late == "carry":
        sentence = "a late update cannot be carried into another round's masks"
        problems.append(Problem("swarm.late", f'{sentence}; set late = "discard", {off}'))
    least = study.strategy.min_sites
    if least is not None and least < LEAST_MASKED:
        needed = f"secure aggregation needs at least {LEAST_MASKED}, found {least}"
        problems.append(Problem("strategy.min_sites", f"{needed}; leave it out, {off}"))
    if n_sites is not None and not LEAST_MASKED <= n_sites <= MAX_SITES:
        why = f"secure aggregation needs {LEAST_MASKED} to {MAX_SITES} sites, found {n_sites}"
        few = f": with two, each sees the other's update as the difference; add a site, {off}"
        problems.append(Problem("privacy.secure_aggregation", why + (few if n_sites < LEAST_MASKED else "")))
    return problems + _too_coarse(study, n_sites or LEAST_MASKED)


def _of_halves(study: Study, n_sites: int | None) -> list[Problem]:
    """What rules out a sum for each half of the sites."""
    plan, problems = study.privacy, []
    if plan.groups == 1:
        return []
    if plan.method != "masks":
        problems.append(Problem("privacy.groups", "groups = 2 needs masks; set method = 'masks'"))
    if plan.dp is not None and (plan.dp.mode == "distributed" or plan.dp.unit == "site"):
        sentence = "noise that is shared out over all sites is too little in the sum of half of them; set groups = 1"
        problems.append(Problem("privacy.groups", sentence))
    if n_sites is not None:
        try:
            least_with_halves(n_sites)
        except ValueError as error:
            problems.append(Problem("privacy.groups", str(error)))
    return problems


def _too_coarse(study: Study, n_sites: int) -> list[Problem]:
    plan = study.privacy
    if plan.weights == "public":
        return []
    try:
        FixedPoint(word_bits=plan.word_bits, n=n_sites, largest=plan.largest_weight)
    except ValueError as error:
        most = (1 << (plan.word_bits - 1 - LEAST_HIDDEN_BITS)) // n_sites
        wider = "set word_bits = 64" if plan.word_bits < 64 else "have fewer sites"
        smaller = f" or largest_weight = {most}" if most else ""
        return [Problem("privacy.weights", f"{error}; {wider}{smaller}")]
    return []


def sentence_on(study: Study, n_sites: int) -> str:
    """Whether a run of so many sites is under secure aggregation, and what that means, in one sentence."""
    plan = study.privacy
    if encrypted(study, n_sites):
        return sentence_on_encryption(study, n_sites)
    if plan.masked(n_sites):
        needed = max(threshold(n_sites, n_sites), n_colluders(n_sites) + 2, LEAST_MASKED)
        if plan.groups == 2:
            needed = max(needed, least_with_halves(n_sites))
        spare = n_sites - needed
        lost = "all sites are needed to open a sum" if not spare else f"{spare} may be lost in mid-round"
        what = f"the sum over {n_sites} sites" if plan.groups == 1 else f"the sums over two halves of {n_sites} sites"
        return f"secure aggregation on: members see only {what}, {lost}"
    if plan.secure_aggregation is None and n_sites < LEAST_MASKED:
        return f"secure aggregation off: of {n_sites} sites, each would see the other's update as the difference"
    if plan.secure_aggregation is None:
        return f"secure aggregation off: {n_sites} sites, at most {MAX_SITES} can mask their updates"
    return "secure aggregation off, as the study says: members see each other's updates"


def notes_on(study: Study, n_sites: int, merged: Mapping[int, tuple[str, ...]]) -> tuple[str, ...]:
    """What the record of a run says of its secure aggregation. merged: contributors by round, in order."""
    asked = sentence_on_encryption(study, n_sites)
    said = tuple(dict.fromkeys(one for one in (asked, sentence_on(study, n_sites)) if one))
    if not study.privacy.masked(n_sites) or study.privacy.dp is not None:
        return said
    return (*said, *warnings_of(list(merged.values()), list(merged)))
