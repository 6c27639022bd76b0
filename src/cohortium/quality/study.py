"""What a study asks of its audit of harmful data, and what rules it out."""

from __future__ import annotations

from collections.abc import Collection

from cohortium.core.study import QualityPlan, Study
from cohortium.errors import Problem, StudyError
from cohortium.privacy.dp.distributed import sharing
from cohortium.privacy.dp.terms import delta_limit
from cohortium.quality.out_of_bag import LEAST_SITES

__all__ = ["check_audited", "check_audited_by_nodes", "check_quality", "fewest_audited", "least_half"]

_FEWEST_AGREEING, _MOST_AGREEING = 3, 9
_READ = {
    "none": set(),
    "out-of-bag": {"halves", "passes", "convict", "exclude_records", "one_class_unconfirmed", "anchors", "repairs"},
    "agreement": {"exclude_records"},  # refused in a sentence of its own
    "travelling": {"exclude_records", "tolerance", "cycles", "learning_rate"},
}

_SITE_SCALES = ("site", "shrunk", "combat")
_UNDER_NOISE = ("passes", "anchors", "repairs", "one_class_unconfirmed", "tolerance", "cycles", "learning_rate")


def least_half(n_sites: int) -> int:
    """Fewest sites in a half under masks: no third of all sites that conspire may see fewer than two others."""
    return max(3, n_sites // 3 + 2)


def fewest_audited(study: Study, n_sites: int) -> int:
    """Fewest sites of a consortium that an audit between hospitals goes on with, more than half.

    By agreement three of them. Under masks so many that no half loses its bound, however few of all stay away; under
    noise so many that every sum has enough of it.
    """
    fewest = _FEWEST_AGREEING if study.quality.detector == "agreement" else LEAST_SITES
    least = max(fewest, n_sites // 2 + 1, study.strategy.min_sites or 0)
    if study.quality.dp is not None:
        least = max(least, n_sites - sharing(n_sites)[1])
    return max(least, least_half(n_sites) + (n_sites + 1) // 2) if study.privacy.masked(n_sites) else least


def check_audited_by_nodes(study: Study) -> list[Problem]:
    """Why an audit that a simulation can make cannot be made between hospitals, as the study says."""
    plan, problems = study.quality, []
    if plan.detector == "none":
        return []
    if plan.gate == "consortium":
        why = 'a run between hospitals audits or trains, not both; set gate = "consortium" in the study that trains'
        problems.append(Problem("quality.gate", why))
    if plan.detector == "travelling":
        why = "between hospitals 'out-of-bag' and 'agreement' run; 'travelling' is for simulations"
        problems.append(Problem("quality.detector", why))
    if plan.on_harm != "report":
        why = (
            'a run between hospitals audits or trains, not both; set on_harm = "report", let each site named '
            "mend its own table (cohortium audit harm apply-repair), then propose the training without [quality]"
        )
        problems.append(Problem("quality.on_harm", why))
    if plan.exclude_records != "list" and plan.detector != "agreement":
        why = 'an audit between hospitals only ranks a site\'s records, for its own eyes; set exclude_records = "list"'
        problems.append(Problem("quality.exclude_records", why))
    privacy = study.privacy
    if (privacy.method, privacy.weights, privacy.groups) != ("masks", "public", 1):
        why = "an audit adds whole numbers of all sites up; leave privacy.method, weights and groups as they are"
        problems.append(Problem("privacy", why))
    return problems


def check_quality(study: Study, n_sites: int | None) -> list[Problem]:
    """Why gate or audit cannot be made as the study says; n_sites: None where it is not known yet."""
    if study.quality.gate == "consortium" and (study.privacy.dp is not None or study.quality.dp is not None):
        why = (
            "sites would be compared by sums without noise, which differential privacy rules out, and noise hides what "
            'an update has learned; set gate = "site"'
        )
        return [Problem("quality.gate", why), *_of_copies(study, n_sites), *_of_audit(study, n_sites)]
    return [*_of_copies(study, n_sites), *_of_audit(study, n_sites)]


def _of_copies(study: Study, n_sites: int | None) -> list[Problem]:
    """Why near-copies at other sites cannot be looked for as the study says; what the columns forbid comes later."""
    plan, privacy = study.quality, study.privacy
    if not plan.copies:
        return []
    if privacy.dp is not None or plan.dp is not None:
        why = "tokens of single records are told without noise, which differential privacy rules out; leave copies out"
        return [Problem("quality.copies", why)]
    problems = []
    if plan.gate != "consortium":
        why = 'copies at other sites are looked for by the gate of a run; set gate = "consortium"'
        problems.append(Problem("quality.copies", why))
    if study.cohort.scale in _SITE_SCALES:
        why = f"records are compared on one scale, and scale = '{study.cohort.scale}' gives every site its own"
        problems.append(Problem("quality.copies", f"{why}; set cohort.scale = 'standard', 'public' or 'none'"))
    if privacy.masked(n_sites) and (privacy.method, privacy.weights, privacy.groups) != ("masks", "public", 1):
        why = "tokens are shown beside a masked sum; leave privacy.method, weights and groups as they are"
        problems.append(Problem("quality.copies", why))
    return problems


def _of_audit(study: Study, n_sites: int | None) -> list[Problem]:
    plan, masked = study.quality, study.privacy.masked(n_sites)
    key, name = "quality.detector", plan.detector
    if name == "none":
        return [
            Problem(f"quality.{one}", "no audit is made that reads it; set quality.detector") for one in _unread(plan)
        ]
    if plan.dp is not None:
        return _of_noise(study, n_sites)
    if plan.on_harm == "eliminate" and not plan.paired_trial:
        return [Problem("quality.on_harm", "on_harm = 'eliminate' needs paired_trial = true")]
    if plan.on_harm == "eliminate" and study.evaluation.calibration_fraction == 0:
        why = "an elimination is decided on calibration patients; set evaluation.calibration_fraction above 0"
        return [Problem("quality.on_harm", why)]
    if unread := _unread(plan):
        return [Problem(f"quality.{one}", f"detector '{name}' does not read it; leave it out") for one in unread]
    if study.privacy.dp is not None:
        why = f"detector '{name}' trains its probe without noise, which privacy.dp rules out"
        way = "; add [quality] dp" if name == "out-of-bag" else '; set detector = "none"'
        return [Problem(key, why + way)]
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
    return _too_few(n_sites, masked=masked) if name == "out-of-bag" else []


def _of_noise(study: Study, n_sites: int | None) -> list[Problem]:
    """Why an audit cannot be made under differential privacy as the study says."""
    plan, problems = study.quality, []
    if plan.detector != "out-of-bag":
        why = f"detector '{plan.detector}' shows what noise does not cover; set detector = \"out-of-bag\""
        return [Problem("quality.dp", why)]
    if not study.privacy.masked(n_sites):
        why = "noise is shared out by the sites of a masked sum; switch privacy.secure_aggregation on"
        problems.append(Problem("quality.dp", why))
    problems += _of_means(study)
    if plan.on_harm not in ("report", "quarantine"):
        why = f"on_harm = '{plan.on_harm}' rests on what an audit under noise does not release; set \"quarantine\""
        problems.append(Problem("quality.on_harm", why))
    if plan.exclude_records != "list":
        why = 'an audit under noise only ranks a site\'s records, for its own eyes; set exclude_records = "list"'
        problems.append(Problem("quality.exclude_records", why))
    plain, unread = QualityPlan(), "an audit under noise does not read it; leave it out"
    changed = [name for name in _UNDER_NOISE if getattr(plan, name) != getattr(plain, name)]
    problems += [Problem(f"quality.{name}", unread) for name in changed]
    if study.evaluation.folds:
        problems.append(Problem("quality.detector", "an audit is made of one split; leave evaluation.folds out"))
    if study.privacy.groups != 1 or study.privacy.method != "masks" or study.privacy.weights != "public":
        why = "an audit adds whole numbers of all sites up; leave privacy.method, weights and groups as they are"
        problems.append(Problem("privacy", why))
    if plan.dp is not None and plan.dp.delta > delta_limit(1):
        why = f"delta {plan.dp.delta:g} is a chance that somebody's data are told; at most {delta_limit(1):g}"
        problems.append(Problem("quality.dp.delta", why))
    return problems or ([] if n_sites is None else _too_few(n_sites, masked=True))


def _of_means(study: Study) -> list[Problem]:
    """Scaling and filling that an audit under noise may not read, where [privacy.dp] does not refuse them as well."""
    scale, fill, private = study.cohort.scale, study.cohort.fill, study.privacy.dp is not None
    problems = []
    if scale != "public" and not (private and scale != "none"):
        why = f"scale = '{scale}': an audit under noise needs agreed ranges; set scale = 'public' and cohort.ranges"
        problems.append(Problem("cohort.scale", why))
    if fill != "none" and not private:
        why = f"fill = '{fill}': an audit under noise may not read means of patients; set fill = 'none'"
        problems.append(Problem("cohort.fill", why))
    return problems


def _too_few(n_sites: int, *, masked: bool) -> list[Problem]:
    """Why `out-of-bag` needs more sites."""
    half, key = n_sites // 2, "quality.detector"
    if masked and half < least_half(n_sites):
        why = (
            f"detector 'out-of-bag': {n_sites} sites give halves of {half}; "
            f"with secure aggregation a half needs {least_half(n_sites)}: 8 sites, or 10 and more"
        )
        return [Problem(key, why)]
    if n_sites < LEAST_SITES:
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
    plain, always = QualityPlan(), {"gate", "copies", "detector", *_READ[plan.detector]}
    if plan.detector != "none":
        always |= {"on_harm", "paired_trial", "dp"}
    names = [name for name in type(plan).model_fields if name not in always]
    return [name for name in names if getattr(plan, name) != getattr(plain, name)]
