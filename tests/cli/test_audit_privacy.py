"""The commands for the data protection officer."""

import json

from cohortium.cli.app import run


def test_budgets_of_a_run_without_noise_are_said_to_be_none(finished, capsys) -> None:
    little_run = finished[1]
    assert run(["audit", "privacy", "budget", str(little_run / "ledger.jsonl")]) == 0
    assert "no site has booked any spending" in capsys.readouterr().out
    assert run(["audit", "privacy", "budget", str(little_run / "ledger.jsonl"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sites"] == {}


def test_a_missing_file_is_an_error_of_the_caller(tmp_path, capsys) -> None:
    assert run(["audit", "privacy", "budget", str(tmp_path / "none.jsonl")]) == 2
    assert "does not exist" in capsys.readouterr().err
