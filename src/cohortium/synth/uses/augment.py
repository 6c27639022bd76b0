"""Real rows with synthetic ones added: a learning curve that says where they help, and plainly where they do not.

    found = augment(generator, state, real, held_out, seed=0)
    print(found.text())

At 10 to 100 % of the real rows a ridge Cox regression is fitted to them alone and with one to three times as many
synthetic patients; both are scored on the same held-out real patients (`gain`). Whether the generator has seen other
patients than these rows is the caller's business: rows from a generator of the same patients carry nothing new, those
from a generator of many sites may. Design: synthetic-data.md section 8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.core.parameters import Parameters
from cohortium.errors import CohortiumError, DataError, UsageError
from cohortium.synth.conditions import Condition
from cohortium.synth.rows import Rows
from cohortium.synth.sampling import draw, most_rows
from cohortium.synth.uses.gain import Gain, Judge, joined_rows
from cohortium.synth.validation.utility import baseline_matrix

__all__ = ["FACTORS", "SHARES", "Augmented", "Point", "augment"]

SHARES = (0.1, 0.25, 0.5, 1.0)
FACTORS = (1, 2, 3)
_FEWEST = 30


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of the curve: n real patients and factor times as many synthetic ones."""

    share: float
    n: int
    factor: int
    gain: Gain


@dataclass(frozen=True, kw_only=True)
class Augmented:
    """The learning curve. broken: synthetic patients of all draws that break a rule all the same, by rule."""

    points: tuple[Point, ...]
    broken: Mapping[str, int]

    @property
    def verdict(self) -> str:
        """At all real rows, the best factor."""
        whole = [point.gain for point in self.points if point.share == max(one.share for one in self.points)]
        words = {gain.verdict for gain in whole}
        return "gain" if "gain" in words else "harm" if words == {"harm"} else "no gain"

    def text(self) -> str:
        """For people, a line a point, the verdict first."""
        lines = [f"{self.verdict}, with all {max(point.n for point in self.points)} real patients"]
        for point in self.points:
            gain = point.gain
            lines.append(
                f"{point.n} real + {point.factor * point.n} synthetic: C-index {gain.without:.3f} -> {gain.with_:.3f}"
                f" ({gain.difference:+z.3f}, 95 % {gain.low:+z.3f} to {gain.high:+z.3f}): {gain.verdict}"
            )
        lines += [f"{count} synthetic patients break the rule '{rule}'" for rule, count in self.broken.items()]
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        points = [{"share": p.share, "n": p.n, "factor": p.factor, **p.gain.document()} for p in self.points]
        return {"verdict": self.verdict, "points": points, "broken_rules": dict(self.broken)}


def augment(
    generator: Any,
    state: Parameters,
    real: Rows,
    held_out: Rows,
    *,
    shares: Sequence[float] = SHARES,
    factors: Sequence[int] = FACTORS,
    rules: Sequence[Condition] = (),
    draws: int = 3,
    seed: int,
) -> Augmented:
    """The curve. rules: no synthetic patient may break them. draws: subsets of the real rows, each with its own
    synthetic ones. A pool gives each row once: factors it has no rows for are left out. Raises UsageError, DataError.
    """
    if not real.facts.time:
        raise UsageError("augmentation is judged by survival; this study has no survival outcome")
    if not shares or not factors or min(factors) < 1 or not all(0 < share <= 1 for share in shares):
        raise UsageError(f"shares lie in (0, 1] and factors are 1 or more; got {tuple(shares)} and {tuple(factors)}")
    there = most_rows(generator, state)
    able = [factor for factor in factors if factor * len(real) <= there]
    if not able:
        raise UsageError(
            f"the sites shared {there:,} rows; {min(factors) * len(real):,} are needed beside these patients"
        )
    judge, fill = Judge(held_out, seed), baseline_matrix(real)[2]
    points: list[Point] = []
    broken: Counter[str] = Counter()
    for share in shares:
        n = round(share * len(real))
        if n < _FEWEST:
            continue
        plain: list[NDArray[np.float64]] = []
        more: dict[int, list[NDArray[np.float64]]] = {factor: [] for factor in able}
        for k in range(draws):
            rng = np.random.default_rng([seed, k, n])
            some = real.take(np.sort(rng.permutation(len(real))[:n]))
            drawn = draw(generator, state, max(able) * n, rng=rng, rules=rules)
            broken.update(drawn.broken)
            made = drawn.rows
            try:
                own = judge.risk(some, fill=fill)
                found = {f: judge.risk(joined_rows(some, made.take(np.arange(f * n))), fill=fill) for f in able}
            except CohortiumError:  # a draw without enough events teaches neither
                continue
            plain.append(own)
            for factor, risk in found.items():
                more[factor].append(risk)
        if plain:
            points += [
                Point(share=share, n=n, factor=factor, gain=judge.compared(plain, more[factor])) for factor in able
            ]
    if not points:
        raise DataError(f"{len(real)} real patients are too few for a learning curve")
    return Augmented(points=tuple(points), broken=broken)
