"""`co.rehearse`: every site's ordinary function in one process, joined by the real nodes in virtual time.

    result = co.rehearse("study.toml", sites={"porto": train_porto, "bonn": train_bonn})
    result.outcome, result.parameters, result.included
    result.export("ledger.jsonl")

Each function runs in a thread of its own and attaches by `co.join` or `co.fit`; machine, ledger and messages are those
of a deployment. Only one of {nodes, one function} runs at a time, sites in the order of their names (`seat.py`), so a
rehearsal repeats bit for bit as far as the functions do.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.entry.own_thread import in_own_thread
from cohortium.entry.plan import Plan, read_plan
from cohortium.entry.seat import Answer, Brought, Final, Learned, Left, Ready, Seat, Stop
from cohortium.entry.site_works import loop_works, row_works
from cohortium.errors import RunFailed, UsageError
from cohortium.ledger.archive import verify
from cohortium.sim.folder import write_whole
from cohortium.sim.swarm import Setting, SwarmRun, run_swarm
from cohortium.swarm.actions import Outcome
from cohortium.swarm.program import SiteWork

__all__ = ["Rehearsal", "rehearse"]

_SITE = re.compile(r"^[a-z0-9-]{1,32}$")


@dataclass(frozen=True, kw_only=True, eq=False)
class Rehearsal:
    """What came of a rehearsal.

    outcome: complete or partial. parameters: the last merge. included: sites by merge, in order.
    values: what each site's function returned. losses: by site, as shared, NaN where none was.
    """

    outcome: Outcome
    parameters: Parameters
    included: tuple[tuple[str, ...], ...]
    values: Mapping[str, Any]
    losses: Mapping[str, tuple[float, ...]]
    ledger: bytes = field(repr=False)

    def export(self, path: str | Path) -> Path:
        """Write the ledger; `cohortium audit ledger PATH` replays and verifies it."""
        write_whole(Path(path), [self.ledger])
        return Path(path)


def rehearse(study: Plan, *, sites: Mapping[str, Callable[[], Any]]) -> Rehearsal:
    """Run the study's rounds over the sites' functions; each joins once and is called without arguments.

    An error of a function is raised here when the others have ended, with a note on what became of the run; one that
    comes before the first pass ends the rehearsal at once. A function that catches its own error leaves the run
    `partial`. Raises StudyError and UsageError before any function is called, RunFailed when the run has no model.
    """
    plan = read_plan(study, n_sites=len(sites))
    for site, function in sites.items():
        if not _SITE.match(site):
            raise UsageError(f"site {site!r}: a name is 1 to 32 characters of a-z, 0-9 and -")
        if not callable(function):
            raise UsageError(f"site {site!r}: expected a function to call, got {type(function).__name__}")
    functions = dict(sorted(sites.items()))
    return in_own_thread(_Play(plan, functions, copy_context()).run)


class _Play:
    """One rehearsal: the seats of all sites, and the run they take part in."""

    def __init__(self, study: Study, functions: Mapping[str, Callable[[], Any]], context: Context) -> None:
        self._study = study
        self._functions = functions
        self._context = context
        self._seats = {site: Seat(site, study=study, sites=tuple(functions)) for site in functions}
        self._begun: list[Seat] = []
        self._stages: dict[int, str] = {}
        self._with_loops = False

    def run(self) -> Rehearsal:
        """From the first call of a function to the end of the last one."""
        try:
            works = self._works()
            chance = Chance(self._study.evaluation.seed, secrets_from_system=False)
            setting = Setting(study=self._study, works=works, chance=chance, stages=self._stages)
            run = run_swarm(setting)
        except BaseException as error:
            self._give_up(error)
            raise
        for site, seat in self._seats.items():
            seat.end(self._last_word(works[site], run))
        result = self._result(works, run)
        if failed := self._first_error():
            failed.add_note(f"the run ended: {run.outcome}")
            raise failed
        return result

    def _works(self) -> dict[str, SiteWork]:
        """Every site's half of the program, once all functions have said what they bring.

        All bring loops or all bring rows: the study names one model, and both entry points have compared it.
        """
        ready: dict[str, Ready] = {}
        brought: dict[str, Brought] = {}
        for site, seat in self._seats.items():
            self._begun.append(seat)
            match seat.begin(self._functions[site], self._context.copy()):
                case Ready() as word:
                    ready[site] = word
                case Brought() as word:
                    brought[site] = word
                case Left(error=None):
                    raise UsageError(
                        f"site '{site}': its function took no part; loop over swarm.rounds, or call co.fit"
                    )
                case Left(error=error):
                    raise RunFailed(site, "load", "error") from error
        self._with_loops = bool(ready)
        return loop_works(self._study, self._seats, ready) if ready else row_works(self._study, brought)

    def _last_word(self, work: SiteWork, run: SwarmRun) -> Answer:
        if self._with_loops:
            return Final(work.personal(run.state))
        program = work.program
        return Learned(
            model=program.model(run.state),
            scale=run.state.under("scale/model"),
            layout=work.training.layout,
            rounds=sum(stage == "model" for stage in self._stages.values()),
        )

    def _give_up(self, error: BaseException) -> None:
        """Let every function that still waits end with RunFailed; raise the error of the one that caused it."""
        cause = self._first_error()
        failed = error if isinstance(error, RunFailed) else RunFailed("rehearsal", "start", "refused")
        for seat in self._begun:
            seat.end(Stop(RunFailed(failed.site, failed.stage, failed.reason)))
        if cause is not None:
            cause.add_note(f"the rehearsal ended: {error}")
            raise cause from None

    def _first_error(self) -> BaseException | None:
        """The error of the function that ended earliest by one."""
        ended = [(seat.n_passes, seat.left.error) for seat in self._begun if seat.left and seat.left.error]
        return min(ended, key=lambda one: one[0])[1] if ended else None

    def _result(self, works: Mapping[str, SiteWork], run: SwarmRun) -> Rehearsal:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ledger.jsonl"
            run.ledger.export(path)
            run.ledger.close()
            exported, merges = path.read_bytes(), verify(path, evm=False).runs[-1].merges
        return Rehearsal(
            outcome=run.outcome,
            parameters=next(iter(works.values())).program.model(run.state),
            included=tuple(merge.contributors for merge in merges),
            values={site: seat.left.value for site, seat in self._seats.items() if seat.left},
            losses={site: tuple(seat.losses) for site, seat in self._seats.items()},
            ledger=exported,
        )
