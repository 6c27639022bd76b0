"""`cohortium study new|check|show|pin`: write a study, say what is wrong with it, print it whole, fix its columns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.cli.output import Screen

__all__ = ["app", "check", "new", "pin", "show"]

app = typer.Typer(no_args_is_help=True)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]
Data = Annotated[list[str] | None, typer.Option("--data", metavar="FILE|NAME=FILE", help="A table, or one per site.")]
SiteColumn = Annotated[str | None, typer.Option("--site-column", help="The column of FILE that names the hospital.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]


@app.command()
def new(
    path: StudyFile,
    outcome: Annotated[str, typer.Option("--outcome", help="Outcome column, or TIME,EVENT for survival.")],
    model: Annotated[str, typer.Option("--model", help="A registered model; see the reference.")] = "",
    name: Annotated[str, typer.Option("--name", help="Name of the study; the file's name if not given.")] = "",
    as_json: AsJson = False,
) -> None:
    """Write a study file with comments. Refuses to overwrite."""
    from cohortium.sim.template import write_study

    write_study(path, outcome=outcome, model=model, name=name or path.stem)
    screen = Screen(as_json=as_json)
    screen.document({"study": str(path)})
    screen.result(f"wrote {path}")
    screen.say(f"next: cohortium study check {path}")


@app.command()
def check(path: StudyFile, data: Data = None, site_column: SiteColumn = None, as_json: AsJson = False) -> None:
    """Say everything that is wrong, and what the sites' data advise. Changes nothing."""
    from cohortium.sim.inputs import placed, read_sites, read_study
    from cohortium.sim.preflight import preflight

    screen = Screen(as_json=as_json)
    tables = read_sites(data, site_column=site_column) if data else None
    study = read_study(path, n_sites=len(tables) if tables else None)
    with placed(path):
        found = preflight(study, tables)
    screen.document(found.document())
    if tables:
        screen.table(("column", "kind", "role", "unit"), found.columns)
        screen.table(("site", "read", "kept", "training", "test", "outcome"), found.sites)
    for one in found.checks:
        if one.level in ("warn", "fail"):
            screen.result(f"{one.level}: {one.id}: {one.found}" + (f" - {one.fix}" if one.fix else ""))
    for advice in found.advice:
        screen.result(f"advice: {advice}")
    if found.later:
        screen.result(f"not checked without --data: {found.later}")
    failed = any(one.level == "fail" for one in found.checks)
    screen.result(f"{path}: {'refused' if failed else 'can be run'} (digest {study.digest.hex()[:16]})")
    if failed:
        raise typer.Exit(2)
    if study.synth is not None:
        screen.say(
            f"next: cohortium synth fit {path} --data ...; between hospitals, once pinned: cohortium run propose"
        )


@app.command()
def show(path: StudyFile, as_json: AsJson = False) -> None:
    """Print every setting, defaults included, and the digest that sites approve."""
    import json

    from cohortium.sim.inputs import read_study

    study = read_study(path)
    screen = Screen(as_json=as_json)
    content = json.loads(study.canonical())
    screen.document({"study": content, "digest": study.digest.hex()})
    if as_json:
        return
    for section, values in content.items():
        screen.result(f"[{section}]")
        for key, value in values.items():
            shown = f"{key} = {json.dumps(value, ensure_ascii=False)}" if value is not None else f"# {key} is not set"
            screen.result(shown)
    screen.result(f"# digest {study.digest.hex()}")


@app.command()
def pin(
    path: StudyFile,
    data: Data = None,
    site_column: SiteColumn = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Default: NAME-pinned.toml.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a study with all its columns declared, so that every site reads the same from its own table."""
    from cohortium.sim.inputs import placed, read_sites
    from cohortium.sim.pinning import write_pinned

    screen = Screen(as_json=as_json)
    named = [f"here={data[0]}"] if data and len(data) == 1 and site_column is None and "=" not in data[0] else data
    tables = read_sites(named or [], site_column=site_column)
    with placed(path):
        written, made = write_pinned(path, tables, out=out)
    screen.document({"study": str(written), "digest": made.study.digest.hex(), "warnings": list(made.warnings)})
    screen.table(
        ("column", "kind", "role", "values"),
        [(c.name, c.kind, c.role, c.reason or ", ".join(c.values)) for c in made.schema.columns],
    )
    for warning in made.warnings:
        screen.warn(warning)
    screen.result(f"wrote {written} (digest {made.study.digest.hex()[:16]})")
    screen.say(f"next: read it; other sites check it on their own table with: cohortium study check {written}")
