"""`cohortium synth seals DIR`: who has signed this generator, by the seals and the ledger."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson

__all__ = ["seals"]


def seals(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a generator learned between hospitals.")],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[SEAL.json]...", help="Seals of the hospitals; that in DIR without.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option("--ledger", metavar="FILE", help="An exported ledger, if not DIR/ledger.jsonl.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that hospitals have put their seal of this very generator on the ledger. 5 when a seal does not hold."""
    from cohortium.node.seals import check_seals

    found = check_seals(folder, files or (), ledger=ledger)
    screen = Screen(as_json=as_json)
    screen.document({"seals": [asdict(one) for one in found]})
    for one in found:
        screen.result(one.sentence())
