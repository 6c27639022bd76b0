"""Ctrl-C: exit 130, the state is saved, the last line is the command that goes on; nothing half is written."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("eth")

STUDY = """
[study]
name = "interrupted"
outcome = "label"
[model]
name = "logistic"
[strategy]
name = "fedadam"
rounds = 12
[evaluation]
per_site = false
leave_one_out = false
"""
SITES = ("bonn", "lund", "porto")
# A test run in the background is born with Ctrl-C ignored, and would hand that on.
HEARS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
CLI = [sys.executable, "-c", f"{HEARS}; from cohortium.cli import main; main()"]


@pytest.fixture
def work(tmp_path):
    (tmp_path / "my study.toml").write_text(STUDY)
    rng = np.random.default_rng(5)
    for site in SITES:
        x = rng.normal(size=(60, 2))
        y = (x[:, 0] + rng.normal(0, 0.5, 60) > 0).astype(int)
        rows = "\n".join(f"{a:.6f},{b:.6f},{label}" for (a, b), label in zip(x, y, strict=True))
        (tmp_path / f"{site}.csv").write_text(f"a,b,label\n{rows}\n")
    return tmp_path


def arguments(folder: Path, out: str, ledger: str) -> list[str]:
    data = [part for site in SITES for part in ("--data", f"{site}={folder / site}.csv")]
    return ["simulate", str(folder / "my study.toml"), *data, "--out", str(folder / out), "--ledger", ledger]


def interrupt(folder: Path, *, ledger: str, times: int = 1) -> tuple[int, str, list[str]]:
    """(exit code, stdout, lines of stderr) of a run that gets SIGINT after its fifth round."""
    process = subprocess.Popen(
        [*CLI, *arguments(folder, "run", ledger)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    said = []
    for line in process.stderr:
        said.append(line.rstrip("\n"))
        if line.startswith("round   5/"):
            for _ in range(times):
                os.kill(process.pid, signal.SIGINT)
            break
    out, rest = process.communicate(timeout=60)
    return process.returncode, out, said + rest.splitlines()


@pytest.mark.slow
def test_once_saves_the_state_and_says_how_to_go_on(work):
    code, out, said = interrupt(work, ledger="local")
    assert code == 130, said
    assert out == ""
    assert "Traceback" not in "\n".join(said)
    assert [path.name for path in (work / "run").iterdir()] == ["state"]
    words = shlex.split(said[-1].partition("go on with: ")[2])
    assert words[0] == "cohortium"
    assert words[-1] == "--resume"

    again = subprocess.run([*CLI, *arguments(work, "run", "local")], capture_output=True, text=True, check=False)
    assert again.returncode == 2, "a second start must not drop what was interrupted"
    assert "holds a run that was interrupted" in again.stderr

    done = subprocess.run([*CLI, *words[1:]], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    whole = subprocess.run(
        [*CLI, *arguments(work, "whole", "memory"), "--json"], capture_output=True, text=True, check=True, timeout=100
    )
    resumed = json.loads((work / "run" / "run.json").read_text())
    assert resumed["model"]["digest"] == json.loads(whole.stdout)["model"]["digest"]
    assert not (work / "run" / "state").exists()


@pytest.mark.slow
def test_twice_stops_now(work):
    code, out, said = interrupt(work, ledger="local", times=2)
    assert code == 130, said
    assert out == ""
    assert said[-1].endswith("--resume")


@pytest.mark.slow
def test_on_a_memory_ledger_nothing_is_left(work):
    code, _, said = interrupt(work, ledger="memory")
    assert code == 130
    assert said[-1] == "interrupted"
    assert not (work / "run").exists()
