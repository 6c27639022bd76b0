"""The built wheel: whole, and enough for a local study where no extra is installed."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "cohortium"
NOT_SHIPPED = {"__pycache__"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built by the backend that pyproject.toml names, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


def test_every_file_of_the_source_is_inside(wheel):
    """Templates, style sheets, the contract with its ABI and bytecode: not only Python."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    files = [p for p in SOURCE.rglob("*") if p.is_file() and not NOT_SHIPPED & set(p.parts)]
    assert {p.suffix for p in files} >= {".py", ".html", ".css", ".json", ".vy"}
    missing = [name for p in files if (name := f"cohortium/{p.relative_to(SOURCE).as_posix()}") not in inside]
    assert missing == []


def test_nothing_but_the_package_is_inside(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"cohortium"}
    assert [name for name in names if "__pycache__" in name] == []


def test_the_licence_and_the_command_are_inside(wheel):
    archive = zipfile.ZipFile(wheel)
    [entry] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    assert "cohortium = cohortium.cli:main" in archive.read(entry).decode()
    assert [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """The `bin` folder of an environment that holds the wheel and what its core requires."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "-qq", "-c", str(ROOT / "constraints.txt")]
    done = subprocess.run([*command, str(wheel)], capture_output=True, text=True, check=False)
    if done.returncode and "CI" not in os.environ:
        pytest.skip(f"pip reaches no index: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def write_hospital(path, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(80, 2))
    label = x[:, 0] + rng.normal(size=80) > 0
    rows = [f"{a:.4f},{b:.4f},{int(y)}" for (a, b), y in zip(x, label, strict=True)]
    path.write_text("\n".join(["age,marker,label", *rows]) + "\n")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_local_study_needs_no_extra(bare, tmp_path):
    def cohortium(*arguments):
        command = [str(bare / "cohortium"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert cohortium("--version").stdout.startswith("cohortium ")
    for seed, name in enumerate(("porto", "bonn")):
        write_hospital(tmp_path / f"{name}.csv", seed)
    (tmp_path / "study.toml").write_text(
        '[study]\nname = "two-hospitals"\noutcome = "label"\n[model]\nname = "logistic"\n'
    )
    sites = ["--data", "porto=porto.csv", "--data", "bonn=bonn.csv"]
    checked = cohortium("study", "check", "study.toml", *sites)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    ran = cohortium("simulate", "study.toml", *sites, "--out", "run", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["status"] == "complete"
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8").startswith("<!")
    listed = subprocess.run([str(bare / "python"), "-m", "pip", "list"], capture_output=True, text=True, check=True)
    assert not [one for one in ("torch", "pandas", "py-evm", "scikit-learn", "nvidia") if one in listed.stdout]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_needs_an_extra_says_which(bare, tmp_path):
    for seed, name in enumerate(("porto", "bonn")):
        write_hospital(tmp_path / f"{name}.csv", seed)
    study = '[study]\nname = "two-hospitals"\noutcome = "label"\n[model]\nname = "mlp"\n'
    (tmp_path / "study.toml").write_text(study)
    command = [str(bare / "cohortium"), "simulate", "study.toml", "--out", "run"]
    for name in ("porto", "bonn"):
        command += ["--data", f"{name}={name}.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "pip install 'cohortium[torch]'" in done.stderr
    assert "Traceback" not in done.stderr
