"""What must not be loaded: help stays light, learning without networks needs no torch."""

import json
import subprocess
import sys

HEAVY = ("torch", "web3", "pandas", "eth", "sklearn", "grpc", "numpy", "scipy")


def modules_after(code):
    program = f"import sys\n{code}\nimport json\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_help_loads_nothing_heavy():
    loaded = modules_after("from cohortium.cli.app import run\nassert run(['--help']) == 0")
    assert not loaded & set(HEAVY)


def test_version_loads_nothing_heavy():
    loaded = modules_after("from cohortium.cli.app import run\nassert run(['--version']) == 0")
    assert not loaded & set(HEAVY)


def test_importing_the_package_loads_nothing_heavy():
    assert not modules_after("import cohortium") & set(HEAVY)


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
