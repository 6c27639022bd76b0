"""The commands, and the one place where errors become sentences and exit codes."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from cohortium import __version__
from cohortium.cli import audit, demo, evaluate, lab, node, report, simulate, study, synth
from cohortium.cli import run as runs
from cohortium.cli.simulate import Interrupted
from cohortium.errors import CohortiumError

__all__ = ["app", "run"]

# The command-line error of the click that typer stands on, which newer versions of typer carry inside.
_CommandLineError: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

OUR_BUG = 70

app = typer.Typer(
    name="cohortium",
    help="Hospitals learn together without pooling patient data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(simulate.simulate)
app.command()(evaluate.evaluate)
app.command()(report.report)
app.add_typer(demo.app, name="demo", help="See it work: on real patients, or with synth on invented ones.")
app.add_typer(study.app, name="study", help="Write, check and show a study file.")
app.add_typer(audit.app, name="audit", help="Check what others recorded.")
app.add_typer(runs.app, name="run", help="Runs between hospitals: propose, approve, watch, stop.")
app.add_typer(lab.app, name="lab", help="A whole consortium of real processes on this machine.")
app.add_typer(node.app, name="node", help="This hospital's own node: keys, members, checks.")
app.add_typer(synth.app, name="synth", help="Synthetic patients: learn, draw, judge.")


class _Command(TyperCommand):
    """One whose usage names an argument as its help does: `RUN`, where newer versions of typer say `{RUN}`."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


def _commands(of: typer.Typer) -> Iterator[Any]:
    yield from of.registered_commands
    for group in of.registered_groups:
        yield from _commands(group.typer_instance) if group.typer_instance else ()


for _one in _commands(app):
    _one.cls = _Command


def _version(asked: bool) -> None:
    if asked:
        print(f"cohortium {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colour, also on a terminal.")] = False,
) -> None:
    if no_color:
        os.environ["NO_COLOR"] = "1"


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code. Never prints a traceback or a local value."""
    try:
        code = app(list(arguments), standalone_mode=False)
        if code == Interrupted.exit_code:  # typer turns Ctrl-C into this code without a word
            print("interrupted", file=sys.stderr)
        return code if isinstance(code, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return Interrupted.exit_code
    except Interrupted as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except _CommandLineError as error:
        text = error.format_message()  # type: ignore[attr-defined]
        print(text if type(error).__name__ == "NoArgsIsHelpError" else f"error: {text}", file=sys.stderr)
        return 2
    except CohortiumError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        print(f"error: the system refused{where}: {error.strerror or type(error).__name__}", file=sys.stderr)
        return 2
    except Exception as error:  # noqa: BLE001 - the outermost loop: record and stop
        print(f"error: {type(error).__name__} inside cohortium; details for us in {_crash_file()}", file=sys.stderr)
        return OUR_BUG


def _crash_file() -> str:
    """Where the places of the error went: a file only this user can read (mkstemp makes it 0600).

    Files, lines and kinds of errors, never their texts: these may quote a patient's value.
    """
    handle, path = tempfile.mkstemp(prefix="cohortium-crash-", suffix=".txt")
    with os.fdopen(handle, "w") as file:
        file.writelines(_places(sys.exc_info()[1]))
    return path


def _places(error: BaseException | None) -> Iterator[str]:
    """The error, what it was raised from, and the members of a group, as frames and type names."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield f"{type(one).__module__}.{type(one).__qualname__}\n"
        for frame in traceback.extract_tb(one.__traceback__):
            yield f"  {frame.filename}:{frame.lineno} in {frame.name}\n    {frame.line}\n"
        members = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        waiting += [*members, one.__context__, one.__cause__]
