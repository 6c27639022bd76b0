"""The demonstration: real breast-cancer patients, split over hospitals that see unequal mixes of cases.

The size of the cell nuclei alone separates nearly all cases (AUROC 0.99 at every hospital), so nobody would
need a swarm. The demonstration learns from texture, smoothness, symmetry and fractal dimension only.

One hospital has its labels reversed, as happens where a code is read the wrong way round; the audit of the data has to
find it. With numbers of hospitals whose data cannot be audited under masks nothing is reversed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.demo import load_demo
from cohortium.data.partition import label_skew, take
from cohortium.data.table import Table
from cohortium.quality.study import least_half

__all__ = ["demo_study", "demo_tables", "with_reversed_labels"]

_NAMES = (
    "bonn", "lund", "porto", "turin", "vienna", "aarhus", "brno", "cork", "delft", "espoo",
    "ghent", "graz", "leeds", "lyon", "malmo", "nantes", "oslo", "pisa", "riga", "split",
)  # fmt: skip
_SKEW = 3.0
_LEAST = 30
_FEATURES = [
    f"{kind}_{measure}"
    for kind in ("mean", "error", "worst")
    for measure in ("texture", "smoothness", "symmetry", "fractal_dimension")
]


def demo_tables(*, n_sites: int, seed: int) -> Mapping[str, Table]:
    """569 patients over `n_sites` simulated hospitals, Dirichlet(3) shares of malignant and benign cases."""
    table = load_demo("breast_cancer")
    least = min(_LEAST, len(table) // (2 * n_sites))
    rng = Chance(seed).stream("demo", "sites")
    parts = label_skew(table.column("label"), n_sites, alpha=_SKEW, rng=rng, least=least)
    return take(table, dict(zip(sorted(_NAMES[:n_sites]), parts.values(), strict=True)))


def with_reversed_labels(tables: Mapping[str, Table]) -> tuple[Mapping[str, Table], str]:
    """The same hospitals, the largest with at most a sixth of all patients has cases and controls exchanged; its name.

    Nothing is exchanged, and the name is empty, where so many hospitals could not be audited.
    """
    if len(tables) // 2 < least_half(len(tables)):
        return tables, ""
    most = sum(len(table) for table in tables.values()) / 6  # a third of wrong labels would silence any audit
    site = max((name for name in tables if len(tables[name]) <= most), key=lambda name: (len(tables[name]), name))
    table = tables[site]
    reversed_ = table.with_column("label", 1.0 - np.asarray(table.column("label"), dtype=np.float64))
    return {**tables, site: reversed_}, site


def demo_study(*, model: str, seed: int, audited: bool = False) -> Study:
    """The study of the demonstration. audited: look at the data before they train, and repair them."""
    options = {"l2": 0.01} if model == "logistic" else {}
    content = {
        "study": {"name": "demo-breast-cancer", "outcome": "label", "features": _FEATURES},
        "model": {"name": model, **options},
        "evaluation": {"seed": seed},
    }
    if audited:
        content["quality"] = {"detector": "out-of-bag", "on_harm": "repair"}
    return Study.model_validate(content)
