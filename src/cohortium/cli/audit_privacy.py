"""`cohortium audit privacy`: attack a run's model, rebuild what was spent, write the data protection officer's page."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson, Data, SiteColumn

__all__ = ["app", "attack", "budget", "export"]


class _AttackByDefault(TyperGroup):
    """`audit privacy DIR` is `audit privacy attack DIR`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["attack", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(no_args_is_help=True, cls=_AttackByDefault)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a finished run.")]


@app.callback()
def _noun() -> None:
    """Check what was promised to the patients."""


@app.command()
def attack(
    folder: Folder,
    data: Data = None,
    site_column: SiteColumn = None,
    references: Annotated[
        int | None, typer.Option("--references", min=4, max=256, help="Models to train for tier 2; the study's word.")
    ] = None,
    release: Annotated[str, typer.Option("--release", metavar="NAME", help="Who releases on an open verdict.")] = "",
    study: Annotated[
        Path | None,
        typer.Option("--study", metavar="STUDY.toml", help="The study you approved, if the model has code."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Attack the model of a run before it is released: tiers 0 and 1 from its record, with --data tier 2 as well."""
    from cohortium.sim.evaluate import approve_code
    from cohortium.sim.inputs import read_sites
    from cohortium.sim.release import audit_release

    screen = Screen(as_json=as_json)
    tables = read_sites(data, site_column=site_column) if data else None
    found = audit_release(
        folder,
        tables,
        references=references,
        released_by=release,
        approve=partial(approve_code, study),
        say=screen.say,
    )
    screen.document(found.document())
    rows = [
        (
            f"{one.site} {one.name}".strip(),
            str(one.tier),
            "" if one.figure is None else one.figure.text(),
            one.verdict,
            one.reason,
        )
        for one in found.audit.attacks
    ]
    screen.table(("attack", "tier", "figure", "verdict", "why"), rows)
    screen.result(found.sentence)
    found.refuse()
    screen.say(f"next: cohortium audit privacy export {folder} -o officer.html")


@app.command()
def budget(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES...",
            help="Exported ledgers, oldest first: ledger.jsonl, or audit-1.jsonl and ledger.jsonl of a simulated run.",
        ),
    ],
    consortium: Annotated[
        str | None, typer.Option("--consortium", metavar="HEX", help="The identity the last must have, 16 digits up.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compose every booked event anew and compare with what each site says it has spent."""
    from cohortium.sim.accounts import check_budgets

    *before, path = paths
    found = check_budgets(path, consortium=consortium, before=before)
    screen = Screen(as_json=as_json)
    screen.document(found.document())
    for line in found.sentences():
        if not as_json:
            screen.result(line)
    found.refuse_faults()


@app.command()
def export(
    folder: Folder,
    to: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.html", help="Where the page goes.")],
    as_json: AsJson = False,
) -> None:
    """Write one printable page for the data protection officer, after replaying the ledger once more."""
    from cohortium.sim.officer_export import export_page

    page = export_page(folder, to)
    screen = Screen(as_json=as_json)
    screen.document({"page": str(to), "head": page.proof.head, "record": page.record.digest})
    screen.result(f"wrote {to}")
