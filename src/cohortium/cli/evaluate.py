"""`cohortium evaluate`: a saved swarm model, with its saved preprocessing, on data it has never seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson, Data, SiteColumn

__all__ = ["evaluate"]


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a finished run.")],
    data: Data = None,
    site_column: SiteColumn = None,
    study: Annotated[
        Path | None,
        typer.Option("--study", metavar="STUDY.toml", help="The study you approved, if the model has code."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a saved model on new patients. Columns the data lack are treated as missing and named."""
    from cohortium.sim.evaluate import evaluate_folder

    screen = Screen(as_json=as_json)
    found = evaluate_folder(folder, data or [], site_column=site_column, study=study)
    screen.document(found.document())
    for note in found.notes:
        screen.warn(note)
    screen.table(("measure", "value", "95% interval", "n"), found.rows())
