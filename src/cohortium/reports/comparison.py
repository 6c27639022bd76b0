"""The per-site truth report: own model against swarm, pooled and swarm-without-the-site, on whose patients?

Input is a table of predictions `scores[model][site] -> array`, outcomes per site, models named

    swarm   pooled   own/<site>   without/<site>   (anything else is ignored here)

A site asks "better than my own model on my own patients?", so that comes first, with a paired test, Holm over the
sites, EXAM's two figures, what a new site may expect, and a plain list of the sites where it does not help.
Gains are counted so that a positive number is better, whatever the measure.

Sources: Dayan et al. 2021 (EXAM: local against federated, at home and elsewhere); DeLong; McNemar; Holm 1979;
DerSimonian, Laird 1986.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.calibration import squared_errors
from cohortium.reports.discrimination import Z95, auroc_difference
from cohortium.reports.measure import MIN_CLASS, Measure
from cohortium.reports.observed import Observed
from cohortium.reports.paired import holm, mcnemar, sign_flip
from cohortium.reports.panel import LOWER_IS_BETTER, PRIMARY, draws_of, measure_all, measure_values
from cohortium.reports.random_effects import RandomEffects, random_effects
from cohortium.reports.resampling import DRAWS, bootstrap, draws_of_patients, percentile_interval, weighted_means
from cohortium.reports.survival_measures import MATRIX_LIMIT, c_draws

__all__ = ["LOSS", "Calls", "Comparison", "Exam", "Gain", "Scores", "SiteComparison", "Verdict", "compare", "summarise"]

LOSS = 0.01
"""A site that loses more than this on its own patients is named, whatever the interval."""

Floats = NDArray[np.float64]
Scores = Mapping[str, Mapping[str, Floats]]
Calls = Mapping[str, Mapping[str, NDArray[np.bool_]]]
Verdict = Literal["helps", "unclear", "does not help", "not judged"]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Swarm minus own model on the same patients, positive = swarm better. p_holm: corrected over the sites."""

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    method: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class SiteComparison:
    """One site. n_train, n_test: records; the four models on its own test part; then on everyone else's (means).

    gains: by measure (`auroc`, `accuracy`, `brier`; one for other outcomes), the primary one first.
    """

    site: str
    n_train: int | None
    n_test: int | None
    own: Measure
    swarm: Measure
    pooled: Measure
    without: Measure
    own_elsewhere: float | None
    swarm_elsewhere: float | None
    gains: dict[str, Gain]
    verdict: Verdict
    why: str


@dataclass(frozen=True, kw_only=True)
class Exam:
    """One of EXAM's two figures: mean over sites of own model and swarm, gain absolute and in per cent of own.

    Test parts too small to judge (fewer than 5 of a class or events, 10 of other outcomes) do not count.
    """

    own: float | None
    swarm: float | None
    gain: float | None
    gain_percent: float | None
    n_sites: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything of section 2. at_home, elsewhere: EXAM's figures 1 and 2; not_helped: names, sorted."""

    measure: str
    sites: tuple[SiteComparison, ...]
    at_home: Exam
    elsewhere: Exam
    new_site: RandomEffects | None
    not_helped: tuple[str, ...]

    @property
    def backwards(self) -> tuple[str, ...]:
        """Sites whose patients the others' model ranks the wrong way round, and their own rightly.

        By AUROC or C-index, both 95 % intervals on their side of one half; the swarm stands in where no model without
        the site was made. An outcome coded the other way looks like this.
        """
        if self.measure not in ("auroc", "c_index"):
            return ()
        found = []
        for row in self.sites:
            others = row.swarm if row.without.value is None else row.without
            if others.high is not None and row.own.low is not None and others.high < 0.5 < row.own.low:
                found.append(row.site)
        return tuple(found)


def compare(
    scores: Scores,
    observed: Observed,
    *,
    n_train: Mapping[str, int],
    rng: np.random.Generator,
    calls: Calls | None = None,
    draws: int = DRAWS,
) -> Comparison:
    """Compare models at every site of `observed`; models or sites that are missing give measures with a reason.

    calls: model -> site -> whom the model calls positive there, each by its own recalibration and threshold. Where
    the calls of both models are given, accuracy compares them; else both models are cut at one half.
    """
    measure = PRIMARY[observed.outcome]
    gains = {
        site: _gains(scores, observed.at(site), site, calls=calls or {}, rng=rng, draws=draws)
        for site in observed.sites
    }
    corrected = _corrected(gains)
    rows = []
    for site in observed.sites:
        at_home = corrected[site]
        verdict, why = _verdict(at_home[measure])
        own_elsewhere, swarm_elsewhere = _elsewhere(scores, observed, site, measure)
        here = observed.at(site)
        found = {
            role: _measured(scores, model, site, here, measure, rng=rng, draws=draws)
            for role, model in _models(site).items()
        }
        rows.append(
            SiteComparison(
                site=site,
                n_train=n_train.get(site),
                n_test=len(here),
                **found,
                own_elsewhere=own_elsewhere,
                swarm_elsewhere=swarm_elsewhere,
                gains=at_home,
                verdict=verdict,
                why=why,
            )
        )
    return summarise(rows, measure)


def summarise(rows: Sequence[SiteComparison], measure: str) -> Comparison:
    """The figures over sites that follow from the sites' own: EXAM's two, a new site, who is not helped."""
    judged = [g for row in rows if (g := row.gains[measure]).value is not None and g.low is not None]
    effects = np.array([g.value for g in judged], dtype=np.float64)
    errors = np.array([((g.high or 0) - (g.low or 0)) / (2 * Z95) for g in judged], dtype=np.float64)
    usable = errors > 1e-9
    sign = _sign(measure)
    return Comparison(
        measure=measure,
        sites=tuple(rows),
        at_home=_exam([(r.own.value, r.swarm.value) for r in rows if r.verdict != "not judged"], sign),
        elsewhere=_exam([(r.own_elsewhere, r.swarm_elsewhere) for r in rows], sign),
        new_site=random_effects(effects[usable], errors[usable] ** 2),
        not_helped=tuple(r.site for r in rows if r.verdict == "does not help"),
    )


def _models(site: str) -> dict[str, str]:
    return {"own": f"own/{site}", "swarm": "swarm", "pooled": "pooled", "without": f"without/{site}"}


def _sign(measure: str) -> float:
    return -1.0 if measure in LOWER_IS_BETTER else 1.0


def _score(scores: Scores, model: str, site: str) -> Floats | None:
    found = scores.get(model, {}).get(site)
    return None if found is None else np.asarray(found, dtype=np.float64)


def _measured(
    scores: Scores,
    model: str,
    site: str,
    here: Observed,
    measure: str,
    *,
    rng: np.random.Generator,
    draws: int,
) -> Measure:
    score = _score(scores, model, site)
    if score is None:
        return Measure(value=None, n=len(here), reason=f"not available: no model {model.partition('/')[0]!r} here")
    return measure_all(score, here, rng=rng, draws=draws)[measure]


def _elsewhere(scores: Scores, observed: Observed, home: str, measure: str) -> tuple[float | None, float | None]:
    """Mean over the other sites' test parts of the own model and of the swarm, over the same sites."""
    pairs = []
    for site in observed.sites:
        own, swarm = _score(scores, f"own/{home}", site), _score(scores, "swarm", site)
        here = observed.at(site)
        if site == home or own is None or swarm is None or not _enough(here):
            continue
        first, second = measure_values(own, here)[measure], measure_values(swarm, here)[measure]
        if first is not None and second is not None:
            pairs.append((first, second))
    if not pairs:
        return None, None
    return sum(a for a, _ in pairs) / len(pairs), sum(b for _, b in pairs) / len(pairs)


def _enough(here: Observed) -> bool:
    known = here.take(here.known())
    if known.event is not None:
        return int(known.event.sum()) >= MIN_CLASS
    if known.outcome == "binary" and known.y is not None:
        positive = int((known.y > 0.5).sum())
        return min(positive, len(known) - positive) >= MIN_CLASS
    return len(known) >= 2 * MIN_CLASS


def _gains(
    scores: Scores, here: Observed, site: str, *, calls: Calls, rng: np.random.Generator, draws: int
) -> dict[str, Gain]:
    measure = PRIMARY[here.outcome]
    swarm, own = _score(scores, "swarm", site), _score(scores, f"own/{site}", site)
    rows = here.known()
    here = here.take(rows)
    if swarm is None or own is None:
        return {measure: Gain(value=None, reason="not available: one of the two models is missing")}
    swarm, own = swarm[rows], own[rows]
    if here.outcome == "binary":
        called = [calls.get(model, {}).get(site) for model in ("swarm", f"own/{site}")]
        known = tuple(one[rows] for one in called if one is not None)
        return _binary_gains(swarm, own, here, called=known, rng=rng, draws=draws)
    if here.outcome == "survival":
        return {measure: _survival_gain(swarm, own, here, rng=rng, draws=draws)}
    return {measure: _resampled_gain(swarm, own, here, measure, rng=rng, draws=draws)}


def _binary_gains(
    swarm: Floats,
    own: Floats,
    here: Observed,
    *,
    called: tuple[NDArray[np.bool_], ...],
    rng: np.random.Generator,
    draws: int,
) -> dict[str, Gain]:
    y, n = (np.zeros(0) if here.y is None else here.y), len(here)
    tested = auroc_difference(y, swarm, own, here.patient)
    if tested is None:
        values = measure_values(swarm, here)["auroc"], measure_values(own, here)["auroc"]
        value = None if values[0] is None or values[1] is None else values[0] - values[1]
        first = Gain(value=value, reason=f"not available: n = {n}, fewer than {MIN_CLASS} of a class")
    else:
        reach = Z95 * tested.standard_error
        value = tested.difference
        first = Gain(value=value, low=value - reach, high=value + reach, p=tested.p, method="paired DeLong")
    truth = y > 0.5
    repaired = len(called) == 2
    first_called, second_called = called if repaired else (swarm >= 0.5, own >= 0.5)
    right = first_called == truth, second_called == truth
    worth = {
        "accuracy": right[0].astype(np.float64) - right[1],
        "brier": squared_errors(y, own) - squared_errors(y, swarm),
    }
    p = {"accuracy": mcnemar(*right), "brier": sign_flip(_by_patient(worth["brier"], here.patient), rng=rng)}
    cut = "each recalibrated and cut on the calibration part" if repaired else "both cut at one half"
    methods = {"accuracy": f"{cut}, exact McNemar", "brier": "sign flips"}
    gains = {"auroc": first}
    if n < 2 * MIN_CLASS:
        why = f"not available: n = {n}"
        return gains | {k: Gain(value=float(d.mean()) if n else None, reason=why) for k, d in worth.items()}

    drawn = bootstrap(
        {k: partial(weighted_means, terms=d) for k, d in worth.items()}, here.patient, here.site, rng=rng, draws=draws
    )
    for k, d in worth.items():
        low, high = percentile_interval(drawn[k]) or (None, None)
        gains[k] = Gain(value=float(d.mean()), low=low, high=high, p=p[k], method=methods[k] + ", patient bootstrap")
    return gains


def _by_patient(terms: Floats, patient: NDArray[np.int64]) -> Floats:
    codes = np.unique(patient, return_inverse=True)[1].reshape(-1)
    return np.bincount(codes, terms).astype(np.float64)


def _survival_gain(swarm: Floats, own: Floats, here: Observed, *, rng: np.random.Generator, draws: int) -> Gain:
    values = measure_values(swarm, here)["c_index"], measure_values(own, here)["c_index"]
    n, events = len(here), 0 if here.event is None else int(here.event.sum())
    if values[0] is None or values[1] is None or here.time is None or here.event is None:
        return Gain(value=None, reason=f"not available: n = {n}")
    value = values[0] - values[1]
    if events < MIN_CLASS or n > MATRIX_LIMIT:
        why = f"fewer than {MIN_CLASS} events" if events < MIN_CLASS else f"more than {MATRIX_LIMIT} to resample"
        return Gain(value=value, reason=f"not available: n = {n}, {why}")
    blocks = []
    for weights in draws_of_patients(here.patient, here.site, rng=rng, draws=draws):
        first, second = c_draws(here.time, here.event, [swarm, own], weights)
        blocks.append(first - second)
    return _from_draws(value, np.concatenate(blocks), n)


def _resampled_gain(
    swarm: Floats, own: Floats, here: Observed, measure: str, *, rng: np.random.Generator, draws: int
) -> Gain:
    values = measure_values(swarm, here)[measure], measure_values(own, here)[measure]
    n, sign = len(here), _sign(measure)
    if values[0] is None or values[1] is None:
        return Gain(value=None, reason=f"not available: n = {n}")
    value = sign * (values[0] - values[1])
    if n < 2 * MIN_CLASS or here.y is None:
        return Gain(value=value, reason=f"not available: n = {n}")
    blocks = [
        sign * (draws_of(measure, swarm, here.y, w) - draws_of(measure, own, here.y, w))
        for w in draws_of_patients(here.patient, here.site, rng=rng, draws=draws)
    ]
    return _from_draws(value, np.concatenate(blocks), n)


def _from_draws(value: float, drawn: Floats, n: int) -> Gain:
    interval = percentile_interval(drawn)
    if interval is None:
        return Gain(value=value, reason=f"not available: n = {n}")
    there = drawn[np.isfinite(drawn)]
    beyond = min(int((there <= 0).sum()), int((there >= 0).sum()))
    p = min(1.0, 2 * (1 + beyond) / (1 + len(there)))
    return Gain(value=value, low=interval[0], high=interval[1], p=p, method="paired patient bootstrap")


def _corrected(gains: Mapping[str, dict[str, Gain]]) -> dict[str, dict[str, Gain]]:
    """Holm over the sites, separately for each measure."""
    result = {site: dict(found) for site, found in gains.items()}
    for measure in {name for found in gains.values() for name in found}:
        p = holm({site: found[measure].p for site, found in gains.items() if measure in found})
        for site, value in p.items():
            result[site][measure] = replace(result[site][measure], p_holm=value)
    return result


def _verdict(gain: Gain) -> tuple[Verdict, str]:
    if gain.value is None:
        return "not judged", gain.reason
    if gain.low is None or gain.high is None:
        return "not judged", f"{gain.value:+.3f}, interval {gain.reason}"
    if gain.value < -LOSS:
        return "does not help", f"loses {-gain.value:.3f} on its own patients"
    if gain.high < 0:
        return "does not help", f"the whole interval lies below 0 (up to {gain.high:.3f})"
    if gain.low > 0:
        return "helps", f"gains {gain.value:.3f}, the whole interval lies above 0"
    return "unclear", f"{gain.value:+.3f}, the interval holds 0"


def _exam(pairs: list[tuple[float | None, float | None]], sign: float) -> Exam:
    held = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not held:
        return Exam(own=None, swarm=None, gain=None, gain_percent=None, n_sites=0)
    own, swarm = sum(a for a, _ in held) / len(held), sum(b for _, b in held) / len(held)
    gain = sign * (swarm - own)
    return Exam(own=own, swarm=swarm, gain=gain, gain_percent=100 * gain / own if own else None, n_sites=len(held))
