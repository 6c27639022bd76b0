"""A generator learned by a simulated swarm: real nodes and ledger, then a folder from which patients can be drawn.

`fit` trains and writes `generator.safetensors` and `ledger.jsonl`, no real row. Who wants to judge the generator on
patients it never saw names another folder for those (`split`). `open_generator` reads the first one back, checking that
state, study and schema belong together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np

from cohortium.core.codec import decode
from cohortium.core.foreign_json import read_json
from cohortium.core.identity import LedgerKey
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.parts import Part
from cohortium.data.schema import CohortSchema
from cohortium.data.table import Table
from cohortium.errors import DataError, FrameError, StudyError, UsageError
from cohortium.ledger.transactions import sign_call
from cohortium.sim.cohorts import Gathered, gather
from cohortium.sim.folder import check_free, write_together
from cohortium.sim.progress import Progress
from cohortium.sim.swarm import Setting, SwarmRun, check_ledger, run_swarm
from cohortium.sim.synth_program import FORMAT, generator_file, split_study, synth_program
from cohortium.swarm.program import SiteWork
from cohortium.synth.conditions import Condition, parse
from cohortium.synth.facts import Facts
from cohortium.synth.federate.carried import with_reserve
from cohortium.synth.federate.mixture import n_patients_of, opened
from cohortium.synth.rows import Rows, rows_of_examples, rows_of_table
from cohortium.synth.sampling import Drawn, draw
from cohortium.synth.study import build_generator, facts_of, plan_of, rules_of, with_derived

__all__ = ["Fitted", "SavedGenerator", "check_place", "fit", "gathered_rows", "open_generator", "train"]

FILE = "generator.safetensors"
_SPLIT: Mapping[str, Part] = {"training.csv": "train", "reserve.csv": "test"}
MAX_BYTES = 1 << 30
_TIER = 2  # attacks with reference tables, made by hand after the run


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedGenerator:
    """A finished generator and what its columns mean. n_real: training patients of all sites together, as the
    noisy sums have it in a private study.
    """

    study: Study
    schema: CohortSchema
    generator: Any
    state: Parameters
    n_real: int

    @property
    def facts(self) -> Facts:
        """Its columns."""
        found: Facts = self.generator.facts
        return found

    @property
    def rules(self) -> tuple[Condition, ...]:
        """What no patient of the study may break."""
        return rules_of(self.study, self.facts)

    def sample(self, n: int, *, rng: np.random.Generator, where: str = "") -> Drawn:
        """n patients, derived columns included. where: a condition they all fulfil. Raises UsageError."""
        condition = parse(where, self.facts) if where else None
        drawn = draw(self.generator, self.state, n, rng=rng, where=condition, rules=self.rules)
        return Drawn(rows=with_derived(drawn.rows, self.study), n_tried=drawn.n_tried, broken=drawn.broken)

    def rows_of(self, table: Table, *, file: Path) -> Rows:
        """The patients of a table as the generator sees them. file: where it comes from. Raises DataError."""
        try:
            rows = rows_of_table(table, self.facts)
        except DataError as error:
            raise DataError(f"table '{file}': {error}") from None
        if not len(rows):
            raise DataError(f"table '{file}' holds no patient")
        return rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A training: the generator, how the run ended, what it cost. training, reserve: rows by site (they never left).

    shared: sites whose rows or models passed their gate, where the federation needs that.
    """

    saved: SavedGenerator
    status: str
    rounds: int
    bytes: int
    training: Mapping[str, Rows]
    reserve: Mapping[str, Rows]
    ledger: Any
    shared: tuple[str, ...] = ()

    @property
    def epsilon(self) -> float | None:
        """What every patient was promised; None without differential privacy."""
        plan = self.saved.study.privacy.dp
        return None if plan is None else plan.epsilon

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "status": self.status,
            "epsilon": self.epsilon,
            "generator": self.saved.study.model.name,
            "federation": plan_of(self.saved.study).federation,
            "shared_by": list(self.shared),
            "digest": self.saved.state.digest.hex(),
            "rounds": self.rounds,
            "bytes": self.bytes,
            "sites": {site: len(rows) for site, rows in self.training.items()},
            "n_real": self.saved.n_real,
        }


def gathered_rows(study: Study, tables: Mapping[str, Table], *, chance: Chance) -> tuple[Gathered, Facts]:
    """Every site's cohort with its reserve, and the facts."""
    gathered = gather(split_study(study), tables, chance=chance)
    return gathered, facts_of(study, gathered.schema)


def train(
    study: Study,
    tables: Mapping[str, Table],
    *,
    ledger: str = "memory",
    gathered: Gathered | None = None,
    watch: Callable[[Parameters], None] | None = None,
    noise_from_system: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Fitted:
    """Learn the generator by a swarm of these sites. Raises StudyError, DataError or RunFailed.

    gathered: the cohorts, where they were read already. watch: told each state the first site takes. say: told a line
    a round.
    noise_from_system: for what will be handed out; noise from the study's seed, which everybody knows, hides nobody.
    """
    check_ledger(ledger)
    chance = Chance(study.evaluation.seed, secrets_from_system=False)
    if gathered is None:
        gathered, _ = gathered_rows(study, tables, chance=chance)
    facts = facts_of(study, gathered.schema)
    noise = Chance(chance.seed, secrets_from_system=noise_from_system)
    made = synth_program(study, gathered.schema, sites=list(gathered.cohorts), chance=noise)
    program = made.program
    rows = gathered.rows()
    works = {one.site: SiteWork(program, site=one.site, training=with_reserve(one.training, one.test)) for one in rows}
    if watch is not None:
        first = min(works)
        works[first] = cast(SiteWork, _Watched(works[first], watch))
    stages: dict[int, str] = {}
    progress = Progress(sites=sorted(works), max_rounds=program.max_rounds, stages=stages, say=say)
    with ExitStack() as opened_here:
        home = Path(opened_here.enter_context(TemporaryDirectory()))
        swarm = run_swarm(
            Setting(
                study=study,
                works=works,
                chance=chance,
                ledger=ledger,
                home=None if ledger == "memory" else home,
                stages=stages,
                observe=progress.hear,
            )
        )
        opened_here.callback(swarm.ledger.close)
        progress.close()
        state = made.result(swarm.state)
        saved = SavedGenerator(
            study=study,
            schema=gathered.schema,
            generator=opened(made.generator, state),
            state=state,
            n_real=n_patients_of(state) if program.privacy is not None else sum(len(one.training) for one in rows),
        )
        say(f"{swarm.outcome}: {len(swarm.bytes_sent)} rounds, {len(rows)} sites")
        return Fitted(
            saved=saved,
            status=str(swarm.outcome),
            rounds=len(swarm.bytes_sent),
            bytes=max(swarm.bytes_sent.values(), default=0),
            training={one.site: rows_of_examples(one.training, facts) for one in rows},
            reserve={one.site: rows_of_examples(one.test, facts) for one in rows},
            shared=made.shared_by(swarm.state),
            ledger=_Closing(swarm, home, opened_here.pop_all()),
        )


def fit(
    study: Study,
    tables: Mapping[str, Table],
    *,
    out: Path,
    ledger: str = "memory",
    split: Path | None = None,
    site_column: str = "site",
    say: Callable[[str], None] = lambda text: None,
) -> Fitted:
    """`train`, then the folder. Nothing is written when training fails.

    split: another folder, for the real patients: `training.csv` and `reserve.csv`, readable by their owner only, with
    the hospital in `site_column`. Raises UsageError where it is `out`, which is handed on.
    """
    if split is not None and split.resolve() == out.resolve():
        raise UsageError("--split names the folder of the generator; real patients belong in one of their own")
    gathered, _ = gathered_rows(study, tables, chance=Chance(study.evaluation.seed, secrets_from_system=False))
    fitted = train(study, tables, ledger=ledger, gathered=gathered, noise_from_system=True, say=say)
    files: dict[Path, Any] = {
        out / FILE: generator_file(study, fitted.saved.schema, fitted.saved.state, n_real=fitted.saved.n_real),
        out / "ledger.jsonl": [fitted.ledger.export()],
    }
    private: dict[Path, Any] = {}
    if split is not None:
        private = {split / name: [csv_bytes(_part_of(gathered, part, site_column))] for name, part in _SPLIT.items()}
    write_together(files | private, private=tuple(private))
    return fitted


def check_place(out: Path, split: Path | None) -> None:
    """Raises UsageError where `fit` would overwrite a generator, or real patients."""
    if (out / FILE).exists():
        raise UsageError(f"'{out}' holds a generator; choose another --out, or overwrite it with --replace")
    if split is not None:
        check_free(split / name for name in _SPLIT)


def open_generator(folder: Path) -> SavedGenerator:
    """The generator in a folder. Raises UsageError where there is none, DataError where it does not hold together."""
    path = folder / FILE if folder.is_dir() else folder
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"generator '{path}' is larger than {MAX_BYTES} bytes")
        state, metadata = decode(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read generator '{path}': {error.strerror}") from None
    except FrameError as error:
        raise DataError(f"'{path}' is no generator: {error}") from None
    if metadata.get("format") != FORMAT:
        raise DataError(f"generator '{path}': format {metadata.get('format')!r:.60}, expected {FORMAT!r}")
    if metadata.get("digest") != state.digest.hex():
        raise DataError(f"generator '{path}': its arrays are not those its metadata name")
    try:
        study = Study.model_validate_json(metadata["study"], strict=True)
        schema = CohortSchema.from_dict(read_json(metadata["schema"].encode(), max_depth=8))
        generator = build_generator(study, schema)
        saved = SavedGenerator(
            study=study,
            schema=schema,
            generator=opened(generator, state),
            state=state,
            n_real=int(metadata["n_real"]),
        )
        saved.sample(3, rng=np.random.default_rng(0))
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError, StudyError):
        raise DataError(f"generator '{path}': study, schema and state do not belong together") from None
    return saved


def _part_of(gathered: Gathered, part: Part, site_column: str) -> Table:
    """The patients of one part as they stand in the sites' tables, all columns, with their hospital."""
    found = []
    for site, cohort in gathered.cohorts.items():
        rows = gathered.tables[site].take(cohort.sources(part))
        found.append(Table({site_column: np.full(len(rows), site)} | dict(rows.columns)))
    return Table.stacked(found)


class _Watched:
    """A site's work that also shows each state it takes."""

    def __init__(self, work: SiteWork, watch: Callable[[Parameters], None]) -> None:
        self._work, self._watch = work, watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)

    def adopt(self, round: int, state: Parameters, own: Any) -> Mapping[str, float]:
        self._watch(state)
        return self._work.adopt(round, state, own)


class _Closing:
    """The run's ledger, exported once and closed. home: where it is kept meanwhile; held: what has to be let go."""

    def __init__(self, swarm: SwarmRun, home: Path, held: ExitStack) -> None:
        self._swarm, self._home, self._held = swarm, home, held

    def export(self) -> bytes:
        """The chain as JSON lines."""
        path = self._home / "ledger.jsonl"
        self._swarm.ledger.export(path)
        found = path.read_bytes()
        self.close()
        return found

    def record(self, seed: int, *, verdict: int, digest: bytes) -> int:
        """Every site puts the validation on record: 1 pass, 2 fail, 3 inconclusive, and the report's digest.

        seed: of the study, from which the simulation made the sites' keys. Returns how many sites signed.
        """
        chance = Chance(seed, secrets_from_system=False)
        ledger = self._swarm.ledger
        sites = sorted(self._swarm.memories)
        for site in sites:
            key = LedgerKey.new(lambda n, site=site: chance.secret(n, "ledger key", site))  # type: ignore[misc]
            ledger.submit(
                sign_call(key, chain_id=ledger.chain_id, nonce=ledger.nonce(key.address), contract=ledger.contract,
                          function="record_audit", args=(1, _TIER, verdict, digest))
            )  # fmt: skip
        return len(sites)

    def close(self) -> None:
        """Let it go."""
        self._held.close()
