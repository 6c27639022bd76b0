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


def test_a_folder_alone_means_attack_and_the_page_comes_next(finished, tmp_path, capsys) -> None:
    out = finished[1]
    code = run(["audit", "privacy", str(out)])
    shown = capsys.readouterr()
    assert "(tiers 0 and 1)" in shown.out
    assert code in (0, 1)
    if code == 1:
        assert "--release" in shown.err
        assert run(["audit", "privacy", "attack", str(out), "--release", "Dr. N. Example", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["released_by"] == "Dr. N. Example"
    assert run(["audit", "privacy", "export", str(out), "-o", str(tmp_path / "officer.html")]) == 0
    assert "For the data protection officer" in (tmp_path / "officer.html").read_text()
    (out / "audit.json").unlink()


def test_tier_2_needs_the_tables_of_the_run(finished, files, tmp_path, capsys) -> None:
    write, data_of = files
    other = write(tmp_path / "other", porto=["a,b,sex,days,died,label", *["0.1,0.2,f,9,1,1", "0.3,0.1,m,8,0,0"] * 45])
    assert run(["audit", "privacy", str(finished[1]), *data_of(other), "--references", "4"]) == 2
    assert "not the tables of the run" in capsys.readouterr().err
