"""A node of a lab as a process: the service of a hospital, refused like one."""

import subprocess
import sys

import pytest

from cohortium.lab.consortium import Consortium


def start(home):
    command = [sys.executable, "-m", "cohortium.lab.site", str(home)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.slow
def test_a_home_that_is_in_use_is_refused_with_its_holder(lab):
    done = start(lab.home("bonn"))
    assert done.returncode == 1
    assert "is in use by cohortium node, process" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_node_that_cannot_start_says_why_in_a_sentence(kit, tmp_path):
    lab = Consortium.create(tmp_path / "lab", kit[0](), engine="local")
    key = lab.home("bonn") / "keys/ledger.key"
    key.chmod(0o644)
    done = start(lab.home("bonn"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "chmod" in done.stderr
