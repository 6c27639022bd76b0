"""From a study's `[synth]` section to facts, generator, conditions and limits; everything that cannot work, at once."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np

from cohortium.core.study import Study, SynthPlan
from cohortium.data.inference import agreed_schema, is_pinned
from cohortium.data.schema import CohortSchema
from cohortium.errors import DataError, Problem, StudyError, UsageError
from cohortium.privacy.dp.terms import PRIVATE_NETWORKS, generator_refusals, terms_of
from cohortium.synth.conditions import Condition, check_grammar, parse
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.federate import FEDERATIONS
from cohortium.synth.federate.cells import SINGLE, cell_refused, refused_under_masks
from cohortium.synth.federate.plan import Federation, FederationPlan
from cohortium.synth.generators import GENERATORS
from cohortium.synth.rows import Rows
from cohortium.synth.validation.judge import Limits

__all__ = [
    "build_federation",
    "build_generator",
    "check_synth",
    "facts_of",
    "limits_of",
    "plan_of",
    "rules_of",
    "with_derived",
]

_Read = TypeVar("_Read")


def plan_of(study: Study) -> SynthPlan:
    """The section. Raises StudyError for a study without one."""
    if study.synth is None:
        raise StudyError([Problem("synth", 'is missing; add [synth] with generator = "bn" to learn a generator')])
    return study.synth


def facts_of(study: Study, schema: CohortSchema) -> Facts:
    """What the generator knows of the columns. Raises StudyError."""
    plan = plan_of(study)
    facts = Facts.of(
        schema,
        genes=plan.genes,
        treatments=plan.treatments,
        after_baseline=plan.after_baseline,
        derived=plan.derived,
    )
    agreed = study.cohort.ranges
    columns = tuple(
        dataclasses.replace(c, low=agreed[c.name][0], high=agreed[c.name][1]) if c.is_number and c.name in agreed else c
        for c in facts.columns
    )
    return dataclasses.replace(facts, columns=columns)


def build_generator(study: Study, schema: CohortSchema) -> Any:
    """The study's generator. Raises StudyError naming the option."""
    plan = plan_of(study)
    if problems := _unknown_options(plan, GENERATORS.resolve(plan.generator)):
        raise StudyError(problems)
    facts = facts_of(study, schema)
    _conditions(plan, facts)
    return _made(study, facts)


def _made(study: Study, facts: Facts) -> Any:
    """The generator of these columns. Raises StudyError naming the option, or that ranges are not agreed."""
    plan = plan_of(study)
    try:
        generator = GENERATORS.resolve(plan.generator)(facts=facts, min_cell=plan.min_cell, **plan.options)
        if study.privacy.dp is not None and plan.generator in PRIVATE_NETWORKS:
            generator.private_foundation()  # wants agreed ranges
        return generator
    except (TypeError, ValueError) as error:
        said = str(error)
        option = next((f"synth.options.{word}" for word in re.findall(r"\w+", said) if word in plan.options), None)
        key = "cohort.ranges" if "[cohort] ranges" in said else option or "synth.options"
        raise StudyError([Problem(key, said)]) from None


def build_federation(study: Study, generator: Any, *, n_sites: int) -> Federation:
    """How the study's sites learn its generator. Raises StudyError for a combination that cannot be."""
    plan = plan_of(study)
    if problems := _federation_problems(study, generator, n_sites):
        raise StudyError(problems)
    made = FEDERATIONS.resolve(plan.federation)
    terms = FederationPlan(
        rounds=plan.rounds,
        min_cell=plan.min_cell,
        attack_risk_max=plan.validation.attack_risk_max,
        proximal=plan.proximal,
        private=terms_of(study, n_sites=n_sites) if plan.generator in PRIVATE_NETWORKS else None,
    )
    takes = {field.name for field in dataclasses.fields(made)}
    federation: Federation = made(plan=terms, **({"n_sites": n_sites} if "n_sites" in takes else {}))
    return federation


def check_synth(study: Study, n_sites: int | None = None) -> tuple[Problem, ...]:
    """What cannot work before any column is known. n_sites: None where it is not known yet."""
    plan = plan_of(study)
    problems = []
    generator: Any = None
    if plan.generator not in GENERATORS:
        sentence = f"unknown generator '{plan.generator}'; available: {', '.join(GENERATORS)}"
        problems.append(Problem("synth.generator", sentence))
    else:
        generator = GENERATORS.resolve(plan.generator)
        if generator.learns_by == "weights" and find_spec("torch") is None:
            sentence = f"generator '{plan.generator}' needs torch: pip install 'cohortium[torch]', or choose 'bn'"
            problems.append(Problem("synth.generator", sentence))
        problems += _unknown_options(plan, generator) or _without_patients(study)
    problems += _federation_problems(study, generator, n_sites)
    problems += generator_refusals(study, n_sites=n_sites) + _unpinned(study)
    if study.strategy.name not in ("auto", "exact-sums"):
        sentence = f"federation '{plan.federation}' brings its own merge, not '{study.strategy.name}'; leave it out"
        problems.append(Problem("strategy.name", sentence))
    if study.strategy.stop is not None:
        problems.append(Problem("strategy.stop", "a generator ends by itself; leave stop out"))
    if study.quality.gate != "site":
        problems.append(Problem("quality.gate", "it compares sites that train a model; leave it out of a generator"))
    if study.quality.copies:
        problems.append(Problem("quality.copies", "they are looked for in runs that train a model; leave it out"))
    if study.evaluation.folds:
        problems.append(Problem("evaluation.folds", "a generator is judged on its reserve; leave folds out"))
    return tuple(problems)


def _unknown_options(plan: SynthPlan, made: Any) -> list[Problem]:
    """Options that the generator's class does not take, each by its name."""
    known = {field.name for field in dataclasses.fields(made)} - {"facts", "min_cell"}
    takes = f"generator '{plan.generator}' takes: {', '.join(sorted(known)) or 'no options'}"
    return [Problem(f"synth.options.{name}", takes) for name in sorted(set(plan.options) - known)]


def _without_patients(study: Study) -> list[Problem]:
    """What the generator refuses of its options, and of its columns where the study declares them all."""
    content = study.model_dump(exclude_none=True)
    try:
        if is_pinned(content):
            build_generator(study, agreed_schema(content, {}))
        else:
            _made(study, Facts(columns=()))
            _conditions_of(plan_of(study), check_grammar)
    except StudyError as error:
        return list(error.problems)
    except DataError as error:
        return [Problem("cohort", str(error))]
    return []


def _unpinned(study: Study) -> list[Problem]:
    """What a private generator would learn of the columns without noise."""
    if study.privacy.dp is None or is_pinned(study.model_dump(exclude_none=True)):
        return []
    sentence = "levels found by looking at patients carry no noise, so no epsilon holds; run: cohortium study pin"
    return [Problem("cohort.columns", sentence)]


def _federation_problems(study: Study, generator: Any, n_sites: int | None) -> list[Problem]:
    """The one thing that is wrong with the federation. generator: its class or object, None where it is unknown."""
    plan = plan_of(study)
    private = study.privacy.dp is not None and plan.generator in PRIVATE_NETWORKS
    learns_by = "" if generator is None else generator.learns_by

    def refused(federation: str) -> str | None:
        return None if generator is None else cell_refused(plan.generator, learns_by, federation, private=private)

    if plan.federation not in FEDERATIONS:
        can = ", ".join(name for name in FEDERATIONS if not refused(name))
        return [Problem("synth.federation", f"unknown federation '{plan.federation}'; available: {can}")]
    wrong = refused(plan.federation)
    if not wrong and plan.federation in SINGLE and study.privacy.masked(n_sites):
        by_default = study.privacy.secure_aggregation is None
        wrong = refused_under_masks(plan.federation, learns_by, by_default=by_default)
    return [Problem("synth.federation", wrong)] if wrong else []


def rules_of(study: Study, facts: Facts) -> tuple[Condition, ...]:
    """The conditions no synthetic patient may break."""
    return _conditions(plan_of(study), facts)[0]


def with_derived(rows: Rows, study: Study) -> Rows:
    """The rows with derived flags computed anew, put before the outcome."""
    plan = plan_of(study)
    if not plan.derived:
        return rows
    facts = rows.facts
    conditions = _conditions(plan, facts)[1]
    columns = {name: rows[name] for name in rows}
    added = []
    for name, condition in conditions.items():
        known = np.logical_and.reduce([~np.isnan(rows[one]) for one in condition.columns])
        columns[name] = np.where(known, condition.holds(rows).astype(np.float64), np.nan)
        added.append(Fact(name=name, kind="flag", group="clinical", levels=("0", "1")))
    outcome = facts.of_group("outcome")
    before = [fact for fact in facts.columns if fact.group != "outcome"]
    return Rows(Facts(columns=(*before, *added, *outcome)), columns)


def limits_of(study: Study) -> Limits:
    """Where verdicts turn, as the study says."""
    plan = plan_of(study).validation
    return Limits(fidelity_pass=plan.fidelity_pass, attack_risk_max=plan.attack_risk_max)


def _conditions(plan: SynthPlan, facts: Facts) -> tuple[tuple[Condition, ...], Mapping[str, Condition]]:
    return _conditions_of(plan, lambda text: parse(text, facts))


def _conditions_of(plan: SynthPlan, read: Callable[[str], _Read]) -> tuple[tuple[_Read, ...], Mapping[str, _Read]]:
    """(rules, derived flags), each as it was read. Raises StudyError with all that could not be."""
    problems: list[Problem] = []
    rules: list[_Read] = []
    derived: dict[str, _Read] = {}
    for at, text in enumerate(plan.rules):
        try:
            rules.append(read(text))
        except UsageError as error:
            problems.append(Problem(f"synth.rules[{at}]", str(error)))
    for name, text in plan.derived.items():
        try:
            derived[name] = read(text)
        except UsageError as error:
            problems.append(Problem(f"synth.derived.{name}", str(error)))
    if problems:
        raise StudyError(problems)
    return tuple(rules), derived
