"""Can a machine tell two tables apart? AUC of gradient boosting, 60 trees, five folds: a classifier two-sample test.

Folds are shuffled and stratified, both tables give equally many rows, and a row that stands in both tables stays in one
fold: unshuffled folds and copies across folds gave 0.29 to 0.42 where 0.5 was right. Rows that repeat inside one table
are spread over the folds: fifty rows repeated gave 0.44 when kept together, and 1.00 spread. Source: Lopez-Paz and
Oquab 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import MissingExtra
from cohortium.reports.discrimination import auroc
from cohortium.synth.rows import Rows

__all__ = ["boosted", "boosted_scores", "separability"]

Floats = NDArray[np.float64]

N_FOLDS = 5
N_TREES = 60


def separability(real: Rows, other: Rows, *, seed: int) -> float:
    """AUC for telling `other` from `real`, out of fold; 0.5 = not at all, 1 = always."""
    rng = np.random.default_rng(seed)
    n = min(len(real), len(other))
    x = np.vstack([rows.matrix()[rng.permutation(len(rows))[:n]] for rows in (real, other)])
    y = np.repeat([0.0, 1.0], n)
    fold = _folds(x, y, rng)
    scores = np.zeros(len(y))
    for k in range(N_FOLDS):
        test = fold == k
        if not test.any() or len(np.unique(y[~test])) < 2:
            continue
        scores[test] = boosted_scores(x[~test], y[~test], x[test])
    return auroc(y, scores)


def boosted(x: Floats, y: Floats) -> Callable[[Floats], Floats]:
    """P(1) of new rows by gradient boosting, learned from these; NaN = missing. Raises MissingExtra."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ImportError:
        raise MissingExtra("gradient boosting", extra="synth") from None
    nowhere = np.isnan(x).all(axis=0)  # a column that no training row has can tell nothing
    model = HistGradientBoostingClassifier(
        max_iter=N_TREES, learning_rate=0.1, max_leaf_nodes=15, early_stopping=False, random_state=0
    )
    with _threads().limit(limits=1):  # a second thread that waits for a busy core makes small trees 100 times slower
        model.fit(np.where(nowhere, 0.0, x), y)

    def scores(new: Floats) -> Floats:
        with _threads().limit(limits=1):
            return np.asarray(model.predict_proba(np.where(nowhere, 0.0, new))[:, 1], dtype=np.float64)

    return scores


def boosted_scores(x: Floats, y: Floats, new: Floats) -> Floats:
    """P(1) of new rows by gradient boosting, (n,); NaN = missing. Raises MissingExtra without scikit-learn."""
    return boosted(x, y)(new)


@cache
def _threads() -> Any:
    """Of the libraries loaded by now, scikit-learn's among them; finding them takes a twentieth of a training."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _folds(x: Floats, y: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """A fold for every row, even within each class; rows equal to one of the other table get the fold of the first."""
    _, group = np.unique(np.nan_to_num(x, nan=-9e99), axis=0, return_inverse=True)
    group = group.ravel()
    shared = np.zeros(int(group.max()) + 1, dtype=bool)
    shared[np.intersect1d(group[y == 0], group[y == 1])] = True
    own = np.where(shared[group], group, len(shared) + np.arange(len(group)))
    fold_of = np.full(len(shared) + len(group), -1, dtype=np.int64)
    for label in (0.0, 1.0):
        for place, row in enumerate(rng.permutation(np.flatnonzero(y == label))):
            if fold_of[own[row]] < 0:
                fold_of[own[row]] = place % N_FOLDS
    return fold_of[own]
