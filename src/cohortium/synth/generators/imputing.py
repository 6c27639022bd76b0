"""Gaps filled from a fitted `bn`: every missing cell drawn given all that is known of the patient, outcome included.

Gibbs sampling, all patients at once. A missing category is drawn from its Markov blanket in the network times the
density of the patient's scores; a missing number's score from its normal distribution given the other scores (closed
form), together with whether it is a spike: the score is integrated out of that choice. The outcome weighs in by both
hazards, for numbers by accepting or keeping (Metropolis). One call gives one table, a draw, not a best guess: call it m
times and pool. Before each sweep all gaps of a patient are drawn together (`likelihood_weighting`), since cells that
settle each other never change one at a time. It is assumed that gaps depend on nothing but what is measured. Design:
synthetic-data.md 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from cohortium.synth.facts import Fact
from cohortium.synth.generators.climb import family_codes
from cohortium.synth.generators.coding import Coding
from cohortium.synth.generators.covariates import Covariates
from cohortium.synth.generators.design import SCORE_BITS
from cohortium.synth.generators.hazard import Hazard
from cohortium.synth.generators.likelihood_weighting import AT_ONCE, MORE, TRIES, Gaps, weighted_draw
from cohortium.synth.generators.network import Network
from cohortium.synth.generators.tail import Tail
from cohortium.synth.rows import Rows

__all__ = ["SWEEPS", "Imputer"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

SWEEPS = 20
_EXTREME = 6.0


@dataclass(frozen=True, eq=False)
class Imputer:
    """What a draw needs of a finished model. hazards: of death and of the end of follow-up, empty without survival;
    covariates: theirs."""

    coding: Coding
    network: Network
    tail: Tail
    covariates: Covariates
    hazards: tuple[Hazard, ...] = ()

    def filled(self, rows: Rows, *, rng: np.random.Generator, sweeps: int = SWEEPS) -> Rows:
        """The same patients, every gap but those of the outcome filled; a column nobody ever had stays empty."""
        chain = _Chain(self, rows, rng)
        for _ in range(sweeps if len(rows) else 0):
            chain.sweep()
        return rows.with_columns(chain.values())

    @cached_property
    def log_tables(self) -> dict[int, Floats]:
        """Log probabilities by child."""
        return {child: np.log(table) for child, table in self.network.probabilities.items()}

    @cached_property
    def products(self) -> dict[int, list[tuple[int, int, int, Floats]]]:
        """By variable its products: (own level, other variable, its level, what it adds to each log hazard)."""
        found: dict[int, list[tuple[int, int, int, Floats]]] = {}
        held, first = self.covariates, self.covariates.width - len(self.covariates.pairs)
        for k, (a, b) in enumerate(held.pairs):
            adds = np.array([hazard.b[first + k] for hazard in self.hazards])
            for own, other in ((a, b), (b, a)):
                (variable, level), (onto, its) = held.level_of[int(own)], held.level_of[int(other)]
                found.setdefault(variable, []).append((level, onto, its, adds))
        return found

    @cached_property
    def onto_levels(self) -> list[slice]:
        """Columns of the design that belong to every variable."""
        starts = 1 + np.concatenate([[0], np.cumsum(np.array(self.coding.sizes, dtype=np.int64) - 1)])
        return [slice(int(a), int(b)) for a, b in pairwise(starts)]

    def by_level(self, variable: int, coefficients: Floats) -> Floats:
        """What each level of a variable adds, (levels, ...). coefficients: (..., width of the design)."""
        held = coefficients[..., self.onto_levels[variable]]
        return np.moveaxis(np.insert(held, self.tail.design.reference[variable], 0.0, axis=-1), -1, 0)


class _Chain:
    """One run over all patients. codes, z: as they stand; scored: where a number has a score; mean: of the scores by
    levels alone; eta: of both hazards."""

    def __init__(self, model: Imputer, rows: Rows, rng: np.random.Generator) -> None:
        self.model, self.rows, self.rng = model, rows, rng
        coding, tail = model.coding, model.tail
        self.codes = coding.codes(rows)
        self.z = np.nan_to_num(coding.scores(rows))
        self.free = {place: np.flatnonzero(np.isnan(rows[c.name])) for place, c in enumerate(coding.named)}
        self.stated = {coding.numbers.index(c): len(coding.named) + k for k, c in enumerate(coding.stated)}
        self.gaps = {j: np.flatnonzero(np.isnan(rows[c.name])) for j, c in enumerate(coding.numbers)}
        self._outcome()
        self.onto = tail.coefficients[:, tail.design.n_levels :]
        self.precision = 1.0 / tail.sd**2
        self.scored = ~coding.unmeasured(self.codes)
        self.z = np.where(self.scored, self.z, 0.0)
        self._open = self._gaps()
        self._together(TRIES, among=False)

    def _gaps(self) -> tuple[Bools, Bools, tuple[int, ...]]:
        """Which levels and scores are to be drawn, and among how many levels of each variable."""
        coding, n = self.model.coding, len(self.rows)
        free = np.zeros((n, len(coding.sizes)), dtype=bool)
        unknown = np.zeros((n, len(coding.numbers)), dtype=bool)
        levels = [len(fact.levels or "01") for fact in coding.named]
        levels += [self._states(fact) for fact in coding.stated]
        for place, where in self.free.items():
            free[where, place] = True
        for j, where in self.gaps.items():
            unknown[where, j] = True
            if j in self.stated:
                free[where, self.stated[j]] = True
        return free, unknown, tuple(levels)

    def _together(self, tries: int, *, among: bool) -> None:
        """All gaps of every patient drawn together: codes, z and scored, and from them mean and eta."""
        design, (free, unknown, levels) = self.model.tail.design, self._open
        gaps = Gaps(self.codes, free, levels, self.z, unknown)
        patients = np.flatnonzero(free.any(axis=1) | unknown.any(axis=1))
        for some in np.split(patients, range(AT_ONCE, len(patients), AT_ONCE)) if len(patients) else ():
            self.codes[some], self.z[some], self.scored[some] = weighted_draw(
                self.model.network, self.model.tail, gaps.take(some),
                unmeasured=self.model.coding.unmeasured, tries=tries, among=among,
                log_outcome=lambda places, *held, some=some: self._log_outcome_of(some[places], *held), rng=self.rng,
            )  # fmt: skip
        self.mean = design.levels(self.codes) @ self.model.tail.coefficients[:, : design.n_levels].T
        if self.told:
            self.eta = self._eta(self.codes, self.z, self.scored)

    def _states(self, fact: Fact) -> int:
        """How many states a number's gap may take: its spikes, and the rest if anybody ever had one."""
        spikes = len(self.model.coding.spikes[fact.name])
        return spikes + int(self.model.coding.has_rest(fact.name))

    def _eta(self, codes: Integers, z: Floats, scored: Bools) -> Floats:
        """Both log hazards, (n, hazards)."""
        covariates = self.model.covariates
        return np.asarray((covariates.rows(codes, np.where(scored, z, np.nan)) * covariates.scale) @ self.b.T)

    def _log_outcome_of(self, where: Integers, codes: Integers, z: Floats, scored: Bools) -> Floats:
        """Log likelihood of the outcomes of these patients with such cells, (n,)."""
        return self._log_outcome(where, self._eta(codes, z, scored)) if self.told else np.zeros(len(where))

    def _outcome(self) -> None:
        facts, design = self.rows.facts, self.model.tail.design
        self.told = bool(self.model.hazards)
        if not self.told:
            return
        time, event = self.rows[facts.time], self.rows[facts.event]
        known = ~np.isnan(time) & ~np.isnan(event)
        died = np.where(known, event, 0.0)
        b = np.stack([hazard.b for hazard in self.model.hazards])
        self.b = b
        self.b_scores = b[:, design.n_levels : design.width]
        self.b_curves = b[:, design.width : design.width + design.n_scores] * 2.0**-SCORE_BITS
        self.ends = np.where(known[:, None], np.column_stack([died, 1.0 - died]), 0.0)
        spent = np.column_stack([_cumulative(hazard, np.nan_to_num(time)) for hazard in self.model.hazards])
        self.spent = np.where(known[:, None], spent, 0.0)

    def _log_outcome(self, where: Integers, eta: Floats) -> Floats:
        """Log likelihood of the outcomes of these patients, eta: (rows, ..., hazards)."""
        clipped = np.clip(eta, -_EXTREME, _EXTREME)
        shape = (len(where), *(1,) * (eta.ndim - 2), eta.shape[-1])
        ends, spent = self.ends[where].reshape(shape), self.spent[where].reshape(shape)
        return np.asarray((ends * clipped - spent * np.exp(clipped)).sum(axis=-1))

    def sweep(self) -> None:
        """All gaps drawn together, then every one by itself."""
        self._together(MORE, among=True)
        for variable, where in self.free.items():
            if len(where):
                self._draw_level(variable, where)
        for j, where in self.gaps.items():
            if len(where):
                self._draw_number(j, where)

    def _log_network(self, variable: int, where: Integers, levels: Integers) -> Floats:
        """Of every candidate level, (rows, levels): own table and those of the children."""
        network, codes = self.model.network, self.codes[where]
        families, sizes = network.families, network.sizes
        row = family_codes(codes, families[variable].parents, sizes)
        found = self.model.log_tables[variable][levels][:, row].T.copy()
        for child in network.children(variable):
            for k, level in enumerate(levels):
                codes[:, variable] = level
                row = family_codes(codes, families[child].parents, sizes)
                found[:, k] += self.model.log_tables[child][codes[:, child], row]
        return found

    def _draw_level(self, variable: int, where: Integers) -> None:
        levels = np.arange(len(self.model.coding.named[variable].levels or "01"))
        found = self._log_network(variable, where, levels)
        adds = self.model.by_level(variable, self.model.tail.coefficients)
        now = self.codes[where, variable]
        left = self.z[where] - (self.mean[where] - adds[now]) - self.z[where] @ self.onto.T
        weight = self.scored[where] * self.precision
        for k in levels:
            found[:, k] -= 0.5 * (weight * (left - adds[k]) ** 2).sum(axis=1)
        if self.told:
            onto = self.model.by_level(variable, self.b)
            eta = (self.eta[where] - onto[now])[:, None, :] + onto[levels][None]
            for level, other, its, more in self.model.products.get(variable, ()):
                with_it = (self.codes[where, other] == its).astype(np.float64)
                eta -= (with_it * (now == level))[:, None, None] * more
                eta[:, level] += with_it[:, None] * more
            found += self._log_outcome(where, eta)
        drawn = self._chosen(found)
        self.mean[where] += adds[drawn] - adds[now]
        if self.told:
            self.eta[where] = eta[np.arange(len(where)), drawn]
        self.codes[where, variable] = drawn

    def _draw_number(self, j: int, where: Integers) -> None:
        """State and score of a number, drawn together."""
        coding, tail = self.model.coding, self.model.tail
        fact, variable = coding.numbers[j], self.stated.get(j)
        levels = np.arange(1 if variable is None else self._states(fact))
        measured = 0 if variable is None or coding.has_rest(fact.name) else -1
        z = self.z[where].copy()
        z[:, j] = 0.0
        c = self.onto[:, j]
        weight = self.scored[where] * self.precision
        weight[:, j] = 0.0
        a = self.precision[j] + weight @ c**2
        now = None if variable is None else self.codes[where, variable]
        adds = np.zeros((1, len(tail.sd))) if variable is None else self.model.by_level(variable, tail.coefficients)
        mean = self.mean[where] - (0.0 if now is None else adds[now])
        found = np.zeros((len(where), len(levels)))
        if variable is not None:
            found = self._log_network(variable, where, levels)
        b = np.zeros(len(where))
        for k in levels:
            own = mean + adds[k]
            left = z - own - z @ self.onto.T
            found[:, k] -= 0.5 * (weight * left**2).sum(axis=1)
            if k == measured:
                m = own[:, j] + z @ self.onto[j]
                b = m * self.precision[j] + (weight * left) @ c
                found[:, k] += 0.5 * (b**2 / a - m**2 * self.precision[j] - np.log(a / self.precision[j]))
        drawn = self._chosen(found)
        scored = drawn == measured
        z[:, j] = np.where(scored, b / a + self.rng.normal(size=len(where)) / np.sqrt(a), 0.0)
        if self.told:
            eta = self.eta[where] + (z[:, j] - self.z[where, j])[:, None] * self.b_scores[:, j]
            eta = (
                eta
                + (self._curve(j, where, z[:, j], scored, drawn) - self._curve(j, where))[:, None] * self.b_curves[:, j]
            )
            if variable is not None:
                onto = self.model.by_level(variable, self.b)
                eta = eta + onto[drawn] - onto[now]
            gain = self._log_outcome(where, eta) - self._log_outcome(where, self.eta[where])
            taken = np.log(self.rng.random(len(where))) < gain
            where, drawn, z, scored, mean = where[taken], drawn[taken], z[taken], scored[taken], mean[taken]
            self.eta[where] = eta[taken]
        self.z[where, j] = z[:, j]
        self.scored[where, j] = scored
        if variable is not None:
            self.codes[where, variable] = drawn
            self.mean[where] = mean + adds[drawn]

    def _curve(
        self,
        j: int,
        where: Integers,
        z: Floats | None = None,
        scored: Bools | None = None,
        drawn: Integers | None = None,
    ) -> Floats:
        """Steps of a number's curve, as it stands or as it would be."""
        covariates, variable = self.model.covariates, self.stated.get(j)
        z = self.z[where, j] if z is None else z
        z = np.where(self.scored[where, j] if scored is None else scored, z, np.nan)
        codes = self.codes[where]
        if drawn is not None and variable is not None:
            codes[:, variable] = drawn
        return covariates.curve(j, z, codes)

    def _chosen(self, log_weights: Floats) -> Integers:
        """One column a row, drawn by its weight."""
        noise = -np.log(-np.log(self.rng.random(log_weights.shape)))
        return np.asarray((log_weights + noise).argmax(axis=1))

    def values(self) -> dict[str, Floats]:
        """Columns with their gaps filled; known cells as they were."""
        coding, found = self.model.coding, {}
        for place, fact in enumerate(coding.named):
            found[fact.name] = np.where(np.isnan(self.rows[fact.name]), self.codes[:, place], self.rows[fact.name])
        for j, fact in enumerate(coding.numbers):
            table = coding.tables[fact.name]
            if not len(self.gaps[j]) or not (int(table.counts.sum()) or len(coding.spikes[fact.name])):
                continue
            drawn = table.heaped(table.value(np.clip(norm.cdf(self.z[:, j]), 1e-9, 1 - 1e-9)), self.rng)
            if j in self.stated:
                drawn = coding.stated_values(self.codes, {**self.rows.columns, fact.name: drawn})[fact.name]
            found[fact.name] = np.where(np.isnan(self.rows[fact.name]), drawn, self.rows[fact.name])
        return found


def _cumulative(hazard: Hazard, time: Floats) -> Floats:
    """Cumulative hazard at log relative hazard 0."""
    upper = np.concatenate([hazard.edges[1:], [np.inf]])
    return np.asarray(np.clip(np.minimum(time[:, None], upper) - hazard.edges, 0.0, None) @ np.exp(hazard.a))
