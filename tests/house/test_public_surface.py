"""`__all__` says exactly what can be imported, and every registered name resolves."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import cohortium
from cohortium.data import PREPARATIONS
from cohortium.errors import MissingExtra
from cohortium.ledger import ENGINES
from cohortium.models import MODELS
from cohortium.quality import DETECTORS
from cohortium.strategies import STRATEGIES
from cohortium.synth.federate import FEDERATIONS
from cohortium.synth.generators import GENERATORS
from cohortium.transport import TRANSPORTS

MODULES = sorted(
    m.name for m in pkgutil.walk_packages(cohortium.__path__, "cohortium.") if not m.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_all_lists_every_public_name_defined_here_and_nothing_else(name):
    try:
        module = importlib.import_module(name)
    except MissingExtra as missing:  # of an extra that the development environment cannot have everywhere
        pytest.skip(str(missing))
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    listed = set(getattr(module, "__all__", []))
    assert defined <= listed, f"{name} defines public names it does not list: {sorted(defined - listed)}"
    assert all(hasattr(module, one) for one in listed)


@pytest.mark.parametrize(
    "registry",
    [PREPARATIONS, ENGINES, MODELS, STRATEGIES, TRANSPORTS, GENERATORS, FEDERATIONS, DETECTORS],
    ids=lambda r: r.kind,
)
def test_every_registered_name_resolves(registry):
    assert len(registry)
    for name in registry:
        assert registry.resolve(name) is not None
