"""From a study to the terms of its private run: steps, noise, and everything that rules privacy out.

`terms_of` calibrates the noise once for the whole run; `refusals` are sentences about what cannot be private at all,
`advice` about what is unwise. Design: privacy.md sections 2 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from statistics import median

from cohortium.core.private import PrivacyTerms, split_with_count
from cohortium.core.spending import MechanismEvent
from cohortium.core.study import DpPlan, Study
from cohortium.errors import Problem, StudyError
from cohortium.privacy.dp.accounting import calibrate
from cohortium.privacy.dp.distributed import sharing
from cohortium.privacy.dp.site_level import SITE_STRATEGIES

__all__ = [
    "COUNTING_MODELS",
    "MAX_SHARED_PARAMETERS",
    "NOISY_AUDITS",
    "NOISY_GENERATORS",
    "PRIVATE_NETWORKS",
    "PRIVATE_STRATEGIES",
    "advice",
    "audit_terms",
    "check_delta",
    "check_size",
    "delta_limit",
    "generator_noise",
    "generator_refusals",
    "refusals",
    "sentences",
    "terms_of",
]

MAX_SHARED_PARAMETERS = 5_000_000
"""Parameters up to which mode `distributed` needs no word of its own: a sum of all travels at every step."""

COUNTING_MODELS = ("kaplan-meier",)
"""Models that count every patient once: one noisy table, no steps and no sampling."""

NOISY_GENERATORS = {"marginal_dp": (1.0, 3.0**-0.5)}
"""Generators by noisy sums, and the noise of each exchange in units of the run's multiplier."""

PRIVATE_NETWORKS = {"vae_bgm": 200, "ctgan": 20}
"""Network generators that train with noise, and their noisy steps unless the study says `private_steps`."""

NOISY_AUDITS = ("out-of-bag",)
"""Audits of harmful data by noisy sums and a noisy number of each site, in the place of a model."""

_NUMBER_SHARE = 0.6  # of an audit's epsilon
_LEAST_AUDIT, _MOST_AUDIT = 0.1, 20.0  # epsilon whose noise is found in seconds; others take an accountant minutes
_AUDIT_SUMS = (0.1, 0.9)  # of what is left to its two sums, as inverse squares of their noise

FOUNDATION_SHARE = 0.8
"""Share of epsilon that goes to what a private network begins with, two noisy sums."""

PRIVATE_STRATEGIES = (
    "bulyan", "centred-clipping", "coordinate-median", "fedadam", "fedavg", "fedavgm", "fedbn", "fednova", "fedper",
    "fedprox", "fedyogi", "geometric-median", "krum", "maximum", "mean", "minimum", "multi-krum", "norm-bound",
    "scaffold", "trimmed-mean",
)  # fmt: skip
"""Merges that ask one training a round and nothing else about patients."""

_CAREFUL, _COMFORTABLE = 1.0, 8.0
_MOST_STEPS = 200_000  # six seconds of accounting; a proposal of a million would hold a node for minutes
_FEW_PATIENTS = 300
_MASKS = "switch privacy.secure_aggregation on"


def terms_of(study: Study, *, n_sites: int) -> PrivacyTerms | None:
    """What the study's run is bound to; None without dp. Raises StudyError where no noise is enough; MissingExtra."""
    plan = study.privacy.dp
    if plan is None:
        return None
    if study.model.name in NOISY_AUDITS:
        return audit_terms(plan.epsilon, plan.delta, n_sites=n_sites)
    rounds, a_round = study.strategy.rounds, _steps_a_round(study)
    steps = rounds if plan.unit == "site" else rounds * a_round
    q = 1.0 if plan.unit == "site" else plan.sample_rate
    if study.model.name in COUNTING_MODELS:
        steps, a_round, q = 1, 1, 1.0
    whole_rounds = plan.mode == "local" and plan.unit == "patient"
    colluding, silent = sharing(n_sites) if plan.mode == "distributed" or plan.unit == "site" else (0, 0)
    if study.model.name in (*NOISY_GENERATORS, *PRIVATE_NETWORKS):
        return _of_generator(study, plan, n_sites, (colluding, silent))
    return PrivacyTerms(
        epsilon=plan.epsilon,
        delta=plan.delta,
        noise_multiplier=_multiplier(
            q, steps, plan.epsilon, plan.delta, counted=plan.unit == "site" and plan.clip == "quantile"
        ),
        steps=steps,
        steps_a_round=a_round if whole_rounds else 1,
        sample_rate=q,
        clipping_norm=plan.clipping_norm,
        clip=plan.clip,
        unit=plan.unit,
        mode=plan.mode,
        n_sites=n_sites,
        n_colluders=colluding,
        n_silent=silent,
    )


def _of_generator(study: Study, plan: DpPlan, n_sites: int, lost: tuple[int, int]) -> PrivacyTerms:
    """Noisy sums, and of a network as many noisy steps as it has after them, in so many trainings or one by one."""
    steps, a_round = 0, 1
    if study.model.name in PRIVATE_NETWORKS and study.synth is not None:
        asked = study.synth.options.get("private_steps", PRIVATE_NETWORKS[study.model.name])
        steps = asked if type(asked) is int and asked > 0 else 1  # what is wrong with it, the generator says
        if plan.mode == "local":
            a_round = math.ceil(steps / study.synth.rounds)
            steps = a_round * math.ceil(steps / a_round)
    sums, sigma = generator_noise(plan.epsilon, plan.delta, sample_rate=plan.sample_rate, steps=steps)
    return PrivacyTerms(
        epsilon=plan.epsilon,
        delta=plan.delta,
        noise_multiplier=sigma,
        steps=steps,
        steps_a_round=a_round,
        sample_rate=plan.sample_rate if steps else 1.0,
        clipping_norm=plan.clipping_norm,
        clip=plan.clip,
        mode=plan.mode,
        n_sites=n_sites,
        n_colluders=lost[0],
        n_silent=lost[1],
        sums=sums,
    )


@lru_cache(maxsize=64)
def audit_terms(epsilon: float, delta: float, *, n_sites: int) -> PrivacyTerms:
    """Of an audit: two sums with shared noise, then one number of each site with all its noise.

    Raises StudyError where no noise is enough, or no site is left to add it.
    """
    if not _LEAST_AUDIT <= epsilon <= _MOST_AUDIT:
        sentence = f"an audit's epsilon is {_LEAST_AUDIT:g} to {_MOST_AUDIT:g}, got {epsilon:g}"
        raise StudyError([Problem("quality.dp.epsilon", sentence)])
    shown, (colluding, silent) = 1.0 / (_NUMBER_SHARE * epsilon), sharing(n_sites)

    def planned(sigma: float) -> tuple[MechanismEvent, ...]:
        sums = (MechanismEvent.gaussian(sigma=sigma / math.sqrt(share)) for share in _AUDIT_SUMS)
        return (*sums, MechanismEvent.laplace(scale=shown))

    try:
        sigma = calibrate(planned, epsilon=epsilon, delta=delta)
        return PrivacyTerms(
            epsilon=epsilon,
            delta=delta,
            noise_multiplier=sigma,
            steps=0,
            steps_a_round=1,
            mode="distributed",
            n_sites=n_sites,
            n_colluders=colluding,
            n_silent=silent,
            sums=tuple(sigma / math.sqrt(share) for share in _AUDIT_SUMS),
            shown=(shown,),
        )
    except ValueError as error:
        raise StudyError([Problem("quality.dp", str(error))]) from None


@lru_cache(maxsize=64)
def generator_noise(
    epsilon: float, delta: float, *, sample_rate: float = 1.0, steps: int = 0
) -> tuple[tuple[float, ...], float]:
    """((multipliers of `marginal_dp`'s two sums), multiplier of a network's steps after them), all within epsilon.

    With steps, the sums alone have `FOUNDATION_SHARE` of epsilon. Raises StudyError where no noise is enough.
    """
    if steps > _MOST_STEPS:
        sentence = f"{steps} noisy steps; at most {_MOST_STEPS} are accounted for, so take fewer"
        raise StudyError([Problem("synth.options.private_steps", sentence)])
    exchanges = NOISY_GENERATORS["marginal_dp"]

    def of_sums(sigma: float) -> tuple[MechanismEvent, ...]:
        return tuple(MechanismEvent.gaussian(sigma=sigma * one) for one in exchanges)

    try:
        first = calibrate(of_sums, epsilon=epsilon * (FOUNDATION_SHARE if steps else 1.0), delta=delta)
        step = first if not steps else calibrate(
            lambda sigma: (*of_sums(first), MechanismEvent.poisson_gaussian(q=sample_rate, sigma=sigma, count=steps)),
            epsilon=epsilon,
            delta=delta,
        )  # fmt: skip
    except ValueError as error:
        raise StudyError([Problem("privacy.dp", str(error))]) from None
    return tuple(first * one for one in exchanges), step


@lru_cache(maxsize=64)
def _multiplier(q: float, steps: int, epsilon: float, delta: float, *, counted: bool) -> float:
    """counted: each sum comes with a count of sites, whose noise costs as well."""
    if steps > _MOST_STEPS:
        sentence = f"{steps} noisy steps; at most {_MOST_STEPS} are accounted for, so take fewer rounds"
        raise StudyError([Problem("strategy.rounds", sentence)])

    def events(sigma: float) -> tuple[MechanismEvent, ...]:
        if counted:
            return tuple(MechanismEvent.gaussian(sigma=one, count=steps) for one in split_with_count(sigma))
        if q == 1.0:
            return (MechanismEvent.gaussian(sigma=sigma, count=steps),)
        return (MechanismEvent.poisson_gaussian(q=q, sigma=sigma, count=steps),)

    try:
        return calibrate(events, epsilon=epsilon, delta=delta)
    except ValueError as error:
        raise StudyError([Problem("privacy.dp", str(error))]) from None


def _steps_a_round(study: Study) -> int:
    """`sync_every` batches, or as many as show every patient once in the mean, `local_epochs` times."""
    plan, options = study.privacy.dp or DpPlan(), study.strategy.options
    if options.get("sync_every") is not None:
        return int(options["sync_every"])
    return int(options.get("local_epochs", 1)) * math.ceil(1 / plan.sample_rate)


def delta_limit(n_patients: int) -> float:
    """The largest delta that means anything for so many patients: min(1e-5, 1 / (10 N))."""
    return min(1e-5, 1 / (10 * max(n_patients, 1)))


def generator_refusals(study: Study, *, n_sites: int | None) -> list[Problem]:
    """Why a study's generator cannot be private, or cannot do without privacy, as it stands."""
    plan, name = study.privacy.dp, study.model.name
    if plan is None:
        sentence = f"generator '{name}' learns with noise only; say epsilon and delta under [privacy.dp]"
        return [Problem("privacy.dp", sentence)] if name in NOISY_GENERATORS else []
    if name not in NOISY_GENERATORS and name not in PRIVATE_NETWORKS:
        *most, last = (f"'{one}'" for one in (*NOISY_GENERATORS, *PRIVATE_NETWORKS))
        able = f"{', '.join(most)} or {last}"
        sentence = f"generator '{name}' adds no noise, so it can promise no epsilon; choose {able}"
        return [Problem("privacy.dp", sentence)]
    problems = []
    if plan.unit == "site":
        problems.append(Problem("privacy.dp.unit", "counts are private for patients; unit = 'site' is for updates"))
    if plan.delta > delta_limit(1):
        sentence = f"delta {plan.delta:g} is a chance that somebody's data are told; at most {delta_limit(1):g}"
        problems.append(Problem("privacy.dp.delta", sentence))
    return problems + (_of_sharing(study, plan, n_sites) if plan.mode == "distributed" else [])


def refusals(study: Study, *, n_sites: int | None, can_train: bool, strategy: str) -> list[Problem]:
    """Why a study cannot be private as it stands. can_train: its model has clipped gradients. strategy: by its name."""
    plan = study.privacy.dp
    if plan is None:
        return []
    problems = [*_of_data(study), *_of_strategy(study, strategy)]
    if plan.unit == "site" and study.model.name in COUNTING_MODELS:
        problems.append(Problem("privacy.dp.unit", "counts are private for patients; unit = 'site' is for updates"))
    if plan.unit == "patient" and not can_train:
        problems.append(Problem("model.name", _unable(study.model.name)))
    if study.strategy.stop is not None:
        sentence = "a stop on the training loss looks at patients without noise; leave stop out, rounds are fixed"
        problems.append(Problem("strategy.stop", sentence))
    if plan.unit == "patient" and plan.delta > delta_limit(1):
        sentence = f"delta {plan.delta:g} is a chance that somebody's data are told; at most {delta_limit(1):g}"
        problems.append(Problem("privacy.dp.delta", sentence))
    if plan.unit == "site" and not plan.accept_site_level:
        sentence = "unit = 'site' hides one hospital among all and patients only through it; if that is meant, set"
        problems.append(Problem("privacy.dp.unit", f"{sentence} accept_site_level = true"))
    if plan.mode == "distributed" or plan.unit == "site":
        problems += _of_sharing(study, plan, n_sites)
    return problems


def _of_data(study: Study) -> list[Problem]:
    """Scaling and filling that would read patients."""
    problems = []
    if study.cohort.scale not in ("public", "none"):
        sentence = (
            f"scale = '{study.cohort.scale}' reads patients without noise; set scale = 'public' and cohort.ranges"
        )
        problems.append(Problem("cohort.scale", sentence))
    if study.cohort.fill != "none":
        hint = "set fill = 'none': under scale = 'public' a missing value is the middle of its range"
        problems.append(Problem("cohort.fill", f"fill = '{study.cohort.fill}' reads patients without noise; {hint}"))
    return problems


def _of_strategy(study: Study, strategy: str) -> list[Problem]:
    shared = study.privacy.dp is not None and study.privacy.dp.mode == "distributed"
    if shared and study.privacy.dp is not None and study.privacy.dp.unit == "patient":
        if strategy not in ("fedavg", "exact-sums"):
            sentence = f"mode = 'distributed' shares every step, merge '{strategy}' merges trainings; choose 'auto'"
            return [Problem("strategy.name", sentence)]
        return []
    if study.privacy.dp is not None and study.privacy.dp.unit == "site":
        if strategy not in SITE_STRATEGIES:
            sentence = f"unit = 'site' hides whole updates, merge '{strategy}' sends more than that; choose one of"
            return [Problem("strategy.name", f"{sentence}: {', '.join(SITE_STRATEGIES)}")]
        return []
    if study.model.name in COUNTING_MODELS:
        return []
    if strategy not in PRIVATE_STRATEGIES:
        sentence = f"merge '{strategy}' asks for more than one noisy training a round; choose one of"
        return [Problem("strategy.name", f"{sentence}: {', '.join(PRIVATE_STRATEGIES)}")]
    return []


def _of_sharing(study: Study, plan: DpPlan, n_sites: int | None) -> list[Problem]:
    """What noise that is shared out needs."""
    what = "mode = 'distributed'" if plan.unit == "patient" else "unit = 'site'"
    problems = []
    if not study.privacy.masked(n_sites):
        problems.append(Problem("privacy.dp", f"{what} needs masks, for no site's noise is enough alone; {_MASKS}"))
    if plan.clip == "quantile" and plan.unit == "patient":
        problems.append(Problem("privacy.dp.clip", f"clip = 'quantile' is for mode = 'local'; {what} has a fixed norm"))
    if plan.unit == "site" and plan.mode == "distributed":
        problems.append(Problem("privacy.dp.mode", "mode = 'distributed' hides patients; unit = 'site' has no modes"))
    if n_sites is not None and n_sites > 1 and n_sites - sum(sharing(n_sites)) < 1:
        problems.append(Problem("privacy.dp", f"{what}: of {n_sites} sites none is left to add noise"))
    return problems


def _unable(model: str) -> str:
    if model == "cox":
        return "Cox's partial likelihood is no sum over patients, so clipping bounds nothing; choose 'hazard'"
    return f"model '{model}' has no clipped gradients, so it cannot train privately; see docs/reference/registries.md"


def check_size(terms: PrivacyTerms, plan: DpPlan | None, *, n_parameters: int) -> None:
    """Raise StudyError where a model is too large for noise that is shared out (one trainer alone shares nothing)."""
    if terms.n_sites < 2:
        return
    if terms.unit == "site":
        multiplier = split_with_count(terms.noise_multiplier)[0] if terms.counts_whole else terms.noise_multiplier
        longer = multiplier * math.sqrt(n_parameters) / max(terms.n_sites, 1)
        if longer > 1:
            sentence = f"the noise would be {longer:.1f} times as long as the longest update"
            hint = f"{n_parameters} parameters over {terms.n_sites} sites; unit = 'site' is for tables and tiny models"
            raise StudyError([Problem("privacy.dp.unit", f"{sentence} ({hint})")])
    elif n_parameters > MAX_SHARED_PARAMETERS and not (plan is not None and plan.allow_large):
        sentence = f"a sum of {n_parameters:,} numbers would travel at every step, at most {MAX_SHARED_PARAMETERS:,} do"
        raise StudyError([Problem("privacy.dp.mode", f"{sentence} unasked; set allow_large = true, or mode = 'local'")])


def check_delta(study: Study, *, n_patients: int) -> None:
    """Raise StudyError where delta is so large that one of so many patients might be told in the open."""
    plan, audit, limit = study.privacy.dp, study.quality.dp, delta_limit(n_patients)
    asked = {"privacy.dp.delta": plan.delta} if plan is not None and plan.unit == "patient" else {}
    asked |= {"quality.dp.delta": audit.delta} if audit is not None else {}
    for key, delta in asked.items():
        if delta > limit:
            sentence = f"delta {delta:g} is too large for a site of {n_patients} patients; at most"
            raise StudyError([Problem(key, f"{sentence} 1 / (10 x patients) = {limit:.3g}")])


def sentences(terms: PrivacyTerms, *, simulated: bool) -> tuple[str, ...]:
    """What a report says of a private run; a simulated epsilon is called so wherever it stands."""
    promise = f"epsilon {terms.epsilon:g} at delta {terms.delta:g} for one {terms.unit}, mode {terms.mode}"
    said = [f"simulated differential privacy, no guarantee for anybody: {promise}, seeded noise"] if simulated else []
    said = said or [f"differential privacy: {promise}, noise from the operating system"]
    return (*said, "figures on held-out patients carry no noise and are not covered by epsilon")


def _which_mode(study: Study, typical: float) -> str:
    """Which mode the sites' numbers ask for. Noise in sums for a generator is always better shared."""
    plan = study.privacy.dp or DpPlan()
    shared = study.synth is not None or typical < _FEW_PATIENTS or plan.epsilon <= _CAREFUL
    if plan.mode == ("distributed" if shared else "local"):
        return f"mode = '{plan.mode}' fits"
    if shared:
        example = "(X-rays, 10 sites of 60, epsilon 3: AUROC 0.89 against 0.86)"
        return f"mode = 'distributed' needs less noise by the root of the sites {example}"
    return "mode = 'local' loses little with so many, and opens one update a round in place of every step"


def advice(study: Study, sizes: Mapping[str, int], *, terms: PrivacyTerms | None) -> tuple[str, ...]:
    """What to consider before a private run. sizes: training patients by site."""
    plan = study.privacy.dp
    if plan is None or terms is None or not sizes:
        return ()
    said = []
    if plan.epsilon > _COMFORTABLE:
        share = 1 - 1 / (1 + math.exp(min(plan.epsilon, 700)))
        said.append(
            f"epsilon {plan.epsilon:g}: somebody who gave even odds that a patient was in the data may be"
            f" {100 * share:.2f} % sure afterwards; most sites cap it at 3, none should go beyond 8 unasked"
        )
    if study.model.name in PRIVATE_NETWORKS:
        said.append(
            f"generator '{study.model.name}' learns less than 'marginal_dp' from the same epsilon, at every epsilon"
            " measured; choose 'marginal_dp' unless a network is asked for"
        )
    typical = median(sizes.values())
    if plan.unit == "patient" and len(sizes) >= 3:
        said.append(f"a median of {typical:g} patients a site, epsilon {plan.epsilon:g}: {_which_mode(study, typical)}")
    if terms.sample_rate < 1 and terms.sample_rate * typical < 1:
        said.append(f"sample_rate {plan.sample_rate:g} draws fewer than one patient a step at most sites; raise it")
    if plan.unit == "site":
        said.append(
            f"unit = 'site': one hospital among {len(sizes)} is hidden, a patient only through it;"
            f" delta must be far below 1/{len(sizes)}"
        )
    if terms.counts_whole:
        said.append(
            f"clip = 'quantile': the norm follows a count of uncut sites that is told with noise of"
            f" {split_with_count(terms.noise_multiplier)[1] / 2:.0f} sites, of {len(sizes)}; it settles in some dozen"
            " rounds, and with few sites it only wanders"
        )
    return tuple(said)
