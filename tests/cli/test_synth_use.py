"""The three uses from the command line: verdicts first, the banner always, files of drawn patients alone."""

import json

import numpy as np
import pytest

from cohortium.cli.app import run
from cohortium.data.csv_writer import csv_bytes
from cohortium.data.mds_like import simulate
from cohortium.data.readers import read
from cohortium.data.table import Table

COLUMNS = ("site", "age", "TP53", "SF3B1", "blasts", "hb", "os_years", "died")
STUDY = """
[study]
name = "mds"
outcome = { time = "os_years", event = "died", unit = "years" }
[synth]
genes = ["TP53", "SF3B1"]
[privacy]
secure_aggregation = false
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("uses")
    (where / "mds.toml").write_text(STUDY)
    for name, seed in (("real", 0), ("held", 1)):
        whole = simulate(seed=seed, sites={"a": 250, "b": 200}, missing=False).table
        (where / f"{name}.csv").write_bytes(csv_bytes(Table({column: whole.column(column) for column in COLUMNS})))
    arguments = ["--data", str(where / "real.csv"), "--site-column", "site", "--out", str(where / "generator")]
    assert run(["synth", "fit", str(where / "mds.toml"), *arguments]) == 0
    return where


def _asked(capsys, folder, *words):
    capsys.readouterr()
    code = run(["synth", "use", words[0], str(folder / "generator"), *words[1:]])
    return code, capsys.readouterr()


def test_augment_says_its_verdict_first(folder, capsys):
    files = ["--real", str(folder / "real.csv"), "--holdout", str(folder / "held.csv"), "--most", "1"]
    code, said = _asked(capsys, folder, "augment", *files)
    assert code == 0
    assert said.out.split(",")[0] in ("gain", "no gain", "harm")
    code, said = _asked(capsys, folder, "augment", *files, "--json")
    assert {point["factor"] for point in json.loads(said.out)["points"]} == {1}


def test_balance_writes_the_drawn_patients_alone(folder, capsys):
    files = ["--real", str(folder / "real.csv"), "--holdout", str(folder / "held.csv")]
    out = folder / "drawn.csv"
    code, said = _asked(capsys, folder, "balance", *files, "--where", "SF3B1 = 1", "--share", "0.5", "-o", str(out),
                        "--json")  # fmt: skip
    assert code == 0
    assert len(read(out)) == json.loads(said.out)["n_drawn"]
    assert (read(out).column("SF3B1") == 1).all()
    assert _asked(capsys, folder, "balance", *files, "--where", "died = 1")[0] == 2
    before = out.read_bytes()
    code, said = _asked(capsys, folder, "balance", *files, "--where", "SF3B1 = 1", "--share", "0.5", "-o", str(out))
    assert (code, "exists already" in said.err, out.read_bytes() == before) == (2, True, True)
    code, said = _asked(capsys, folder, "balance", *files, "--where", "SF3B1 = 1", "--share", "0.5", "-o", str(out),
                        "--replace")  # fmt: skip
    assert (code, f"wrote {out}" in said.out) == (0, True)


def test_a_control_arm_never_comes_without_its_banner(folder, capsys):
    words = ["--treated", str(folder / "held.csv"), "--match", "age,TP53,blasts,hb", "--sets", "2"]
    code, said = _asked(capsys, folder, "control-arm", *words)
    assert code == 0
    assert "Not evidence of efficacy" in said.err
    code, said = _asked(capsys, folder, "control-arm", *words, "--json")
    found = json.loads(said.out)
    assert found["banner"].startswith("Not evidence of efficacy")
    assert found["hazard_ratio"]["low"] < 1 < found["hazard_ratio"]["high"]
    assert np.diff(found["curves"]["treated"]).max() <= 0
