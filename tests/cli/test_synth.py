import json

import numpy as np
import pytest

from cohortium.cli.app import run
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.mds_like import simulate
from cohortium.data.table import Table

STUDY = """
[study]
name = "mds"
outcome = { time = "os_years", event = "died", unit = "years" }
[synth]
genes = ["TP53", "SF3B1"]
"""
COLUMNS = ("site", "age", "TP53", "SF3B1", "blasts", "hb", "os_years", "died")


def files(tmp_path):
    whole = simulate(seed=0, sites={"a": 200, "b": 150}, missing=False).table
    data, study = tmp_path / "mds.csv", tmp_path / "mds.toml"
    data.write_bytes(csv_bytes(Table({name: whole.column(name) for name in COLUMNS})))
    study.write_text(STUDY)
    return data, study


def test_fit_sample_and_validate_from_the_command_line(tmp_path, capsys):
    data, study = files(tmp_path)
    out, made, page = tmp_path / "g", tmp_path / "made.csv", tmp_path / "report.html"
    assert (
        run(["synth", "fit", str(study), "--data", str(data), "--site-column", "site", "--out", str(out), "--json"])
        == 0
    )
    fitted = json.loads(capsys.readouterr().out)
    assert fitted["status"] == "complete"
    assert sum(fitted["sites"].values()) == fitted["n_real"]
    assert 278 <= fitted["n_real"] <= 282
    kept = (out / "generator.safetensors").read_bytes()
    again = ["synth", "fit", str(study), "--data", str(data), "--site-column", "site", "--out", str(out)]
    assert run(again) == 2
    assert f"'{out}' holds a generator; choose another --out" in capsys.readouterr().err
    assert run([*again, "--replace"]) == 0
    told = capsys.readouterr().err
    assert [f"round {turn:>3}/" in told for turn in (1, fitted["rounds"], fitted["rounds"] + 1)] == [True, True, False]
    assert (out / "generator.safetensors").read_bytes() == kept
    assert run(["synth", "sample", str(out), "-n", "280", "-o", str(made), "--sets", "2"]) == 0
    assert (tmp_path / "made-1.csv").read_text() != (tmp_path / "made-2.csv").read_text()
    capsys.readouterr()
    tables = [
        "--real",
        str(data),
        "--synthetic",
        str(tmp_path / "made-1.csv"),
        "--schema",
        str(study),
        "--site-column",
        "site",
    ]
    assert run(["synth", "impute", str(out), str(data), "-o", str(tmp_path / "full.csv"), "--sets", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["filled"] == 0  # this table has no gap
    assert (tmp_path / "full-2.csv").is_file()
    bench = tmp_path / "bench.json"
    bench.write_text(
        '{"bn": {"federated": {"csf": {"skill": 0.9}}}, "by_round": {"bn": {"federated": [{"csf": 0.5}]}}}'
    )
    more = ["--bench", str(bench), "--by-site", "--draws", "2", "--json"]
    code = run(["synth", "validate", *tables, "--report", str(page), *more])
    found = json.loads(capsys.readouterr().out)
    assert code == (0 if found["credible"] else 1)
    assert set(found["verdict"]) == {"fidelity", "utility", "privacy"}
    assert set(found["by_site"]["sites"]) == {"a", "b"}
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert "Skill by round" in text.split('id="figure-1"')[1].split('id="figure-2"')[0]
    bench.write_text("[1]")
    assert run(["synth", "validate", *tables, *more]) == 2
    assert "is not what cohortium synth bench --json writes" in capsys.readouterr().err
    without = [one for one in tables if one not in ("--site-column", "site")]
    assert run(["synth", "validate", *without, "--by-site"]) == 2
    assert "name the column with the hospital" in capsys.readouterr().err


def test_conditions_are_met_and_wrong_ones_end_in_a_sentence(tmp_path, capsys):
    data, study = files(tmp_path)
    out, made = tmp_path / "g", tmp_path / "made.csv"
    run(["synth", "fit", str(study), "--data", str(data), "--site-column", "site", "--out", str(out)])
    assert run(["synth", "sample", str(out), "-n", "20", "-o", str(made), "--where", "age > 60 and TP53 = 1"]) == 0
    rows = made.read_text().splitlines()
    at = rows[0].split(",").index("TP53")
    assert {row.split(",")[at] for row in rows[1:]} == {"1"}
    capsys.readouterr()
    assert run(["synth", "sample", str(out), "-o", str(tmp_path / "x.csv"), "--where", "grade = 3"]) == 2
    assert "no column 'grade'" in capsys.readouterr().err
    again = ["synth", "sample", str(out), "-n", "20", "-o"]
    assert run([*again, str(data)]) == 2
    assert f"'{data}' exists already; choose another name, or overwrite it with --replace" in capsys.readouterr().err
    assert run([*again, str(out / "generator.safetensors"), "--replace"]) == 2
    assert "is what is read" in capsys.readouterr().err
    assert run([*again, str(made), "--replace"]) == 0
    assert made.read_text().splitlines() != rows


def test_a_page_a_verdict_and_a_split_are_written_over_no_table(tmp_path, capsys):
    data, study = files(tmp_path)
    before = data.read_bytes()
    read = ["--real", str(data), "--synthetic", str(data), "--schema", str(study)]
    assert run(["synth", "validate", *read, "--report", str(data)]) == 2
    assert f"'{data}' is what is read" in capsys.readouterr().err
    assert run(["synth", "gate", *read, "--holdout", str(data), "--verdict", str(study)]) == 2
    assert f"'{study}' is what is read" in capsys.readouterr().err
    (tmp_path / "training.csv").write_text("mine")
    fit = ["synth", "fit", str(study), "--data", str(data), "--out", str(tmp_path / "g"), "--split", str(tmp_path)]
    assert run(fit) == 2
    assert "training.csv' exists already" in capsys.readouterr().err
    assert (data.read_bytes(), (tmp_path / "training.csv").read_text()) == (before, "mine")


@pytest.mark.parametrize("command", [["canary", "--runs", "1"], ["bench"], ["bench", "--jobs", "2"]], ids=" ".join)
def test_what_the_table_refuses_is_said_with_the_line_of_the_study(tmp_path, capsys, command):
    data, study = files(tmp_path)
    study.write_text(STUDY.replace('"SF3B1"', '"SF3B7"'))
    ask = ["synth", *command, "--data", str(data), "--site-column", "site"]
    assert run([*ask, "--study", str(study)]) == 2
    assert f"{study}:6 synth.genes: no column 'SF3B7'" in capsys.readouterr().err


def test_the_gate_judges_at_the_site_and_checks_what_others_show(tmp_path, capsys):
    whole = simulate(seed=0, sites={"a": 400}, missing=False).table
    data, study = tmp_path / "own.csv", tmp_path / "mds.toml"
    table = Table({name: whole.column(name) for name in COLUMNS if name != "site"})
    data.write_bytes(csv_bytes(table.take(np.arange(300))))
    (tmp_path / "reserve.csv").write_bytes(csv_bytes(table.take(np.arange(300, 400))))
    study.write_text(STUDY)
    own, said = ["--synthetic", str(data), "--schema", str(study)], tmp_path / "verdict.json"
    assert run(["synth", "gate", *own]) == 2
    assert "--holdout" in capsys.readouterr().err
    site = ["--real", str(data), "--holdout", str(tmp_path / "reserve.csv")]
    assert run(["synth", "gate", *own, *site, "--verdict", str(said), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"]["identical_rows"] == "fail"
    assert run(["synth", "gate", *own, "--check", str(said)]) == 5
    assert "did not pass the gate" in capsys.readouterr().err


def test_a_generator_that_is_not_there_is_named(tmp_path, capsys):
    assert run(["synth", "sample", str(tmp_path), "-o", str(tmp_path / "x.csv")]) == 2
    assert "cannot read generator" in capsys.readouterr().err
    (tmp_path / "mds.toml").write_text(STUDY)
    assert run(["synth", "sample", str(tmp_path / "mds.toml"), "-o", str(tmp_path / "x.csv")]) == 2
    assert f"'{tmp_path / 'mds.toml'}' is no generator: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["report"], ["audit", "privacy"], ["evaluate", "--data", "patients.csv"]], ids=" ".join
)
def test_commands_for_models_say_what_judges_a_generator(tmp_path, capsys, command):
    assert run([*command, str(tmp_path)]) == 2
    assert "hint" not in capsys.readouterr().err
    (tmp_path / "generator.safetensors").write_bytes(b"")
    assert run([*command, str(tmp_path)]) == 2
    assert "hint: a generator is judged by its patients: cohortium synth validate" in capsys.readouterr().err


def test_a_private_fit_says_what_its_noise_is_worth(tmp_path, capsys):
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")
    whole = simulate(seed=0, sites={"a": 150, "b": 150, "c": 150}).table
    data, study = tmp_path / "mds.csv", tmp_path / "mds.toml"
    data.write_bytes(csv_bytes(Table({name: whole.column(name) for name in COLUMNS})))
    study.write_text(
        STUDY.replace("[synth]", '[synth]\ngenerator = "marginal_dp"')
        + "[cohort]\nranges = { age = [18, 100], blasts = [0, 20], hb = [2, 20], os_years = [0, 12] }\n"
        + '[privacy]\ndp = { mode = "distributed", epsilon = 8.0 }\n'
    )
    tables, pinned = ["--data", str(data), "--site-column", "site"], str(tmp_path / "pinned.toml")
    assert run(["study", "pin", str(study), *tables, "--out", pinned]) == 0
    assert run(["synth", "fit", pinned, *tables, "--out", str(tmp_path / "g")]) == 0
    assert "noise for epsilon 8 a patient, from the operating system; nothing was booked" in capsys.readouterr().out
