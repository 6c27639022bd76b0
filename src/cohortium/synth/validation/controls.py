"""Tables that must fail, printed in every report: a verdict that could not be `fail` proves nothing.

copy       training rows drawn with replacement                must fail privacy, and attacks must find it
shuffled   every column in an order of its own                 must fail dependence, indistinguishability and gene pairs
collapse   fifty synthetic rows repeated, of small tables 5 %  must fail coverage and indistinguishability
planted    one training patient among the synthetic ones       must be found
leak       one synthetic row in twenty is a training patient   must be caught by two measures or more

With fewer than 100 held-out patients only the copy, dependence, coverage and the planted patient are asked for.
The attacks on the copy also say what an attack is worth: one that does not find a copy cannot call anything safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cohortium.synth.rows import Rows
from cohortium.synth.validation.anchors import Scored, interval, shuffled
from cohortium.synth.validation.association import agreement, clinical_matrix
from cohortium.synth.validation.attacks import Risk, inference, linkability, singling_out
from cohortium.synth.validation.distances import Space, identical_share, nearest
from cohortium.synth.validation.fidelity import edges_and_tau
from cohortium.synth.validation.indistinguishable import separability
from cohortium.synth.validation.privacy import Nearness, Privacy, nearness

__all__ = ["CONTROLS", "Control", "coverage", "power_of_attacks", "run_controls", "with_rows"]

CONTROLS = {
    "copy": "a copy of the real rows", "shuffled": "every column shuffled", "collapse": "50 rows repeated",
    "planted": "one patient planted", "leak": "one row in twenty leaked",
}  # fmt: skip
"""What each control is, in words."""

COLLAPSED = 50
LEAKED = 0.05
_NEIGHBOURS = 5
_NNDR_COPY, _AUC_COPY, _DCR_COPY = 0.5, 0.6, 0.55
_DEPENDENCE_SHUFFLED = 0.35
_BELOW_CEILING = 0.1
_COVERAGE_COLLAPSED = 0.5
_CAUGHT = 2
_SECRETS = 8
_ENOUGH = 100
_NEED_MANY = {("shuffled", "indistinguishability"), ("shuffled", "pairs"), ("shuffled", "signs"),
              ("collapse", "indistinguishability"), ("leak", "measures")}  # fmt: skip
"""What fewer held-out patients cannot tell even from a table that is wrong: left out below `_ENOUGH`."""
_ORDER = {"pass": 0, "warn": 1, "fail": 2}


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control: what it is, the figure it is judged by, whether it failed as it must.

    below: whether it must lie below the limit; else above, or at it.
    """

    name: str
    measure: str
    value: float
    limit: float
    below: bool

    @property
    def failed(self) -> bool:
        """Whether the table failed, as it must."""
        return self.value < self.limit if self.below else self.value >= self.limit

    @property
    def must_be(self) -> str:
        """Its limit, in words."""
        return f"{'below' if self.below else 'from'} {self.limit:.3f}"


def coverage(reserve: Rows, real: Rows, synthetic: Rows) -> float:
    """Share of held-out patients whose nearest synthetic row is no farther than their fifth nearest training row.

    Source: Naeem et al. 2020, with the training rows as the reference of distance.
    """
    space = Space.of(real)
    x = space.place(reserve)
    radius = nearest(x, space.place(real), _NEIGHBOURS)[0][:, -1]
    return float((nearest(x, space.place(synthetic), 1)[0][:, 0] <= radius).mean())


def run_controls(
    real: Rows, reserve: Rows, synthetic: Rows, *, fidelity: Mapping[str, Scored], near: Nearness, seed: int
) -> tuple[Control, ...]:
    """All controls. fidelity, near: of the synthetic table, which the controls are held against."""
    rng = np.random.default_rng([seed, 99])
    found = (
        *_copy(real, reserve, rng),
        *_shuffled(real, reserve, fidelity, rng),
        *_collapse(real, reserve, synthetic, rng, seed=seed),
        *_leaks(real, reserve, synthetic, near, rng),
    )
    enough = len(reserve) >= _ENOUGH
    return tuple(one for one in found if enough or (one.name, one.measure) not in _NEED_MANY)


def _copy(real: Rows, reserve: Rows, rng: np.random.Generator) -> tuple[Control, ...]:
    found = nearness(real, reserve, real.take(rng.integers(len(real), size=len(real))), rng)
    return (
        Control(name="copy", measure="nndr", value=found.nndr[0].value or 0.0, limit=_NNDR_COPY, below=True),
        Control(name="copy", measure="membership_auc", value=found.membership.worst.value or 0.0, limit=_AUC_COPY,
                below=False),
        Control(name="copy", measure="dcr_share", value=found.dcr_share.value or 0.0, limit=_DCR_COPY, below=False),
    )  # fmt: skip


def _shuffled(
    real: Rows, reserve: Rows, fidelity: Mapping[str, Scored], rng: np.random.Generator
) -> tuple[Control, ...]:
    facts = reserve.facts.of_group("clinical", "outcome", "treatment")
    edges, _ = edges_and_tau(real)
    mixed = shuffled(real, rng).take(np.arange(min(len(reserve), len(real))))
    kept = agreement(clinical_matrix(reserve, facts, edges), clinical_matrix(mixed, facts, edges))
    found = [Control(name="shuffled", measure="dependence", value=kept, limit=_DEPENDENCE_SHUFFLED, below=True)]
    for key, part in (("csf", "indistinguishability"), ("gsf", "pairs"), ("gsf", "signs")):
        scored = fidelity[key]
        floor, ceiling = (interval(parts[part])[0] for parts in (scored.floor_parts, scored.ceiling_parts))
        if np.isfinite(floor) and ceiling >= 2 * _BELOW_CEILING:  # else real patients do not reach it either
            limit = ceiling - _BELOW_CEILING
            found.append(Control(name="shuffled", measure=part, value=floor, limit=limit, below=True))
    return tuple(found)


def _collapse(
    real: Rows, reserve: Rows, synthetic: Rows, rng: np.random.Generator, *, seed: int
) -> tuple[Control, ...]:
    rows = min(COLLAPSED, max(len(synthetic) // 20, 1))
    few = synthetic.take(rng.integers(rows, size=len(synthetic)))
    held, whole = coverage(reserve, real, few), coverage(reserve, real, synthetic)
    told = 1.0 - 2.0 * max(0.0, separability(reserve, few, seed=seed) - 0.5)
    return (
        Control(name="collapse", measure="coverage", value=held, limit=_COVERAGE_COLLAPSED * whole, below=True),
        Control(name="collapse", measure="indistinguishability", value=told, limit=0.5, below=True),
    )


def _leaks(real: Rows, reserve: Rows, synthetic: Rows, near: Nearness, rng: np.random.Generator) -> tuple[Control, ...]:
    """A planted patient, and a table in which one row in twenty is a training patient."""
    places = rng.permutation(len(real))
    planted = with_rows(synthetic, real.take(places[:1]))
    copied = identical_share(planted, real) * len(planted)
    leaked = with_rows(synthetic, real.take(places[: int(np.ceil(LEAKED * len(synthetic)))]))
    words, before = nearness(real, reserve, leaked, rng).findings(), near.findings()
    caught = sum(_ORDER[words[name]] > _ORDER[before[name]] or words[name] == "fail" for name in words)
    return (
        Control(name="planted", measure="identical_rows", value=float(round(copied)), limit=1.0, below=False),
        Control(name="leak", measure="measures", value=float(caught), limit=float(_CAUGHT), below=False),
    )


def with_rows(synthetic: Rows, real: Rows) -> Rows:
    """The synthetic table with its first rows replaced by real ones."""
    n = min(len(real), len(synthetic))
    return Rows(
        synthetic.facts, {name: np.concatenate([real[name][:n], synthetic[name][n:]]) for name in synthetic}
    )  # fmt: skip


def power_of_attacks(real: Rows, reserve: Rows, privacy: Privacy, *, seed: int) -> dict[str, Risk]:
    """What the attacks of `privacy` find in a bootstrap copy of the training rows, inference of the worst columns."""
    rng = np.random.default_rng([seed, 98])
    copy = real.take(rng.integers(len(real), size=len(real)))
    found = {
        "singling_out": singling_out(real, reserve, copy, rng),
        "linkability": linkability(real, reserve, copy, rng),
    }
    for name in list(privacy.inference)[:_SECRETS]:
        secret, carriers = name.removesuffix(" (carriers)"), name.endswith(" (carriers)")
        risk = inference(real, reserve, copy, secret, rng, carriers=carriers)
        if risk is not None:
            found[name] = risk
    return found
