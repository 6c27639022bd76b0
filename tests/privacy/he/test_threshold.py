"""Whether threshold encryption is here: one sentence that says what to install."""

import importlib.metadata
import sys

import pytest

from cohortium.errors import MissingExtra
from cohortium.privacy.he import threshold


@pytest.fixture
def probe(monkeypatch):
    """`probe(version, error)`: what is said where importing openfhe ends like this."""

    def run(version, error):
        def found(name):
            if version is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(threshold, "version", found)
        return threshold._reason(error)

    return run


def test_what_is_not_installed_is_named_with_what_it_needs(probe):
    assert probe(None, ImportError("No module named 'openfhe'")) == (
        "openfhe is not installed; its wheels are for Python 3.12 with glibc 2.38 or later, here is Python"
        f" {sys.version_info.major}.{sys.version_info.minor}"
    )


def test_a_wheel_of_another_python_is_named_with_its_version(probe):
    said = probe("1.6.1.0.22.4", ImportError("No module named 'openfhe.openfhe'"))
    assert said.startswith("openfhe 1.6.1.0.22.4 is not built for Python 3.")
    assert said.endswith("its release 1.2.3.0.24.4 is for Python 3.12")


def test_a_c_library_that_is_too_old_is_said_to_be(probe):
    error = ImportError("/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by x.so)")
    assert probe("1.2.3.0.24.4", error).startswith("openfhe 1.2.3.0.24.4 needs a newer C library: /lib/x86_64")


def test_where_it_cannot_be_imported_the_extra_is_named(monkeypatch):
    threshold.missing.cache_clear(), threshold.require_scheme.cache_clear()
    monkeypatch.setitem(sys.modules, "openfhe", None)
    try:
        with pytest.raises(MissingExtra, match=r"threshold encryption \(openfhe .*pip install 'cohortium\[he\]'"):
            threshold.require_scheme()
    finally:
        threshold.missing.cache_clear()


def test_where_it_can_be_imported_nothing_is_missing(openfhe):
    assert threshold.missing() == ""
    assert type(openfhe) is type(threshold.require_scheme())
