"""What a study asks of threshold encryption: whether it is in force here, what rules it out, one sentence on it."""

from __future__ import annotations

from cohortium.core.study import Study
from cohortium.errors import Problem
from cohortium.privacy.he.threshold import missing

__all__ = ["encrypted", "method_of", "sentence_on", "unencryptable"]


def encrypted(study: Study, n_sites: int | None) -> bool:
    """Whether sums of so many sites open by threshold encryption: asked for, and not given up for masks."""
    plan = study.privacy
    if plan.method != "threshold-ckks" or not plan.masked(n_sites):
        return False
    return plan.fallback == "refuse" or not missing()


def method_of(study: Study, n_sites: int) -> str:
    """How members are kept from each other's updates: `masks`, `threshold-ckks`, or `none`."""
    if encrypted(study, n_sites):
        return "threshold-ckks"
    return "masks" if study.privacy.masked(n_sites) else "none"


def unencryptable(study: Study, n_sites: int | None) -> list[Problem]:
    """What is wrong with a study under threshold encryption; nothing where it asks for masks."""
    plan, problems = study.privacy, []
    if plan.method != "threshold-ckks":
        return []
    if not plan.masked(n_sites):
        sentence = "threshold encryption is a way of secure aggregation, which is off; leave method out"
        return [Problem("privacy.method", sentence)]
    if plan.word_bits != 32:
        sentence = f"threshold encryption has numbers of 32 bits, not {plan.word_bits}; leave word_bits out"
        problems.append(Problem("privacy.word_bits", sentence))
    if plan.weights == "hidden":
        problems.append(Problem("privacy.weights", "weights are hidden by masks only; set method = 'masks'"))
    if plan.dp is not None and (plan.dp.mode == "distributed" or plan.dp.unit == "site"):
        sentence = "noise that is shared out needs masks, which some sites may leave; set method = 'masks'"
        problems.append(Problem("privacy.method", sentence))
    if study.strategy.min_sites is not None and n_sites is not None and study.strategy.min_sites < n_sites:
        sentence = f"threshold encryption opens sums of all {n_sites} sites or none; leave min_sites out"
        problems.append(Problem("strategy.min_sites", sentence))
    if plan.fallback == "refuse" and missing():
        problems.append(Problem("privacy.method", _unavailable()))
    return problems


def _unavailable() -> str:
    how = "use Python 3.12 with: pip install 'cohortium[he]', or set fallback = 'masks'"
    return f"method 'threshold-ckks' is not available here: {missing()}; {how}"


def sentence_on(study: Study, n_sites: int) -> str:
    """What threshold encryption means for this run, or why there are masks instead; empty where nobody asked for it."""
    if study.privacy.method != "threshold-ckks":
        return ""
    if encrypted(study, n_sites):
        opened = f"members see only the sum over {n_sites} sites, and all of them are needed to open it"
        return f"threshold encryption on: {opened}; held against sites that follow the protocol"
    return f"method: masks (asked: threshold-ckks; not available: {missing()})"
