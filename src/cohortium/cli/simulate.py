"""`cohortium simulate`: a whole swarm on this machine, from a study file and the sites' tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson, Data, SiteColumn, StudyFile

__all__ = ["finish", "simulate"]

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
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Instead of [evaluation] seed.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in --out.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a swarm, compare it with every site's own model and with pooled data, write the report."""
    from cohortium.sim.inputs import read_sites, read_study
    from cohortium.sim.simulate import Options, run_simulation

    screen = Screen(as_json=as_json, quiet=quiet)
    tables = read_sites(data or [], site_column=site_column)
    study = read_study(path, n_sites=len(tables))
    options = Options(ledger=ledger, engine=engine, seed=seed, resume=resume)
    result = run_simulation(study, tables, out=out, options=options, screen=screen.say, warn=screen.warn)
    finish(screen, result, out)


def finish(screen: Screen, result: object, out: Path) -> None:
    """The last lines of a run: state, report, next command; and the exit code."""
    from cohortium.sim.simulate import Result

    assert isinstance(result, Result)  # noqa: S101 - typed loosely to keep the import inside
    screen.document(json.loads(result.record.to_json()) if screen.as_json else {})
    screen.result(result.sentence)
    screen.result(f"report: {out / 'report.html'}")
    if result.exit_code:
        raise typer.Exit(result.exit_code)
    screen.say(f"next: cohortium audit ledger {out / 'ledger.jsonl'}")
