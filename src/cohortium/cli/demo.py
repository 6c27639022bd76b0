"""`cohortium demo`: real patients, eight simulated hospitals, one of them with reversed labels, one command.

The exact swarm first, then the same question with differential privacy; one report shows both.
`cohortium demo synth`: an invented consortium that learns synthetic patients; no patient file is needed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cohortium.cli.output import Screen
from cohortium.cli.simulate import Engine, Quiet, finish
from cohortium.cli.study import AsJson

__all__ = ["app", "demo", "synth"]

app = typer.Typer(invoke_without_command=True)


@app.callback()
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the results.")] = Path("demo-run"),
    sites: Annotated[int, typer.Option("--sites", min=2, max=20, help="Simulated hospitals.")] = 8,
    model: Annotated[str, typer.Option("--model", help="logistic, or mlp-nature with torch.")] = "logistic",
    ledger: Annotated[str, typer.Option("--ledger", help="local (embedded EVM) or memory.")] = "local",
    engine: Engine = "auto",
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a swarm on real breast-cancer patients split over hospitals of unequal mix; open the report."""
    if context.invoked_subcommand is not None:
        return
    screen = Screen(as_json=as_json, quiet=quiet)
    screen.say(
        "real patients (Wisconsin breast cancer, 569), simulated sites"
    )  # before the imports, which take a while
    from cohortium.sim.demonstration import demo_study, demo_tables, with_reversed_labels
    from cohortium.sim.folder import check_run_of
    from cohortium.sim.private_demo import add_private_study
    from cohortium.sim.simulate import Options, run_simulation

    options = Options(ledger=ledger, engine=engine, seed=seed, replace=True, note="real patients, simulated sites")
    right = demo_tables(n_sites=sites, seed=seed)
    tables, harmful = with_reversed_labels(right)
    if harmful:
        screen.say(f"{harmful} has its labels reversed on purpose")
    study = demo_study(model=model, seed=seed, audited=bool(harmful))
    check_run_of(out, study.name)
    result = run_simulation(study, tables, out=out, options=options, screen=screen.say, warn=screen.warn)
    record = add_private_study(result, right, out=out, options=options, say=screen.say)
    _open_if_possible(out / "report.html", screen)
    finish(screen, replace(result, record=record), out)


@app.command()
def synth(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the results.")] = Path("synth-demo"),
    patients: Annotated[
        int, typer.Option("--patients", min=400, max=20_000, help="Invented patients of three hospitals together.")
    ] = 4427,
    ledger: Annotated[str, typer.Option("--ledger", help="memory or local (embedded EVM).")] = "memory",
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Learn synthetic patients from an invented consortium, judge them, write the report. Takes a minute."""
    from cohortium.sim.synth_demo import demonstrate

    screen = Screen(as_json=as_json, quiet=quiet)
    found = demonstrate(out, seed=seed, patients=patients, ledger=ledger, say=screen.say)
    screen.document({**found.document, "digest": found.digest.hex()})
    for topic, word in found.judgement.verdict.items():
        reason = found.judgement.reasons.get(topic, "")
        screen.result(f"{topic}: {word}" + (f" ({reason})" if reason else ""))
    screen.result(f"synthetic patients: {out / 'synthetic-1.csv'} and four more tables")
    screen.result(f"report: {found.files['report']}")
    _open_if_possible(found.files["report"], screen)
    if not found.judgement.credible:
        raise typer.Exit(1)


def _open_if_possible(page: Path, screen: Screen) -> None:
    """Show the report where a person sits at a display; elsewhere the path is enough."""
    import os
    import sys
    import webbrowser

    has_display = sys.platform in ("darwin", "win32") or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    if sys.stdout.isatty() and has_display and not screen.as_json:
        webbrowser.open(page.resolve().as_uri())
