"""`cohortium simulate`: a whole swarm on this machine, from a study file and the sites' tables."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson, Data, SiteColumn, StudyFile
from cohortium.errors import CohortiumError

__all__ = ["Interrupted", "finish", "simulate"]


class Interrupted(CohortiumError):
    """A person has stopped the run; the message says how it goes on."""

    exit_code = 130


Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for run.json, report, model and ledger.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Errors and the final lines only.")]
Engine = Annotated[str, typer.Option("--engine", help="auto, sequential or stacked.")]


def simulate(
    path: StudyFile,
    data: Data = None,
    site_column: SiteColumn = None,
    out: Out = Path("run"),
    ledger: Annotated[str, typer.Option("--ledger", help="memory or local (embedded EVM, one file).")] = "memory",
    engine: Engine = "auto",
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Instead of the seed of the study.")] = None,
    cap: Annotated[
        float | None, typer.Option("--cap", metavar="EPSILON", help="What each simulated site allows to be spent.")
    ] = None,
    faults: Annotated[
        str | None, typer.Option("--faults", metavar="NAME", help="Play a published failure, f1 to f10, on this study.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in --out.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite a finished or interrupted run in --out.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a swarm, compare it with every site's own model and with pooled data, write the report."""
    screen = Screen(as_json=as_json, quiet=quiet)
    screen.say(f"reading {path.name} and the sites' tables")  # before the imports, which take as long
    from cohortium.sim.inputs import placed, read_sites, read_study
    from cohortium.sim.simulate import Options, run_simulation

    named = {"--ledger": ledger, "--engine": engine, "--seed": seed, "--cap": cap, "--faults": faults}
    again = _command(path, data or [], site_column, {**named, "--out": str(out)})
    options = Options(
        ledger=ledger,
        engine=engine,
        seed=seed,
        resume=resume,
        replace=replace,
        faults=faults or "",
        cap=cap,
        command=_command(Path(path.name), [_name_only(one) for one in data or []], site_column, named),
        resume_command="" if faults else f"{again} --resume",  # a played failure begins anew
    )
    with _told_how_to_go_on(out, f"{again} --replace" if replace else again):
        tables = read_sites(data or [], site_column=site_column)
        study = read_study(path, n_sites=len(tables))
        with placed(path):
            result = run_simulation(study, tables, out=out, options=options, screen=screen.say, warn=screen.warn)
    finish(screen, result, out)


@contextmanager
def _told_how_to_go_on(out: Path, again: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end what is inside with the command that goes on with it, or begins it again.

    again: the command line that was given. Raises Interrupted.
    """
    from cohortium.sim.folder import kept_state, resumed_by

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        if resumes := resumed_by(out):
            raise Interrupted(f"interrupted; the state is saved, go on with: {resumes}") from None
        in_the_way = kept_state(out) is not None and not again.endswith(" --replace")
        raise Interrupted(
            f"interrupted; there is nothing to go on from, begin again with: {again}{' --replace' * in_the_way}"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _command(study: Path, data: list[str], site_column: str | None, options: Mapping[str, object]) -> str:
    """The command line that does this again, quoted for a shell."""
    words = ["cohortium", "simulate", str(study)]
    words += [word for one in data for word in ("--data", one)]
    words += ["--site-column", site_column] if site_column is not None else []
    words += [str(word) for pair in options.items() if pair[1] is not None for word in pair]
    return shlex.join(words)


def _name_only(data: str) -> str:
    """FILE or NAME=FILE without the folders, which are nobody else's business."""
    site, equals, path = data.rpartition("=")
    return f"{site}{equals}{Path(path).name}"


def finish(screen: Screen, result: object, out: Path) -> None:
    """The last lines of a run: state, report, next command; and the exit code."""
    from cohortium.sim.simulate import Result

    assert isinstance(result, Result)  # noqa: S101 - typed loosely to keep the import inside
    if screen.as_json:
        screen.document(json.loads(result.record.to_json()))
    screen.result(result.sentence)
    screen.result(f"report: {out / 'report.html'}")
    if result.exit_code:
        raise typer.Exit(result.exit_code)
    screen.say(f"next: cohortium audit ledger {out / 'ledger.jsonl'}")
    for audit in sorted(out.glob("audit-[0-9]*.jsonl")):
        screen.say(f"and:  cohortium audit ledger {audit}")
