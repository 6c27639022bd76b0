"""Errors become one sentence and an exit code; nobody's values reach the screen."""

import re
from pathlib import Path

import pytest

from cohortium import errors
from cohortium.cli import app as cli
from cohortium.cli.app import run


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["study", "--help"], ["audit", "--help"], ["--version"]])
def test_help_and_version_succeed(arguments, capsys):
    assert run(arguments) == 0
    assert capsys.readouterr().out


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


def test_our_own_bug_shows_no_value_and_leaves_a_private_file(monkeypatch, capsys):
    planted = "patient 4711"
    monkeypatch.setattr(cli, "app", raising(RuntimeError(planted)))
    assert run(["demo"]) == 70
    out, err = capsys.readouterr()
    assert planted not in out + err
    crash = Path(re.search(r"in (\S+crash\S+)", err)[1])
    assert planted in crash.read_text()
    assert crash.stat().st_mode & 0o077 == 0
    crash.unlink()


def test_no_color_is_an_option_and_a_variable(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert run(["--no-color", "study", "show", "/nonexistent.toml"]) == 2
    import os

    assert os.environ.pop("NO_COLOR") == "1"
