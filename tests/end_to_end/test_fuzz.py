"""Mutated frames at every depth, some of them over TLS to live nodes: refused, and nothing else happens.

`python -m benchmarks fuzz` sends as many as asked; figures stand in docs/results.md.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_mutated_frames_crash_nothing_and_the_run_goes_on(tmp_path):
    told = tmp_path / "fuzz.json"
    command = [sys.executable, "-m", "benchmarks", "fuzz", "--frames", "5000", "--live", "0.4", "--seed", "7"]
    done = subprocess.run(
        [*command, "--json", str(told)], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(told.read_text())
    assert figures["in process"]["frames"] == 3000
    assert figures["in process"]["ends"]["refused at the gate or by the courier"] > 100
    assert figures["live"]["frames"] == 2000
    assert set(figures["live"]["outcomes"].values()) == {"partial (2/3 sites)"}
    assert min(figures["live"]["refused_at_the_gate"].values()) > 50
