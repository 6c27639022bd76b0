"""Kaplan-Meier curves, restricted means, cumulative incidence and the log-rank test: `KaplanMeier`, one exchange.

Sums of events by cause, censorings and patients at risk per group and time cell. `advance` keeps only what may
be released: joined cells without small counts, no curve of a small group; and, per group with a curve, the
restricted mean and the log-rank sums, computed from all cells. So results equal those of pooled data, bit for
bit. Cells: events and censorings in whole cells of the layout's resolution, read at the cell's start.
Design: clinical-learning.md 2.5. The arithmetic is in `survival_curve`, `log_rank` and `risk_sets`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivateSteps
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import DataError, UsageError
from cohortium.models.log_rank import LogRank, log_rank_test, observed_minus_expected
from cohortium.models.risk_sets import at_risk_sums, cell_sums, n_cells, spans
from cohortium.models.survival_curve import (
    Curve,
    JoinedCells,
    cumulative_incidence,
    greenwood,
    log_log_bands,
    release,
    restricted_mean,
    survival_steps,
)
from cohortium.privacy.dp.counts import counted, noisy_units
from cohortium.privacy.dp.noise import SecretStream
from cohortium.privacy.dp.sampling import PatientSampler, public_size

__all__ = ["Difference", "KaplanMeier"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_LOG_RANK_BITS = 24


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two restricted means compared: `difference` and `ratio` of the second to the first, standard errors, p-value."""

    difference: float
    standard_error: float
    p_value: float
    ratio: float
    log_ratio_standard_error: float


@dataclass(frozen=True, kw_only=True)
class KaplanMeier:
    """Survival by group.

    by: a subgroup with codes 0 .. n_groups - 1 (`""`: everybody); rows of unknown group are left out.
    n_causes: event codes 1 .. n_causes are told apart, higher ones are censored. strata: `site` for a
    log-rank test within sites. tau: end of the restricted mean in the study's time unit, 0 = as far as all
    released curves reach. min_cell, min_at_risk, min_patients: rules of release.
    """

    by: str = ""
    n_groups: int = 1
    n_causes: int = 1
    strata: Literal["", "site"] = ""
    tau: float = 0.0
    min_cell: int = 5
    min_at_risk: int = 10
    min_patients: int = 20

    learns_by: ClassVar[Literal["sums"]] = "sums"
    max_rounds: ClassVar[int] = 1
    private_counts: ClassVar[bool] = True  # every patient is counted in one cell
    reads_columns: ClassVar[bool] = False  # groups come from subgroups, so the scale of features is no matter

    def __post_init__(self) -> None:
        if not (2 <= self.n_groups <= 100 if self.by else self.n_groups == 1):
            wanted = f"2 to 100 with by = {self.by!r}" if self.by else "1 without by"
            raise ValueError(f"n_groups must be {wanted}, got {self.n_groups}")
        if self.strata not in ("", "site"):
            raise ValueError(f"strata must be '' or 'site', got {self.strata!r}")
        if not 0 <= self.tau < math.inf:
            raise ValueError(f"tau must be at least 0 and finite, got {self.tau}")
        for option, most in (("n_causes", 20), ("min_cell", 1000), ("min_at_risk", 10**6), ("min_patients", 10**6)):
            if not 1 <= getattr(self, option) <= most:
                raise ValueError(f"{option} must be 1 to {most}, got {getattr(self, option)}")

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """Nothing known but the grid. Raises DataError for another outcome."""
        n_cells(layout)
        return Parameters({"resolution": [layout.resolution]})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Counts per group, cause and cell."""
        k = n_cells(examples.layout)
        if (steps := instructions.private) is not None:  # of several records of a patient one counts
            chance = SecretStream(steps.entropy, use="sampling")
            examples = examples.take(PatientSampler(examples.patient).draw(1.0, chance))
        groups = self._groups(examples)
        events = np.zeros((self.n_groups, self.n_causes, k), dtype=np.int64)
        leaving, at_risk = (np.zeros((self.n_groups, k), dtype=np.int64) for _ in range(2))
        for group in range(self.n_groups):
            inside = examples.take(groups == group)
            ones = np.ones(len(inside), dtype=np.int64)
            for cause in range(self.n_causes):
                rows = spans(inside, cause=cause + 1)
                events[group, cause] = cell_sums(rows, ones, rows.event, what="events")
            rows = spans(inside, cause=None)
            at_risk[group] = at_risk_sums(rows, ones, what="patients at risk")
            leaving[group] = cell_sums(rows, ones, np.ones(len(inside), dtype=bool), what="censorings")
        if steps is not None:
            return self._noisy(events, leaving - events.sum(axis=1), examples, steps=steps)
        patients = np.array([int((groups == group).sum()) for group in range(self.n_groups)], dtype=np.int64)
        sums: dict[str, object] = {"patients": patients, "events": events, "at_risk": at_risk,
                                   "censored": leaving - events.sum(axis=1)}  # fmt: skip
        if self.strata == "site":
            difference, covariance = observed_minus_expected(events[:, 0], at_risk)
            sums["difference"] = fp.to_fixed(difference, _LOG_RANK_BITS, what="log-rank")
            sums["covariance"] = fp.to_fixed(covariance, _LOG_RANK_BITS, what="log-rank")
        return Fitted(parameters=Parameters(sums), n_samples=len(examples))

    def _noisy(self, events: Integers, censored: Integers, examples: Examples, *, steps: PrivateSteps) -> Fitted:
        """Events and censorings with noise; every patient is in one cell. Numbers at risk follow from the sum."""
        if examples.entry is not None:
            raise DataError("a private curve counts every patient from the beginning; late entry cannot be told apart")
        cells = {"noisy/events": events, "noisy/censored": censored}
        units = noisy_units(cells, multiplier=steps.noise_multiplier, stream=SecretStream(steps.entropy, use="counts"))
        return Fitted(parameters=Parameters(units), n_samples=public_size(len(np.unique(examples.patient))))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """What may be released: joined cells, restricted means, log-rank sums."""
        if "noisy/events" in total:
            total = _at_risk(total)
        patients, events, censored, at_risk = (
            np.asarray(total[name], dtype=np.int64) for name in ("patients", "events", "censored", "at_risk")
        )
        shown = [
            release(events[g], censored[g], at_risk[g] if patients[g] >= self.min_patients else 0 * at_risk[g],
                    min_cell=self.min_cell, min_at_risk=self.min_at_risk)
            for g in range(self.n_groups)
        ]  # fmt: skip
        there = np.array([len(one.edges) > 0 for one in shown])
        width = float(start["resolution"][0])
        cells = self._restricted_cells(width, [one for one in shown if len(one.edges)])
        means = np.zeros((self.n_groups, 2))
        for g in np.flatnonzero(there):
            means[g] = restricted_mean(events[g, 0] if self.n_causes == 1 else events[g].sum(axis=0), at_risk[g],
                                       width=width, cells=cells)  # fmt: skip
        if self.strata == "site":
            difference, covariance = (
                fp.from_fixed(total[name], _LOG_RANK_BITS) for name in ("difference", "covariance")
            )
        else:
            difference, covariance = observed_minus_expected(events[:, 0] * there[:, None], at_risk * there[:, None])
        longest = max(len(one.edges) for one in shown)
        return start | Parameters(
            {
                "patients": np.where(there, patients, 0),
                "edges": np.stack([_padded(one.edges, longest, -1) for one in shown]),
                "events": np.stack([_padded(one.events, longest, 0) for one in shown]),
                "censored": np.stack([_padded(one.censored, longest, 0) for one in shown]),
                "at_risk": np.stack([_padded(one.at_risk, longest, 0) for one in shown]),
                "spread": np.stack([_padded(one.spread.astype(np.int64), longest, 0) for one in shown]),
                "restricted_mean": means,
                "restricted_cells": np.array([cells]),
                "difference": difference,
                "covariance": covariance,
            }
        )

    def finished(self, parameters: Parameters) -> bool:
        """After one exchange."""
        return "edges" in parameters

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Log cumulative hazard of each row's group over the released follow-up, (n,); 0 for a group without curve."""
        hazards = np.zeros(self.n_groups)
        for group in range(self.n_groups):
            cells = self._cells(parameters, group)
            total = float(np.sum(cells.events.sum(axis=0) / cells.exposed))
            hazards[group] = math.log(total) if total > 0 else 0.0
        groups = self._groups(examples)
        return np.where(groups >= 0, hazards[groups], 0.0)

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}

    def curve(self, parameters: Parameters, *, group: int = 0, confidence: float = 0.95) -> Curve:
        """Freedom from any event counted, with pointwise log-log bands. Raises UsageError if none was released."""
        cells = self._released(parameters, group)
        d = cells.events.sum(axis=0)
        survival = survival_steps(d, cells.exposed)
        z = NormalDist().inv_cdf(0.5 + confidence / 2)
        lower, upper = log_log_bands(survival, greenwood(d, cells.exposed), z=z)
        width = float(parameters["resolution"][0])
        times: Floats = cells.edges.astype(np.float64) * width
        return Curve(times=times, until=float(times[-1]) + width, survival=survival, lower=lower, upper=upper, events=d,
                     censored=cells.censored, at_risk=cells.at_risk)  # fmt: skip

    def incidence(self, parameters: Parameters, *, group: int = 0, cause: int = 1) -> tuple[Floats, Floats]:
        """Times and cumulative incidence of one cause, others competing (Aalen-Johansen)."""
        cells = self._released(parameters, group)
        if not 1 <= cause <= self.n_causes:
            raise UsageError(f"cause must be 1 to n_causes = {self.n_causes}, got {cause}")
        times: Floats = cells.edges.astype(np.float64) * float(parameters["resolution"][0])
        return times, cumulative_incidence(cells.events, cells.exposed)[cause - 1]

    def restricted_mean(self, parameters: Parameters, *, group: int = 0) -> tuple[float, float]:
        """Restricted mean survival time up to `tau(parameters)` and its standard error."""
        self._released(parameters, group)
        mean, variance = (float(v) for v in parameters["restricted_mean"][group])
        return mean, math.sqrt(variance)

    def tau_of(self, parameters: Parameters) -> float:
        """Where the restricted means end, in the study's time unit."""
        return int(parameters["restricted_cells"][0]) * float(parameters["resolution"][0])

    def compare(self, parameters: Parameters, *, first: int = 0, second: int = 1) -> Difference:
        """Restricted means of two groups: second minus first, and second over first."""
        (a, se_a), (b, se_b) = (self.restricted_mean(parameters, group=g) for g in (first, second))
        error = math.hypot(se_a, se_b)
        p_value = 2 * NormalDist().cdf(-abs(b - a) / error) if error > 0 else float("nan")
        return Difference(difference=b - a, standard_error=error, p_value=p_value, ratio=b / a,
                          log_ratio_standard_error=math.hypot(se_a / a, se_b / b))  # fmt: skip

    def log_rank(self, parameters: Parameters) -> LogRank:
        """Test for any difference between the groups, within sites with `strata = "site"`."""
        if self.n_groups < 2:
            raise UsageError("a log-rank test needs groups; set by and n_groups")
        return log_rank_test(
            np.asarray(parameters["difference"], dtype=np.float64),
            np.asarray(parameters["covariance"], dtype=np.float64),
        )

    def _groups(self, examples: Examples) -> Integers:
        if not self.by:
            return np.zeros(len(examples), dtype=np.int64)
        if self.by not in examples.subgroups:
            known = ", ".join(sorted(examples.subgroups)) or "none"
            raise DataError(f"by '{self.by}' is no subgroup of these examples; known: {known}")
        codes = examples.subgroups[self.by].astype(np.int64)
        if (codes >= self.n_groups).any():
            raise DataError(f"by '{self.by}': {int((codes >= self.n_groups).sum())} rows are beyond n_groups")
        return codes

    def _restricted_cells(self, width: float, shown: list[JoinedCells]) -> int:
        reach = min((int(one.edges[-1]) + 1 for one in shown), default=0)
        return min(reach, max(1, round(self.tau / width))) if self.tau else reach

    def _cells(self, parameters: Parameters, group: int) -> JoinedCells:
        edges = np.asarray(parameters["edges"][group], dtype=np.int64)
        there = edges >= 0
        names = ("events", "censored", "at_risk", "spread")
        held = {name: np.asarray(parameters[name][group], dtype=np.int64)[..., there] for name in names}
        return JoinedCells(edges=edges[there], events=held["events"], censored=held["censored"],
                           at_risk=held["at_risk"], spread=held["spread"].astype(bool))  # fmt: skip

    def _released(self, parameters: Parameters, group: int) -> JoinedCells:
        cells = self._cells(parameters, group)
        if not len(cells.edges):
            raise UsageError(f"group {group}: no curve may be released, it needs {self.min_patients} patients and"
                             f" {self.min_at_risk} at risk")  # fmt: skip
        return cells


def _at_risk(total: Parameters) -> Parameters:
    """Counts as they are released, from noisy ones: patients at risk are all who leave later."""
    events, censored = counted(total["noisy/events"]), counted(total["noisy/censored"])
    at_risk = np.asarray(fp.cumulative_from_end(events.sum(axis=1) + censored, axis=1), dtype=np.int64)
    sums = {"patients": at_risk[:, 0], "events": events, "censored": censored, "at_risk": at_risk}
    return Parameters(sums)


def _padded(values: Integers, length: int, fill: int) -> Integers:
    width = [(0, 0)] * (values.ndim - 1) + [(0, length - values.shape[-1])]
    return np.pad(values, width, constant_values=fill)
