"""Every example runs by itself and ends with the result it promises."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {"heart_like_simulation": "sklearn", "own_loop_torch": "torch", "own_network": "torch"}
PROMISED = {
    "heart_like_simulation": r"complete: AUROC swarm 0\.9\d\d, pooled 0\.9\d\d, single 0\.[89]\d\d",
    "own_loop_numpy": r"complete: 30 rounds.*\nswarm and pooled weights differ by at most (0e\+00|[0-9]e-1[5-9])",
    "own_loop_torch": r"complete: 20 rounds\naccuracy on new points 0\.9\d\d",
    "own_network": r"complete: AUROC 0\.[89]\d\d with the network, 0\.[3-6]\d\d with a straight line",
    "privacy_gradient_inversion": r"open update: 8 of 8 patients recovered.*\nmasked update: 0 of 8 patients.*\n.*"
    r"cosine 0\.[0-3]\d\)",
    "survival": r"treated: hazard ratio 0\.[45]\d .*\n.*\ncomplete: equal to the pooled fit: True",
}


def test_every_example_promises_a_result():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PROMISED)


@pytest.mark.slow
@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", sorted(PROMISED))
def test_example_runs_and_prints_its_result(name, tmp_path):
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{name}.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "random"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(PROMISED[name] + r"\n\Z", done.stdout), done.stdout
    assert list(tmp_path.iterdir()) == [], "an example leaves no file behind"
