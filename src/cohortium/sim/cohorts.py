"""From the sites' tables to their cohorts under one schema, as a simulation may do it: all on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.cohort import Cohort, build_cohort, check_cohorts
from cohortium.data.inference import agreed_schema
from cohortium.data.parts import Split
from cohortium.data.schema import CohortSchema
from cohortium.data.table import Table
from cohortium.errors import DataError
from cohortium.reports.record import Flow
from cohortium.sim.comparison import SiteRows

__all__ = ["Gathered", "flow_of", "gather", "schema_of"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Gathered:
    """Cohorts by site, sorted by name, under one schema."""

    schema: CohortSchema
    cohorts: Mapping[str, Cohort]

    def rows(self) -> list[SiteRows]:
        """The cohorts' parts as raw examples, in order of site names."""
        return [
            SiteRows(
                site=site,
                training=cohort.examples("train"),
                calibration=cohort.examples("calibration"),
                test=cohort.examples("test"),
            )
            for site, cohort in self.cohorts.items()
        ]


def schema_of(study: Study, tables: Mapping[str, Table]) -> CohortSchema:
    """The schema a study describes; what it leaves open is inferred from the tables."""
    return agreed_schema(study.model_dump(exclude_none=True), tables)


def gather(study: Study, tables: Mapping[str, Table], *, chance: Chance) -> Gathered:
    """Every site's cohort. Raises DataError with the sentences of all sites at once."""
    schema = schema_of(study, tables)
    evaluation = study.evaluation
    split = Split(test=evaluation.test_fraction, calibration=evaluation.calibration_fraction, seed=evaluation.seed)
    cohorts: dict[str, Cohort] = {}
    problems: list[str] = []
    for site in sorted(tables):
        try:
            secret = chance.secret(32, "patients", site)
            cohorts[site] = build_cohort(tables[site], schema, site=site, secret=secret, split=split)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    check_cohorts(list(cohorts.values()))
    return Gathered(schema=schema, cohorts=cohorts)


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
        positive=int((outcome == 1).sum()) if kind in ("binary", "survival") else None,
    )
