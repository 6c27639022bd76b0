"""What must not be loaded: help stays light, learning without networks needs no torch."""

import json
import subprocess
import sys

import pytest

EXTRAS = (
    "torch",
    "pandas",
    "pyarrow",
    "sklearn",
    "eth",
    "eth_abi",
    "eth_keys",
    "eth_utils",
    "rlp",
    "trie",
    "vyper",
    "grpc",
    "openfhe",
)
HEAVY = ("torch", "web3", "pandas", "eth", "sklearn", "grpc", "numpy", "scipy")


def modules_after(code):
    program = f"import sys\n{code}\nimport json\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


BEHIND_A_REGISTRY = {
    **{f"cohortium.ledger.{n}": "evm" for n in ("hosted", "local", "replica", "replicated", "shared_replica")},
    **{f"cohortium.transport.{name}": "node" for name in ("dialing", "grpc", "listening")},
    "cohortium.privacy.he.openfhe": "he",
}

HIDE = f"""
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
"""


def answer_without_extras(code):
    """What a program prints as its last line of JSON where no optional part is installed."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{HIDE}\n{code}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_without_any_extra_only_modules_behind_a_registry_refuse_and_name_the_extra():
    refused = answer_without_extras(
        "import importlib, json, pkgutil, cohortium\n"
        "from cohortium.errors import MissingExtra\n"
        "refused = {}\n"
        "for one in pkgutil.walk_packages(cohortium.__path__, 'cohortium.'):\n"
        "    if not one.name.endswith('__main__'):\n"
        "        try:\n"
        "            importlib.import_module(one.name)\n"
        "        except MissingExtra as missing:\n"
        "            refused[one.name] = missing.extra\n"
        "print(json.dumps(refused))"
    )
    assert refused == BEHIND_A_REGISTRY


def test_every_model_and_strategy_is_had_without_any_extra():
    made = answer_without_extras(
        "import json\n"
        "from cohortium.models import MODELS\n"
        "from cohortium.strategies import STRATEGIES\n"
        "for registry in (MODELS, STRATEGIES):\n"
        "    for name in registry:\n"
        "        registry.resolve(name)\n"
        "print(json.dumps([len(MODELS), len(STRATEGIES)]))"
    )
    assert min(made) > 0


def test_help_loads_nothing_heavy():
    loaded = modules_after("from cohortium.cli.app import run\nassert run(['--help']) == 0")
    assert not loaded & set(HEAVY)


def test_version_loads_nothing_heavy():
    loaded = modules_after("from cohortium.cli.app import run\nassert run(['--version']) == 0")
    assert not loaded & set(HEAVY)


def test_importing_the_package_loads_nothing_heavy():
    assert not modules_after("import cohortium") & set(HEAVY)


@pytest.mark.slow
def test_a_logistic_swarm_loads_neither_torch_nor_sklearn_nor_pandas():
    loaded = modules_after(
        "import numpy as np, cohortium as co\n"
        "rng = np.random.default_rng(0)\n"
        "def site(n):\n"
        "    x = rng.normal(size=(n, 3))\n"
        "    y = (x[:, 0] + rng.normal(size=n) > 0).astype(float)\n"
        "    return {'a': x[:, 0], 'b': x[:, 1], 'c': x[:, 2], 'label': y}\n"
        "co.simulate(sites={'porto': site(60), 'bonn': site(60)}, outcome='label', model='logistic')\n"
    )
    assert not loaded & {"torch", "sklearn", "pandas", "web3", "grpc", "eth"}
