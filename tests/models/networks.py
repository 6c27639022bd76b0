"""Examples for the tests of networks: tables and images with something to learn in them."""

import numpy as np

from cohortium.core.examples import Examples, Layout

CLASSES = {"binary": ("no", "yes"), "classes": ("a", "b", "c")}


def rows(n, *, p=6, outcome="binary", seed=0):
    """n rows whose outcome depends on the first two columns."""
    rng = np.random.default_rng([seed, n])
    x = rng.normal(size=(n, p))
    score = 2 * x[:, 0] - x[:, 1] + 0.3 * rng.normal(size=n)
    y = {
        "binary": (score > 0).astype(float),
        "classes": np.digitize(score, [-1.0, 1.0]).astype(float),
        "number": score + x[:, 2] ** 2,
    }[outcome]
    layout = Layout(
        features=tuple(f"x{j}" for j in range(p)), outcome=outcome, classes=CLASSES.get(outcome, ())
    )  # fmt: skip
    return Examples(layout=layout, x=x, y=y)


def images(n, *, size=12, outcome="binary", seed=0):
    """n one-channel images; a bright patch at the top or at the bottom decides the class."""
    rng = np.random.default_rng([seed, n])
    y = rng.integers(0, 2, n).astype(float)
    x = rng.normal(size=(n, 1, size, size)).astype(np.float32) * 0.3
    for row, label in enumerate(y):
        at = 2 if label else size - 5
        x[row, 0, at : at + 3, 3:-3] += 1.5
    return Examples(layout=Layout(features=(), outcome=outcome, classes=("no", "yes"), image=(1, size, size)), x=x, y=y)
