"""`cohortium demo`: real patients, one command, the same every time."""

import json

import pytest

from cohortium.cli import demo
from cohortium.cli.app import run
from cohortium.cli.output import Screen

pytest.importorskip("sklearn")


@pytest.mark.slow
def test_the_demo_runs_twice_into_the_same_folder(tmp_path, capsys):
    arguments = ["demo", "--out", str(tmp_path / "d"), "--ledger", "memory", "--sites", "3", "--json"]
    records = []
    for _ in range(2):
        assert run(arguments) == 0
        out, err = capsys.readouterr()
        records.append(json.loads(out))
    for record in records:
        del record["seconds"], record["timings"]
    assert records[0] == records[1]
    assert "real patients, simulated sites" in records[0]["notes"]
    assert records[0]["test"]["swarm"]["auroc"] > records[0]["test"]["single_mean"]["auroc"]
    assert err.splitlines()[0] == "real patients (Wisconsin breast cancer, 569), simulated sites"
    assert len(err.splitlines()) <= len(records[0]["rounds"]) + 11
    private = records[0]["private_study"]
    assert private["privacy"]["promise"]["epsilon"] == 3.0
    assert any(
        "private study complete: epsilon 3.00 of each site's 10 spent (simulated)" in line for line in err.splitlines()
    )
    page = (tmp_path / "d" / "report.html").read_text(encoding="utf-8")
    for shown in ("The same question with differential privacy", "Attacks on the private model", "Budget history",
                  "Epsilon spent, at delta 1e-05, composed from the ledger"):  # fmt: skip
        assert shown in page
    assert run(["audit", "privacy", "budget", str(tmp_path / "d" / "private" / "ledger.jsonl")]) == 0


def test_an_unknown_model_is_a_sentence(tmp_path, capsys):
    assert run(["demo", "--out", str(tmp_path / "d"), "--model", "logistik", "--ledger", "memory"]) == 2
    assert "did you mean 'logistic'?" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


def test_no_browser_is_opened_where_nobody_looks(monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    demo._open_if_possible(tmp_path / "report.html", Screen())
    assert opened == [], "stdout is no terminal here"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    demo._open_if_possible(tmp_path / "report.html", Screen(as_json=True))
    assert opened == []
    demo._open_if_possible(tmp_path / "report.html", Screen())
    assert opened == [(tmp_path / "report.html").as_uri()]


def test_synthetic_patients_are_a_command_of_their_own(tmp_path, capsys, monkeypatch):
    from types import SimpleNamespace

    asked = {}

    def demonstrate(out, **options):
        asked.update(options, out=out)
        judgement = SimpleNamespace(
            verdict={"fidelity": "pass", "privacy": "warn"},
            reasons={"fidelity": "lowest skill 0.9"},
            credible=options["seed"] == 3,
        )
        return SimpleNamespace(document={"a": 1}, digest=b"\1" * 32, judgement=judgement,
                               files={"report": out / "report.html"})  # fmt: skip

    monkeypatch.setattr("cohortium.sim.synth_demo.demonstrate", demonstrate)
    assert run(["demo", "synth", "--out", str(tmp_path), "--patients", "500", "--seed", "3"]) == 0
    assert asked["patients"] == 500
    out = capsys.readouterr().out
    assert "fidelity: pass (lowest skill 0.9)" in out
    assert "privacy: warn\n" in out
    assert f"report: {tmp_path / 'report.html'}" in out
    assert run(["demo", "synth", "--out", str(tmp_path)]) == 1, "a control that did not fail"
    assert run(["demo", "synth", "--patients", "3"]) == 2


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ({"run.json": '{"name": "mortality", "study_digest": "ab"}'}, "holds a finished run of study 'mortality'"),
        (
            {"run.json": '{"name": "of \'demo-breast-cancer\'", "study_digest": "ab"}'},
            "holds a finished run of study 'of",
        ),
        ({"run.json": "damaged"}, "holds a run.json"),
        ({"report.html": "<p>ours</p>"}, "holds 'report.html' without a run"),
        ({"state/run-of.json": '{"name": "mortality"}'}, "holds an interrupted run of 'mortality'"),
        ({"state/run-of.json": "damaged"}, "holds an interrupted run of ''"),
    ],
)
def test_the_demo_overwrites_nobody_else_s_results(tmp_path, capsys, left, said):
    for name, text in left.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert run(["demo", "--out", str(tmp_path), "--ledger", "memory"]) == 2
    assert said in capsys.readouterr().err
    assert all((tmp_path / name).read_text() == text for name, text in left.items())


@pytest.mark.parametrize("left", ["report.json", "ledger.jsonl", "synthetic-3.csv"])
def test_nor_does_that_of_synthetic_patients(tmp_path, capsys, left):
    (tmp_path / left).write_text('{"report": {}}')
    assert run(["demo", "synth", "--out", str(tmp_path)]) == 2
    assert f"{left}' exists already and is not this demonstration's" in capsys.readouterr().err
    assert (tmp_path / left).read_text() == '{"report": {}}'
