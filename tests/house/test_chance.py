"""Where chance may come from: privacy takes it from what it is handed, and from nowhere else."""

import ast
from pathlib import Path

import pytest

PRIVACY = Path(__file__).parents[2] / "src" / "cohortium" / "privacy"
MODULES = {"random", "secrets", "uuid", "time"}
NAMES = {"hash", "urandom", "default_rng", "rand", "randn", "randint", "normal", "randperm", "RandomState"}


def forbidden(source: str) -> list[str]:
    """What of a source reaches for chance by itself."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [name.name for name in names if name.name.split(".")[0] in MODULES]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in MODULES:
                found.append(module)
            case ast.Attribute(attr=attr) if attr in NAMES | {"random"}:
                found.append(attr)
            case ast.Call(func=ast.Name(id=name)) if name in NAMES:
                found.append(name)
    return found


def test_privacy_draws_no_random_number_by_itself():
    sources = sorted(PRIVACY.rglob("*.py"))
    assert sources
    found = {p.name: bad for p in sources if (bad := forbidden(p.read_text("utf-8")))}
    assert found == {}


@pytest.mark.parametrize(
    "source",
    ["import random", "from random import choice", "import numpy as np\nnp.random.rand(3)", "import os\nos.urandom(3)",
     "import torch\ntorch.randn(3)", "seed = hash(('a', 1))", "from numpy.random import default_rng\ndefault_rng(1)"],
)  # fmt: skip
def test_other_sources_would_be_noticed(source):
    assert forbidden(source)
