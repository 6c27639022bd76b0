"""One hospital's half of a run, made of the study, its own table and the names of all joiners - and nothing else.

The program is the one a simulation builds: same layout, same stages, same random streams from the study's seed, and,
for the same secret, the same patients in every part. So a run between hospitals ends with the bits of a rehearsal on
one machine. Only a pinned study can do this: what others infer from all tables together, no hospital may see.

A study with a detector of harmful data is an audit: the same program a simulation makes before its training, and
nothing is trained. The training is another proposal. A study with `[synth]` learns a generator of patients.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cohortium.assembly import build_program, check_fit
from cohortium.core.check import Check
from cohortium.core.examples import concatenate
from cohortium.core.randomness import Chance
from cohortium.core.seams import Leaving
from cohortium.core.study import Study
from cohortium.data.cohort import Cohort
from cohortium.data.inference import is_pinned
from cohortium.data.mapping import MAX_MAPPING_BYTES, SiteMapping, parse_mapping
from cohortium.data.readers import read
from cohortium.data.schema import CohortSchema
from cohortium.data.table import Table
from cohortium.errors import DataError, Problem, StudyError, UsageError
from cohortium.node.gate import gate_checks
from cohortium.privacy.dp.terms import check_delta
from cohortium.quality.agreement import Agreement
from cohortium.quality.pool import pool_of
from cohortium.quality.study import check_audited, check_audited_by_nodes, fewest_audited
from cohortium.sim.auditing import audit_program, audit_study, detector_of, noisy_detector_of, records_of
from cohortium.sim.cohorts import Gathered, read_cohort, schema_of
from cohortium.sim.leaks import leakage_checks, refuse_leaks
from cohortium.sim.own_code import blamed_on, loaded_code
from cohortium.sim.round_measures import measure_round
from cohortium.sim.swarm import terms_of
from cohortium.sim.synth_program import SynthProgram, split_study, synth_program
from cohortium.swarm.ports import Proposal
from cohortium.swarm.program import Program, SiteWork
from cohortium.synth.federate.carried import with_reserve
from cohortium.synth.federate.gate import GateVerdict, gate
from cohortium.synth.study import build_generator

__all__ = [
    "Ward",
    "audits",
    "carried",
    "deployable",
    "empty_program",
    "open_ward",
    "pinned_schema",
    "proposal_of",
    "read_own",
    "synthesis",
    "ward_work",
]

_BETWEEN_SITES = ("L5", "L6")
_STATISTICAL = ("L2", "L7")


def audits(study: Study) -> bool:
    """Whether a run of the study is an audit of the sites' data, in which nothing is trained."""
    return study.quality.detector != "none"


def carried(study: Study) -> Study:
    """The plan that a run of the study carries out: in an audit the detector for the model, and the audit's noise."""
    return audit_study(study) if audits(study) else study


def deployable(study: Study) -> tuple[Problem, ...]:
    """Why a study that can be simulated cannot be run between hospitals; empty when it can."""
    problems = []
    if not is_pinned(study.model_dump(exclude_none=True)):
        sentence = "the columns are not pinned, so sites would read different layouts; run: cohortium study pin"
        problems.append(Problem("cohort.columns", sentence))
    if study.evaluation.folds:
        sentence = "cross-validation needs all tables in one place; leave it out, every site then holds patients back"
        problems.append(Problem("evaluation.folds", sentence))
    if study.model.name == "own-loop":
        problems.append(Problem("model.name", "'own-loop' is trained by a script, which a node does not run"))
    return (*problems, *check_audited_by_nodes(study))


def pinned_schema(study: Study) -> CohortSchema:
    """The schema every site reads. Raises StudyError for a study that is not pinned."""
    if problems := deployable(study):
        raise StudyError(problems)
    return schema_of(study, {})


def read_own(table: Path, mapping: Path | None) -> tuple[Table, SiteMapping | None]:
    """The site's table, and how its columns become the agreed ones. Raises DataError, StudyError, MissingExtra."""
    if mapping is None:
        return read(table), None
    try:
        with mapping.open("rb") as file:
            text = file.read(MAX_MAPPING_BYTES + 1).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the column mapping '{mapping}' ({type(error).__name__})") from None
    found = parse_mapping(text, path=str(mapping))
    return read(table, found.form), found


@dataclass(frozen=True, kw_only=True, eq=False)
class Ward:
    """One site's patients under the study's schema. checks: what was found in them; none of it fails.

    audit_secret: the site's own key for what it commits to in an audit.
    """

    study: Study
    schema: CohortSchema
    cohort: Cohort
    table: Table
    checks: tuple[Check, ...]
    audit_secret: bytes = field(default=b"", repr=False)

    @property
    def site(self) -> str:
        """Whose patients these are."""
        return self.cohort.site

    @property
    def gathered(self) -> Gathered:
        """The same, as the simulation's tools take it: one site."""
        return Gathered(schema=self.schema, cohorts={self.site: self.cohort}, tables={self.site: self.table})


def open_ward(study: Study, table: Table, *, site: str, secret: bytes, mapping: SiteMapping | None = None) -> Ward:
    """Read this site's table as the study says, and refuse what could not be learned from.

    secret: the site's own key for its patients. mapping: its column names and words. Raises StudyError, DataError.
    """
    schema = pinned_schema(study)
    divided = study if study.synth is None else split_study(study)
    cohort = read_cohort(divided, schema, table, site=site, secret=secret, mapping=mapping)
    if cohort.n_rows("train") == 0:
        raise DataError(f"site '{site}': none of its {len(cohort)} rows is left for training; it needs more patients")
    check_delta(study, n_patients=cohort.n_rows("train"))
    ward = Ward(study=study, schema=schema, cohort=cohort, table=table, checks=())
    checks = _checked(ward)
    rows = ward.gathered.rows()[0]
    held_out = concatenate([rows.calibration, rows.test])
    checks += gate_checks(schema, table, training=rows.training, held_out=held_out, secret=secret, mapping=mapping)
    if audits(study):
        check_audited(study, sites=study.quality.anchors, outcome=schema.outcome_kind)
        pool_of({0: records_of(rows)})
    key = hmac.digest(secret, b"audit of the site's data", "sha256")
    return Ward(study=study, schema=schema, cohort=cohort, table=table, checks=checks, audit_secret=key)


def _checked(ward: Ward) -> tuple[Check, ...]:
    """That the model fits the columns, and leakage; a generator learns all columns alike, so none of them can leak."""
    if ward.study.synth is not None:
        build_generator(ward.study, ward.schema)
        return ()
    with blamed_on(loaded_code(ward.study)):
        check_fit(ward.study, ward.schema.layout())
    found = leakage_checks(ward.study, ward.gathered)
    checks = tuple(_alone(check) for check in found if check.id not in _BETWEEN_SITES)
    refuse_leaks(checks)
    return checks


def _alone(check: Check) -> Check:
    """What a statistic of all sites' rows would refuse, few rows of one site only make suspicious."""
    if check.level != "fail" or check.id not in _STATISTICAL:
        return check
    return replace(check, level="warn", found=f"{check.found}; at this site alone, which may be chance")


def ward_work(
    ward: Ward,
    *,
    sites: Sequence[str],
    watch: Callable[[Leaving], None] | None = None,
    judge: Callable[..., GateVerdict] = gate,
) -> SiteWork:
    """The site's half of the program. sites: all that joined, this one among them. watch: attacks what would leave.

    judge: says whether drawn patients may leave, where a generator is learned by sharing them.
    """
    rows = ward.gathered.rows()[0]
    if ward.study.synth is not None:
        learning = synthesis(ward.study, sites=sites, judge=judge).program
        return SiteWork(learning, site=ward.site, training=with_reserve(rows.training, rows.test))
    program = _program(ward.study, ward.schema, sites, site=ward.site, secret=ward.audit_secret)
    if audits(ward.study):
        if ward.site not in sites:
            raise DataError(f"site '{ward.site}' came when the audit had begun; it is in the next audit")
        return SiteWork(program, site=ward.site, training=records_of(rows))
    held_back = concatenate([rows.calibration, rows.test])
    return SiteWork(
        program, site=ward.site, training=rows.training, held_out=rows.test, held_back=held_back,
        measure=measure_round, watch=watch,
    )  # fmt: skip


def empty_program(study: Study, *, sites: Sequence[str]) -> Program:
    """The program alone, which needs no patient: how many rounds it takes, how large its model is."""
    return _program(study, pinned_schema(study), sites)


def synthesis(study: Study, *, sites: Sequence[str], judge: Callable[..., GateVerdict] = gate) -> SynthProgram:
    """How these sites learn the study's generator, and count patients for its validation where they may."""
    chance = Chance(study.evaluation.seed)
    return synth_program(study, pinned_schema(study), sites=sites, chance=chance, counted=True, judge=judge)


def proposal_of(study: Study, *, sites: Sequence[str], n_sites: int) -> Proposal:
    """What a proposal of the study among so many members says, whoever makes it."""
    terms = terms_of(carried(study), empty_program(study, sites=sites), n_sites=n_sites)
    return replace(terms, min_sites=fewest_audited(study, n_sites)) if audits(study) else terms


def _program(
    study: Study, schema: CohortSchema, sites: Sequence[str], *, site: str = "", secret: bytes = b""
) -> Program:
    if study.synth is not None:
        return synthesis(study, sites=sites).program
    chance = Chance(study.evaluation.seed)
    if not audits(study):
        return build_program(study, schema.layout(), sites=sites, chance=chance)
    plan = study.quality
    try:
        return audit_program(
            study,
            schema.layout(),
            sites=sites,
            detector=Agreement() if plan.detector == "agreement" else noisy_detector_of(study) or detector_of(plan),
            chance=chance,
            kinds=plan.repairs,
            site=site,
            secret=secret,
        )
    except (ValueError, UsageError) as error:  # an anchor or a repair that is not there, too few sites
        raise StudyError([Problem("quality", str(error))]) from None
