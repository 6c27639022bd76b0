"""`cohortium synth simulate|canary`: invented patients to try everything with, and planted ones that tell of leaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson, SiteColumn

__all__ = ["GuessedStudy", "TableOrSim", "canary", "simulate"]

TableOrSim = Annotated[str, typer.Option("--data", metavar="FILE|sim", help="A table, or the simulated consortium.")]
GuessedStudy = Annotated[
    Path | None, typer.Option("--study", metavar="STUDY.toml", help="Of a generator; guessed if not given.")
]


def simulate(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.csv", help="Where the patients are written.")],
    schema: Annotated[Path, typer.Option("--schema", metavar="STUDY.toml", help="Where their study is written.")],
    n: Annotated[
        int, typer.Option("-n", min=1, max=1_000_000, help="Patients of the three hospitals together.")
    ] = 4427,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same patients.")] = 0,
    complete: Annotated[bool, typer.Option("--complete", help="Without gaps.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write invented patients with myelodysplastic syndromes, and their study: no patient file is needed to start."""
    from cohortium.sim.synth_world import write_world

    screen = Screen(as_json=as_json)
    found = write_world(output, study=schema, n=n, seed=seed, gaps=not complete)
    screen.document(found.document())
    sites = ", ".join(f"{site} {size}" for site, size in found.sites.items())
    screen.result(f"wrote {output} ({n} invented patients: {sites}) and {schema}")
    screen.say(f"next: cohortium synth fit {schema} --data {output} --site-column site --out generator --split real")


def canary(
    data: TableOrSim = "sim",
    site_column: SiteColumn = None,
    study: GuessedStudy = None,
    runs: Annotated[int, typer.Option("--runs", min=1, max=100, help="Each with other canaries.")] = 5,
    canaries: Annotated[
        int, typer.Option("--canaries", min=4, max=200, help="Of every hospital, half of them in.")
    ] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of coins, canaries and draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Plant improbable patients by coin and guess the coins from the drawn table: a lower bound on epsilon.

    Exits 1 when the bound is above the epsilon the study claims.
    """
    from cohortium.sim.inputs import placed, read_study
    from cohortium.sim.synth_bench import consortium
    from cohortium.sim.synth_canary import canary_runs

    screen = Screen(as_json=as_json)
    plan = None if study is None else read_study(study)
    with placed(study):
        tables, agreed = consortium(data, site_column=site_column, study=plan)(seed)
        found = canary_runs(agreed, tables, runs=runs, seed=seed, n=canaries, say=screen.say)
    screen.document(found.document())
    claim = "no epsilon claimed" if found.epsilon is None else f"claimed epsilon {found.epsilon:g}"
    screen.result(
        f"{found.generator}: {found.guesses.n_right} of {found.guesses.n_guessed} guesses right; epsilon is at least"
        f" {found.bound:.2f} (at most {found.most:.2f} could have been shown; {claim})"
    )
    if found.refuted:
        screen.warn("the claimed epsilon is refuted")
        raise typer.Exit(1)
