"""`cohortium run propose|approve|decline|list|watch|stop|resume|report`: runs between hospitals, from any member.

Every command speaks to the node that runs in `--home`; what it decides and shows is the node's.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cohortium.cli.output import Screen, strict_json
from cohortium.cli.study import AsJson

__all__ = ["app", "approve", "decline", "list_runs", "propose", "report", "resume", "stop", "watch"]

app = typer.Typer(no_args_is_help=True)

HOME = Path("~/.cohortium")
HomeDir = Annotated[Path, typer.Option("--home", metavar="DIR", help="The node's folder.")]
Number = Annotated[int, typer.Argument(metavar="RUN", min=1, help="Its number; see `cohortium run list`.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command()
def propose(
    path: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="A pinned study; see `cohortium study pin`.")],
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """Put a study before all members. They, and this site itself, decide whether to take part."""
    from cohortium.node.studies import parcel_of

    parcel = parcel_of(path)
    answer = _ask(home, {"do": "propose", "study": parcel.text, "code": parcel.code.hex()})
    _show(Screen(as_json=as_json), answer, f"proposed as run {answer['run']['run']}")
    Screen(as_json=as_json).say(f"next, here and at every other site: cohortium run approve {answer['run']['run']}")


@app.command()
def approve(number: Number, yes: Yes = False, home: HomeDir = HOME, as_json: AsJson = False) -> None:
    """Read the study, and what is new in it; then this site takes part."""
    screen = Screen(as_json=as_json)
    shown = _ask(home, {"do": "show", "run": number})
    if not yes:
        _read_out(shown)
        _confirm(f"Take part in run {number} with this site's patients?")
    _show(screen, _ask(home, {"do": "approve", "run": number}), f"approved run {number}")
    screen.say(f"next: cohortium run watch {number}")


@app.command()
def decline(number: Number, home: HomeDir = HOME, as_json: AsJson = False) -> None:
    """This site does not take part; the others need not wait for it."""
    _show(Screen(as_json=as_json), _ask(home, {"do": "decline", "run": number}), f"declined run {number}")


@app.command("list")
def list_runs(home: HomeDir = HOME, as_json: AsJson = False) -> None:
    """All runs on the ledger, and this site's part in each."""
    screen, answer = Screen(as_json=as_json), _ask(home, {"do": "runs"})
    screen.document(answer)
    screen.table(
        ("run", "study", "proposed by", "here", "merges", "state"),
        [
            (
                str(one["run"]),
                one["name"] or one["study"][:16],
                one["proposer"],
                one["here"],
                f"{one['merges']}/{one['n_rounds']}",
                one["sentence"],
            )
            for one in answer["runs"]
        ],
    )


@app.command()
def watch(number: Number, home: HomeDir = HOME, as_json: AsJson = False) -> None:
    """Follow a run to its end. Exit code: 0 complete, 3 partial, 4 failed. Ctrl-C stops watching, not the run."""
    from cohortium.node.control import watch_node

    screen, ended = Screen(as_json=as_json), None
    for line in watch_node(_socket(home), {"do": "watch", "run": number}):
        if as_json:
            print(_one_line(line), flush=True)
        elif said := _sentence(line):
            screen.say(said)
        ended = line if line["event"] == "ended" else ended
    if ended is None:
        from cohortium.node.control import NodeAway

        raise NodeAway("the node stopped before the run ended; the run goes on when the node is started again")
    if not as_json:
        screen.result(ended["sentence"])
        if ended["report"]:
            screen.result(f"report: {ended['report']}")
    if ended["exit_code"]:
        raise typer.Exit(ended["exit_code"])


@app.command()
def stop(number: Number, yes: Yes = False, home: HomeDir = HOME, as_json: AsJson = False) -> None:
    """This site leaves a run; the others go on. `cohortium run resume` comes back."""
    if not yes:
        _confirm(f"Leave run {number}? The others go on without this site.")
    _show(Screen(as_json=as_json), _ask(home, {"do": "stop", "run": number}), f"left run {number}")


@app.command()
def resume(number: Number, home: HomeDir = HOME, as_json: AsJson = False) -> None:
    """Take part again, after a stop, a refusal or an error; from the next round on."""
    _show(Screen(as_json=as_json), _ask(home, {"do": "resume", "run": number}), f"takes part in run {number} again")


@app.command()
def report(
    number: Number,
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Write the page there as well.")] = None,
    scope: Annotated[
        str, typer.Option("--scope", help="site: stays inside. consortium: sites as pseudonyms, small cells closed.")
    ] = "site",
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """Where the results of an ended run are; with --to also its page, for other readers. Needs no running node."""
    from cohortium.errors import UsageError
    from cohortium.node.home import Home
    from cohortium.node.run_folder import RunFolder
    from cohortium.sim.results import read_record, write_report

    folder = RunFolder(Home.open(home).runs / str(number))
    ending = folder.ending()
    if ending is None:
        raise UsageError(f"run {number} has no results here yet", hint=f"cohortium run watch {number}")
    if to is not None:
        write_report(read_record(folder.path / "run.json"), to, scope=scope)
    screen = Screen(as_json=as_json)
    held = sorted(str(path) for path in folder.path.iterdir() if not path.name.startswith("."))
    content = {"status": ending.status, "sentence": ending.sentence, "missing": ending.missing, "files": held}
    screen.document({**content, "report": str(to or folder.report or "")})
    screen.result(ending.sentence)
    for site, why in sorted(ending.missing.items()):
        screen.result(f"no figures of {site}: {why}")
    screen.result(f"report: {to or folder.report or 'none'}")
    if ending.exit_code:
        raise typer.Exit(ending.exit_code)


def _socket(home: Path) -> Path:
    from cohortium.node.home import Home

    return Home.open(home).control


def _ask(home: Path, request: dict[str, Any]) -> dict[str, Any]:
    from cohortium.node.control import ask_node

    return ask_node(_socket(home), request)


def _show(screen: Screen, answer: dict[str, Any], did: str) -> None:
    screen.document(answer["run"])
    screen.result(did)
    screen.say(answer["run"]["sentence"])


def _read_out(shown: dict[str, Any]) -> None:
    """The study on stderr, what is new in it, and what was found in this site's own data."""
    run = shown["run"]
    print(shown["study"], file=sys.stderr)
    print(f"digest {run['study']}", file=sys.stderr)
    if shown["compared_with"]:
        changes = shown["changes"] or ["nothing has changed"]
        print(f"against '{shown['compared_with']}', approved here before:", file=sys.stderr)
        print("\n".join(f"  {line}" for line in changes), file=sys.stderr)
    found = run["findings"]
    said = [*found.get("warnings", []), *(one["found"] for one in found.get("checks", []) if one["level"] == "warn")]
    print("\n".join(f"warning: {line}" for line in said), file=sys.stderr)


def _confirm(question: str) -> None:
    from cohortium.errors import PolicyRefused, UsageError

    if not sys.stdin.isatty():
        raise UsageError("this command asks a person; in a script add --yes")
    if not typer.confirm(question, err=True):
        raise PolicyRefused("not confirmed; nothing was done")


def _one_line(line: dict[str, Any]) -> str:
    import json

    return json.dumps(json.loads(strict_json(line)), ensure_ascii=False, sort_keys=True)


def _sentence(line: dict[str, Any]) -> str:
    """A line for people; empty for what only scripts follow."""
    site = line.get("site", "")
    match line["event"]:
        case "round":
            return _round(line)
        case "proposed":
            return f"proposed by {site}"
        case "approved" | "declined" | "joined":
            return f"{site} has {line['event']}"
        case "started":
            without = f"; without {', '.join(line['missing'])}" if line["missing"] else ""
            return f"started with {', '.join(line['sites'])}{without}"
        case "closed":
            return f"round {line['round']} goes on without {', '.join(line['missing'])}"
        case "left":
            return f"{site} is out in round {line['round']}: {line['stage']}, {line['reason']}"
        case "trouble":
            return f"trouble at {site} in round {line['round']}: {line['stage']}, {line['code']}"
        case "asks":
            return line["blocked"] or f"waits for this site: cohortium run approve {line['run']}"
        case "halted":
            return f"stopped here: {line['why']}"
        case "unsigned":
            return str(line["why"])
    return ""


def _round(line: dict[str, Any]) -> str:
    """E.g. `round   7/20  5/5 sites  AUROC 0.880  4.1 s  leader bonn`."""
    names = {"auroc": "AUROC", "c_index": "C-index", "accuracy": "accuracy", "brier": "Brier", "rmse": "RMSE"}
    shown = next((f"  {names[name]} {line['measures'][name]:.3f}" for name in names if name in line["measures"]), "")
    stage = f"  prepares: {line['stage']}" if line["stage"] not in ("", "model") else ""
    sites = f"{len(line['contributors'])}/{line['n_sites']} sites"
    took = f"  {line['seconds']:.1f} s  leader {line['leader']}"
    return f"round {line['turn']:>3}/{line['of']}  {sites}{stage}{shown}{took}"
