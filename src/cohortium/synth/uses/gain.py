"""Does a model learn more from these rows than from those? C-index on the same held-out patients, with an interval.

Ridge Cox regressions on the columns known at baseline. The held-out patients are drawn again, 400 times, and both
models are scored on the same draw: the interval is of the difference. Above 0: `gain`; below: `harm`; else `no gain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import DataError, TrainingFailed
from cohortium.synth.rows import Rows
from cohortium.synth.uses.weighted_cox import weighted_cox
from cohortium.synth.validation.utility import L2, baseline_matrix, cox_fit

__all__ = ["Gain", "Judge", "joined_rows"]

Floats = NDArray[np.float64]

Verdict = Literal["gain", "no gain", "harm"]
_DRAWS = 400
_MOST = 1500


@dataclass(frozen=True, kw_only=True)
class Gain:
    """with_, without: C-index of both models; low, high: 95 % interval of the difference."""

    without: float
    with_: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """What the rows added."""
        return self.with_ - self.without

    @property
    def verdict(self) -> Verdict:
        """In a word."""
        return "gain" if self.low > 0 else "harm" if self.high < 0 else "no gain"

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {"verdict": self.verdict, "without": self.without, "with": self.with_, "difference": self.difference,
                "interval": [self.low, self.high]}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Judge:
    """Held-out real patients, of whom at most 1,500 are looked at. seed: of the draws."""

    held_out: Rows
    seed: int

    def risk(self, rows: Rows, *, fill: Floats) -> Floats:
        """Risk of the held-out patients by a model of these rows. Raises CohortiumError where none can be fitted."""
        try:
            model, _ = cox_fit(rows, fill=fill)
            return np.asarray(model.predict(baseline_matrix(self._patients, fill=fill)[0]))
        except TrainingFailed as error:
            if error.code != "overflow":
                raise
        # Columns of large numbers or hazards that leave the exact sums: the same model in floating point.
        facts = rows.facts
        x, x_new = (baseline_matrix(one, fill=fill)[0] for one in (rows, self._patients))
        spread = x.std(axis=0)  # the ridge of the exact model is on columns of spread 1
        scale = np.where(spread > 1e-9, spread, np.inf)
        x, x_new = (one - x.mean(axis=0) for one in (x, x_new))
        model_in_floats = weighted_cox(x / scale, rows[facts.time], rows[facts.event], l2=L2)
        return np.asarray((x_new / scale) @ model_in_floats.coefficients)

    def compared(self, without: Sequence[Floats], with_: Sequence[Floats]) -> Gain:
        """Means over the models of either kind. Raises DataError where no two patients can be compared."""
        plain = self._scores(without)
        more = self._scores(with_)
        apart = more[1:] - plain[1:]
        return Gain(
            without=float(plain[0]),
            with_=float(more[0]),
            low=float(np.nanquantile(apart, 0.025)),
            high=float(np.nanquantile(apart, 0.975)),
        )

    @cached_property
    def _patients(self) -> Rows:
        if len(self.held_out) <= _MOST:
            return self.held_out
        return self.held_out.take(np.sort(np.random.default_rng(self.seed).permutation(len(self.held_out))[:_MOST]))

    @cached_property
    def _counts(self) -> Floats:
        """How often each patient is in each draw; the first draw is everybody once."""
        n = len(self._patients)
        drawn = np.random.default_rng([self.seed, 61]).multinomial(n, np.full(n, 1.0 / n), size=_DRAWS)
        return np.vstack([np.ones(n), drawn])

    @cached_property
    def _comparable(self) -> NDArray[np.float32]:
        """Whether patient i is known to have died before patient j."""
        facts = self._patients.facts
        time, event = self._patients[facts.time], self._patients[facts.event]
        found = ((time[:, None] < time[None, :]) & (event[:, None] == 1)).astype(np.float32)
        if not found.any():
            raise DataError("no two held-out patients can be compared; a gain needs events among them")
        return np.asarray(found, dtype=np.float32)

    def _scores(self, risks: Sequence[Floats]) -> Floats:
        """C-index by draw, mean over the models."""
        counts, comparable = self._counts.astype(np.float32), self._comparable
        pairs = ((counts @ comparable) * counts).sum(axis=1)
        total = np.zeros(len(counts))
        for risk in risks:
            right = (risk[:, None] > risk[None, :]).astype(np.float32) + 0.5 * (risk[:, None] == risk[None, :])
            total += ((counts @ (comparable * right.astype(np.float32))) * counts).sum(axis=1) / np.maximum(pairs, 1.0)
        return total / len(risks)


def joined_rows(first: Rows, *others: Rows) -> Rows:
    """Rows of several tables of the same columns, one after another."""
    tables = (first, *others)
    return Rows(first.facts, {name: np.concatenate([one[name] for one in tables]) for name in first})
