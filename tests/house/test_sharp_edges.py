"""Every line of the page of sharp edges names a test that exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "sharp-edges-privacy.md").read_text(encoding="utf-8")
LINES = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| mistake")]


def missing(line):
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", line)
    if not named:
        return ["no test named"]
    return [
        f"{file}::{test}" for file, test in named if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]


def test_every_sharp_edge_has_its_test():
    assert len(LINES) >= 15
    assert {line: found for line in LINES if (found := missing(line))} == {}


def test_a_line_without_a_test_would_be_noticed():
    assert missing("| a mistake | nothing | |")
    assert missing("| a mistake | nothing | `tests/house/test_sharp_edges.py::test_that_is_not_there` |")
