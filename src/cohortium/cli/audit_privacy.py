"""`cohortium audit privacy`: what was spent, what could be learned, and the page for the data protection officer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson

__all__ = ["app", "budget"]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _noun() -> None:
    """Check what was promised to the patients."""


@app.command()
def budget(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="An exported ledger (ledger.jsonl).")],
    consortium: Annotated[
        str | None, typer.Option("--consortium", metavar="HEX", help="The identity it must have, 16 digits or more.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compose every booked event anew and compare with what each site says it has spent."""
    from cohortium.sim.accounts import check_budgets

    found = check_budgets(path, consortium=consortium)
    screen = Screen(as_json=as_json)
    screen.document(found.document())
    for line in found.sentences():
        if not as_json:
            screen.result(line)
    found.refuse_faults()
