"""A simulation on the `local` ledger that is killed in the middle goes on to the same model, bit for bit."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

STUDY = """
[study]
name = "killed"
outcome = "label"
[model]
name = "logistic"
[strategy]
name = "fedadam"
rounds = 8
[evaluation]
per_site = false
leave_one_out = false
"""


@pytest.fixture
def work(tmp_path):
    (tmp_path / "study.toml").write_text(STUDY)
    rng = np.random.default_rng(5)
    for site in ("bonn", "lund", "porto"):
        x = rng.normal(size=(60, 3))
        y = (x[:, 0] + rng.normal(0, 0.5, 60) > 0).astype(int)
        rows = "\n".join(f"{a:.6f},{b:.6f},{c:.6f},{label}" for (a, b, c), label in zip(x, y, strict=True))
        (tmp_path / f"{site}.csv").write_text(f"a,b,c,label\n{rows}\n")
    return tmp_path


def command(folder: Path, out: str, *more: str) -> list[str]:
    data = [part for site in ("bonn", "lund", "porto") for part in ("--data", f"{site}={folder / site}.csv")]
    start = [sys.executable, "-m", "cohortium", "simulate", str(folder / "study.toml"), *data]
    return [*start, "--ledger", "local", "--out", str(folder / out), *more]


def record(folder: Path, out: str) -> dict:
    return json.loads((folder / out / "run.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("after", ["round   1/", "round   4/", "round   9/"])
def test_kill_dash_nine_then_resume_gives_the_same_digest(work, after):
    subprocess.run(command(work, "whole"), check=True, capture_output=True, timeout=100)
    process = subprocess.Popen(command(work, "killed"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for line in process.stderr:
        if line.startswith(after):
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stderr.close()
    assert process.wait(timeout=30) == -signal.SIGKILL
    assert not (work / "killed" / "run.json").exists()
    subprocess.run(command(work, "killed", "--resume"), check=True, capture_output=True, timeout=100)
    whole, resumed = record(work, "whole"), record(work, "killed")
    assert resumed["status"] == "complete"
    assert resumed["model"]["digest"] == whole["model"]["digest"]
    assert resumed["included"] == whole["included"]
    assert [r["merge"] for r in resumed["rounds"]] == [r["merge"] for r in whole["rounds"]]
    audit = [sys.executable, "-m", "cohortium", "audit", "ledger", str(work / "killed" / "ledger.jsonl")]
    subprocess.run([*audit, "--study", str(work / "study.toml")], check=True, capture_output=True, timeout=100)


@pytest.mark.slow
def test_resume_without_anything_to_resume_is_refused(work):
    done = subprocess.run(command(work, "none", "--resume"), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "nothing to resume" in done.stderr
