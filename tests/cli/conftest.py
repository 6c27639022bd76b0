"""Three little hospitals as files, and one finished run of the command."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest

from cohortium.cli.app import run

STUDY = '[study]\nname = "little"\noutcome = "label"\nexclude = ["days", "died"]\n[model]\nname = "logistic"\n'
SITES = ("bonn", "lund", "porto")


def lines_of(seed, n=60):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    label = (a - 0.5 * b + rng.normal(0, 0.8, n) > 0).astype(int)
    days = rng.exponential(np.exp(-0.5 * a)) * 400 + 1
    died = (rng.random(n) < 0.8).astype(int)
    rows = zip(a, b, np.where(b > 0, "f", "m"), days, died, label, strict=True)
    return ["a,b,sex,days,died,label", *(f"{x:.5f},{y:.5f},{s},{t:.2f},{d},{c}" for x, y, s, t, d, c in rows)]


def write(folder: Path, study: str = STUDY, **tables: list[str]) -> Path:
    """A folder with study.toml, one file a site, and all sites in one file with a site column."""
    folder.mkdir(exist_ok=True)
    (folder / "study.toml").write_text(study)
    held = {site: lines_of(number) for number, site in enumerate(SITES)} | tables
    for site, lines in held.items():
        (folder / f"{site}.csv").write_text("\n".join(lines) + "\n")
    together = [f"hospital,{held['bonn'][0]}"]
    together += [f"{site},{line}" for site, lines in held.items() for line in lines[1:]]
    (folder / "all.csv").write_text("\n".join(together) + "\n")
    return folder


def data_of(folder: Path, *sites: str) -> list[str]:
    """`--data NAME=FILE` for every site."""
    return [part for site in sites or SITES for part in ("--data", f"{site}={folder / site}.csv")]


@pytest.fixture
def files():
    """(write, data_of): make a folder with a study and tables; name its tables."""
    return write, data_of


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "work")


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """One finished run: (folder of its files, folder of its results, stdout, stderr)."""
    home = write(tmp_path_factory.mktemp("cli") / "work")
    out, err = io.StringIO(), io.StringIO()
    arguments = ["simulate", str(home / "study.toml"), *data_of(home), "--out", str(home / "run"), "--json"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert run(arguments) == 0, err.getvalue()
    return home, home / "run", out.getvalue(), err.getvalue()
