"""A synthetic control arm: patients from a generator beside those who were treated. It proves nothing.

    arm = control_arm(generator, state, treated, n_real=1200, eligible="age > 60", seed=0)
    arm.hazard_ratio, arm.low, arm.high, arm.banner

Eligible patients are drawn m times, weighted so that their means of all columns known at baseline are those of the
treated (entropy balancing), and compared by Kaplan-Meier curves and a Cox regression on the arm alone. The log hazard
ratio is the mean over the sets; its variance is that of the treated (bootstrap) plus that of the arm (bootstrap,
balanced anew each time) times n / n_eligible + 1 / m, both within one arm at a time: as if the n_eligible real patients
behind the generator were the controls.
Columns known only after baseline are refused, for matching and for eligibility. Design: synthetic-data.md section 8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.errors import DataError, UsageError
from cohortium.synth.conditions import Condition, parse
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.rows import Rows
from cohortium.synth.sampling import draw, most_rows
from cohortium.synth.uses.balancing import balance_columns, entropy_balanced
from cohortium.synth.uses.weighted_cox import weighted_cox, weighted_survival

__all__ = ["BANNER", "ControlArm", "control_arm"]

Floats = NDArray[np.float64]

BANNER = (
    "Not evidence of efficacy: these controls were never treated and never lived. What else the two arms differ in, and"
    " nobody measured, goes into the hazard ratio unseen."
)
_POINTS = 50
_Z = NormalDist().inv_cdf(0.975)
_UNBALANCED = 0.1
_MOST = 5000


@dataclass(frozen=True, kw_only=True, eq=False)
class ControlArm:
    """log_ratio, error: of treated against synthetic. before, after: largest difference of means over the sets.

    times, treated, control: survival curves; low and high of both arms from the same draws.
    """

    n_treated: int
    n_control: int
    n_eligible: float
    sets: int
    log_ratio: float
    error: float
    before: float
    after: float
    effective_n: float
    curves: Mapping[str, Floats]
    columns: tuple[str, ...]
    notes: tuple[str, ...]
    banner: str = BANNER

    @property
    def hazard_ratio(self) -> float:
        """Of the treated; below 1 they die later."""
        return float(np.exp(self.log_ratio))

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval of the hazard ratio."""
        return float(np.exp(self.log_ratio - _Z * self.error))

    @property
    def high(self) -> float:
        """Upper end."""
        return float(np.exp(self.log_ratio + _Z * self.error))

    @property
    def covers_one(self) -> bool:
        """Whether the interval holds a hazard ratio of 1, as it must for a negative control."""
        return self.low <= 1.0 <= self.high

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "banner": self.banner,
            "hazard_ratio": {"value": self.hazard_ratio, "low": self.low, "high": self.high},
            "n_treated": self.n_treated,
            "n_control": self.n_control,
            "n_eligible": self.n_eligible,
            "sets": self.sets,
            "balance": {"before": self.before, "after": self.after, "effective_n": self.effective_n},
            "columns": list(self.columns),
            "curves": {name: [float(v) for v in values] for name, values in self.curves.items()},
            "notes": list(self.notes),
        }


def control_arm(
    generator: Any,
    state: Parameters,
    treated: Rows,
    *,
    n_real: int,
    eligible: str = "",
    untreated: str = "",
    match: Sequence[str] | None = None,
    rules: Sequence[Condition] = (),
    sets: int = 5,
    bootstraps: int = 50,
    seed: int,
) -> ControlArm:
    """The arm beside the treated. n_real: real patients behind the generator. match: columns, all of baseline if None.

    eligible: a condition all patients fulfil. untreated: one on treatment columns that only the drawn ones fulfil.
    rules: no drawn patient may break them; those that look beyond baseline are left out and named, since they would
    pick controls by how they fared.
    Raises UsageError for columns known only after baseline, DataError for too few patients.
    """
    facts: Facts = generator.facts
    columns = _checked(facts, match, eligible, untreated)
    if sets < 2 or bootstraps < 10 or n_real < 1:
        raise UsageError(
            f"at least 2 sets, 10 bootstraps and one real patient are needed; got {sets}, {bootstraps}, {n_real}"
        )
    if len(treated) < 10:
        raise DataError(f"{len(treated)} treated patients are too few to compare; at least 10 are needed")
    rng = np.random.default_rng([seed, 53])
    where = parse(eligible, facts) if eligible else None
    if where is not None and not where.holds(treated).all():
        outside = int((~where.holds(treated)).sum())
        raise DataError(
            f"{outside} of {len(treated)} treated patients do not fulfil '{eligible}'; leave them out by --where"
        )
    both = " and ".join(f"({text})" for text in (eligible, untreated) if text)
    control = parse(both, facts) if both else None
    lawful = [rule for rule in rules if all(_known_before(facts[name]) for name in rule.columns)]
    n_eligible = max(n_real * _eligible_share(generator, state, control, lawful, rng), 1.0)
    n = min(max(len(treated), round(n_eligible)), _MOST)
    drawn = [draw(generator, state, n, rng=rng, where=control, rules=lawful) for _ in range(sets)]
    target, fill = balance_columns(treated, columns)
    arms = [_Arm.of(one.rows, columns, fill) for one in drawn]
    whole = _Arm.of(treated, columns, fill)
    found = [_compared(whole, arm, target) for arm in arms]
    of_treated, of_arm = [], []
    for k in range(max(bootstraps, 2 * sets)):
        arm = arms[k % sets]
        again = whole.drawn(rng)
        of_treated.append(_compared(again, arm, again.x)[0])
        of_arm.append(_compared(whole, arm.drawn(rng), target)[0])
    variance = _within(of_treated, sets) + _within(of_arm, sets) * (n / n_eligible + 1.0 / sets)
    curves = _curves(whole, arms, [one[1] for one in found])
    after = max(one[1].after for one in found)
    notes = [f"the rule '{rule.text}' looks beyond baseline; drawn patients may break it"
             for rule in rules if rule not in lawful]  # fmt: skip
    broken = sum((Counter(one.broken) for one in drawn), Counter[str]())
    notes += [f"{count} drawn patients of all arms break the rule '{rule}'" for rule, count in broken.items()]
    if after > _UNBALANCED:
        notes.append(
            f"the arms still differ by {after:.2f} standard deviations in some column: these treated patients are"
            " unlike those the generator learned from"
        )
    return ControlArm(
        n_treated=len(treated),
        n_control=n,
        n_eligible=n_eligible,
        sets=sets,
        log_ratio=float(np.mean([one[0] for one in found])),
        error=float(np.sqrt(variance)),
        before=max(one[1].before for one in found),
        after=after,
        effective_n=float(np.mean([one[1].effective_n for one in found])),
        curves=curves,
        columns=tuple(fact.name for fact in columns),
        notes=tuple(notes),
    )


def _within(estimates: Sequence[float], sets: int) -> float:
    """Mean over the arms of the variance of their bootstraps: arms differ by chance of the draw, which is counted
    once, by the arm's own term. estimates: arm by arm in turn."""
    return float(np.mean([np.var(estimates[k::sets], ddof=1) for k in range(sets)]))


@dataclass(frozen=True, eq=False)
class _Arm:
    x: Floats
    time: Floats
    event: Floats

    @classmethod
    def of(cls, rows: Rows, columns: tuple[Fact, ...], fill: Floats) -> _Arm:
        facts = rows.facts
        return cls(balance_columns(rows, columns, fill=fill)[0], rows[facts.time], rows[facts.event])

    def drawn(self, rng: np.random.Generator) -> _Arm:
        at = rng.integers(0, len(self.time), len(self.time))
        return _Arm(self.x[at], self.time[at], self.event[at])


def _compared(treated: _Arm, arm: _Arm, target: Floats) -> tuple[float, Any]:
    """(log hazard ratio of the treated, how the arm was weighted)."""
    balanced = entropy_balanced(arm.x, target)
    weights = np.concatenate([np.ones(len(treated.time)), balanced.weights])
    where = np.concatenate([np.ones(len(treated.time)), np.zeros(len(arm.time))])[:, None]
    time, event = (np.concatenate(pair) for pair in ((treated.time, arm.time), (treated.event, arm.event)))
    return float(weighted_cox(where, time, event, weights=weights).coefficients[0]), balanced


def _curves(treated: _Arm, arms: Sequence[_Arm], balanced: Sequence[Any]) -> dict[str, Floats]:
    at = np.linspace(0.0, float(np.quantile(treated.time, 0.95)), _POINTS)
    own = weighted_survival(treated.time, treated.event, np.ones(len(treated.time)), at=at)
    many = np.stack([
        weighted_survival(arm.time, arm.event, one.weights, at=at) for arm, one in zip(arms, balanced, strict=True)
    ])  # fmt: skip
    return {"times": at, "treated": own, "control": many.mean(axis=0), "control_low": many.min(axis=0),
            "control_high": many.max(axis=0)}  # fmt: skip


def _eligible_share(
    generator: Any, state: Parameters, where: Any, rules: Sequence[Condition], rng: np.random.Generator
) -> float:
    """Share of the generator's patients who are eligible."""
    if where is None:
        return 1.0
    n = int(min(5000, most_rows(generator, state)))
    return max(float(where.holds(draw(generator, state, n, rng=rng, rules=rules).rows).mean()), 1 / 5000)


def _known_before(fact: Fact) -> bool:
    """Whether a column is known at baseline, so that choosing patients by it looks at nothing that came of it."""
    return fact.baseline and fact.group != "outcome"


def _checked(facts: Facts, match: Sequence[str] | None, eligible: str, untreated: str) -> tuple[Fact, ...]:
    if not facts.time:
        raise UsageError("a control arm compares survival; this generator has no survival outcome")
    named = tuple(match) if match is not None else tuple(
        c.name for c in facts.columns if c.baseline and c.group not in ("outcome", "treatment")
    )  # fmt: skip
    if unknown := [name for name in named if name not in facts]:
        raise UsageError(f"no column '{unknown[0]}' to match on; found: {', '.join(facts.names[:12])}")
    asked = parse(eligible, facts).columns if eligible else ()
    for what, names in (("match on", named), ("choose patients by", asked)):
        for name in names:
            if not _known_before(facts[name]):
                raise UsageError(f"column '{name}' is known only after baseline; a control arm must not {what} it")
    for name in parse(untreated, facts).columns if untreated else ():
        if facts[name].group != "treatment":
            raise UsageError(f"column '{name}' is no treatment; say who was eligible by `eligible`")
    if not named:
        raise UsageError("no column known at baseline to match on")
    return tuple(facts[name] for name in named)
