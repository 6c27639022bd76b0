"""A record names what it was computed with."""

import platform

import numpy as np

from cohortium.sim.versions import installed_versions


def test_package_python_and_numpy_are_always_named():
    found = installed_versions()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["cohortium"]
