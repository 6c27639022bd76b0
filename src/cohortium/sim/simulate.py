"""`simulate`: from a study and the sites' tables to a trained swarm, its comparisons, and the files of a run.

Order: cohorts, leakage checks, the swarm on its ledger, the models it is compared with, evaluation,
record. Files are written at the end, each whole or not at all.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cohortium import __version__
from cohortium.core.check import Check
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.table import Table
from cohortium.errors import UsageError
from cohortium.ledger import ENGINES
from cohortium.ledger.archive import Verified, verify
from cohortium.ledger.story import Merge
from cohortium.reports.pages import Report
from cohortium.reports.record import LedgerRecord, Member, ModelRecord, RoundRecord, RunRecord, Timings
from cohortium.sim.cohorts import Gathered, flow_of, gather
from cohortium.sim.comparison import SiteRows, TrainedModel, compare
from cohortium.sim.engines import ENGINES as TRAINING_ENGINES
from cohortium.sim.engines import choose_engine
from cohortium.sim.evaluation import evaluate, presence_of
from cohortium.sim.leaks import leakage_checks, refuse_leaks
from cohortium.sim.progress import Progress
from cohortium.sim.results import save_model, write_report, write_whole
from cohortium.sim.round_measures import measure_round
from cohortium.sim.swarm import Setting, SwarmRun, run_swarm
from cohortium.swarm.program import SiteWork

__all__ = ["Options", "Result", "run_simulation"]

Say = Callable[[str], None]


def _silent(_: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a simulation is carried out; none of it changes what is studied. seed: instead of the study's."""

    ledger: str = "memory"
    engine: str = "auto"
    seed: int | None = None
    resume: bool = False
    note: str = "simulated sites"

    def __post_init__(self) -> None:
        if self.ledger not in ENGINES:
            raise UsageError(f"unknown ledger {self.ledger!r}; available: {', '.join(ENGINES)}")
        if self.engine not in ("auto", *TRAINING_ENGINES):
            raise UsageError(f"unknown engine {self.engine!r}; available: auto, {', '.join(TRAINING_ENGINES)}")


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
    if options.seed is not None:
        study = study.model_copy(update={"evaluation": study.evaluation.model_copy(update={"seed": options.seed})})
    seed = study.evaluation.seed
    chance = Chance(seed, secrets_from_system=False)
    gathered = gather(study, tables, chance=chance)
    checks = leakage_checks(study, gathered)
    refuse_leaks(checks)
    _warn(gathered, checks, warn)
    rows = gathered.rows()
    home = _home(out, options)
    swarm, model, progress = _train(study, rows, chance=chance, options=options, home=home, screen=screen)
    trained = time.monotonic()
    found = compare(study, rows, chance=chance, engine=options.engine, say=screen)
    for name, reason in found.missing.items():
        warn(f"model {name} could not be trained: {reason}")
    measured = evaluate(
        {"swarm": model, **found.models},
        rows,
        plan=study.evaluation,
        schema=gathered.schema,
        rng=chance.stream("bootstrap"),
    )
    exported, verified = _export(swarm)
    merges = verified.runs[-1].merges
    record = RunRecord(
        status=str(swarm.outcome),
        outcome=gathered.schema.outcome_kind,
        sites=tuple(gathered.cohorts),
        included=tuple(merge.contributors for merge in merges),
        model=ModelRecord(
            name=study.model.name,
            digest=model.state.digest.hex(),
            strategy=study.strategy.name,
            n_parameters=sum(array.size for array in model.program.model(model.state).values()),
        ),
        ledger=_ledger_record(swarm, verified, options.ledger),
        seed=seed,
        versions=_versions(),
        seconds=time.monotonic() - began,
        test=measured.results,
        name=study.name,
        study=json.loads(study.canonical()),
        study_digest=study.digest.hex(),
        randomness=chance.source,
        engine=options.engine,
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
        checks=tuple(checks),
        notes=(options.note, *(f"model {name} is missing: {reason}" for name, reason in found.missing.items())),
        timings=Timings(
            rounds=tuple(progress.seconds),
            stages={"train": trained - began, "compare and evaluate": time.monotonic() - trained},
        ),
    )
    result = Result(record=record, model=model, gathered=gathered, study=study, rows=rows)
    if out is not None:
        _write(out, result, exported)
    return result


def _export(swarm: SwarmRun) -> tuple[bytes, Verified]:
    """The chain as JSON lines, and what an offline replay by the rules finds in them; closes the ledger."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        swarm.ledger.export(path)
        swarm.ledger.close()
        return path.read_bytes(), verify(path, evm=False)


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
    study: Study, rows: list[SiteRows], *, chance: Chance, options: Options, home: Path | None, screen: Say
) -> tuple[SwarmRun, TrainedModel, Progress]:
    from cohortium.assembly import build_program

    program = build_program(study, rows[0].training.layout, sites=[one.site for one in rows], chance=chance)
    works = {
        one.site: SiteWork(program, site=one.site, training=one.training, held_out=one.test, measure=measure_round)
        for one in rows
    }
    engine = choose_engine(options.engine, list(works.values()))
    stages: dict[int, str] = {}
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
            observe=progress.hear,
        )
    )
    progress.close()
    return swarm, TrainedModel(program=program, state=swarm.state, memories=swarm.memories), progress


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
                stage=progress.stages.get(turn, "model"),
                inputs=bytes(published[merge.round]["inputs_root"]).hex(),  # type: ignore[call-overload]
                missing={site: "not in the merge" for site in progress.sites if site not in merge.contributors},
                metrics=progress.merged(heard) if heard else {},
                per_site={site: dict(values) for site, values in sorted(heard.per_site.items())} if heard else {},
                n_attested=attested[merge.round],
            )
        )
    return tuple(records)


def _write(out: Path, result: Result, exported: bytes) -> None:
    out.mkdir(parents=True, exist_ok=True)
    save_model(out / "model.safetensors", result.model, study=result.study, schema=result.gathered.schema)
    write_whole(out / "ledger.jsonl", [exported])
    write_report(result.record, out / "report.html", scope="site")
    write_whole(out / "run.json", [result.record.to_json().encode()])


def _home(out: Path | None, options: Options) -> Path | None:
    """Where nodes and chain keep what a restart needs: only for a ledger on disk."""
    if out is None or options.ledger == "memory":
        if options.resume:
            raise UsageError("--resume needs a run on --ledger local; a memory ledger leaves nothing to resume")
        return None
    home = out / "state"
    if options.resume and not home.is_dir():
        raise UsageError(f"nothing to resume in '{out}'; start without --resume")
    if not options.resume and home.is_dir():
        import shutil

        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    return home


def _warn(gathered: Gathered, checks: list[Check], warn: Say) -> None:
    for cohort in gathered.cohorts.values():
        for sentence in cohort.warnings:
            warn(sentence)
    for check in checks:
        if check.level == "warn":
            warn(f"{check.id}: {check.found}")


def _versions() -> dict[str, str]:
    found = {"cohortium": __version__, "python": platform.python_version()}
    for name in ("numpy", "torch", "py-evm"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
