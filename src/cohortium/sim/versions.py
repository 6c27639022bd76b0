"""Which versions a run was computed with, as its record names them."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from cohortium import __version__

__all__ = ["installed_versions"]


def installed_versions() -> dict[str, str]:
    """This package, Python, and the libraries whose version can change a figure."""
    found = {"cohortium": __version__, "python": platform.python_version()}
    for name in ("numpy", "torch", "py-evm"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
