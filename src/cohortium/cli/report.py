"""`cohortium report`: the page of a finished run, made again from its record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson

__all__ = ["report"]


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a finished run, or its run.json.")],
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Where to write; DIR/report.html.")] = None,
    scope: Annotated[str, typer.Option("--scope", help="site (own numbers) or consortium (pseudonyms).")] = "site",
    as_json: AsJson = False,
) -> None:
    """Write the report of a finished run as one HTML file without any outside reference."""
    from cohortium.sim.results import read_record, write_report

    record_path = folder / "run.json" if folder.is_dir() else folder
    target = to or record_path.parent / "report.html"
    write_report(read_record(record_path), target, scope=scope)
    screen = Screen(as_json=as_json)
    screen.document({"report": str(target), "scope": scope})
    screen.result(f"report: {target}")
