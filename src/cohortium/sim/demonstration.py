"""The demonstration: real breast-cancer patients, split over hospitals that see unequal mixes of cases.

The size of the cell nuclei alone separates nearly all cases (AUROC 0.99 at every hospital), so nobody would
need a swarm. The demonstration learns from texture, smoothness, symmetry and fractal dimension only.
"""

from __future__ import annotations

from collections.abc import Mapping

from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.data.demo import load_demo
from cohortium.data.partition import label_skew, take
from cohortium.data.table import Table

__all__ = ["demo_study", "demo_tables"]

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


def demo_study(*, model: str, seed: int) -> Study:
    """The study of the demonstration."""
    options = {"l2": 0.01} if model == "logistic" else {}
    content = {
        "study": {"name": "demo-breast-cancer", "outcome": "label", "features": _FEATURES},
        "model": {"name": model, **options},
        "evaluation": {"seed": seed},
    }
    return Study.model_validate(content)
