"""`cohortium audit harm simulate|power|apply-repair`: would the audit work on our shape, and mending what it found."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson

__all__ = ["app", "apply_repair", "power", "simulate"]

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _noun() -> None:
    """Find data that harm the shared model."""


Shape = Annotated[
    str, typer.Option("--shape", metavar="pd83|FILE", help="Sites as training:cases/held-out:cases, one word each.")
]


@app.command()
def power(shape: Shape = "pd83", as_json: AsJson = False) -> None:
    """How many records a site needs before its labels can be judged, and how many sites have them."""
    from cohortium.quality.power import AUROCS, NEEDED
    from cohortium.sim.harm.shapes import PD83, read_shape

    wanted = PD83 if shape == "pd83" else read_shape(Path(shape))
    sizes = [one.training + one.held_out for one in wanted.sites]
    rows = [
        {"auroc": auroc, "harm": harm, "records": n, "sites": sum(size >= n for size in sizes)}
        for harm in NEEDED
        for auroc, n in zip(AUROCS, NEEDED[harm], strict=True)
    ]
    screen = Screen(as_json=as_json)
    screen.document({"shape": wanted.name, "sites": len(sizes), "rows": rows})
    screen.table(
        ("AUROC", "labels", "records", f"sites of {len(sizes)}"),
        [(f"{row['auroc']:.2f}", str(row["harm"]), str(row["records"]), str(row["sites"])) for row in rows],
    )


@app.command()
def simulate(
    shape: Shape = "pd83",
    scenario: Annotated[str, typer.Option("--scenario", metavar="S1..S6", help="What is wrong, or `all`.")] = "S3",
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=1000, help="How many consortia are drawn.")] = 10,
    auroc: Annotated[float, typer.Option("--auroc", help="How well cases can be told from controls.")] = 0.85,
    as_json: AsJson = False,
) -> None:
    """Draw consortia of a shape with known harm, audit them, and compare with the truth."""
    from cohortium.sim.harm.gate_trial import try_gate
    from cohortium.sim.harm.scenarios import find_scenario
    from cohortium.sim.harm.shapes import PD83, read_shape
    from cohortium.sim.harm.trial import try_audit

    screen = Screen(as_json=as_json)
    wanted = PD83 if shape == "pd83" else read_shape(Path(shape))
    names = ["S1", "S2", "S3", "S4", "S5", "S6"] if scenario == "all" else [find_scenario(scenario)]
    document: dict[str, Any] = {
        "shape": wanted.name,
        "sites": len(wanted.sites),
        "auroc": auroc,
        "cases": [],
        "gate": [],
    }
    for name in names:
        if name == "S6":
            gates = try_gate(wanted, seeds=seeds, auroc=auroc)
            document["gate"] = [asdict(one) for one in gates]
            screen.result(_gate_sentence(gates))
            continue
        for trial in try_audit(wanted, name, seeds=seeds, auroc=auroc, say=screen.say):
            document["cases"].append(trial.document())
            screen.result(trial.sentence)
    screen.document(document)


@app.command("apply-repair")
def apply_repair(
    study: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study that names the outcome.")],
    repair: Annotated[str, typer.Option("--repair", metavar="NAME", help="As the verdict names it.")],
    data: Annotated[Path, typer.Option("--data", metavar="FILE", help="This hospital's own table.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.csv", help="The repaired table, a new file.")],
    as_json: AsJson = False,
) -> None:
    """Repair this hospital's own table, after a person has looked at it. The table itself stays as it is."""
    from cohortium.sim.inputs import read_study
    from cohortium.sim.mending import mend_file

    screen = Screen(as_json=as_json)
    mended = mend_file(read_study(study), repair, data, out)
    screen.document({"repair": repair, "rows": len(mended), "file": str(out), "digest": mended.digest.hex()})
    screen.result(f"{repair} applied to {len(mended)} rows: {out}")


def _gate_sentence(gates: Any) -> str:
    found, there = (sum(sum(getattr(one, name)) for one in gates) for name in ("riders_found", "riders"))
    false, honest = (sum(getattr(one, name) for one in gates) for name in ("honest_alarmed", "honest"))
    recall = sum(one.copies_recall for one in gates) / len(gates)
    precision = sum(one.copies_precision for one in gates) / len(gates)
    return (
        f"S6 (copies), {len(gates)} draws: {recall:.0%} of the copied records found, {precision:.0%} of the alarms"
        f" right; {found} of {there} free-riders found, {false} of {honest} honest sites alarmed"
    )
