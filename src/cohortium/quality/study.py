"""What a study asks of its audit of harmful data, and what rules it out."""

from __future__ import annotations

from collections.abc import Collection

from cohortium.core.study import QualityPlan, Study
from cohortium.errors import Problem, StudyError
from cohortium.quality.out_of_bag import LEAST_SITES

__all__ = ["check_audited", "check_quality", "least_half"]

_FEWEST_AGREEING, _MOST_AGREEING = 3, 9
_READ = {
    "out-of-bag": {"halves", "passes", "convict", "exclude_records", "one_class_unconfirmed", "anchors", "repairs"},
    "agreement": {"exclude_records"},  # refused in a sentence of its own
    "travelling": {"exclude_records", "tolerance", "cycles", "learning_rate"},
}


def least_half(n_sites: int) -> int:
    """Fewest sites in a half under masks: no third of all sites that conspire may see fewer than two others."""
    return max(3, n_sites // 3 + 2)


def check_quality(study: Study, n_sites: int | None) -> list[Problem]:
    """Why the audit cannot be made as the study says; n_sites: None where it is not known yet."""
    plan, masked = study.quality, study.privacy.masked(n_sites)
    key, name = "quality.detector", plan.detector
    if name == "none":
        return []
    if plan.dp is not None:
        why = "noise on the evidence of an audit is not offered; leave it out, the evidence travels as it is"
        return [Problem("quality.dp", why)]
    if unread := _unread(plan):
        return [Problem(f"quality.{one}", f"detector '{name}' does not read it; leave it out") for one in unread]
    if study.privacy.dp is not None:
        why = f"detector '{name}' trains its probe without noise, which privacy.dp rules out; set detector = \"none\""
        return [Problem(key, why)]
    if name == "agreement" and masked:
        why = (
            "detector 'agreement' needs single-site models, but secure aggregation hides them; switch it off or use "
            "'out-of-bag' with 8 sites, or 10 and more"
        )
        return [Problem(key, why)]
    if name == "travelling" and masked:
        return [Problem(key, "detector 'travelling' relays models in the clear; set secure_aggregation = false")]
    if name == "travelling" and study.evaluation.calibration_fraction == 0:
        why = "detector 'travelling' decides on calibration patients; set evaluation.calibration_fraction above 0"
        return [Problem(key, why)]
    if name == "agreement" and plan.exclude_records == "local":
        return [Problem("quality.exclude_records", "detector 'agreement' judges sites, no records; set \"list\"")]
    if study.evaluation.folds:
        return [Problem(key, "an audit is made of one split; leave evaluation.folds out")]
    if n_sites is None:
        return []
    if name == "agreement" and not _FEWEST_AGREEING <= n_sites <= _MOST_AGREEING:
        return [Problem(key, f"detector 'agreement' needs {_FEWEST_AGREEING} to {_MOST_AGREEING} sites, got {n_sites}")]
    half = n_sites // 2
    if name == "out-of-bag" and masked and half < least_half(n_sites):
        why = (
            f"detector 'out-of-bag': {n_sites} sites give halves of {half}; "
            f"with secure aggregation a half needs {least_half(n_sites)}: 8 sites, or 10 and more"
        )
        return [Problem(key, why)]
    if name == "out-of-bag" and n_sites < LEAST_SITES:
        return [Problem(key, f"detector 'out-of-bag' needs at least {LEAST_SITES} sites, got {n_sites}")]
    return []


def check_audited(study: Study, *, sites: Collection[str], outcome: str) -> None:
    """Refuse an audit of these sites. outcome: its kind. Raises StudyError."""
    plan, problems = study.quality, []
    if plan.detector == "none":
        return
    if outcome != "binary":
        why = f"detector '{plan.detector}' judges labels of 0 and 1, not an outcome of kind '{outcome}'"
        problems.append(Problem("quality.detector", why))
    if unknown := sorted(set(plan.anchors) - set(sites)):
        why = f"unknown site '{unknown[0]}'; sites: {', '.join(sorted(sites))}"
        problems.append(Problem("quality.anchors", why))
    if problems:
        raise StudyError(problems)


def _unread(plan: QualityPlan) -> list[str]:
    """Settings that were changed, though this detector reads none of them."""
    plain, always = QualityPlan(), {"detector", "on_harm", "dp", *_READ[plan.detector]}
    names = [name for name in type(plan).model_fields if name not in always]
    return [name for name in names if getattr(plan, name) != getattr(plain, name)]
