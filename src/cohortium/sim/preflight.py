"""What `study check` finds: the schema as read, the sites' parts, leakage, and advice. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cohortium.assembly import build_learner, build_strategy, check_fit, quorum, strategy_name
from cohortium.core.check import Check
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.inference import is_pinned
from cohortium.data.schema import CohortSchema
from cohortium.data.table import Table
from cohortium.privacy.dp.terms import advice, check_delta, terms_of
from cohortium.privacy.secagg.context import MAX_SITES
from cohortium.privacy.secagg.terms import sentence_on
from cohortium.quality.study import check_audited
from cohortium.sim.cohorts import Gathered, check_split, gather, schema_of
from cohortium.sim.leaks import leakage_checks
from cohortium.sim.own_code import blamed_on, loaded_code
from cohortium.sim.synth_program import split_study
from cohortium.strategies.advice import advise
from cohortium.synth.study import build_federation, build_generator

__all__ = ["Preflight", "preflight"]

_OF_TABLES = "the number of sites, how many patients each has, and what their tables hold"
_OF_COLUMNS = f"the columns, which the study leaves to the tables, and whether they fit what is learned; {_OF_TABLES}"
"""What is not checked without data."""


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """columns: name, kind, role, unit. sites: site and counts. Both empty when no data were given.

    later: what could not be checked without data; empty with data.
    """

    study: Study
    columns: tuple[tuple[str, ...], ...] = ()
    sites: tuple[tuple[str, ...], ...] = ()
    checks: tuple[Check, ...] = ()
    advice: tuple[str, ...] = ()
    later: str = ""

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "study": json.loads(self.study.canonical()),
            "digest": self.study.digest.hex(),
            "columns": [dict(zip(("name", "kind", "role", "unit"), row, strict=True)) for row in self.columns],
            "sites": [
                dict(zip(("site", "read", "kept", "training", "test", "outcome"), row, strict=True))
                for row in self.sites
            ],
            "checks": [asdict(check) for check in self.checks],
            "advice": list(self.advice),
            "later": self.later,
        }


def preflight(study: Study, tables: Mapping[str, Table] | None) -> Preflight:
    """Everything that can be said before anybody trains. Raises StudyError or DataError when it cannot be done."""
    if not tables:
        return _without_tables(study)
    if study.synth is not None:
        return _before_a_generator(study, tables)
    gathered = gather(study, tables, chance=Chance(study.evaluation.seed, secrets_from_system=False))
    for cohort in gathered.cohorts.values():
        check_delta(study, n_patients=cohort.n_rows("train"))
    check_audited(study, sites=gathered.cohorts, outcome=gathered.schema.outcome_kind)
    _check_columns(study, gathered.schema)
    return _found(study, gathered, checks=tuple(leakage_checks(study, gathered)), advice=_advice(study, gathered))


def _without_tables(study: Study) -> Preflight:
    """What the study alone, and the columns where it declares them all, can be refused for."""
    terms_of(study, n_sites=MAX_SITES)
    if not is_pinned(study.model_dump(exclude_none=True)):
        return Preflight(study=study, later=_OF_COLUMNS)
    schema = schema_of(study, {})
    check_split(study, schema)
    if study.synth is None:
        check_audited(study, sites=study.quality.anchors, outcome=schema.outcome_kind)
        _check_columns(study, schema)
    return Preflight(study=study, later=_OF_TABLES)


def _check_columns(study: Study, schema: CohortSchema) -> None:
    with blamed_on(loaded_code(study)):
        check_fit(study, schema.layout())


def _before_a_generator(study: Study, tables: Mapping[str, Table]) -> Preflight:
    """The same for a study with [synth]; no leakage is looked for, since a generator learns all columns alike."""
    gathered = gather(split_study(study), tables, chance=Chance(study.evaluation.seed, secrets_from_system=False))
    for cohort in gathered.cohorts.values():
        check_delta(study, n_patients=cohort.n_rows("train"))
    build_federation(study, build_generator(study, gathered.schema), n_sites=len(gathered.cohorts))
    return _found(study, gathered, advice=(*_warnings(gathered), *_private_advice(study, gathered)))


def _found(study: Study, gathered: Gathered, *, advice: tuple[str, ...], checks: tuple[Check, ...] = ()) -> Preflight:
    return Preflight(
        study=study,
        columns=tuple((c.name, c.kind, c.role, c.unit) for c in gathered.schema.columns),
        sites=tuple(_site_row(site, gathered) for site in gathered.cohorts),
        checks=checks,
        advice=advice,
    )


def _site_row(site: str, gathered: Gathered) -> tuple[str, ...]:
    cohort = gathered.cohorts[site]
    name, kind = gathered.schema.outcome.name, gathered.schema.outcome_kind
    seen = cohort.columns[f"{name}/event" if kind == "survival" else name]
    share = f"{float(seen.mean()):.2f}" if kind in ("binary", "survival") and len(seen) else ""
    counts = (cohort.flow.n_read, cohort.flow.n_kept, cohort.n_rows("train"), cohort.n_rows("test"))
    return (site, *(str(count) for count in counts), share)


def _advice(study: Study, gathered: Gathered) -> tuple[str, ...]:
    learner = build_learner(study)
    strategy = build_strategy(study, learner)
    sizes = _sizes(gathered)
    said = list(advise(strategy_name(study, learner), sizes, learns_by=strategy.learns_by))
    said += [*_warnings(gathered), *_private_advice(study, gathered)]
    n, least = len(sizes), quorum(study, len(sizes))
    if n == 2:
        said.append("two sites: nobody can be voted out of a round, so a silent site pauses the run")
    if study.privacy.secure_aggregation is None and not study.privacy.masked(n):
        said.append(sentence_on(study, n))
    if n == 3 and study.privacy.masked(n):
        said.append("three sites under secure aggregation: a lost one stalls the exchange; with four one may be lost")
    if least <= n / 2:
        said.append(f"min_sites = {least} is not more than half of {n} sites: such a quorum can never act")
    return tuple(said)


def _sizes(gathered: Gathered) -> dict[str, int]:
    return {site: cohort.n_rows("train") for site, cohort in gathered.cohorts.items()}


def _warnings(gathered: Gathered) -> tuple[str, ...]:
    return tuple(sentence for cohort in gathered.cohorts.values() for sentence in cohort.warnings)


def _private_advice(study: Study, gathered: Gathered) -> tuple[str, ...]:
    sizes = _sizes(gathered)
    return advice(study, sizes, terms=terms_of(study, n_sites=len(sizes)))
