"""`cohortium study new|check|show|pin`: from nothing to a study that runs; a check changes nothing."""

import json

import pytest

from cohortium.cli.app import run


@pytest.mark.parametrize("outcome", ["label", "days,died"])
def test_a_new_study_checks_and_runs(outcome, folder, files, capsys):
    path = folder / "fresh.toml"
    assert run(["study", "new", str(path), "--outcome", outcome]) == 0
    text = path.read_text().replace("# exclude = [", "exclude = ['label'] # [", 1)
    text = text.replace("exclude = ['label']", "exclude = ['days', 'died']") if outcome == "label" else text
    path.write_text(text)
    assert run(["study", "check", str(path), *files[1](folder)]) == 0
    assert "can be run (digest " in capsys.readouterr().out
    assert run(["simulate", str(path), *files[1](folder), "--out", str(folder / "fresh"), "--quiet"]) == 0
    metric = "auroc" if outcome == "label" else "c_index"
    assert json.loads((folder / "fresh" / "run.json").read_text())["test"]["swarm"][metric] > 0.5


@pytest.mark.parametrize("model", ["mlp", "elastic-net", "multinomial", "kaplan-meier"])
def test_a_new_study_names_the_options_of_its_model(model, tmp_path, capsys):
    path = tmp_path / "s.toml"
    assert run(["study", "new", str(path), "--outcome", "y", "--model", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"study": str(path)}
    assert run(["study", "check", str(path)]) == 0
    section = path.read_text().split("[model]")[1].split("[strategy]")[0]
    uncommented = path.read_text().replace(section, section.replace("\n# ", "\n"))
    path.write_text(uncommented)
    assert run(["study", "check", str(path)]) == 0, "the shown defaults are the defaults"


def test_a_model_nobody_knows_is_refused_and_nothing_is_written(tmp_path, capsys):
    assert run(["study", "new", str(tmp_path / "s.toml"), "--outcome", "y", "--model", "logistik"]) == 2
    assert "did you mean 'logistic'?" in capsys.readouterr().err
    assert not (tmp_path / "s.toml").exists()


def test_check_shows_schema_sites_and_checks_as_json(folder, files, capsys):
    assert run(["study", "check", str(folder / "study.toml"), *files[1](folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"name": "a", "kind": "number", "role": "feature", "unit": ""} in found["columns"]
    assert [row["site"] for row in found["sites"]] == ["bonn", "lund", "porto"]
    assert {check["id"] for check in found["checks"]} >= {"L1", "L2", "L3"}
    assert len(found["digest"]) == 64


def test_check_refuses_a_leak_and_changes_nothing(folder, files, capsys):
    text = (folder / "study.toml").read_text().replace('exclude = ["days", "died"]\n', "")
    (folder / "study.toml").write_text(text)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert run(["study", "check", str(folder / "study.toml"), *files[1](folder)]) == 2
    out, _ = capsys.readouterr()
    assert "fail: L3: column 'died' is named like an outcome" in out
    assert out.splitlines()[-1].startswith(f"{folder / 'study.toml'}: refused")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_check_without_data_says_what_it_leaves_to_them(folder, files, capsys):
    path = str(folder / "study.toml")
    assert run(["study", "check", path]) == 0
    out = capsys.readouterr().out
    assert out.startswith("not checked without --data: the columns, which the study leaves to the tables, and")
    assert run(["study", "check", path, *files[1](folder)]) == 0
    assert "not checked" not in capsys.readouterr().out


def test_check_of_a_generator_names_the_next_command_and_the_line_the_data_refuse(folder, files, capsys):
    path, genes = folder / "study.toml", '[study]\nname = "little"\noutcome = "label"\n[synth]\ngenes = ["sex"]\n'
    path.write_text(genes)
    for command in (["study", "check"], ["synth", "fit"]):
        assert run([*command, str(path), *files[1](folder)]) == 2
        assert f"{path}:5 synth.genes: 'sex' is a category; a gene is a flag" in capsys.readouterr().err
    path.write_text(genes.replace('genes = ["sex"]', ""))
    assert run(["study", "check", str(path), *files[1](folder)]) == 0
    assert f"next: cohortium synth fit {path} --data ...; between hospitals" in capsys.readouterr().err


def test_show_prints_every_setting_and_the_digest_sites_approve(folder, capsys):
    assert run(["study", "show", str(folder / "study.toml")]) == 0
    shown = capsys.readouterr().out
    assert run(["study", "show", str(folder / "study.toml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert shown.splitlines()[-1] == f"# digest {found['digest']}"
    assert found["study"]["evaluation"]["test_fraction"] == 0.3
    assert "test_fraction = 0.3" in shown


def test_pin_writes_a_second_file_that_checks_on_one_site_alone(folder, files, capsys):
    study, pinned = folder / "study.toml", folder / "study-pinned.toml"
    before = study.read_bytes()
    assert run(["study", "pin", str(study), *files[1](folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["study"] == str(pinned)
    assert study.read_bytes() == before
    assert run(["study", "pin", str(study), *files[1](folder)]) == 2, "never overwrites"
    assert "exists already" in capsys.readouterr().err
    assert run(["study", "show", str(pinned), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["digest"] == found["digest"]
    assert shown["study"]["cohort"]["columns"]["a"] == {"kind": "number"}


def test_one_hospital_can_pin_from_its_own_table(folder, files, capsys):
    own = next(word.partition("=")[2] for word in files[1](folder) if word.startswith("bonn="))
    assert run(["study", "pin", str(folder / "study.toml"), "--data", own, "--out", str(folder / "p.toml")]) == 0
    assert "label\tflag\toutcome\t0, 1" in capsys.readouterr().out
