"""`cohortium audit ledger`: replay an exported chain offline and say whether it holds; others are beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.cli import audit_harm, audit_privacy
from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson

__all__ = ["app", "ledger"]

app = typer.Typer(no_args_is_help=True)
app.add_typer(audit_harm.app, name="harm", help="Find data that harm the shared model.")
app.add_typer(audit_privacy.app, name="privacy", help="Check what was promised to the patients.")


@app.callback()
def _noun() -> None:
    """Check what others recorded."""


@app.command()
def ledger(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="An exported ledger (ledger.jsonl).")],
    study: Annotated[
        Path | None, typer.Option("--study", metavar="STUDY.toml", help="Also check that it records this study.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="The --seed the study was run with.")] = None,
    consortium: Annotated[
        str | None, typer.Option("--consortium", metavar="HEX", help="The identity it must have, 16 digits or more.")
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(
            "--evidence", metavar="FILE", help="Also check an audit's evidence.json (audit-1.json of a simulation)."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay every transaction, compare roots, hashes and signatures, name the first bad record."""
    from dataclasses import asdict

    from cohortium.sim.evidence import check_evidence
    from cohortium.sim.inputs import read_study
    from cohortium.sim.results import verify_ledger

    found = verify_ledger(path, study, seed=seed, consortium=consortium)
    plan = None if study is None else read_study(study).with_seed(seed)
    proven = None if evidence is None else check_evidence(evidence, found.found, study=plan)
    screen = Screen(as_json=as_json)
    told = {} if proven is None else {"evidence": {**asdict(proven), "path": str(proven.path)}}
    screen.document(found.document() | told)
    for line in (*found.sentences(), *([] if proven is None else [proven.sentence])):
        if not as_json:
            screen.result(line)
