"""`cohortium synth use augment|balance|control-arm`: what synthetic patients are good for, judged on real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson

__all__ = ["app", "augment", "balance", "control_arm"]

app = typer.Typer(no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a fitted generator.")]
Real = Annotated[Path, typer.Option("--real", metavar="FILE", help="Real patients to learn from.")]
Holdout = Annotated[Path, typer.Option("--holdout", metavar="FILE", help="Real patients nobody has learned from.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the draws.")]


@app.command()
def augment(
    folder: Folder,
    real: Real,
    holdout: Holdout,
    most: Annotated[int, typer.Option("--most", min=1, max=3, help="At most so many times the real patients.")] = 3,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Add synthetic patients to real ones and say whether a survival model learns more: gain, no gain or harm."""
    from cohortium.sim.uses import augment_files

    screen = Screen(as_json=as_json)
    found = augment_files(folder, real=real, holdout=holdout, most=most, seed=seed)
    screen.document(found.document())
    screen.result(found.text())


@app.command()
def balance(
    folder: Folder,
    real: Real,
    holdout: Holdout,
    where: Annotated[str, typer.Option("--where", help='The group, e.g. "TP53=1".')],
    share: Annotated[float, typer.Option("--share", help="Of all rows, afterwards.")] = 0.3,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE.csv", help="Write the drawn patients.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite a file that is there.")] = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Make a rare group larger by drawn patients and say whether it is served better, and whether the others pay."""
    from cohortium.sim.folder import check_free
    from cohortium.sim.uses import balance_files

    screen = Screen(as_json=as_json)
    if output is not None and not replace:
        check_free([output])
    found = balance_files(folder, real=real, holdout=holdout, where=where, share=share, seed=seed, out=output)
    screen.document(found.document())
    screen.result(found.text())
    if output is not None:
        screen.result(f"wrote {output} ({found.n_drawn} drawn patients)")


@app.command("control-arm")
def control_arm(
    folder: Folder,
    treated: Annotated[Path, typer.Option("--treated", metavar="FILE", help="Real patients who were treated.")],
    where: Annotated[
        str, typer.Option("--where", help="Only the patients of the file who fulfil it; the others are left out.")
    ] = "",
    eligible: Annotated[str, typer.Option("--eligible", help="A condition all patients of both arms fulfil.")] = "",
    untreated: Annotated[
        str, typer.Option("--untreated", help="A condition on treatment columns, for the drawn patients alone.")
    ] = "",
    match: Annotated[
        str, typer.Option("--match", help="Columns to balance on, by commas; all of baseline if empty.")
    ] = "",
    sets: Annotated[int, typer.Option("--sets", min=2, max=20, help="Arms to draw.")] = 5,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Draw a control arm beside treated patients, balanced on what is known at baseline. Not evidence of efficacy."""
    from cohortium.sim.uses import control_arm_files

    screen = Screen(as_json=as_json)
    names = [name.strip() for name in match.split(",") if name.strip()]
    found = control_arm_files(
        folder, treated=treated, where=where, eligible=eligible, untreated=untreated, match=names, sets=sets, seed=seed
    )
    screen.document(found.document())
    screen.warn(found.banner)
    for note in found.notes:
        screen.warn(note)
    screen.result(
        f"hazard ratio of {found.n_treated} treated against {found.n_control} synthetic, {found.sets} sets:"
        f" {found.hazard_ratio:.2f} (95 % {found.low:.2f} to {found.high:.2f})"
    )
