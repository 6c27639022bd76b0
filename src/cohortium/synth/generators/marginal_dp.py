"""Generator `marginal_dp`: all that leaves the sites is a noisy sum in which no patient shows.

    learner = MarginalDP(facts=facts)

Two exchanges. First how often every cell of a number, level of a category and cell of the follow-up occurs; the cells
are public, so numbers need agreed ranges. Then, of each patient, the products of all pairs: of flags (at most
`most_flags` of them count), of flags and normal scores, of scores; together they have a bounded length, so no pair has
to be chosen and no table is opened. What is made of it is a Gaussian copula (`latent`), and one Newton step of two
hazards from the products with the residuals of the common curve. Sums are whole numbers in units of 2^-16 of the
sensitivity; each site adds its part of the noise as whole numbers, so it goes through the secure sum as it is.

Guarantee: an event gaussian(sigma) for one patient more or less in each exchange, sigma the noise multiplier of the
whole sum, in the second narrower by sqrt 3 (`privacy.dp.terms`). Draws cost nothing more. `answer` without steps adds
no noise and promises nothing. Design: synthetic-data.md 5.4; why no tree is chosen: docs/adr/0016.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.private import PrivateSteps
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import UsageError
from cohortium.privacy.dp.noise import IntegerGaussian, SecretStream
from cohortium.privacy.dp.sampling import PatientSampler, public_size
from cohortium.synth.facts import Fact, Facts
from cohortium.synth.generators.latent import kept_by_cutting, level_scores, lifted, tetrachoric
from cohortium.synth.generators.public_table import PublicTable, has_range, nearest_counts, public_edges
from cohortium.synth.phases import at_phase, phase_of
from cohortium.synth.rows import Rows, rows_of_examples

__all__ = ["UNITS", "MarginalDP"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

UNITS = 1 << 16
"""Units in one sensitivity."""

CELLS, PAIRS, DONE = 0, 1, -1
_SHARES = {"flags": 0.55, "flags and scores": 0.22, "scores": 0.18, "gaps": 0.05}
_LONGEST_SCORES = 1.25  # squared length of a patient's scores, in their number; longer ones are shortened
_MOST_GAPS = 12
_LIKELY = 0.5  # standard deviation of log hazard ratios, before anything is seen
_STEPS = (1.0, 0.5, 0.1, 0.01)
_USED = 0.05
_MOST = 0.95
_TIME_CELLS = 40


@dataclass(frozen=True, kw_only=True)
class MarginalDP:
    """facts: the columns; every number needs a range. most_flags: of one patient; further ones are left out by lot."""

    facts: Facts
    min_cell: int = 10
    most_flags: int = 6

    learns_by: ClassVar[Literal["sums"]] = "sums"
    reads_columns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 2 <= self.most_flags <= 50:
            raise ValueError(f"most_flags must be 2 to 50, got {self.most_flags}")
        wrong = [fact for fact in self.facts.columns if fact.kind in ("numeric", "time") and not has_range(fact)]
        if len(wrong) == 1:
            public_edges(wrong[0])
        if wrong:
            raise ValueError(
                f"{len(wrong)} columns have no range that everybody may know: {', '.join(fact.name for fact in wrong)};"
                " agree on theirs under [cohort] ranges"
            )

    @property
    def max_rounds(self) -> int:
        """Exchanges of a fit."""
        return 2

    # --- columns -----------------------------------------------------------------------------------------------

    @cached_property
    def flags(self) -> tuple[Fact, ...]:
        """Columns of 0 and 1."""
        return tuple(c for c in self.facts.columns if c.kind == "flag")

    @cached_property
    def numbers(self) -> tuple[Fact, ...]:
        """Measured columns."""
        return tuple(c for c in self.facts.columns if c.kind == "numeric")

    @cached_property
    def named(self) -> tuple[Fact, ...]:
        """Categories."""
        return tuple(c for c in self.facts.columns if c.kind == "categorical")

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Cells of the first exchange by column, the last of them for missing ones; of time twice, without."""
        found = {c.name: len(public_edges(c)) for c in self.numbers}
        found |= {f"{c.name} written": len(_STEPS) + 1 for c in self.numbers if not c.whole}
        found |= {c.name: len(c.levels) + 1 for c in self.named}
        return found | ({self.facts.time: 2 * _TIME_CELLS} if self.facts.time else {})

    # --- Learner -----------------------------------------------------------------------------------------------

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """The first question."""
        return Parameters(at_phase(CELLS))

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's noisy sums. Raises UsageError without a noise multiplier: then nothing may leave."""
        steps = instructions.private
        if steps is None:
            raise UsageError("generator 'marginal_dp' learns with noise only; add [privacy.dp] to the study")
        chance = SecretStream(steps.entropy, use="sampling")
        examples = examples.take(PatientSampler(examples.patient).draw(1.0, chance))
        rows = rows_of_examples(examples, self.facts)
        return Fitted(parameters=self.answer(start, rows, steps=steps), n_samples=public_size(len(rows)))

    def answer(self, state: Parameters, rows: Rows, *, steps: PrivateSteps | None = None) -> Parameters:
        """The sums the state asks for, of these rows, with this site's part of the noise if there are steps."""
        sums = self._cells(rows) if phase_of(state) == CELLS else self._pairs(state, rows, steps)
        if steps is not None:
            noise = IntegerGaussian(steps.noise_multiplier * UNITS)
            stream = SecretStream(steps.entropy, use="synth")
            for values in sums.values():
                noise.add(values.reshape(-1), stream)
        return Parameters(dict(sums.items()))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half: post-processing, which costs nothing."""
        return self._after_cells(total) if phase_of(start) == CELLS else self._after_pairs(start, total)

    def finished(self, parameters: Parameters) -> bool:
        """Whether both exchanges are through."""
        return phase_of(parameters) == DONE

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Log relative hazard of every patient, (n,)."""
        rows = rows_of_examples(examples, self.facts)
        return self._covariates(parameters, rows) @ np.asarray(parameters["hazard/event"], dtype=np.float64)

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}

    # --- first exchange ----------------------------------------------------------------------------------------

    def _cells(self, rows: Rows) -> dict[str, Integers]:
        """Every patient is in one cell of each column."""
        unit = int(UNITS / np.sqrt(len(self.sizes)))
        found = {}
        for name, size in self.sizes.items():
            if name.endswith(" written"):
                found[name] = np.bincount(_written(rows[name.removesuffix(" written")]), minlength=size) * unit
                continue
            held = rows[name]
            missing = np.isnan(held)
            if name == self.facts.time:
                edges = self._time_edges()
                at = np.clip(np.searchsorted(edges, held, side="right") - 1, 0, _TIME_CELLS - 1)
                at = np.where(rows[self.facts.event] == 1, at, at + _TIME_CELLS)
            elif self.facts[name].is_number:
                table = PublicTable(public_edges(self.facts[name]), np.zeros(size - 1))
                at = np.where(missing, size - 1, table.cells(np.where(missing, 0.0, held)))
            else:
                at = np.where(missing, size - 1, np.nan_to_num(held)).astype(np.int64)
            found[name] = np.bincount(at, minlength=size).astype(np.int64) * unit
        return {f"cells/{name}": counts.astype(np.int64) for name, counts in found.items()}

    def _time_edges(self) -> Floats:
        fact = self.facts[self.facts.time]
        return np.linspace(float(fact.low or 0.0), float(fact.high or 1.0), _TIME_CELLS + 1)

    def _after_cells(self, total: Parameters) -> Parameters:
        unit = int(UNITS / np.sqrt(len(self.sizes)))
        noisy = {name: np.asarray(total[f"cells/{name}"]).astype(np.float64) / unit for name in self.sizes}
        n = max(float(np.mean([counts.sum() for counts in noisy.values()])), 1.0)
        found: dict[str, object] = {f"cells/{name}": nearest_counts(counts, n) for name, counts in noisy.items()}
        return Parameters({**at_phase(PAIRS), "n": np.array([n]), **found})

    def _counts(self, state: Parameters, name: str) -> Floats:
        return np.asarray(state[f"cells/{name}"], dtype=np.float64)

    def _table(self, state: Parameters, fact: Fact) -> PublicTable:
        step = 1.0
        if not fact.whole:  # the finest step that more than a few values need
            written = self._counts(state, f"{fact.name} written")
            needed = np.flatnonzero(written > _USED * written.sum())
            step = (*_STEPS, 0.001)[int(needed[-1])] if len(needed) else 0.01
        return PublicTable(public_edges(fact), self._counts(state, fact.name)[:-1], step)

    def _level_parts(self, state: Parameters, fact: Fact) -> Integers:
        counts = self._counts(state, fact.name)[:-1]
        return np.rint(1e6 * counts / max(float(counts.sum()), 1e-9)).astype(np.int64)

    # --- second exchange ---------------------------------------------------------------------------------------

    def _scores(self, state: Parameters, rows: Rows) -> Floats:
        """Normal scores of numbers and categories, 0 where missing, (n, columns)."""
        columns = [self._table(state, fact).score(rows[fact.name]) for fact in self.numbers]
        for fact in self.named:
            held = rows[fact.name]
            z = level_scores(self._level_parts(state, fact))
            columns.append(np.where(np.isnan(held), 0.0, z[np.nan_to_num(held).astype(np.int64)]))
        return np.column_stack(columns) if columns else np.zeros((len(rows), 0))

    def _residuals(self, state: Parameters, rows: Rows) -> Floats:
        """What each patient had more of each end than the common curve expects, within -2 and 1, (n, 2)."""
        if not self.facts.time:
            return np.zeros((len(rows), 0))
        edges, time, died = self._time_edges(), rows[self.facts.time], rows[self.facts.event]
        known = ~np.isnan(time) & ~np.isnan(died)
        time, died = np.where(known, time, 0.0), np.where(known, died, 0.0)
        spent = np.clip(np.minimum(time[:, None], edges[1:]) - edges[:-1], 0.0, None)
        expected = spent @ self._rates(state).T
        return np.clip(np.column_stack([died, known - died]) - expected, -2.0, 1.0)

    def _rates(self, state: Parameters) -> Floats:
        """Events and censorings per unit of time at risk by cell, (2, cells)."""
        counts = self._counts(state, self.facts.time).reshape(2, _TIME_CELLS)
        leaving = counts.sum(axis=0)
        after = np.cumsum(leaving[::-1])[::-1] - leaving
        width = np.diff(self._time_edges())
        return np.asarray(np.minimum(counts / np.maximum((after + 0.5 * leaving) * width, 1e-9), 5.0 / width))

    def _flags(self, rows: Rows, steps: PrivateSteps | None) -> Floats:
        """Flags of every patient, missing ones 0, no more than `most_flags` of them 1."""
        if not self.flags:
            return np.zeros((len(rows), 0))
        held = np.column_stack([np.nan_to_num(rows[fact.name]) > 0 for fact in self.flags]).astype(np.float64)
        if steps is None:
            lots = np.random.default_rng(0).random(held.shape)
        else:
            lots = SecretStream(steps.entropy, use="flags").uniform(held.size).reshape(held.shape)
        rank = np.argsort(np.argsort(-(held + 0.5 * lots), axis=1), axis=1)
        return np.asarray(held * (rank < self.most_flags))

    def _lengths(self) -> dict[str, float]:
        """Longest vector of one patient by kind of sum."""
        k, d = self.most_flags, len(self.numbers) + len(self.named) + 2 * bool(self.facts.time)
        longest = _LONGEST_SCORES * max(d, 1)
        return {"flags": np.sqrt(k + k * (k - 1) / 2), "flags and scores": np.sqrt(k * longest),
                "scores": longest / np.sqrt(2), "gaps": np.sqrt(_MOST_GAPS)}  # fmt: skip

    def _weights(self) -> dict[str, float]:
        """Units of one in each kind of sum: all of a patient's together are at most UNITS long."""
        return {kind: UNITS * np.sqrt(_SHARES[kind]) / length for kind, length in self._lengths().items()}

    def _pairs(self, state: Parameters, rows: Rows, steps: PrivateSteps | None) -> dict[str, Integers]:
        flags = self._flags(rows, steps)
        z = np.nan_to_num(
            np.hstack([self._scores(state, rows), self._residuals(state, rows)])
        )  # whatever a state holds
        length = np.sqrt((z**2).sum(axis=1, keepdims=True))
        z = z * np.minimum(1.0, np.sqrt(_LONGEST_SCORES * max(z.shape[1], 1)) / np.maximum(length, 1e-12))
        gaps = np.column_stack([np.isnan(rows[c.name]) for c in self.flags]) if self.flags else np.zeros((len(rows), 0))
        gaps = gaps * (np.cumsum(gaps, axis=1) <= _MOST_GAPS)
        weight = self._weights()
        pair = int(weight["flags"])
        v, d = flags.shape[1], z.shape[1]
        mixed = np.zeros((v, d), dtype=np.int64)
        scores = np.zeros((d, d), dtype=np.int64)
        steps_of_z = np.trunc(z * weight["flags and scores"]).astype(np.int64)  # flags are 0 or 1: exact as integers
        whole = flags.astype(np.int64)
        mixed = whole.T @ steps_of_z
        for j in range(d):  # each product cut to whole units by itself, towards 0, so that no patient grows longer
            scores[j, :j] = np.trunc(z[:, :j] * z[:, j : j + 1] * weight["scores"]).astype(np.int64).sum(axis=0)
        return {
            "flags": np.ascontiguousarray(np.tril(whole.T @ whole) * pair),
            "flags and scores": np.ascontiguousarray(mixed),
            "scores": scores,
            "gaps": gaps.astype(np.int64).sum(axis=0) * int(weight["gaps"]),
        }

    def _after_pairs(self, start: Parameters, total: Parameters) -> Parameters:
        weight = self._weights()
        n = float(start["n"][0])
        pair, gap = int(weight["flags"]), int(weight["gaps"])
        counts = np.asarray(total["flags"]).astype(np.float64) / pair
        mixed = np.asarray(total["flags and scores"]).astype(np.float64) / weight["flags and scores"]
        scores = np.tril(np.asarray(total["scores"]).astype(np.float64), -1) / weight["scores"]
        scores = scores + scores.T
        v, d = mixed.shape
        r = 2 * bool(self.facts.time)
        kept, known = self._kept(start)
        gaps = np.clip(np.asarray(total["gaps"]).astype(np.float64) / gap, 0.0, 0.95 * n)
        ones = np.clip(np.diag(counts), 0.5, n - gaps - 0.5)
        both = np.tril(counts, -1)
        both = np.clip(both + both.T, 0.0, np.minimum.outer(ones, ones))
        there = n - gaps
        n_both = np.outer(there, there) / n
        share = ones / there
        found = np.eye(v + d - r)
        a, b = np.tril_indices(v, -1)
        height = norm.pdf(norm.ppf(1 - share))
        noise = np.triu(np.asarray(total["flags"]), 1)[np.triu_indices(v, 1)] / pair if v > 2 else np.zeros(1)
        spread = float(noise.std())  # that triangle holds no patient: it shows how wide the noise is
        expected = np.outer(share, share) * n_both
        together = expected + _shrunk(both - expected, np.outer(height, height) * n_both, spread)
        tetra = tetrachoric(together[a, b], share[a] * n_both[a, b], share[b] * n_both[a, b], n_both[a, b])
        found[a, b] = found[b, a] = tetra
        m = d - r
        spread_mixed = spread * pair / weight["flags and scores"]
        spread_scores = spread * pair / weight["scores"]
        room = there[:, None] * known * height[:, None] * kept
        found[:v, v:] = _shrunk(mixed[:, :m], room, spread_mixed) / room
        found[v:, :v] = found[:v, v:].T
        room = n * np.outer(known, known) * np.outer(kept, kept)
        found[v:, v:] = _shrunk(scores[:m, :m], room, spread_scores) / room
        found = np.clip(found, -_MOST, _MOST)
        np.fill_diagonal(found, 1.0)
        made: dict[str, object] = {**dict(start.items()), **at_phase(DONE),
                                   "correlations": found, "share": share, "gaps": gaps / n}  # fmt: skip
        if r:
            covariance = np.eye(v + m)
            joint = both / n - np.outer(ones, ones) / n**2
            covariance[:v, :v] = np.where(np.eye(v) > 0, ones / n * (1 - ones / n), joint)
            covariance[:v, v:] = mixed[:, :m] / n
            covariance[v:, :v] = covariance[:v, v:].T
            covariance[v:, v:] = np.where(np.eye(m) > 0, known, scores[:m, :m] / n)
            values, vectors = np.linalg.eigh(covariance)
            covariance = (vectors * np.maximum(values, 1e-3)) @ vectors.T
            ends = self._counts(start, self.facts.time).reshape(2, -1).sum(axis=1)
            for k, end in enumerate(("event", "censored")):
                gradient = np.concatenate([mixed[:, m + k], scores[m + k, :m]])
                information = max(ends[k], 1.0) * covariance
                error = np.concatenate([np.full(v, spread_mixed**2), np.full(m, spread_scores**2)])
                seen = np.linalg.solve(information + np.diag(error), np.column_stack([information, gradient]))
                made[f"hazard/{end}"] = np.linalg.solve(
                    information @ seen[:, :-1] + np.eye(v + m) / _LIKELY**2, information @ seen[:, -1]
                )
        return Parameters(made)

    def _kept(self, state: Parameters) -> tuple[Floats, Floats]:
        """(what cutting leaves of a correlation, share of patients who have it) of numbers and categories."""
        known = []
        kept = [self._table(state, fact).kept for fact in self.numbers]
        for fact in self.named:
            parts = self._level_parts(state, fact)
            kept.append(kept_by_cutting(parts, level_scores(parts)))
        for fact in (*self.numbers, *self.named):
            counts = self._counts(state, fact.name)
            known.append(1.0 - counts[-1] / max(float(counts.sum()), 1e-9))
        return np.maximum(np.array(kept), 0.2), np.maximum(np.array(known), 0.05)

    # --- draws -------------------------------------------------------------------------------------------------

    def sample(self, state: Parameters, n: int, *, rng: np.random.Generator) -> Rows:
        """n new patients; gaps independent of everything. Raises UsageError before the fit is finished."""
        if not self.finished(state):
            raise UsageError("this generator is not finished; fit it to the end before sampling")
        root = np.linalg.cholesky(lifted(np.asarray(state["correlations"], dtype=np.float64)))
        z = rng.normal(size=(n, len(root))) @ root.T
        v = len(self.flags)
        found: dict[str, Floats] = {}
        for j, fact in enumerate(self.flags):
            found[fact.name] = (z[:, j] > norm.ppf(1 - float(state["share"][j]))).astype(np.float64)
        for j, fact in enumerate(self.numbers, start=v):
            found[fact.name] = self._table(state, fact).value(np.clip(norm.cdf(z[:, j]), 1e-9, 1 - 1e-9))
        for j, fact in enumerate(self.named, start=v + len(self.numbers)):
            edges = np.cumsum(self._level_parts(state, fact))[:-1] / 1e6
            found[fact.name] = np.searchsorted(norm.ppf(edges), z[:, j], side="right").astype(np.float64)
        for j, fact in enumerate((*self.flags, *self.numbers, *self.named)):
            share = float(state["gaps"][j]) if j < v else 1.0 - float(self._kept(state)[1][j - v])
            gone = rng.random(n) < (share if share >= 0.01 else 0.0)
            found[fact.name] = np.where(gone, np.nan, found[fact.name])
        if self.facts.time:
            held = Rows(self.facts, {**found, self.facts.time: np.zeros(n), self.facts.event: np.zeros(n)})
            found |= self._outcome(state, self._covariates(state, held), rng)
        return Rows(self.facts, {name: np.array(values) for name, values in found.items()})

    def _covariates(self, state: Parameters, rows: Rows) -> Floats:
        flags = [np.nan_to_num(rows[c.name]) - float(state["share"][j]) for j, c in enumerate(self.flags)]
        return np.hstack([np.column_stack(flags) if flags else np.zeros((len(rows), 0)), self._scores(state, rows)])

    def _outcome(self, state: Parameters, x: Floats, rng: np.random.Generator) -> dict[str, Floats]:
        """Times by both hazards, levelled so that the curve of all is the published one."""
        edges, rates = self._time_edges(), self._rates(state)
        times = []
        for k, end in enumerate(("event", "censored")):
            relative = np.exp(np.clip(x @ np.asarray(state[f"hazard/{end}"], dtype=np.float64), -4.0, 4.0))
            times.append(_drawn_times(relative, rates[k], edges, rng))
        died, lost = times
        time = np.minimum(np.minimum(died, lost), edges[-1])
        whole = self.facts[self.facts.time].whole
        time = np.maximum(np.rint(time) if whole else np.round(time, 2), 1.0 if whole else 0.01)
        return {self.facts.time: time, self.facts.event: ((died <= lost) & (died < edges[-1])).astype(np.float64)}


def _written(values: Floats) -> Integers:
    """The coarsest step each value is a multiple of, as its place; behind all where none is; 0 where missing."""
    there = np.nan_to_num(values)
    found = np.full(len(values), len(_STEPS), dtype=np.int64)
    for place in reversed(range(len(_STEPS))):
        scaled = there / _STEPS[place]
        found = np.where(np.abs(scaled - np.rint(scaled)) < 1e-6 * np.maximum(np.abs(scaled), 1.0), place, found)
    return found


def _shrunk(signal: Floats, room: Floats, spread: float) -> Floats:
    """Noisy excesses drawn to 0 by what the noise alone would give (Wiener). room: of an excess at correlation 1."""
    off = ~np.eye(len(signal), dtype=bool) if signal.shape[0] == signal.shape[1] else np.ones(signal.shape, dtype=bool)
    size = max(float((signal[off] ** 2 - spread**2).sum()), 0.0) / max(float((room[off] ** 2).sum()), 1e-12)
    size = max(size, 1e-4)
    return np.asarray(signal * (size * room**2 / (size * room**2 + spread**2 + 1e-12)))


def _drawn_times(relative: Floats, rates: Floats, edges: Floats, rng: np.random.Generator) -> Floats:
    """One time for each patient; in every cell the mean hazard of those left is the published one."""
    left = rng.exponential(size=len(relative))
    spent = np.zeros(len(relative))
    found = np.full(len(relative), edges[-1])
    alive = np.ones(len(relative))
    for rate, low, high in zip(rates, edges[:-1], edges[1:], strict=True):
        level = rate * alive.sum() / max(float((alive * relative).sum()), 1e-12)
        more = level * relative * (high - low)
        here = (spent <= left) & (left < spent + more)
        found = np.where(here, low + (left - spent) / np.maximum(more, 1e-12) * (high - low), found)
        spent = spent + more
        alive = np.exp(-spent)
    return found
