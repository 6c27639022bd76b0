"""`cohortium audit harm simulate|power|table|review|records|apply-repair|appeal|renew`: will it work, what then."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cohortium.cli.node import HOME, HomeDir, answered
from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson

__all__ = [
    "answer",
    "app",
    "appeal",
    "apply_repair",
    "power",
    "records",
    "renew",
    "review",
    "sign",
    "simulate",
    "table",
]

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
    scenario: Annotated[
        str, typer.Option("--scenario", metavar="S1..S6", help="What is wrong: S4 nothing, S3 a mixture; or `all`.")
    ] = "S3",
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


@app.command()
def table(
    run: Annotated[int, typer.Argument(metavar="RUN", min=1, help="Number of the audit on the ledger.")],
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """The verdicts of an audit as this node has computed them, against those on the ledger; 5 if they differ."""
    import json

    from cohortium.errors import UsageError, VerificationFailed
    from cohortium.ledger.archive import verify
    from cohortium.node.home import Home
    from cohortium.node.own_agreement import follows
    from cohortium.node.run_folder import EVIDENCE
    from cohortium.node.standings import read_table, signed_here, what_to_sign
    from cohortium.quality.proof import is_drawn_by

    node, screen = Home.open(home), Screen(as_json=as_json)
    folder = node.runs / str(run)
    try:
        held, digest = read_table(folder / EVIDENCE)
    except (OSError, ValueError, KeyError):
        raise UsageError(f"run {run} left no table here: it was no audit, or has not ended ('{folder}')") from None
    chain = verify(folder / "ledger.jsonl", evm=False)
    standing = [one for one in chain.harm if one.run == run]
    votes = {one.subject: len(one.votes) for one in standing}
    same = all(one.evidence == digest for one in standing)
    seed = next(one.seed for one in chain.runs if one.run == run)
    whole = json.loads((folder / EVIDENCE).read_text())
    shown = "aurocs" in whole  # by agreement nothing is drawn but where searches start
    drawn = whole["seed"] == seed.hex() if shown else is_drawn_by(whole, seed)
    draws = 0 if shown else int(whole["drawn"]["draws"]) + 1
    screen.document(
        {"run": run, "site": node.site, "digest": digest.hex(), "agrees": same, "drawn_by_ledger": drawn,
         "draws": draws, "table": held, "votes": votes}
    )  # fmt: skip
    rows = [(one["site"], one["kind"], f"{one['posterior'] / 1e6:.2f}", str(votes.get(one["site"], 0)), one["reason"])
            for one in held["verdicts"]]  # fmt: skip
    screen.table(("site", "verdict", "harm", "votes", "why"), rows)
    for one in held["verdicts"]:
        if one.get("to_sign") and not any(of == digest.hex() for _, of in signed_here(folder, one["site"])):
            screen.warn(what_to_sign(one["site"], run=run, verdict=one["kind"]))
    if not same:
        raise VerificationFailed(f"the ledger's verdicts of run {run} rest on another table than this node's")
    if not drawn:
        what = "starts" if shown else "halves"
        raise VerificationFailed(f"the {what} of run {run} do not follow from the seed on the ledger")
    if shown and not follows(whole, digest):
        raise VerificationFailed(f"the table of run {run} does not follow from the AUROCs that sites have shown")
    why = f"its halves follow from the ledger's seed, draw {draws} of the last pass"
    why = "it follows from the AUROCs shown" if shown else why
    screen.result(f"table {digest.hex()[:16]}: {len(standing)} verdicts on the ledger rest on it; {why}")


@app.command()
def review(
    run: Annotated[int, typer.Argument(metavar="RUN", min=1, help="Number of the audit on the ledger.")],
    sample: Annotated[int, typer.Option("--sample", min=0, max=1000, help="Records to look up in the register.")] = 5,
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """For this hospital's own reviewer: check that scores and evidence are those committed; draw records to look up.

    Ends with 5 where scores or evidence are others. Nothing leaves the hospital.
    """
    import json

    from cohortium.errors import UsageError, VerificationFailed
    from cohortium.node import committed
    from cohortium.node.home import Home
    from cohortium.node.run_folder import EVIDENCE, SCORES

    node, screen = Home.open(home), Screen(as_json=as_json)
    folder = node.runs / str(run)
    try:
        scores, held = (json.loads((folder / name).read_text()) for name in (SCORES, EVIDENCE))
        found = committed.review(scores, held, site=node.site, n=sample)
    except FileNotFoundError:
        raise UsageError(f"run {run} left no scores here: no audit of records, or not ended ('{folder}')") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"the scores of run {run} in '{folder}' cannot be read") from None
    screen.document({"run": run, "site": node.site, "committed": found.root, "follows": found.row,
                     "sample": list(found.sample)})  # fmt: skip
    screen.table(("row", "label", "score"),
                 [(str(one["row"]), str(one["label"]), f"{one['score']:.3f}") for one in found.sample])  # fmt: skip
    if not found.root:
        raise VerificationFailed(f"the scores of run {run} are not those whose root '{node.site}' has committed")
    if found.row is False:
        raise VerificationFailed(
            f"the evidence that '{node.site}' has shown in run {run} does not follow from its scores"
        )
    follows = "its evidence follows from them" if found.row else "no evidence was shown that could be compared"
    screen.result(f"the scores of '{node.site}' are those committed; {follows}; rows count from 1, head left out")


@app.command()
def records(
    run: Annotated[int, typer.Argument(metavar="RUN", min=1, help="Number of the audit on the ledger.")],
    above: Annotated[float, typer.Option("--above", min=0, max=1, help="Least suspicion that is shown.")] = 0.5,
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """This hospital's own suspect records in an audit, most suspicious first. They are here and nowhere else."""
    import csv

    from cohortium.errors import UsageError
    from cohortium.node.home import Home
    from cohortium.node.run_folder import SUSPECTS

    node, screen = Home.open(home), Screen(as_json=as_json)
    path = node.runs / str(run) / SUSPECTS
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if float(row["suspicion"]) >= above]
    except FileNotFoundError:
        raise UsageError(f"run {run} left no list here: no audit of records, or not ended ('{path}')") from None
    except (OSError, ValueError, KeyError):
        raise UsageError(f"'{path}' cannot be read as a list of records") from None
    columns = ("row", "label", "probability", "suspicion", "why", "look_alike")
    screen.document({"run": run, "site": node.site, "above": above, "records": rows})
    screen.table(("row", "label", "probability of a case", "suspicion", "by its", "most like row"),
                 [tuple(row.get(name, "") for name in columns) for row in rows])  # fmt: skip
    screen.result(
        f"{len(rows)} of '{node.site}' with a suspicion of {above:g} or more; rows count from 1, head left out"
    )


@app.command()
def appeal(
    run: Annotated[int, typer.Argument(metavar="RUN", min=1, help="The audit that gave the verdict.")],
    ground: Annotated[
        str,
        typer.Option(
            "--ground", help="coding-confirmed, population-differs, device-differs, repaired or error; no other word."
        ),
    ],
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """Appeal against the verdict on this hospital's data. Nothing is eliminated until the next audit answers it."""
    from cohortium.node.home import Home

    answer, screen = answered(Home.open(home), {"do": "appeal", "run": run, "ground": ground}), Screen(as_json=as_json)
    screen.document(answer)
    screen.result(f"'{answer['site']}' appeals against run {run}: {ground} (ledger height {answer['height']})")


Person = Annotated[str, typer.Option("--person", help="Who says so, by name; the name stays at this hospital.")]
Role = Annotated[str, typer.Option("--role", help="As what: data manager, head of the committee, ...")]


@app.command()
def answer(
    run: Annotated[int, typer.Argument(metavar="RUN", min=1, help="The audit that asked.")],
    coding: Annotated[str, typer.Option("--coding", help="confirmed, or corrected.")],
    person: Person,
    role: Role,
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """Answer the question an audit asks this hospital; the answer's digest stands on the ledger."""
    from cohortium.node.home import Home

    request = {"do": "answer", "run": run, "coding": coding, "person": person, "role": role}
    done, screen = answered(Home.open(home), request), Screen(as_json=as_json)
    screen.document(done)
    more = "; announce the mended table: cohortium audit harm renew" if coding == "corrected" else ""
    screen.result(f"'{done['site']}' answers run {run}: coding {coding} (ledger height {done['height']}){more}")


@app.command()
def sign(
    run: Annotated[int, typer.Argument(metavar="RUN", min=1, help="The audit that gave the verdict.")],
    site: Annotated[str, typer.Option("--site", metavar="NAME", help="The site it is about.")],
    verdict: Annotated[str, typer.Option("--verdict", help="repair, quarantine or eliminate.")],
    person: Person,
    role: Role,
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """Sign a verdict on another site as a person; under `eliminate` this is the hospital's vote for it."""
    from cohortium.node.home import Home

    request = {"do": "sign", "run": run, "site": site, "verdict": verdict, "person": person, "role": role}
    done, screen = answered(Home.open(home), request), Screen(as_json=as_json)
    screen.document(done)
    screen.result(
        f"'{done['site']}' signs '{verdict}' of '{site}', run {run} (ledger height {done['height']}); what stands now: "
        f"{done['stands'] or 'nothing'}"
    )


@app.command()
def renew(home: HomeDir = HOME, as_json: AsJson = False) -> None:
    """Announce a new version of this hospital's data: a verdict on the old ones ends, and the next audit looks anew."""
    from cohortium.node.home import Home

    answer, screen = answered(Home.open(home), {"do": "renew"}), Screen(as_json=as_json)
    screen.document(answer)
    ended = f"; the verdict '{answer['ended']}' has ended" if answer["ended"] else ""
    screen.result(f"'{answer['site']}' has a new data version (ledger height {answer['height']}){ended}")


def _gate_sentence(gates: Any) -> str:
    found, there = (sum(sum(getattr(one, name)) for one in gates) for name in ("riders_found", "riders"))
    false, honest = (sum(getattr(one, name) for one in gates) for name in ("honest_alarmed", "honest"))
    recall = sum(one.copies_recall for one in gates) / len(gates)
    precision = sum(one.copies_precision for one in gates) / len(gates)
    return (
        f"S6 (copies), {len(gates)} draws: {recall:.0%} of the copied records found, {precision:.0%} of the alarms"
        f" right; {found} of {there} free-riders found, {false} of {honest} honest sites alarmed"
    )
