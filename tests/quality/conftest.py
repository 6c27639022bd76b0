"""Little consortia with known harm, for the tests of the audit."""

from types import SimpleNamespace

import numpy as np
import pytest

from cohortium.quality.pool import as_examples
from cohortium.quality.repairs import LabelPolarity

SIZES = (40, 35, 30, 28, 26, 24, 22, 20, 18, 16, 12, 9, 3)


def consortium(seed=0, *, strength=2.0, sizes=SIZES, n_columns=5):
    """Sites `a`, `b`, ... with both classes; strength: distance of the classes in the first column, 0 = nothing."""
    rng = np.random.default_rng(seed)
    found = {}
    for at, n in enumerate(sizes):
        y = (np.arange(n) % 2).astype(float)
        x = rng.normal(size=(n, n_columns))
        x[:, 0] += strength * (y - 0.5)
        found[chr(ord("a") + at)] = as_examples((x, y))
    return found


def flipped(sites, *names):
    """The same sites, some with labels reversed."""
    return {name: LabelPolarity().apply(one) if name in names else one for name, one in sites.items()}


@pytest.fixture(scope="session")
def kit():
    return SimpleNamespace(consortium=consortium, flipped=flipped)
