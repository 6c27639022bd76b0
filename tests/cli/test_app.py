"""Errors become one sentence and an exit code; nobody's values reach the screen."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cohortium import __version__, errors
from cohortium.cli import app as cli
from cohortium.cli.app import run


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["study", "--help"], ["audit", "--help"], ["--version"]])
def test_help_and_version_succeed(arguments, capsys):
    assert run(arguments) == 0
    assert capsys.readouterr().out


def test_usage_names_an_argument_as_its_help_does(capsys):
    for words, usage in (("simulate", "[OPTIONS] STUDY.toml"), ("audit harm sign", "[OPTIONS] RUN")):
        run([*words.split(), "--help"])
        assert f"{words} {usage} " in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nope"], ["demo", "--sites", "1"], ["simulate"], ["simulate", "--nope"]])
def test_a_wrong_command_line_ends_with_two(arguments, capsys):
    assert run(arguments) == 2


def raising(error):
    def command(*_, **__):
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("u"), 2),
        (errors.StudyError([errors.Problem("study.name", "is missing", 3)]), 2),
        (errors.DataError("d"), 2),
        (errors.MissingExtra("model 'mlp'", extra="torch"), 2),
        (errors.PolicyRefused("p"), 1),
        (errors.RunFailed("porto", "train", "silent"), 4),
        (errors.VerificationFailed("v"), 5),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_family_of_errors_has_its_exit_code(error, code, monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", raising(error))
    assert run(["demo"]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_hint_follows_its_error(monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", raising(errors.UsageError("no", hint="try this")))
    run(["demo"])
    assert capsys.readouterr().err == "error: no\nhint: try this\n"


def test_our_own_bug_leaves_places_and_no_value_not_even_in_the_crash_file(monkeypatch, capsys):
    planted = "patient 4711"

    def command(*_, **__):
        try:
            float(planted)
        except ValueError as error:
            raise ExceptionGroup(planted, [KeyError(planted)]) from error

    monkeypatch.setattr(cli, "app", command)
    assert run(["demo"]) == 70
    out, err = capsys.readouterr()
    crash = Path(re.search(r"in (\S+crash\S+)", err)[1])
    text = crash.read_text()
    assert planted not in out + err + text
    assert "float(planted)" in text
    assert [kind in text for kind in ("ExceptionGroup", "ValueError", "KeyError")] == [True] * 3
    assert crash.stat().st_mode & 0o077 == 0
    crash.unlink()


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "x.csv"), OSError(28, "No space left", "y")]
)
def test_what_the_system_refuses_is_a_sentence_with_the_file(error, monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", raising(error))
    assert run(["demo"]) == 2
    assert capsys.readouterr().err == f"error: the system refused '{error.filename}': {error.strerror}\n"


def test_no_color_is_an_option_and_a_variable(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert run(["--no-color", "study", "show", "/nonexistent.toml"]) == 2
    import os

    assert os.environ.pop("NO_COLOR") == "1"


def test_the_package_runs_as_a_module_and_loads_no_numbers_for_it():
    code = (
        "import runpy, sys\n"
        "sys.argv = ['cohortium', '--version']\n"
        "try:\n"
        "    runpy.run_module('cohortium', run_name='__main__')\n"
        "except SystemExit:\n"
        "    print('numpy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"cohortium {__version__}", "False"]
