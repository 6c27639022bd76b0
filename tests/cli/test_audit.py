"""`cohortium audit ledger`: what holds, what does not, and whose it is."""

import json

from cohortium.cli.app import run


def audit(path, *more):
    return run(["audit", "ledger", str(path), *more])


def test_an_honest_ledger_holds_and_is_of_its_study(finished, capsys):
    folder, out, stdout, _ = finished
    assert audit(out / "ledger.jsonl", "--study", str(folder / "study.toml"), "--json") == 0
    found, record = json.loads(capsys.readouterr().out), json.loads(stdout)
    assert found["verified"] is True
    assert (found["height"], found["head"]) == (record["ledger"]["height"], record["ledger"]["head"])
    assert [m["digest"] for m in found["runs"][0]["merges"]] == [one["merge"] for one in record["rounds"]]
    assert audit(out / "ledger.jsonl") == 0
    assert capsys.readouterr().out.startswith("verified: ledger.jsonl")


def test_a_changed_ledger_ends_with_five_and_names_the_line(finished, tmp_path, capsys):
    lines = (finished[1] / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"ok":true', b'"ok":false').replace(b'"ok": true', b'"ok": false')
    (tmp_path / "ledger.jsonl").write_bytes(b"".join(lines))
    assert audit(tmp_path / "ledger.jsonl") == 5
    out, err = capsys.readouterr()
    assert out == ""
    assert "line 4" in err


def test_the_ledger_of_another_study_or_none_ends_with_two(finished, tmp_path, capsys):
    folder, out, _, _ = finished
    (tmp_path / "other.toml").write_text((folder / "study.toml").read_text().replace('"little"', '"other"'))
    assert audit(out / "ledger.jsonl", "--study", str(tmp_path / "other.toml")) == 2
    err = capsys.readouterr().err
    assert "is the ledger of another study" in err
    assert "hint: a run started with --seed" in err
    assert audit(out / "ledger.jsonl", "--study", str(folder / "study.toml"), "--seed", "9") == 2
    assert audit(tmp_path / "none.jsonl") == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_ledger_is_held_to_the_consortium_its_reader_expects(finished, capsys):
    path = finished[1] / "ledger.jsonl"
    assert audit(path, "--json") == 0
    identity = json.loads(capsys.readouterr().out)["consortium"]
    assert audit(path, "--consortium", identity[:20]) == 0
    assert identity[:16] in capsys.readouterr().out
    other = ("0" if identity[0] != "0" else "1") + identity[1:]
    assert audit(path, "--consortium", other) == 5
    assert audit(path, "--consortium", "short") == 2
