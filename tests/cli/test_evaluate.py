"""`cohortium evaluate`: metric names at top level with intervals; what is wrong with model or data is a sentence."""

import json

import pytest

from cohortium.cli.app import run


def evaluate(target, *data, json_too=True):
    return run(["evaluate", str(target), *data, *(["--json"] if json_too else [])])


def test_metrics_stand_at_top_level_with_their_intervals(finished, files, capsys):
    folder, out, _, _ = finished
    assert evaluate(out, *files[1](folder)) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"auroc", "auroc_within", "accuracy", "brier", "intervals", "n", "per_site"} <= set(found)
    assert found["intervals"]["auroc"]["low"] < found["auroc"] < found["intervals"]["auroc"]["high"]
    assert found["model"]["digest"] == json.loads((out / "run.json").read_text())["model"]["digest"]
    assert set(found["per_site"]) == {"bonn", "lund", "porto"}


def test_a_site_column_splits_one_file(finished, files, capsys):
    folder, out, _, _ = finished
    evaluate(out, *files[1](folder))
    named = json.loads(capsys.readouterr().out)
    assert evaluate(out, "--data", str(folder / "all.csv"), "--site-column", "hospital") == 0
    split = json.loads(capsys.readouterr().out)
    assert {k: v for k, v in split.items() if k != "notes"} == {k: v for k, v in named.items() if k != "notes"}


def test_without_json_a_table_and_the_absent_columns_are_said(finished, tmp_path, capsys):
    folder, out, _, _ = finished
    lines = [line.split(",") for line in (folder / "bonn.csv").read_text().splitlines()]
    (tmp_path / "less.csv").write_text("\n".join(",".join([row[0], row[2], row[5]]) for row in lines) + "\n")
    assert evaluate(out, "--data", str(tmp_path / "less.csv"), json_too=False) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout.splitlines()[0] == "measure\tvalue\t95% interval\tn"
    assert "columns absent and treated as missing: b" in stderr


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "too short"),
        (b"\xff" * 64, "header length"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00" + b"[" * 16, "header"),
    ],
)
def test_a_hostile_model_is_a_sentence(content, sentence, finished, files, tmp_path, capsys):
    (tmp_path / "model.safetensors").write_bytes(content)
    assert evaluate(tmp_path, *files[1](finished[0])) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_a_model_that_is_not_there_and_data_that_are_not_named(finished, tmp_path, capsys):
    assert evaluate(tmp_path / "none", "--data", "x.csv") == 2
    assert "cannot read model" in capsys.readouterr().err
    assert evaluate(finished[1]) == 2
    assert "no data named" in capsys.readouterr().err
