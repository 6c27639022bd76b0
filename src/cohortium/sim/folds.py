"""Cross-validation: every patient outside the calibration part is predicted once, by models that never saw them.

The folds' models are trained in a plain loop, which gives the bits a swarm would give; the model that is released
is the one of the run on the ledger, trained on all folds together. Folds are drawn by patient, within outcome
and group, at every site. Calibration patients train no model and are in no fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cohortium.core.randomness import Chance
from cohortium.core.study import Study
from cohortium.errors import DataError, Problem
from cohortium.sim.cohorts import Gathered
from cohortium.sim.comparison import SiteRows, TrainedModel, compare, train_plainly
from cohortium.sim.evaluation import Scored, score, score_calibration

__all__ = ["Fold", "OutOfFold", "cross_validate", "draw"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Fold:
    """Every site's rows with one fold as test part. places: site -> where these rows stood in its training part."""

    rows: Sequence[SiteRows]
    places: Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """Predictions for all rows of all folds, and why models are missing."""

    scored: Scored
    missing: Mapping[str, str]


def draw(gathered: Gathered, k: int, *, seed: int) -> list[Fold]:
    """The k folds of every site's training part. Raises DataError where a site would have nothing left to train on."""
    numbers = {site: cohort.folds(k, seed=seed)[cohort.rows("train")] for site, cohort in gathered.cohorts.items()}
    for site, held in numbers.items():
        if len(np.unique(held)) < 2:
            sentence = f"site '{site}': {len(held)} training rows cannot be shared out over {k} folds"
            raise DataError.about([Problem("evaluation.folds", sentence)])
    return [
        Fold(
            rows=[
                replace(
                    one,
                    training=one.training.take(numbers[one.site] != i),
                    test=one.training.take(numbers[one.site] == i),
                )
                for one in gathered.rows()
            ],
            places={site: np.flatnonzero(held == i) for site, held in numbers.items()},
        )
        for i in range(k)
    ]


def cross_validate(
    study: Study,
    gathered: Gathered,
    released: TrainedModel,
    *,
    chance: Chance,
    engine: str = "auto",
    say: Callable[[str], None] = lambda _: None,
) -> OutOfFold:
    """Train everything the study compares once a fold, and gather what each predicts for the fold left out.

    A model that cannot be trained in one fold is missing as a whole, with the fold and the reason.
    """
    k = study.evaluation.folds
    whole = [replace(one, test=one.training) for one in gathered.rows()]
    scores: dict[str, dict[str, Floats]] = {}
    missing: dict[str, str] = {}
    say(f"comparing in {k} folds")
    for number, fold in enumerate(draw(gathered, k, seed=study.evaluation.seed), start=1):
        found = compare(study, fold.rows, chance=chance, engine=engine)
        swarm = train_plainly(study, fold.rows, chance=chance, engine=engine)
        missing.update({name: f"fold {number}: {reason}" for name, reason in found.missing.items()})
        for name, sites in score({"swarm": swarm, **found.models}, fold.rows).items():
            for site, predicted in sites.items():
                shape = (len(next(one for one in whole if one.site == site).test), *predicted.shape[1:])
                held = scores.setdefault(name, {}).setdefault(site, np.full(shape, np.nan))
                held[fold.places[site]] = predicted
    complete = {name: sites for name, sites in scores.items() if name not in missing}
    return OutOfFold(
        scored=Scored(rows=whole, scores=complete, calibration=score_calibration(released, whole)), missing=missing
    )
