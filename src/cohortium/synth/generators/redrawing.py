"""The same model as another sample of patients would have taught it: how unsure its parameters are.

    state = redrawn(learner, state, rng=rng)

Parametric bootstrap: as many patients as the model was learned from are drawn from it, and tables, regressions and
hazards are learned from them anew; graph, covariates and published tables of the numbers stay. It needs nothing but the
finished state, so the uncertainty of the pooled fit is known wherever the model is. Filling gaps under one redrawn
model a table makes multiple imputation proper. Source: Efron 1979; Rubin 1987, chapter 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.synth.generators.climb import family_codes
from cohortium.synth.generators.outcome import design_of, hazard_answer, hazards_moved, hazards_stirred
from cohortium.synth.generators.tail import Tail, gram_counts

if TYPE_CHECKING:
    from cohortium.synth.generators.bn import BayesianNetwork

__all__ = ["redrawn"]

_STEPS = 4


def redrawn(learner: BayesianNetwork, state: Parameters, *, rng: np.random.Generator) -> Parameters:
    """A finished state with the parameters of one such sample."""
    rows = learner.sample(state, max(int(state["n"][0]), 1), rng=rng)
    coding, families = learner.coding(state), learner.network(state).families
    codes, z = coding.codes(rows), coding.scores(rows)
    found: dict[str, object] = dict(state.items())
    for family in families:
        cells = np.bincount(family_codes(codes, family.members, coding.sizes), minlength=family.size(coding.sizes))
        found[f"counts/{family.child}"] = cells.reshape(coding.sizes[family.child], -1).astype(np.int64)
    if coding.numbers:
        design = design_of(coding)
        tail = Tail.solved(design, gram_counts(design, codes, z))
        found |= dict(tail.to_parameters().prefixed("tail").items())
    found |= hazards_stirred(learner.facts, state)
    for _ in range(_STEPS if learner.facts.time else 0):
        now = Parameters(found)
        sums = Parameters(hazard_answer(learner.facts, now, coding, codes, z, rows))
        moved, still = hazards_moved(learner.facts, now, sums)
        found |= moved
        if still:
            break
    return Parameters(found)
