"""Leakage checks L1 to L8: what would make a model look good here and fail in use. Each answers with `Check`s.

    check_parts         L1  a patient, equal row or near-duplicate image in two parts
    check_patient_key   L1  a column that looks like a patient key nobody declared
    check_features      L2  one column, or its missingness, that gives the outcome away
    check_timing        L3  features known after `predict_at`, or named like a second outcome; L7 treatments by name
    check_follow_up     L7  one site's times in another unit than the others' (days taken for months)
    check_time_zero     L7  entry after the event; carriers who cannot die early (immortal time)
    check_fitting       L4, L8  what the preparations were fitted on
    check_shortcut      L5  sites that are recognisable and differ in outcome
    check_confounding   L6  every site has one class only

`fail` refuses the study, `warn` is printed; a column with a reason in `acknowledged` only warns. Works on
`Examples` and names; L5 needs several sites' rows and is for simulations, L6 needs class counts only.
No message holds a patient's value. Design: clinical-learning.md 1.8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cohortium.core.check import Check, Level
from cohortium.core.examples import Examples
from cohortium.data.duplicates import equal_rows, near_images, row_keys, telling_values
from cohortium.data.ranks import auroc
from cohortium.data.timing import MOMENTS, known_too_late, outcome_like, treatment_like

__all__ = [
    "check_confounding",
    "check_features",
    "check_fitting",
    "check_follow_up",
    "check_parts",
    "check_patient_key",
    "check_shortcut",
    "check_time_zero",
    "check_timing",
    "class_counts",
]

ALONE = 0.98
"""AUROC above which one column alone is suspected (L2)."""

MISSINGNESS = 0.90
RECOGNISABLE = 0.90
SHARE_GAP = 0.3
_SURE = 30  # of each side: fewer and a perfect column may be chance, so it only warns
_LEAST = 10  # of each side: fewer and nothing is said
_MOST_COLUMNS = 2_000  # for recognising sites
_FEW_FOLLOWED = 10
_UNIT_FACTORS = (30.4375, 365.25)  # days in a month, in a year
_EARLY = 0.1  # quantile of event times before which carriers are looked for
_DUPLICATES = 0.01  # of the smaller part
_TELLING = 3  # rare values that make an equal row the same patient
_IMMORTAL_SHARE, _IMMORTAL_EVENTS, _IMMORTAL_CHANCE = 0.1, 10.0, 1e-6

Acknowledged = Mapping[str, str]
_NOTHING: Mapping[str, str] = {}


def check_parts(parts: Mapping[str, Examples], *, acknowledged: Acknowledged = _NOTHING) -> list[Check]:
    """L1. parts: `train`, `calibration`, `test` of one site, patients numbered across parts.

    A shared patient fails. Equal rows and images fail from one in a hundred of the smaller part on, unless
    `acknowledged` gives a reason for `duplicates`; fewer warn, and so do those within one part.
    """
    names = [name for name, part in parts.items() if len(part)]
    checks = list(_shared_patients({name: parts[name] for name in names}))
    if names:
        which = np.repeat(np.arange(len(names)), [len(parts[name]) for name in names])
        checks += _duplicates([parts[name] for name in names], which, names, acknowledged)
    return checks or [Check(id="L1", level="ok", found="no patient, row or image is in two parts")]


def check_patient_key(
    columns: Mapping[str, Sequence[object]], *, patient: str = "", acknowledged: Acknowledged = _NOTHING
) -> list[Check]:
    """L1. columns: raw columns that are no numbers. A key-like name whose values repeat must be the patient column."""
    checks = []
    for name, values in columns.items():
        words = re.findall(r"[^\W_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower())
        if name == patient or not {"id", "subject", "patient", "person", "participant", "mrn"} & set(words):
            continue
        known = [value for value in values if value is not None]
        n_repeats = len(known) - len(set(known))
        if n_repeats and not patient:
            found = f"column '{name}' looks like a patient key and repeats in {n_repeats} of {len(known)} rows"
            if reason := acknowledged.get(name):
                checks.append(Check(id="L1", level="warn", found=f"{found}; acknowledged: {reason}"))
                continue
            fix = f'set cohort.patient = "{name}", or say in acknowledged."{name}" what else it is'
            checks.append(Check(id="L1", level="fail", found=found, fix=fix))
    return checks or [Check(id="L1", level="ok", found="no undeclared column looks like a patient key")]


def check_features(examples: Examples, *, acknowledged: Acknowledged = _NOTHING) -> list[Check]:
    """L2. Training rows, raw (NaN = missing). Each column, and its missingness, against the outcome."""
    if examples.layout.image is not None:
        return [Check(id="L2", level="skipped", found="images have no single columns")]
    columns = [name.partition("=")[0] for name in examples.layout.features]
    worst: dict[str, tuple[float, Check]] = {}
    asked = False
    for positive, rows in _sides(examples):
        n_least = int(min(np.count_nonzero(positive), np.count_nonzero(~positive)))
        if n_least < _LEAST:
            continue
        asked = True
        x = examples.x[rows]
        level: Level = "fail" if n_least >= _SURE else "warn"
        for what, areas, limit in (
            ("alone gives the outcome away", _either_way(auroc(x, positive)), ALONE),
            ("gives the outcome away by being missing", _missing_areas(x, positive), MISSINGNESS),
        ):
            for place in np.flatnonzero(areas > limit):
                name, area = columns[place], float(areas[place])
                found = f"column '{name}' {what} (AUROC {area:.2f}, {n_least} rows on the smaller side)"
                if area > worst.get(name, (0.0,))[0]:
                    worst[name] = area, _judged("L2", name, level, found, acknowledged)
    if not asked:
        return [Check(id="L2", level="skipped", found=f"fewer than {_LEAST} rows on one side of the outcome")]
    return [check for _, check in worst.values()] or [
        Check(id="L2", level="ok", found="no column alone gives the outcome away")
    ]


def check_timing(
    features: Sequence[str],
    *,
    outcome: Sequence[str] = (),
    survival: bool = False,
    known: Mapping[str, str] = _NOTHING,
    predict_at: str = "",
    moments: Sequence[str] = MOMENTS,
    acknowledged: Acknowledged = _NOTHING,
) -> list[Check]:
    """L3 and L7 by declaration and name. outcome: its column names. known: column -> moment, as declared.

    A column whose moment is declared, and not too late, is no longer judged by its name.
    """
    late = known_too_late(features, known=known, predict_at=predict_at, moments=moments)
    checks = {name: _judged("L3", name, "fail", f"column '{name}' {why}", acknowledged) for name, why in late.items()}
    open_names = [name for name in features if name.partition("=")[0] not in known]
    for name, why in outcome_like(open_names, outcome=outcome).items():
        checks.setdefault(name, _judged("L3", name, "fail", f"column '{name}' {why}", acknowledged))
    for name in treatment_like(open_names) if survival else ():
        found = f"column '{name}' is named like a treatment; given after time zero it promises survival"
        checks.setdefault(name, _judged("L7", name, "warn", found, acknowledged))
    if checks:
        return list(checks.values())
    declared = f"at '{predict_at}'" if predict_at else "by its name"
    return [Check(id="L3", level="ok", found=f"no feature is known too late {declared}")]


def check_time_zero(examples: Examples, *, acknowledged: Acknowledged = _NOTHING) -> list[Check]:
    """L7. Training rows of a survival outcome: entry before the end, and no column that needs survival to be 1."""
    if examples.time is None or examples.event is None:
        return [Check(id="L7", level="skipped", found="the outcome has no time")]
    checks = []
    if examples.entry is not None and (n_late := int(np.count_nonzero(examples.entry >= examples.time))):
        found = f"{n_late} rows enter at or after their event or end of follow-up"
        checks.append(Check(id="L7", level="fail", found=found, fix="correct or leave out these rows"))
    for name in _immortal(examples):
        found = f"column '{name}': carriers have next to no early events: they had to survive to carry it"
        checks.append(_judged("L7", name, "fail", found, acknowledged))
    return checks or [Check(id="L7", level="ok", found="time zero is the same for all")]


def check_follow_up(sites: Mapping[str, Examples]) -> list[Check]:
    """L7. Whether one site's median follow-up is that of the others in another unit: days taken for months or years."""
    medians = {
        site: float(np.median(examples.time))
        for site, examples in sites.items()
        if examples.time is not None and len(examples) >= _FEW_FOLLOWED
    }
    if len(medians) < 2:
        return [Check(id="L7", level="skipped", found="fewer than two sites with follow-up to compare")]
    checks = []
    for site, median in medians.items():
        others = float(np.median([value for name, value in medians.items() if name != site]))
        ratio = max(median, others) / max(min(median, others), 1e-9)
        near = [factor for factor in _UNIT_FACTORS if abs(np.log(ratio / factor)) < np.log(1.5)]
        if near:
            word = "shorter" if median < others else "longer"
            found = f"site '{site}': median follow-up {ratio:.0f} times {word} than elsewhere, near {near[0]:g}"
            checks.append(Check(id="L7", level="warn", found=found, fix="see whether its times are in another unit"))
    return checks or [Check(id="L7", level="ok", found="follow-up is in one unit at all sites")]


def check_fitting(scaling: str = "training") -> list[Check]:
    """L4 and L8. scaling: `training`, or `train-and-test-separately`, which only replays of papers may ask for."""
    checks = [Check(id="L4", level="ok", found="columns are prepared from training rows only")]
    if scaling == "training":
        return [*checks, Check(id="L8", level="ok", found="test rows are scaled by the training rows' mean and spread")]
    if scaling != "train-and-test-separately":
        raise ValueError(f"scaling must be training or train-and-test-separately, got {scaling!r}")
    found = "test rows are scaled by their own moments, as published"
    return [*checks, Check(id="L8", level="warn", found=found, fix="for replays only: the figures flatter")]


def class_counts(examples: Examples) -> NDArray[np.int64]:
    """Rows per class (k,); event no, yes for survival; empty for numbers and counts."""
    if examples.event is not None:
        return np.bincount((examples.event > 0).astype(np.int64), minlength=2)
    if examples.y is None or examples.layout.outcome not in ("binary", "classes"):
        return np.zeros(0, dtype=np.int64)
    known = examples.y[~np.isnan(examples.y)].astype(np.int64)
    return np.bincount(known, minlength=max(2, len(examples.layout.classes)))


def check_confounding(counts: Mapping[str, Sequence[int] | NDArray[np.int64]]) -> list[Check]:
    """L6. counts: site -> rows per class (`class_counts`). Fails when no site has two classes and sites differ."""
    held = {site: np.asarray(c) > 0 for site, c in counts.items() if int(np.sum(c))}
    single = sorted(site for site, classes in held.items() if np.count_nonzero(classes) == 1)
    seen = np.count_nonzero(np.any(list(held.values()), axis=0)) if held else 0
    if len(held) > 1 and len(single) == len(held) and seen > 1:
        found = f"outcome and site cannot be told apart: each of {len(held)} sites has one class only"
        return [Check(id="L6", level="fail", found=found, fix="add sites that hold both, or change the outcome")]
    if single and seen > 1:
        found = f"{len(single)} of {len(held)} sites have one class only: {', '.join(single)}"
        return [Check(id="L6", level="warn", found=found, fix="judge the model within sites; do not remove site means")]
    return [Check(id="L6", level="ok", found="every site has more than one class")]


def check_shortcut(sites: Mapping[str, Examples]) -> list[Check]:
    """L5. Training rows of several sites, raw: can a linear rule name the site, and do outcome shares differ?"""
    rows = {site: examples for site, examples in sorted(sites.items()) if len(examples) >= _LEAST}
    shares = {site: _shares(examples) for site, examples in rows.items()}
    if len(rows) < 2 or any(not len(share) for share in shares.values()):
        return [Check(id="L5", level="skipped", found="needs two sites of ten rows and an outcome of classes")]
    stacked = np.stack(list(shares.values()))
    gap = float(np.max(stacked.max(axis=0) - stacked.min(axis=0)))
    areas = dict(zip(rows, _site_areas(list(rows.values())), strict=True))
    best = max(areas, key=lambda site: areas[site])
    if areas[best] > RECOGNISABLE and gap > SHARE_GAP:
        facts = f"site '{best}' is recognised with AUROC {areas[best]:.2f}, outcome shares differ by {gap:.2f}"
        return [Check(id="L5", level="warn", found=f"shortcut by site: {facts}", fix="read the within-site figures")]
    found = (
        f"no shortcut by site, which takes a site recognised with AUROC above {RECOGNISABLE:.2f} (here at most"
        f" {areas[best]:.2f}) and outcome shares more than {SHARE_GAP:.2f} apart (here {gap:.2f})"
    )
    return [Check(id="L5", level="ok", found=found)]


def _judged(check: str, name: str, level: Level, found: str, acknowledged: Acknowledged) -> Check:
    reason = acknowledged.get(name, acknowledged.get(name.partition("=")[0], ""))
    if reason:
        return Check(id=check, level="warn", found=f"{found}; acknowledged: {reason}")
    fix = "keep them in one part" if name == "duplicates" else "exclude it"
    return Check(id=check, level=level, found=found, fix=f'{fix}, or say why in acknowledged."{name}"')


def _shared_patients(parts: Mapping[str, Examples]) -> Iterator[Check]:
    names = list(parts)
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            shared = len(np.intersect1d(parts[one].patient, parts[other].patient))
            if shared:
                found = f"{shared} patients are in both '{one}' and '{other}'"
                yield Check(id="L1", level="fail", found=found, fix="draw parts by patient")


def _duplicates(
    parts: Sequence[Examples], which: NDArray[np.int64], names: Sequence[str], acknowledged: Acknowledged
) -> Iterator[Check]:
    image = parts[0].layout.image is not None
    if image and min(parts[0].x.shape[2:]) < 9:
        yield Check(id="L1", level="skipped", found="images are too small to look for near-duplicates")
        return
    pairs = near_images(np.concatenate([part.x for part in parts])) if image else _same_patients(parts)
    thing = "near-duplicate images" if image else "equal feature rows"

    def pairs_of(n: int) -> str:
        return f"{n} {'pair' if n == 1 else 'pairs'} of {thing}"

    sides = np.sort(which[pairs], axis=1)
    for one in range(len(names)):
        for other in range(one, len(names)):
            n = int(np.count_nonzero((sides[:, 0] == one) & (sides[:, 1] == other)))
            if n and one == other:
                yield Check(id="L1", level="warn", found=f"{pairs_of(n)} within '{names[one]}'")
            elif n:
                found = f"{pairs_of(n)} in '{names[one]}' and '{names[other]}'"
                level: Level = "fail" if n > _DUPLICATES * min(len(parts[one]), len(parts[other])) else "warn"
                yield _judged("L1", "duplicates", level, found, acknowledged)


def _same_patients(parts: Sequence[Examples]) -> NDArray[np.int64]:
    """Pairs of equal rows that tell a patient from others."""
    pairs = equal_rows(np.concatenate([row_keys(part.x) for part in parts]))
    if len(pairs):
        pairs = pairs[telling_values(np.concatenate([part.x for part in parts]), pairs[:, 0]) >= _TELLING]
    return pairs


def _sides(examples: Examples) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Ways to cut the outcome in two: (positive, rows): positive is given for those rows only."""
    if examples.time is not None and examples.event is not None:
        happened = examples.event > 0
        if happened.any():
            middle = np.median(examples.time[happened])
            rows = (happened & (examples.time <= middle)) | (examples.time > middle)
            yield (happened & (examples.time <= middle))[rows], rows
        yield happened, np.ones(len(examples), dtype=bool)
    elif examples.y is not None and not np.isnan(examples.y).all():
        rows = ~np.isnan(examples.y)
        y = examples.y[rows]
        if examples.layout.outcome in ("number", "count"):
            yield y > np.median(y), rows
        else:
            for one in np.unique(y)[1 if examples.layout.outcome == "binary" else 0 :]:
                yield y == one, rows


def _either_way(areas: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nan_to_num(np.maximum(areas, 1.0 - areas))


def _missing_areas(x: NDArray[np.floating], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    missing = np.isnan(x).astype(np.float64)
    areas = np.full(x.shape[1], 0.5)
    some = missing.any(axis=0)
    areas[some] = auroc(missing[:, some], positive)
    return _either_way(areas)


def _immortal(examples: Examples) -> Iterator[str]:
    """0/1 columns whose carriers have at most a tenth of the early events their later risk makes expected."""
    from scipy.special import bdtr  # takes a tenth of a second to import, and only survival studies need it

    assert examples.time is not None and examples.event is not None  # noqa: S101, PT018 - checked by the caller
    happened = examples.event > 0
    if np.count_nonzero(happened) < 10 * _IMMORTAL_EVENTS:
        return
    cut = float(np.quantile(examples.time[happened], _EARLY))
    before, after = np.minimum(examples.time, cut), np.maximum(examples.time - cut, 0.0)
    early, late = happened & (examples.time <= cut), happened & (examples.time > cut)
    for column, name in enumerate(examples.layout.features):
        values = examples.x[:, column]
        carriers, others = values == 1, values == 0
        if (carriers | others | np.isnan(values)).all() and carriers.any() and others.any():
            later = _rate(late, after, carriers) / _rate(late, after, others)
            expected = _rate(early, before, others) * min(later, 1.0) * float(before[carriers].sum())
            n_carriers, n_others = int(early[carriers].sum()), int(early[others].sum())
            share = expected / (expected + n_others) if expected + n_others else 0.0
            rare = n_carriers <= _IMMORTAL_SHARE * expected and expected >= _IMMORTAL_EVENTS
            if rare and bdtr(n_carriers, n_carriers + n_others, share) < _IMMORTAL_CHANCE:
                yield name


def _rate(events: NDArray[np.bool_], time: NDArray[np.float64], rows: NDArray[np.bool_]) -> float:
    """Events per time at risk; half an event added, so that none is not impossible."""
    return (float(np.count_nonzero(events[rows])) + 0.5) / max(float(time[rows].sum()), 1e-12)


def _shares(examples: Examples) -> NDArray[np.float64]:
    counts = class_counts(examples)
    return counts / max(int(counts.sum()), 1)


def _site_areas(sites: Sequence[Examples]) -> NDArray[np.float64]:
    """One-vs-rest AUROC of each site by ridge regression on columns and their missingness, two-fold."""
    which = np.repeat(np.arange(len(sites)), [len(site) for site in sites])
    fold = np.concatenate([np.arange(len(site)) % 2 for site in sites])
    x = np.concatenate([site.x.reshape(len(site), -1) for site in sites]).astype(np.float64)
    x = x[:, :: max(1, -(-x.shape[1] // _MOST_COLUMNS))]
    missing = np.isnan(x)
    x = np.hstack([x, missing[:, missing.any(axis=0)]])
    scores = np.zeros((len(x), len(sites)))
    for held_out in (0, 1):
        train = fold != held_out
        count = np.maximum(np.count_nonzero(~np.isnan(x[train]), axis=0), 1)
        mean = np.nansum(x[train], axis=0) / count
        sd = np.sqrt(np.nansum((x[train] - mean) ** 2, axis=0) / count)
        z = np.clip(np.nan_to_num((x - mean) / np.where(sd > 0, sd, 1.0)), -5, 5)
        scores[~train] = z[~train] @ _ridge(z[train], which[train, None] == np.arange(len(sites)))
    return np.array([auroc(scores[:, [site]], which == site)[0] for site in range(len(sites))])


def _ridge(z: NDArray[np.float64], target: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights (p, k) with a penalty of a tenth of a record's weight per record; by rows where p > n."""
    y = target - target.mean(axis=0)
    n, p = z.shape
    if p <= n:
        return np.asarray(np.linalg.solve(z.T @ z + 0.1 * n * np.eye(p), z.T @ y), dtype=np.float64)
    return np.asarray(z.T @ np.linalg.solve(z @ z.T + 0.1 * n * np.eye(n), y), dtype=np.float64)
