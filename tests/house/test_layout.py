"""The house itself: every source file has its test file and the other way round; imports point down."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "cohortium"
TESTS = ROOT / "tests"
NOT_PAIRED = {"core/seams.py"}  # protocols only: the shared suites of each seam are their test
FREE = {"house", "end_to_end", "attacks"}  # tests about the whole, not about one file


def sources():
    files = (p.relative_to(SOURCE) for p in SOURCE.rglob("*.py"))
    return {p for p in files if p.name not in ("__init__.py", "__main__.py") and p.as_posix() not in NOT_PAIRED}


def test_every_source_file_has_its_test_file():
    missing = [p.as_posix() for p in sources() if not (TESTS / p.parent / f"test_{p.name}").exists()]
    assert sorted(missing) == []


def test_every_test_file_has_its_source_or_is_a_shared_suite():
    pairs = {(p.parent / f"test_{p.name}").as_posix() for p in sources()}
    found = {p.relative_to(TESTS) for p in TESTS.rglob("test_*.py")}
    stray = [p.as_posix() for p in found if not FREE & set(p.parts) and p.as_posix() not in pairs]
    shared = [p for p in stray if "shared suite" in (TESTS / p).read_text(encoding="utf-8").split('"""')[1].lower()]
    assert sorted(set(stray) - set(shared)) == []


def test_imports_point_down():
    command = [
        str(Path(sys.executable).parent / "lint-imports"),
        "--config",
        str(ROOT / "pyproject.toml"),
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_package_says_in_one_sentence_what_it_is_for():
    for init in SOURCE.glob("*/__init__.py"):
        first = init.read_text(encoding="utf-8").split('"""')[1].strip().splitlines()[0]
        assert first.endswith((".", ":")), init


def test_no_source_file_is_longer_than_five_hundred_lines():
    long = {p.as_posix(): n for p in sources() if (n := len((SOURCE / p).read_text("utf-8").splitlines())) > 500}
    assert long == {}
