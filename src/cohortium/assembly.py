"""The only module that turns a `Study` into objects, and the one that knows what cannot go together.

Everything below gets values, never a settings object to dig in.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from cohortium.core.examples import Layout
from cohortium.core.exchange import Guard, PlainGuard
from cohortium.core.private import PrivacyTerms
from cohortium.core.randomness import Chance
from cohortium.core.registry import Registry
from cohortium.core.seams import Learner, Preparation, Strategy
from cohortium.core.study import Study
from cohortium.data import PREPARATIONS
from cohortium.data.public_scale import PublicScale
from cohortium.data.spread import Spread
from cohortium.errors import CohortiumError, DataError, Problem, StudyError, UsageError
from cohortium.models import MODELS
from cohortium.models.patient_gradients import PrivateLearner
from cohortium.models.private_training import SharedSteps
from cohortium.privacy.dp.distributed import NoiseGuard
from cohortium.privacy.dp.site_level import SiteLevel
from cohortium.privacy.dp.terms import COUNTING_MODELS, check_size, refusals, terms_of
from cohortium.privacy.he.terms import encrypted, unencryptable
from cohortium.privacy.he.threshold import require_scheme
from cohortium.privacy.secagg.halves import least_with_halves
from cohortium.privacy.secagg.terms import LEAST_MASKED, unmaskable
from cohortium.quality.gate_consortium import STAGE, ConsortiumGate
from cohortium.quality.gate_copies_stage import STAGE as COPIES
from cohortium.quality.gate_copies_stage import CopiesAtSites, check_records
from cohortium.quality.study import check_quality
from cohortium.strategies import STRATEGIES
from cohortium.swarm.program import Program, Stage, Stop
from cohortium.synth.study import check_synth

__all__ = [
    "build_guard",
    "build_learner",
    "build_program",
    "build_strategy",
    "check_fit",
    "check_study",
    "default_min_sites",
    "learner_options",
    "public_scale",
    "quorum",
    "strategy_name",
]

_MAX_ROUNDS_BY_SUMS = 400


def default_min_sites(n_sites: int) -> int:
    """The smallest number of sites that is more than half, and at least 2."""
    return max(2, n_sites // 2 + 1)


def build_guard(study: Study, site: str, *, n_sites: int, entropy: Callable[[int], bytes]) -> Guard:
    """How a site's updates travel: open to the members, under masks, or encrypted. entropy: n secret bytes.

    Where sites share out the noise of a private run, a sum with too little of it is never opened. n_sites: of the run
    as it is proposed; the same number at every site, or they would not speak the same protocol.
    """
    plan = study.privacy
    if not plan.masked(n_sites):
        return PlainGuard()
    if encrypted(study, n_sites):
        from cohortium.privacy.he.guard import CkksGuard

        if problems := unencryptable(study, n_sites):
            raise StudyError(problems)
        return CkksGuard(site, scheme=require_scheme())
    from cohortium.privacy.secagg.guard import MaskedGuard  # loads the ciphers

    largest = plan.largest_weight if plan.weights == "hidden" else 0
    guard = MaskedGuard(site, entropy=entropy, word_bits=plan.word_bits, largest_weight=largest)
    if plan.groups == 2:
        from cohortium.privacy.secagg.groups import GroupGuard

        return GroupGuard(guard)
    terms = terms_of(study, n_sites=n_sites)
    return NoiseGuard(guard, least=terms.least_survivors) if terms is not None and terms.shared else guard


def quorum(study: Study, n_sites: int) -> int:
    """Fewest sites a round may close with: the study's word, or more than half; under masks at least 3, encrypted all.

    Where sites share out the noise of a private run, as many as its sums need.
    """
    if encrypted(study, n_sites):
        return n_sites
    least = study.strategy.min_sites or default_min_sites(n_sites)
    if (terms := terms_of(study, n_sites=n_sites)) is not None:
        least = max(least, terms.least_survivors)
    if not study.privacy.masked(n_sites):
        return least
    try:
        return max(least, LEAST_MASKED, least_with_halves(n_sites) if study.privacy.groups == 2 else 0)
    except ValueError as error:
        raise StudyError([Problem("privacy.groups", str(error))]) from None


def build_learner(study: Study) -> Learner:
    """The study's model, with its options. Raises StudyError."""
    options = dict(study.model.options)
    if study.privacy.dp is not None and "learn" not in options and _learns_either_way(study.model.name):
        options["learn"] = "weights"  # exact sums tell every patient's part
    learner: Learner = _build(MODELS, study.model.name, options, key="model")
    if study.strategy.name == "auto" or "learn" in options or not _has_field(learner, "learn"):
        return learner
    strategy = STRATEGIES.resolve(study.strategy.name) if study.strategy.name in STRATEGIES else None
    if strategy is not None and strategy(**_known(strategy, {})).learns_by == "weights":
        learner = _build(MODELS, study.model.name, {**options, "learn": "weights"}, key="model")
    return learner


def learner_options(model: str) -> tuple[dataclasses.Field[Any], ...]:
    """The options of a registered model, as dataclass fields. Raises StudyError for an unknown name."""
    try:
        return dataclasses.fields(MODELS.resolve(model))
    except UsageError as error:
        raise StudyError([Problem("model.name", str(error))]) from None


def strategy_name(study: Study, learner: Learner) -> str:
    """The strategy by its own name: `auto` takes exact sums where the model learns by sums, else `fedavg`.

    No strategy merges the steps of a private run that are opened one by one: they are `shared-steps`.
    """
    if isinstance(learner, SharedSteps):
        return "shared-steps"
    if study.strategy.name != "auto":
        return study.strategy.name
    return "exact-sums" if learner.learns_by == "sums" else "fedavg"


def build_strategy(study: Study, learner: Learner, layout: Layout | None = None) -> Strategy:
    """The study's strategy, with its options (see `strategy_name` for `auto`)."""
    name = strategy_name(study, learner)
    options = dict(study.strategy.options)
    private = _private_part(name)
    if private and "private" not in options and layout is not None:
        first = learner.initial(layout, rng=Chance(0).stream("shape"))
        options["private"] = tuple(learner.parts(first).get(private, ()))
    strategy: Strategy = _build(STRATEGIES, name, options, key="strategy")
    return strategy


def build_program(study: Study, layout: Layout, *, sites: Sequence[str], chance: Chance) -> Program:
    """The stages the study asks for: preparations by exact sums, then the model. Raises StudyError."""
    learner = build_learner(study)
    stages = [
        Stage(name=name, learner=preparation, strategy=_sums(), max_rounds=_rounds_by_sums(preparation))
        for name, preparation in _preparations(study, layout, learner)
    ]
    terms = terms_of(study, n_sites=len(sites))
    if terms is not None and terms.shared:
        start = learner.initial(layout, rng=Chance(0).stream("shape"))
        check_size(terms, study.privacy.dp, n_parameters=sum(array.size for array in start.values()))
        if terms.unit == "patient" and isinstance(learner, PrivateLearner):
            learner = _shared(learner, layout, terms)
    strategy = _sums() if isinstance(learner, SharedSteps) else build_strategy(study, learner, layout)
    by_sums = learner.learns_by == "sums"
    rounds = _rounds_by_sums(learner) if by_sums else study.strategy.rounds
    release = SiteLevel(terms) if terms is not None and terms.unit == "site" else None
    stages.append(Stage(name="model", learner=learner, strategy=strategy, max_rounds=rounds, release=release))
    plan = study.strategy.stop
    stop = None if plan is None or by_sums else Stop(patience=plan.patience, min_delta=plan.min_delta)
    return Program(stages, layout, sites=sites, chance=chance, stop=stop, privacy=terms)


def check_study(study: Study, *, n_sites: int | None = None) -> tuple[Problem, ...]:
    """Everything that cannot work, all at once; empty when the study can be run."""
    if study.synth is not None:
        masks = unmaskable(study, n_sites) if study.privacy.masked(n_sites) else ()
        return (*check_synth(study, n_sites), *masks, *unencryptable(study, n_sites))
    problems: list[Problem] = []
    learner = strategy = None
    try:
        learner = build_learner(study)
    except StudyError as error:
        problems += error.problems
    try:
        strategy = build_strategy(study, learner) if learner is not None else None
        if learner is None and study.strategy.name != "auto":
            _build(STRATEGIES, study.strategy.name, study.strategy.options, key="strategy")
    except StudyError as error:
        problems += error.problems
    if learner is not None and strategy is not None:
        problems += _impossible(study, learner, strategy, n_sites)
    if study.privacy.masked(n_sites):
        problems += unmaskable(study, n_sites)
    problems += unencryptable(study, n_sites)
    if learner is not None and study.privacy.dp is not None:
        able, name = _can_be_private(learner), strategy_name(study, learner)
        problems += refusals(study, n_sites=n_sites, can_train=able, strategy=name)
    problems += check_quality(study, n_sites)
    if n_sites is not None:
        problems += _too_few(study, strategy, n_sites)
    return tuple(problems)


def check_fit(study: Study, layout: Layout) -> None:
    """Refuse a model that cannot learn these columns or this outcome. Raises StudyError, DataError or MissingExtra.

    Builds the model once, as every node will: a study is refused before anybody trains, not after the preparations.
    """
    learner = build_learner(study)
    try:
        learner.initial(layout, rng=Chance(0).stream("shape"))
    except DataError as error:
        if error.problems:
            raise
        raise DataError(str(error), hint=error.hint, problems=[Problem("model.name", str(error))]) from None
    build_strategy(study, learner, layout)
    if study.quality.copies:
        check_records(layout)
    if study.privacy.dp is None:
        return
    for _, preparation in _preparations(study, layout, learner):
        preparation.initial(layout, rng=Chance(0).stream("shape"))
    if study.privacy.dp.unit == "patient" and isinstance(learner, PrivateLearner):
        learner.patient_gradients(layout)


def _impossible(study: Study, learner: Learner, strategy: Strategy, n_sites: int | None) -> list[Problem]:
    name, model = study.strategy.name, study.model.name
    if strategy.learns_by != learner.learns_by:
        other = "exact-sums" if learner.learns_by == "sums" else "fedavg"
        sentence = f"model '{model}' learns by {learner.learns_by}, merge '{name}' serves {strategy.learns_by}"
        return [Problem("strategy.name", f"{sentence}; choose '{other}'")]
    optimiser = getattr(learner, "optimiser", "sgd")
    if getattr(strategy, "plain_sgd", False) and optimiser != "sgd":
        sentence = f"merge '{name}' needs plain SGD, model '{model}' uses {optimiser}"
        return [Problem("strategy.name", f"{sentence}; set model.optimiser = \"sgd\" or choose 'fedadam'")]
    if study.privacy.masked(n_sites) and not strategy.sums:
        how = "" if study.privacy.secure_aggregation else " (on by default)"
        sentence = f"merge '{name}' needs single updates, but secure aggregation{how} reveals only their sum"
        hint = "choose 'fedavg', or say secure_aggregation = false under [privacy]"
        return [Problem("strategy.name", f"{sentence}; {hint}")]
    if encrypted(study, n_sites) and learner.learns_by == "sums" and model not in COUNTING_MODELS:
        sentence = f"model '{model}' adds whole numbers of up to 2^55, threshold encryption carries counts up to 2^38"
        hint = 'set model.learn = "weights" where it has that' if _has_field(learner, "learn") else "choose another"
        return [Problem("privacy.method", f"{sentence}; {hint}, or method = 'masks'")]
    if learner.learns_by == "sums" and study.strategy.stop is not None:
        return [Problem("strategy.stop", f"model '{model}' ends by itself when it has converged; leave stop out")]
    return []


def _too_few(study: Study, strategy: Strategy | None, n_sites: int) -> list[Problem]:
    if n_sites < 2:
        return [Problem("", f"a swarm needs at least 2 sites, found {n_sites}")]
    said = getattr(strategy, "too_few", None)
    if said is not None and (sentence := said(n_sites)):
        return [Problem("strategy.name", sentence)]
    needed = getattr(strategy, "least_sites", 2)
    if needed > n_sites:
        return [Problem("strategy.name", f"merge '{study.strategy.name}' needs {needed} sites, found {n_sites}")]
    least = study.strategy.min_sites
    if least is not None and least > n_sites:
        return [Problem("strategy.min_sites", f"{least} sites are required, found {n_sites}")]
    return []


def _preparations(study: Study, layout: Layout, learner: Learner) -> list[tuple[str, Preparation]]:
    if study.privacy.dp is not None:  # whatever reads patients is refused, so only public constants are left
        return [("public", public_scale(study))] if study.cohort.scale == "public" else []
    names = [] if layout.image is not None else ["presence"]
    if study.cohort.scale != "none":
        names.append(study.cohort.scale)
    if study.cohort.fill != "none" and layout.image is None:
        names.append(study.cohort.fill)
    stages: list[tuple[str, Preparation]] = [(STAGE, ConsortiumGate())] if study.quality.gate == "consortium" else []
    stages += [(name, public_scale(study) if name == "public" else PREPARATIONS.resolve(name)()) for name in names]
    unscaled = study.cohort.scale == "none" and layout.image is None
    if unscaled and learner.learns_by == "sums" and getattr(learner, "reads_columns", True):
        stages.append(("spread", Spread()))
    return [*stages, *([(COPIES, CopiesAtSites())] if study.quality.copies else [])]


def public_scale(study: Study) -> PublicScale:
    """Ranges of `cohort.ranges`, and of the column contracts where they name one."""
    agreed = {name: column["range"] for name, column in study.cohort.columns.items() if "range" in column}
    flags = {name: (0, 1) for name, column in study.cohort.columns.items() if column.get("kind") == "flag"}
    every = {**flags, **agreed, **study.cohort.ranges}
    return PublicScale(ranges=tuple((name, float(low), float(high)) for name, (low, high) in sorted(every.items())))


def _can_be_private(learner: Learner) -> bool:
    """Whether it has clipped gradients, or counts every patient in one cell."""
    return isinstance(learner, PrivateLearner) or getattr(learner, "private_counts", False)


def _shared(learner: PrivateLearner, layout: Layout, terms: PrivacyTerms) -> Learner:
    """The learner by shared private steps."""
    plan = learner.patient_gradients(layout).plan
    return SharedSteps(
        inner=cast(Learner, learner),
        plan=plan,
        steps=terms.steps,
        sample_rate=terms.sample_rate,
        clipping_norm=terms.clipping_norm,
    )


def _learns_either_way(model: str) -> bool:
    return model in MODELS and any(field.name == "learn" for field in learner_options(model))


def _sums() -> Strategy:
    strategy: Strategy = STRATEGIES.resolve("exact-sums")()
    return strategy


def _rounds_by_sums(learner: Learner) -> int:
    return int(getattr(learner, "max_rounds", _MAX_ROUNDS_BY_SUMS))


def _private_part(strategy: str) -> str:
    """The role of the arrays a strategy keeps at home unless the study names them."""
    return {"fedbn": "norm", "fedper": "head"}.get(strategy, "")


def _build(registry: Registry, name: str, options: Mapping[str, Any], *, key: str) -> Any:
    try:
        made = registry.resolve(name)
    except UsageError as error:
        raise StudyError([Problem(f"{key}.name", str(error))]) from None
    known = [field.name for field in dataclasses.fields(made)]
    wrong = [Problem(f"{key}.{o}", _unknown(registry.kind, name, o, known)) for o in options if o not in known]
    if wrong:
        raise StudyError(wrong)
    try:
        return made(**_known(made, options))
    except (ValueError, TypeError) as error:
        raise StudyError([Problem(f"{key}.{_blamed(str(error), options)}", str(error))]) from None
    except StudyError:
        raise
    except CohortiumError as error:
        raise StudyError([Problem(f"{key}.name", str(error))]) from None


def _known(made: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as the dataclass wants them: TOML arrays become tuples."""
    del made
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def _unknown(kind: str, name: str, option: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(option, known, n=1, cutoff=0.6)
    guess = f"; did you mean '{near[0]}'?" if near else f"; it takes: {', '.join(sorted(known)) or 'no options'}"
    return f"{kind} '{name}' has no option '{option}'{guess}"


def _blamed(message: str, options: Mapping[str, Any]) -> str:
    """The option an error message speaks of, so that it can point to its line."""
    return next((option for option in options if option in message), "name")


def _has_field(thing: Any, name: str) -> bool:
    return any(field.name == name for field in dataclasses.fields(thing))
