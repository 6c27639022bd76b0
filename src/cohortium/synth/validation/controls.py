"""Tables that must fail, printed in every report: a verdict that could not be `fail` proves nothing.

copy       training rows drawn with replacement      must fail privacy
shuffled   every column in an order of its own       must fail dependence
collapse   fifty synthetic rows repeated             must fail coverage
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cohortium.synth.rows import Rows
from cohortium.synth.validation.anchors import shuffled
from cohortium.synth.validation.association import agreement, clinical_matrix
from cohortium.synth.validation.distances import Space, nearest, nndr
from cohortium.synth.validation.fidelity import edges_and_tau
from cohortium.synth.validation.membership import membership

__all__ = ["Control", "coverage", "run_controls"]

COLLAPSED = 50
_NEIGHBOURS = 5
_NNDR_COPY, _AUC_COPY = 0.5, 0.6
_DEPENDENCE_SHUFFLED = 0.35
_COVERAGE_COLLAPSED = 0.5


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control: what it is, the figure it is judged by, whether it failed as it must."""

    name: str
    measure: str
    value: float
    limit: float
    failed: bool


def coverage(reserve: Rows, real: Rows, synthetic: Rows) -> float:
    """Share of held-out patients whose nearest synthetic row is no farther than their fifth nearest training row.

    Source: Naeem et al. 2020, with the training rows as the reference of distance.
    """
    space = Space.of(real)
    x = space.place(reserve)
    radius = nearest(x, space.place(real), _NEIGHBOURS)[0][:, -1]
    return float((nearest(x, space.place(synthetic), 1)[0][:, 0] <= radius).mean())


def run_controls(real: Rows, reserve: Rows, synthetic: Rows, *, seed: int) -> tuple[Control, ...]:
    """All controls."""
    rng = np.random.default_rng([seed, 99])
    copy = real.take(rng.integers(len(real), size=len(real)))
    space = Space.of(real)
    near = float(np.median(nndr(space.place(copy), space.place(real))))
    member = membership(real, reserve, copy, rng).worst.value or 0.0
    facts = reserve.facts.of_group("clinical", "outcome", "treatment")
    edges, _ = edges_and_tau(real)
    mixed = shuffled(real, rng).take(np.arange(min(len(reserve), len(real))))
    kept = agreement(clinical_matrix(reserve, facts, edges), clinical_matrix(mixed, facts, edges))
    few = synthetic.take(rng.integers(min(COLLAPSED, len(synthetic)), size=len(synthetic)))
    held, whole = coverage(reserve, real, few), coverage(reserve, real, synthetic)
    return (
        Control(name="copy", measure="nndr", value=near, limit=_NNDR_COPY, failed=near < _NNDR_COPY),
        Control(name="copy", measure="membership_auc", value=member, limit=_AUC_COPY, failed=member > _AUC_COPY),
        Control(name="shuffled", measure="dependence", value=kept, limit=_DEPENDENCE_SHUFFLED,
                failed=bool(kept < _DEPENDENCE_SHUFFLED)),
        Control(name="collapse", measure="coverage", value=held, limit=_COVERAGE_COLLAPSED * whole,
                failed=held < _COVERAGE_COLLAPSED * whole),
    )  # fmt: skip
