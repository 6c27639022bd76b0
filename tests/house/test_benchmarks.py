"""Benchmarks begin: each has its help, takes the options that the documentation gives it, and the least ones run."""

import argparse
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from benchmarks.__main__ import names

ROOT = Path(__file__).parents[2]
_COMMAND = re.compile(r"\bpython\s-m\sbenchmarks\s(\w+)([^`;)]*)")


class Parsed(Exception):
    """The command line was understood."""


def begin(monkeypatch, *words):
    """`python -m benchmarks WORDS`, in this process."""
    monkeypatch.setattr(sys, "argv", ["benchmarks", *words])
    try:
        runpy.run_path(str(ROOT / "benchmarks" / "__main__.py"), run_name="__main__")
    except ModuleNotFoundError as absent:
        if (absent.name or "").partition(".")[0] in ("benchmarks", "cohortium"):
            raise
        pytest.skip(f"{absent.name} is not installed")


def documented():
    """(where, name, options) of every benchmark's command in a page."""
    for page in [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]:
        for name, options in _COMMAND.findall(page.read_text(encoding="utf-8")):
            yield page.name, name, " ".join(options.split())


@pytest.mark.parametrize("name", names())
def test_a_benchmark_says_how_it_is_called(name, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        begin(monkeypatch, name, "--help")
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m benchmarks {name} ")


@pytest.mark.parametrize("name", sorted({name for _, name, _ in documented()}))
def test_a_command_in_the_documentation_is_understood(name, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, *given):
        parse(parser, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    for _, _, options in (one for one in documented() if one[1] == name):
        with pytest.raises(Parsed):
            begin(monkeypatch, name, *shlex.split(options))


def test_what_is_no_benchmark_is_answered_with_those_there_are(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        begin(monkeypatch, "nope")
    assert stopped.value.code == 2
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(names())


@pytest.mark.parametrize(("name", "result"), [("machine", "us of CPU an event"), ("node", "ms of CPU per site")])
def test_the_least_ones_run(name, result, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        begin(monkeypatch, name, "4", "2")
    assert stopped.value.code is None
    assert result in capsys.readouterr().out


def test_runs_are_told_by_share_of_reversed_patients_and_empty_shares_not_at_all():
    from benchmarks.harm_sites import by_share

    told = [(0.1, 1.0, 0.0, 0.0), (0.19, 0.5, 0.0, 1.0), (0.2, 0.0, 1.0, 0.0), (0.6, 0.0, 0.0, 2.0)]
    names = ("share", "named", "inconclusive", "wrong")
    found = by_share([dict(zip(names, one, strict=True)) for one in told])
    assert found == {
        "0 to 0.2": {"named": 0.5, "inconclusive": 0.0, "another": 0.5, "runs": 2},
        "0.2 to 0.35": {"named": 0.0, "inconclusive": 1.0, "another": 0.0, "runs": 1},
        "0.5 to 1": {"named": 0.0, "inconclusive": 0.0, "another": 1.0, "runs": 1},
    }
