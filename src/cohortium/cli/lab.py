"""`cohortium lab up|status|fault|down|selfcheck`: a consortium of real processes on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson, Data, SiteColumn

if TYPE_CHECKING:
    from cohortium.lab.hospitals import Hospitals

__all__ = ["app", "down", "fault", "selfcheck", "status", "up"]

app = typer.Typer(no_args_is_help=True)

Dir = Annotated[Path, typer.Option("--dir", metavar="DIR", help="The lab's folder.")]
HERE = Path("cohortium-lab")
Sites = Annotated[int, typer.Option("--sites", min=2, max=20, help="Hospitals, where the data name none.")]
Ledger = Annotated[str, typer.Option("--ledger", help="local, replicated (etcd) or evm-rpc (anvil).")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the demonstration's study.")]
StudyOption = Annotated[Path | None, typer.Option("--study", metavar="FILE", help="Your study, with --data.")]


@app.command()
def up(
    sites: Sites = 5,
    ledger: Ledger = "local",
    data: Data = None,
    site_column: SiteColumn = None,
    study: StudyOption = None,
    seed: Seed = 0,
    dials_out: Annotated[
        list[str] | None, typer.Option("--dials-out", metavar="SITE", help="A site without a port; may be repeated.")
    ] = None,
    heartbeat: Annotated[float, typer.Option("--heartbeat", min=0.2, max=60, help="Seconds between heartbeats.")] = 1.0,
    directory: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Start a node for every hospital, found their consortium, wait until all are healthy."""
    from cohortium.lab.consortium import Consortium

    screen = Screen(as_json=as_json)
    hospitals = _hospitals(sites, seed, study, data, site_column)
    lab = Consortium.create(directory, hospitals, engine=ledger, heartbeat_s=heartbeat, dials_out=dials_out or ())
    names = lab.lab.names
    screen.say(f"starting {len(names)} nodes, ledger '{ledger}': {', '.join(names)}")
    try:
        lab.start()
        lab.wait_until_healthy()
    except BaseException:
        lab.down()
        raise
    screen.document(lab.status())
    screen.result(f"{len(names)} nodes are healthy in {directory}")
    first = lab.home(names[0]).relative_to(Path.cwd()) if lab.folder.is_relative_to(Path.cwd()) else lab.home(names[0])
    screen.say(f"next: cohortium run propose {directory / 'study.toml'} --home {first}")
    screen.say(f"then: cohortium lab fault F2 --dir {directory}, cohortium lab down --dir {directory}")


@app.command()
def status(directory: Dir = HERE, as_json: AsJson = False) -> None:
    """Every process of the lab, and what each node says of itself."""
    from cohortium.lab.consortium import Consortium

    found = Consortium(directory).status()
    screen = Screen(as_json=as_json)
    screen.document(found)
    rows = [_row(name, about) for name, about in found["sites"].items()]
    screen.table(("site", "process", "health", "ledger", "runs"), rows)
    for name, runs in found["ledger"].items():
        screen.result(f"{name}: {'runs' if runs else 'does not run'}")
    if any(row[2] != "healthy" for row in rows):
        raise typer.Exit(1)


def _row(name: str, about: dict[str, Any]) -> tuple[str, ...]:
    node = about["node"]
    if node is None:
        return name, str(about["pid"] or "none"), about["why"], "", ""
    health = "healthy" if node["healthy"] else "; ".join(node["problems"])
    runs = ", ".join(f"{run['run']}: {run['sentence']}" for run in node["runs"]) or "none"
    return name, str(about["pid"]), health, f"block {node['ledger']['height']}", runs


@app.command(context_settings={"ignore_unknown_options": True})  # a clock may be off by -30m
def fault(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WHAT...",
            help="F1 to F10 [SITE]; kill, freeze, disk-full SITE; partition A,B; slow SITE 30s; clock SITE +1h; heal.",
        ),
    ],
    directory: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Let something go wrong in a running lab, or mend everything."""
    from cohortium.lab.catalogue import do_fault
    from cohortium.lab.consortium import Consortium

    said = do_fault(Consortium(directory), words)
    screen = Screen(as_json=as_json)
    screen.document({"fault": words, "said": said})
    for line in said:
        screen.result(line)


@app.command()
def down(
    remove: Annotated[bool, typer.Option("--remove", help="Remove the folder too, with its keys and runs.")] = False,
    directory: Dir = HERE,
    as_json: AsJson = False,
) -> None:
    """Stop every process the lab has started, also after it was killed itself."""
    from cohortium.lab.consortium import Consortium

    lab = Consortium(directory)
    running = sum(proc.is_alive for proc in lab.lab.procs)
    lab.down(remove=remove)
    screen = Screen(as_json=as_json)
    screen.document({"stopped": running, "removed": remove})
    screen.result(f"stopped {running} processes" + (f" and removed {directory}" if remove else ""))


@app.command()
def selfcheck(
    sites: Sites = 5,
    ledger: Ledger = "local",
    data: Data = None,
    site_column: SiteColumn = None,
    study: StudyOption = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Run a small study with real processes and in simulation; exit 0 only when both end with the same model."""
    from cohortium.errors import UsageError
    from cohortium.lab.engines import why_not
    from cohortium.lab.selfcheck import compare_with_simulation

    if reason := why_not(ledger):
        raise UsageError(reason)
    screen = Screen(as_json=as_json)
    found = compare_with_simulation(_hospitals(sites, seed, study, data, site_column), engine=ledger, say=screen.say)
    screen.document(found)
    screen.result(f"lab {found['lab']['status']}, model {found['lab']['digest'][:16]}")
    screen.result(f"simulation {found['simulation']['status']}, model {found['simulation']['digest'][:16]}")
    screen.result("equal" if found["equal"] else "NOT equal")
    if not found["equal"]:
        raise typer.Exit(5)


def _hospitals(sites: int, seed: int, study: Path | None, data: list[str] | None, site_column: str | None) -> Hospitals:
    from cohortium.errors import UsageError
    from cohortium.lab.hospitals import demo_hospitals, own_hospitals

    if not data and study is None:
        return demo_hospitals(sites, seed=seed)
    if not data or study is None:
        raise UsageError("your own consortium needs both --study FILE and --data; without them the demonstration runs")
    return own_hospitals(study, data, site_column=site_column, n_sites=sites)
