import json

from cohortium.cli.app import run


def test_invented_patients_are_written_with_a_study_that_reads_them(tmp_path, capsys):
    table, study = tmp_path / "p.csv", tmp_path / "s.toml"
    assert (
        run(["synth", "simulate", "-n", "600", "-o", str(table), "--schema", str(study), "--complete", "--json"]) == 0
    )
    assert sum(json.loads(capsys.readouterr().out)["sites"].values()) == 600
    ask = ["synth", "canary", "--data", str(table), "--site-column", "site", "--study", str(study), "--runs", "1"]
    assert run([*ask, "--canaries", "10", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n"] == 30
    assert found["refuted"] is False
    assert 0 <= found["epsilon_bound"] <= found["epsilon_bound_at_most"]
