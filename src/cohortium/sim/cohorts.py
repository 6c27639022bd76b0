"""From the sites' tables to their cohorts under one schema, as a simulation may do it: all on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.cohort import Cohort, build_cohort, check_cohorts
from cohortium.data.inference import agreed_schema
from cohortium.data.mapping import SiteMapping
from cohortium.data.parts import Split
from cohortium.data.schema import CohortSchema
from cohortium.data.table import Table
from cohortium.errors import DataError, Problem, StudyError
from cohortium.reports.record import Flow
from cohortium.sim.comparison import SiteRows

__all__ = ["Gathered", "check_split", "flow_of", "gather", "read_cohort", "schema_of", "split_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Gathered:
    """Cohorts by site, sorted by name, under one schema; tables: what they were made of."""

    schema: CohortSchema
    cohorts: Mapping[str, Cohort]
    tables: Mapping[str, Table]

    def rows(self) -> list[SiteRows]:
        """The cohorts' parts as raw examples, in order of site names."""
        return list(self._rows)

    @cached_property
    def _rows(self) -> tuple[SiteRows, ...]:
        return tuple(
            SiteRows(
                site=site,
                training=cohort.examples("train"),
                calibration=cohort.examples("calibration"),
                test=cohort.examples("test"),
            )
            for site, cohort in self.cohorts.items()
        )


def schema_of(study: Study, tables: Mapping[str, Table]) -> CohortSchema:
    """The schema a study describes; what it leaves open is inferred from the tables."""
    schema, plan = agreed_schema(study.model_dump(exclude_none=True), tables), study.cohort
    said = {"rows": plan.rows, "bad_records": plan.bad_records, "predict_at": plan.predict_at}
    return replace(schema, **{name: value for name, value in said.items() if value is not None})  # type: ignore[arg-type]


def gather(study: Study, tables: Mapping[str, Table], *, chance: Chance) -> Gathered:
    """Every site's cohort. Raises DataError with the sentences of all sites at once.

    With `evaluation.folds` nobody is held out for good: all patients outside the calibration part train the model.
    """
    schema = schema_of(study, tables)
    check_split(study, schema)
    cohorts: dict[str, Cohort] = {}
    problems: list[str] = []
    for site in sorted(tables):
        try:
            secret = chance.secret(32, "patients", site)
            cohorts[site] = read_cohort(study, schema, tables[site], site=site, secret=secret)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    check_cohorts(list(cohorts.values()))
    _check_parts(cohorts, folds=bool(study.evaluation.folds))
    return Gathered(schema=schema, cohorts=cohorts, tables=tables)


def check_split(study: Study, schema: CohortSchema) -> None:
    """Refuse folds beside a published split. Raises StudyError."""
    if study.evaluation.folds and (part := schema.the("part")) is not None:
        sentence = f"column '{part.name}' publishes a split; leave folds out, or exclude the column"
        raise StudyError([Problem("evaluation.folds", sentence)])


def read_cohort(
    study: Study,
    schema: CohortSchema,
    table: Table,
    *,
    site: str,
    secret: bytes,
    mapping: SiteMapping | None = None,
) -> Cohort:
    """One site's cohort, divided as the study says. secret: the site's key for its patients. Raises DataError.

    mapping: from the site's own column names to the agreed ones.
    """
    return build_cohort(table, schema, site=site, secret=secret, split=split_of(study), mapping=mapping)


def split_of(study: Study) -> Split:
    """How every site divides its patients, as the study says."""
    plan = study.evaluation
    alone = study.synth is not None and study.privacy.dp is not None  # then epsilon holds for the whole cohort
    return Split(
        test=0.0 if plan.folds else plan.test_fraction,
        calibration=plan.calibration_fraction,
        seed=plan.seed,
        drawn="alone" if alone else "balanced",
    )


def _check_parts(cohorts: Mapping[str, Cohort], *, folds: bool) -> None:
    """Refuse sites that cannot train, and a study that holds nobody out."""
    problems = [
        Problem("", f"site '{site}': none of its {len(cohort)} rows is left for training; it needs more patients")
        for site, cohort in cohorts.items()
        if cohort.n_rows("train") == 0
    ]
    if not folds and all(cohort.n_rows("test") == 0 for cohort in cohorts.values()):
        sentence = "no site has a patient held out for testing; raise evaluation.test_fraction or use folds"
        problems.append(Problem("evaluation.test_fraction", sentence))
    if problems:
        raise DataError.about(problems)


def flow_of(gathered: Gathered) -> dict[str, Flow]:
    """How many rows each site read, skipped, trains and tests on."""
    return {site: _flow(cohort) for site, cohort in gathered.cohorts.items()}


def _flow(cohort: Cohort) -> Flow:
    name, kind = cohort.schema.outcome.name, cohort.schema.outcome_kind
    outcome = cohort.columns[f"{name}/event" if kind == "survival" else name]
    return Flow(
        read=cohort.flow.n_read,
        train=cohort.n_rows("train"),
        calibration=cohort.n_rows("calibration"),
        test=cohort.n_rows("test"),
        skipped=dict(cohort.flow.skipped),
        blanked=dict(cohort.flow.blanked),
        positive=int((outcome == 1).sum()) if kind in ("binary", "survival") else None,
    )
