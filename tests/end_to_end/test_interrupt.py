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


def interrupt(
    folder: Path, *more: str, ledger: str, times: int = 1, by: int = signal.SIGINT
) -> tuple[int, str, list[str]]:
    """(exit code, stdout, lines of stderr) of a run that gets a signal after its fifth round."""
    process = subprocess.Popen(
        [*CLI, *arguments(folder, "run", ledger), *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    said = []
    for line in process.stderr:
        said.append(line.rstrip("\n"))
        if line.startswith("round   5/"):
            for _ in range(times):
                os.kill(process.pid, by)
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
    assert again.stderr.splitlines()[-1].endswith(f", or go on with: {shlex.join(words)}")

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
    words = shlex.split(said[-1].partition("interrupted; there is nothing to go on from, begin again with: ")[2])
    assert sorted(words[1:]) == sorted([*arguments(work, "run", "memory"), "--engine", "auto"])
    assert not (work / "run").exists()


@pytest.mark.slow
def test_a_terminated_run_with_other_options_goes_on_by_the_command_it_names(work):
    given = ["--seed", "7", "--engine", "sequential"]
    code, _, said = interrupt(work, *given, ledger="local", by=signal.SIGTERM)
    assert code == 130, said
    words = shlex.split(said[-1].partition("the state is saved, go on with: ")[2])
    done = subprocess.run([*CLI, *words[1:]], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    record = json.loads((work / "run" / "run.json").read_text())
    assert (record["seed"], record["ledger"]["engine"], record["engine"]) == (7, "local", "sequential")


@pytest.mark.slow
def test_a_played_failure_names_the_command_that_begins_anew(work):
    code, _, said = interrupt(work, "--faults", "f10", ledger="local")
    assert code == 130, said
    words = shlex.split(said[-1].partition("begin again with: ")[2])
    assert words[-1] == "--replace"
    plain = [one for one in words[1:-1] if one not in ("--faults", "f10")]
    mixed = subprocess.run([*CLI, *plain, "--resume"], capture_output=True, text=True, check=False, timeout=100)
    assert mixed.returncode == 2
    assert "has another failure played on it" in mixed.stderr
    done = subprocess.run([*CLI, *words[1:]], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
