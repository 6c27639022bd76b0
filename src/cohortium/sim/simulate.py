"""`simulate`: from a study and the sites' tables to a trained swarm, its comparisons, and the files of a run.

Order: cohorts, leakage checks, the swarm on its ledger, the models it is compared with, evaluation,
record. Files are written at the end, all of them or none.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cohortium.assembly import build_program, check_fit, check_study, strategy_name
from cohortium.core.check import Check
from cohortium.core.examples import concatenate
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.errors import Problem, StudyError, UsageError
from cohortium.ledger.archive import Verified
from cohortium.ledger.story import Merge
from cohortium.models.newton import out_of_rounds
from cohortium.privacy.dp.site_level import SiteLevel
from cohortium.privacy.dp.terms import check_delta, sentences
from cohortium.privacy.secagg.terms import notes_on, sentence_on
from cohortium.quality.gate_copies_stage import NO_GUARANTEE
from cohortium.quality.gate_free_rider import RiderWatch
from cohortium.reports.pages import Report
from cohortium.reports.record import LedgerRecord, Member, ModelRecord, RoundRecord, RunRecord, Timings
from cohortium.sim.cautions import gate_checks, say_few, warnings_of
from cohortium.sim.cohorts import Gathered, flow_of, gather
from cohortium.sim.comparison import SiteRows, TrainedModel, compare
from cohortium.sim.engines import ENGINES as TRAINING_ENGINES
from cohortium.sim.engines import choose_engine
from cohortium.sim.evaluation import Scored, evaluate, presence_of, score_models
from cohortium.sim.faults import Scenario
from cohortium.sim.folder import fingerprint, run_folder, write_together
from cohortium.sim.folds import cross_validate, draw
from cohortium.sim.leaks import leakage_checks, refuse_leaks
from cohortium.sim.own_code import blamed_on, loaded_code
from cohortium.sim.progress import Progress
from cohortium.sim.protection import Protection
from cohortium.sim.purses import Purses, patients_of
from cohortium.sim.quality import screen_sites, with_effects
from cohortium.sim.results import chain_file, model_file, page_file, write_report
from cohortium.sim.round_measures import cause_of, measure_round
from cohortium.sim.scenarios import published
from cohortium.sim.swarm import Setting, SwarmRun, check_ledger, run_swarm
from cohortium.sim.versions import installed_versions
from cohortium.swarm.program import SiteWork

__all__ = ["Options", "Result", "run_simulation"]

Say = Callable[[str], None]


def _silent(_: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a simulation is carried out; none of it changes what is studied.

    seed: instead of the study's. resume: go on with the interrupted run in `out`. replace: a run that is in `out`,
    finished or interrupted, instead of refusing. resume_command: what goes on with this run when it is interrupted.
    faults: name of a published failure that is played on the study (`scenarios.PUBLISHED`), in virtual time. note: of
    the sites. cap: epsilon that each simulated site allows; a private run stops before it. command: what repeats the
    run, for the report.
    """

    ledger: str = "memory"
    engine: str = "auto"
    seed: int | None = None
    resume: bool = False
    replace: bool = False
    resume_command: str = ""
    faults: str = ""
    cap: float | None = None
    note: str = "simulated sites"
    command: str = ""

    def __post_init__(self) -> None:
        check_ledger(self.ledger)
        if self.engine not in ("auto", *TRAINING_ENGINES):
            raise UsageError(f"unknown engine {self.engine!r}; available: auto, {', '.join(TRAINING_ENGINES)}")
        if self.resume and self.ledger == "memory":
            raise UsageError("--resume needs a run on --ledger local; a memory ledger leaves nothing to resume")
        if self.resume and self.replace:
            raise UsageError("--resume goes on with the run in --out, --replace drops it; leave one of them out")
        if self.faults and self.resume:
            raise UsageError("--faults plays a failure from the beginning; leave out --resume")
        if self.faults:
            published(self.faults)
        if self.cap is not None and not self.cap > 0:
            raise UsageError(f"--cap must be above 0, got {self.cap:g}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """A finished simulation. model: the swarm's; rows: every site's examples by part."""

    record: RunRecord
    model: TrainedModel
    gathered: Gathered
    study: Study
    rows: list[SiteRows] = field(repr=False)

    @property
    def exit_code(self) -> int:
        """0 complete, 3 partial."""
        return 0 if self.record.status == "complete" else 3

    @property
    def sentence(self) -> str:
        """The last line of a run."""
        missing = sorted({site for one in self.record.rounds for site in one.missing})
        return self.record.status + (f", missing: {', '.join(missing)}" if missing else "")

    def report(self, path: str | Path) -> Path:
        """Write the page."""
        write_report(self.record, Path(path), scope="site")
        return Path(path)

    def _repr_html_(self) -> str:
        return Report(self.record).html()


def run_simulation(
    study: Study,
    tables: Mapping[str, Table],
    *,
    out: Path | None = None,
    options: Options | None = None,
    screen: Say = _silent,
    warn: Say = _silent,
) -> Result:
    """Train, compare, evaluate; with `out` also write `run.json`, `report.html`, `model.safetensors`, `ledger.jsonl`.

    Raises StudyError, DataError or UsageError before anything is trained or written, RunFailed when the run fails.
    """
    options = options or Options()
    began = time.monotonic()
    study = study.with_seed(options.seed)
    if problems := check_study(study, n_sites=len(tables)):
        raise StudyError(problems)
    if study.synth is not None:
        raise StudyError([Problem("synth", "simulate trains models; learn a generator with: cohortium synth fit")])
    chance = Chance(study.evaluation.seed, secrets_from_system=False)
    gathered = gather(study, tables, chance=chance)
    for cohort in gathered.cohorts.values():
        check_delta(study, n_patients=cohort.n_rows("train"))
    checks = leakage_checks(study, gathered)
    refuse_leaks(checks)
    if study.evaluation.folds:
        draw(gathered, study.evaluation.folds, seed=study.evaluation.seed)
    with blamed_on(loaded_code(study)):
        check_fit(study, gathered.schema.layout())
        folder = _nowhere(options) if out is None else _folder(out, study, tables, options)
        with folder as home:
            warnings = warnings_of(gathered, checks)
            say_few(warnings, warn)
            result, chains = _run(study, gathered, checks, warnings, chance, options, home, began, screen, warn)
            if out is not None:
                _write(out, result, chains)
    return result


def _run(
    study: Study,
    gathered: Gathered,
    checks: Sequence[Check],
    warnings: Sequence[str],
    chance: Chance,
    options: Options,
    home: Path | None,
    began: float,
    screen: Say,
    warn: Say,
) -> tuple[Result, dict[str, bytes]]:
    """Everything after the checks; the result, and by file name exported chains and evidence of audits."""
    purses = Purses(patients=patients_of(gathered), chance=chance, home=home, cap=options.cap)
    audit_purses = purses.for_audit()
    screened = screen_sites(study, gathered.rows(), chance=chance, say=screen, purses=audit_purses)
    purses.keep(audit_purses)
    rows = screened.rows
    audited = time.monotonic()
    riders = RiderWatch() if study.quality.gate == "consortium" else None
    swarm, model, progress, engine, protection = _train(
        study, rows, purses=purses, riders=riders, chance=chance, options=options, home=home, screen=screen
    )
    purses.close()
    gate = () if riders is None else gate_checks(gathered, rows, model, riders)
    odd = [f"{one.id}: {one.found}" for one in gate if one.level in ("warn", "fail")]
    say_few(odd, warn)
    for told in swarm.told if options.faults else ():
        screen(f"told: {told}")
    trained = time.monotonic()
    scored, missing = _compared(study, gathered, rows, model, chance=chance, engine=options.engine, screen=screen)
    if cut_off := _cut_off(model):
        warn(cut_off)
    if not_trained := _grouped(missing):
        warn(not_trained)
    measured = evaluate(
        scored,
        plan=study.evaluation,
        schema=gathered.schema,
        rng=chance.stream("bootstrap"),
        cause=cause_of(model.program.learner),
    )
    exported, verified = chain_file(swarm)
    audits = [chain_file(one) for one in screened.runs]
    merges = verified.runs[-1].merges
    record = RunRecord(
        status=str(swarm.outcome),
        outcome=gathered.schema.outcome_kind,
        sites=tuple(gathered.cohorts),
        included=tuple(merge.contributors for merge in merges),
        model=ModelRecord(
            name=study.model.name,
            digest=model.state.digest.hex(),
            strategy=strategy_name(study, model.program.learner),
            n_parameters=sum(array.size for array in model.program.model(model.state).values()),
        ),
        ledger=_ledger_record(swarm, verified, options.ledger),
        seed=chance.seed,
        versions=installed_versions(),
        seconds=time.monotonic() - began,
        test=measured.results,
        name=study.name,
        study=json.loads(study.canonical()),
        study_digest=study.digest.hex(),
        randomness=chance.source,
        engine=engine,
        command=options.command,
        rounds=_rounds(progress, swarm, merges),
        flow=flow_of(gathered),
        presence=presence_of(rows),
        comparison=measured.comparison,
        matrix=measured.matrix,
        calibration=measured.calibration,
        curves=measured.curves,
        time_unit="d" if gathered.schema.outcome_kind == "survival" else "",
        subgroups=measured.subgroups,
        gaps=measured.gaps,
        quality=with_effects(study, screened, measured.results, chance=chance, engine=options.engine, model=model),
        checks=(*checks, *gate),
        privacy=protection.record(
            swarm.events, verified, audits=[(terms, audits[at][1]) for at, terms in enumerate(screened.terms)]
        ),
        notes=(
            options.note,
            *_privacy_notes(model),
            *screened.promises,
            *([NO_GUARANTEE] if study.quality.copies else []),
            *notes_on(study, len(rows), {merge.round: merge.contributors for merge in merges}),
            *_fold_note(study),
            *_fault_notes(options, swarm, [one.site for one in rows]),
            *warnings,
            *odd,
            *filter(None, [cut_off, not_trained]),
        ),
        timings=Timings(
            rounds=tuple(progress.seconds),
            stages={
                **({"audit the data": audited - began} if screened.runs else {}),
                "train": trained - audited,
                "compare and evaluate": time.monotonic() - trained,
            },
        ),
    )
    chains = {"ledger.jsonl": exported}
    chains |= {f"audit-{number}.jsonl": chain for number, (chain, _) in enumerate(audits, start=1)}
    chains |= {f"audit-{number}.json": told.encode() for number, told in enumerate(screened.told, start=1)}
    return Result(record=record, model=model, gathered=gathered, study=study, rows=rows), chains


def _cut_off(model: TrainedModel) -> str:
    """What to say of a model by sums that had no time to converge."""
    if not out_of_rounds(model.program.model(model.state)):
        return ""
    return (
        f"the model ended after {model.program.stages[-1].max_rounds} rounds without reaching its optimum; "
        "raise model.max_rounds"
    )


def _compared(
    study: Study,
    gathered: Gathered,
    rows: list[SiteRows],
    swarm: TrainedModel,
    *,
    chance: Chance,
    engine: str,
    screen: Say,
) -> tuple[Scored, Mapping[str, str]]:
    """Predictions of the swarm and of all it is compared with, for one split or out of fold; who is missing, why."""
    if study.evaluation.folds:
        found = cross_validate(study, gathered, swarm, chance=chance, engine=engine, say=screen)
        return found.scored, found.missing
    others = compare(study, rows, chance=chance, engine=engine, say=screen)
    return score_models({"swarm": swarm, **others.models}, rows), others.missing


def _ledger_record(swarm: SwarmRun, found: Verified, engine: str) -> LedgerRecord:
    """What the verified chain says of the run."""
    approved = {event.args["site"]: event for event in swarm.events if event.name == "Approved"}
    return LedgerRecord(
        engine=engine,
        height=found.height,
        head=found.head.hex(),
        members=tuple(
            Member(site=f.name, account=f.address.hex(), approved=swarm.study.hex() if f.name in approved else "")
            for f in swarm.ledger.genesis.founders
        ),
        verified=True,
        verify="cohortium audit ledger ledger.jsonl",
    )


def _train(
    study: Study,
    rows: list[SiteRows],
    *,
    purses: Purses,
    riders: RiderWatch | None,
    chance: Chance,
    options: Options,
    home: Path | None,
    screen: Say,
) -> tuple[SwarmRun, TrainedModel, Progress, str, Protection]:
    program = build_program(study, rows[0].training.layout, sites=[one.site for one in rows], chance=chance)
    protection = Protection(study, program, rows, purses=purses, chance=chance)
    works = {
        one.site: SiteWork(
            program,
            site=one.site,
            training=one.training,
            held_out=one.test,
            held_back=concatenate([one.calibration, one.test]),
            measure=measure_round,
            watch=protection.watch(one.site),
        )
        for one in rows
    }
    engine = choose_engine(options.engine, list(works.values()))
    stages: dict[int, str] = {}
    scenario = _scenario(options, sorted(works), n_rounds=program.max_rounds)
    for fault in () if scenario is None else scenario.faults:
        screen(f"fault {options.faults}: {fault}")
    screen(sentence_on(study, len(works)))
    progress = Progress(sites=sorted(works), max_rounds=program.max_rounds, stages=stages, say=screen)
    swarm = run_swarm(
        Setting(
            study=study,
            works=works,
            chance=chance,
            ledger=options.ledger,
            engine=engine,
            home=home,
            stages=stages,
            scenario=scenario,
            observe=progress.hear,
            budgets=protection.purse,
            promised_micro=protection.promised_micro,
            egress={site: protection.log(site) for site in works},
            audit=protection.audit,
            hear=lambda state, updates: None if riders is None else riders.hear(program, state, updates),
        )
    )
    progress.close()
    return (
        swarm,
        TrainedModel(program=program, state=swarm.state, memories=swarm.memories),
        progress,
        engine,
        protection,
    )


def _rounds(progress: Progress, swarm: SwarmRun, merges: Sequence[Merge]) -> tuple[RoundRecord, ...]:
    """One record a merge: what the ledger holds, and the measures the nodes told (none from before a restart)."""
    attested = Counter(event.args["round"] for event in swarm.events if event.name == "Attested")
    published = {event.args["round"]: event.args for event in swarm.events if event.name == "Published"}
    told = {one.digest: one for one in progress.rounds}
    records = []
    for turn, merge in enumerate(merges, start=1):
        heard = told.get(merge.digest)
        records.append(
            RoundRecord(
                round=merge.round,
                leader=str(published[merge.round]["site"]),
                contributors=merge.contributors,
                merge=merge.digest.hex(),
                stage=progress.stages.get(turn, ""),
                inputs=bytes(published[merge.round]["inputs_root"]).hex(),  # type: ignore[call-overload]
                missing={site: _why(swarm, site) for site in progress.sites if site not in merge.contributors},
                metrics=progress.merged(heard) if heard else {},
                per_site={site: dict(values) for site, values in sorted(heard.per_site.items())} if heard else {},
                n_attested=attested[merge.round],
                bytes=swarm.bytes_sent.get(turn, 0) - swarm.bytes_sent.get(turn - 1, 0),
            )
        )
    return tuple(records)


def _why(swarm: SwarmRun, site: str) -> str:
    """What the ledger says of a site that fell short."""
    return "; ".join(swarm.outcome.reasons.get(site, ())) or "not in the merge"


def _write(out: Path, result: Result, chains: Mapping[str, bytes]) -> None:
    """All files of the run; chains of an earlier run's audits go."""
    write_together(
        {
            out / "model.safetensors": model_file(result.model, study=result.study, schema=result.gathered.schema),
            **{out / name: [chain] for name, chain in chains.items()},
            out / "report.html": page_file(result.record, scope="site"),
            out / "run.json": [result.record.to_json().encode()],
        }
    )
    for old in out.glob("audit-[0-9]*.jsonl"):
        if old.name not in chains:
            old.unlink()


def _folder(
    out: Path, study: Study, tables: Mapping[str, Table], options: Options
) -> AbstractContextManager[Path | None]:
    """The folder of the results; it keeps a state only for a ledger on disk."""
    return run_folder(
        out,
        fingerprint(study, tables, ledger=options.ledger, engine=options.engine, faults=options.faults),
        keeps_state=options.ledger != "memory",
        resume=options.resume,
        replace=options.replace,
        command=options.resume_command,
    )


@contextmanager
def _nowhere(options: Options) -> Iterator[Path | None]:
    """No folder at all; a ledger on disk gets one that is gone with the run."""
    if options.ledger == "memory":
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="cohortium-") as home:
        yield Path(home)


def _grouped(missing: Mapping[str, str]) -> str:
    """One sentence for all models that could not be trained, by reason."""
    reasons: dict[str, list[str]] = {}
    for name, reason in missing.items():
        reasons.setdefault(reason, []).append(name)
    return "; ".join(f"not trained: {', '.join(names)} ({reason})" for reason, names in reasons.items())


def _scenario(options: Options, sites: Sequence[str], *, n_rounds: int) -> Scenario | None:
    """The failure that is played, at this study's sites and in rounds it has."""
    return published(options.faults).moved_to(sites, n_rounds=n_rounds) if options.faults else None


def _fault_notes(options: Options, swarm: SwarmRun, sites: Sequence[str]) -> list[str]:
    """What was played and who told what, for the reader of the report."""
    if not options.faults:
        return []
    scenario = published(options.faults).moved_to(sites, n_rounds=swarm.outcome.rounds)
    notes = [f"played with failure {options.faults} ({scenario.there}): {fault}" for fault in scenario.faults]
    notes += [f"told: {told}" for told in swarm.told]
    unheard = sorted({f"{site}: {why}" for held in swarm.missing.values() for site, why in held.items()})
    return [*notes, *(f"results of {one}" for one in unheard)]


def _privacy_notes(model: TrainedModel) -> tuple[str, ...]:
    """What a private run must say of itself here: its noise came from a seed."""
    terms, release = model.program.privacy, model.program.stages[-1].release
    moved = release.sentence(model.program.release(model.state)) if isinstance(release, SiteLevel) else ""
    return () if terms is None else (*sentences(terms, simulated=True), *filter(None, [moved]))


def _fold_note(study: Study) -> list[str]:
    k = study.evaluation.folds
    sentence = f"figures from {k}-fold cross-validation; the released model was trained on all folds together"
    return [sentence] if k else []
