"""`cohortium audit harm`: shapes of one's own, own suspect records, appeals; sentences, strict JSON, refusals."""

import json

import pytest

from cohortium.cli.app import run
from cohortium.node.home import Home


def test_a_shape_of_ones_own_is_tried(tmp_path, capsys):
    shape = tmp_path / "ours.csv"
    shape.write_text("40:20/10:5, 40:20/10:5, " * 6, encoding="utf-8")
    assert run(["audit", "harm", "simulate", "--shape", str(shape), "--scenario", "nothing", "--seeds", "1"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("S4 (nothing), 12 sites, 1 draw: 0 of 12 other sites named by mistake")
    assert "S4: draw 1 of 1" in said.err
    code = run(["audit", "harm", "simulate", "--shape", str(shape), "--scenario", "S1", "--seeds", "1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (found["shape"], found["sites"], found["cases"][0]["case"]) == ("ours", 12, "S1")


def test_records_needed_and_how_many_sites_have_them(tmp_path, capsys):
    shape = tmp_path / "ours.csv"
    shape.write_text("40:20/10:5, 8:4/2:1, 3:1/1:0", encoding="utf-8")
    assert run(["audit", "harm", "power", "--shape", str(shape)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t") == ["AUROC", "labels", "records", "sites of 3"]
    assert "0.85\treversed\t9\t2" in lines
    assert "0.75\tunrelated\t81\t0" in lines
    assert run(["audit", "harm", "power", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["shape"], found["sites"], len(found["rows"])) == ("pd83", 83, 16)


def test_wrong_shapes_and_scenarios_are_errors_of_the_caller(tmp_path, capsys):
    assert run(["audit", "harm", "simulate", "--shape", str(tmp_path / "none.csv")]) == 2
    assert "none.csv': No such file" in capsys.readouterr().err
    assert run(["audit", "harm", "simulate", "--scenario", "S9"]) == 2
    assert "unknown scenario 'S9'; available: S1 (whole-sites)" in capsys.readouterr().err
    assert run(["audit", "harm", "simulate", "--scenario", "S7"]) == 2
    assert "needs an audit with noise" in capsys.readouterr().err


def test_a_hospital_mends_its_own_table(tmp_path, capsys):
    study, data = tmp_path / "study.toml", tmp_path / "porto.csv"
    study.write_text('[study]\nname = "ours"\noutcome = "sick"\n[model]\nname = "logistic"\n', encoding="utf-8")
    data.write_text("age,sick\n61,0\n48,1\n", encoding="utf-8")
    asked = ["audit", "harm", "apply-repair", str(study), "--repair", "label-polarity", "--data", str(data)]
    assert run([*asked, "--out", str(tmp_path / "mended.csv")]) == 0
    assert "label-polarity applied to 2 rows" in capsys.readouterr().out
    assert (tmp_path / "mended.csv").read_text(encoding="utf-8") == "age,sick\n61,1\n48,0\n"
    assert run([*asked, "--out", str(data)]) == 2
    assert "overwrites none" in capsys.readouterr().err


@pytest.fixture
def home(tmp_path):
    made = Home.create(tmp_path / "porto", site="porto", now=1_700_000_000.0)
    folder = made.runs / "4"
    folder.mkdir(parents=True)
    listed = "row,label,probability,suspicion,why,look_alike\n17,1,0.0210,0.9911,label,3\n5,0,0.8000,0.4000,values,\n"
    (folder / "suspects.csv").write_text(listed, encoding="utf-8")
    return str(tmp_path / "porto")


def test_own_suspect_records_are_listed_by_the_row_of_the_table(home, capsys):
    assert run(["audit", "harm", "records", "4", "--home", home]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("\t") == ["17", "1", "0.0210", "0.9911", "label", "3"]
    assert lines[-1].startswith("1 of 'porto' with a suspicion of 0.5 or more")
    assert run(["audit", "harm", "records", "4", "--above", "0", "--home", home, "--json"]) == 0
    assert [row["row"] for row in json.loads(capsys.readouterr().out)["records"]] == ["17", "5"]
    assert run(["audit", "harm", "records", "3", "--home", home]) == 2
    assert "run 3 left no list here" in capsys.readouterr().err
    assert run(["audit", "harm", "table", "4", "--home", home]) == 2
    assert "run 4 left no table here" in capsys.readouterr().err


def test_an_appeal_and_a_new_data_version_need_a_consortium(home, capsys):
    assert run(["audit", "harm", "appeal", "4", "--ground", "error", "--home", home]) != 0
    assert run(["audit", "harm", "renew", "--home", home]) != 0
    assert "consortium" in capsys.readouterr().err
