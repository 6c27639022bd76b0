"""The published quality control: a model travels, and a step that makes the sites' held-out errors worse is undone.

    found = Travelling(tolerance=0.02).run(sites, harmless=masks, seed=0)
    found.sites["porto"], found.records("porto"), found.model_transfers

The rules are those of `strategies.travelling`, the way is that of `relay`; here are the detector, its cost, and the
verdicts. A simulation scores the pooled held-out records once per step and counts the transfers it would have cost:
one of the whole model to every site for every step tried. Held-out records that decide what is banned are never those
of the final measures: `test` is a third part, and the same records in both are refused.
Why this is not the default: harmful-data.md, end of section 4.
Source: Souza et al. 2025, npj Digital Medicine, doi 10.1038/s41746-025-01499-0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, concatenate
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.verdicts import Needs, Verdict
from cohortium.errors import DataError, UsageError
from cohortium.quality.decide import Table as VerdictTable
from cohortium.quality.relay import Journey, control, travel_freely
from cohortium.quality.relay_probe import RelayProbe
from cohortium.reports.discrimination import auroc
from cohortium.strategies.travelling import Counts, Relay, RelayRules

__all__ = ["CycleMeasures", "RelaySite", "Travelling", "TravellingResult", "complete", "measures", "verdict_of"]

Floats = NDArray[np.float64]
Table = tuple[Floats, Floats]

_CUT = 0.5  # P(1) from which on a record is called a case
_LOOK = 0.5  # share of banned records that makes a site worth a look


@dataclass(frozen=True, kw_only=True)
class CycleMeasures:
    """How good the model is after a cycle, on records that decide nothing. subgroups: AUROC by `name=code`."""

    accuracy: float
    sensitivity: float
    specificity: float
    f1: float
    auroc: float | None
    subgroups: Mapping[str, float | None] = field(default_factory=dict)


def complete(parts: Mapping[str, Sequence[Examples]]) -> dict[str, list[Examples]]:
    """Each site's parts with columns of mean 0 and deviation 1 over the first parts of all sites, missing ones at 0."""
    whole = np.concatenate(
        [np.asarray(some[0].x, dtype=np.float64).reshape(len(some[0]), -1) for some in parts.values()]
    )
    known = ~np.isnan(whole)
    n = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, whole, 0.0).sum(axis=0) / n
    spread = np.sqrt((np.where(known, whole - mean, 0.0) ** 2).sum(axis=0) / n)
    spread = np.where(spread > 0, spread, 1.0)

    def scaled(one: Examples) -> Examples:
        x = (np.asarray(one.x, dtype=np.float64).reshape(len(one), -1) - mean) / spread
        return one.with_x(np.nan_to_num(x, nan=0.0), one.layout)

    return {site: [scaled(one) for one in some] for site, some in parts.items()}


def measures(y: Floats, scores: Floats, *, subgroups: Mapping[str, NDArray[np.int8]] | None = None) -> CycleMeasures:
    """Accuracy, sensitivity, specificity and F1 at P >= 0.5, AUROC, and AUROC by subgroup; 0 where nothing is there."""
    called, sick = scores >= _CUT, y == 1
    hit, right = int((called & sick).sum()), int((~called & ~sick).sum())
    cases, controls, named = int(sick.sum()), int((~sick).sum()), int(called.sum())
    groups = {
        f"{name}={code}": _auroc(y[codes == code], scores[codes == code])
        for name, codes in (subgroups or {}).items()
        for code in sorted({int(c) for c in codes.tolist() if c >= 0})
    }
    return CycleMeasures(
        accuracy=(hit + right) / max(len(y), 1),
        sensitivity=hit / max(cases, 1),
        specificity=right / max(controls, 1),
        f1=2 * hit / max(named + cases, 1),
        auroc=_auroc(y, scores),
        subgroups=groups,
    )


def _auroc(y: Floats, scores: Floats) -> float | None:
    return auroc(y, scores) if 0 < y.sum() < len(y) else None


@dataclass(frozen=True, kw_only=True, eq=False)
class RelaySite:
    """One site: training records, and held-out ones that decide. harmless: (n,) training records known to be so."""

    training: Examples
    held_out: Examples
    harmless: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class TravellingResult:
    """What the relay found. sites: verdicts. cycles: measures on `test` after each controlled cycle, if given."""

    sites: Mapping[str, Verdict]
    journey: Journey
    cycles: tuple[CycleMeasures, ...]
    training_steps_ratio: float
    model_transfers: int

    @property
    def table(self) -> VerdictTable:
        """The verdicts as other detectors give them; auroc: of the last cycle on `test`, 0.5 without."""
        last = self.cycles[-1].auroc if self.cycles else None
        verdicts = tuple(self.sites[site] for site in sorted(self.sites))
        return VerdictTable(
            status="decided", auroc=0.5 if last is None else round(last, 6), slope=0.0, verdicts=verdicts
        )

    def records(self, site: str) -> NDArray[np.int64]:
        """Training rows of a site that were banned; for that site only."""
        return np.flatnonzero(self.journey.relay.banned[site]).astype(np.int64)

    @property
    def records_flagged(self) -> dict[str, int]:
        """Banned training records by site."""
        return {site: int(rows.sum()) for site, rows in self.journey.relay.banned.items()}


@dataclass(frozen=True, kw_only=True)
class Travelling:
    """Detector `travelling`.

    start: `clean` needs to be told which records are harmless, `dirty` travels over all of them first. The other
    options are those of `RelayRules`.
    """

    start: Literal["clean", "dirty"] = "clean"
    hidden: int = 24
    clean_cycles: int = 10
    cycles: int = 30
    batch_size: int = 5
    tolerance: float = 0.02
    revisit: int = 2
    learning_rate: float = 1e-4
    decay: float = 0.1
    denominators: Literal["true", "original"] = "true"
    reference: Literal["last-accepted", "best"] = "last-accepted"

    needs: ClassVar[Needs] = "updates"

    def __post_init__(self) -> None:
        if self.start not in ("clean", "dirty"):
            raise ValueError(f"start must be 'clean' or 'dirty', got {self.start!r}")
        _ = self.rules  # checks its own numbers

    @property
    def rules(self) -> RelayRules:
        """The relay's own numbers."""
        return RelayRules(
            clean_cycles=self.clean_cycles,
            cycles=self.cycles,
            batch_size=self.batch_size,
            tolerance=self.tolerance,
            revisit=self.revisit,
            learning_rate=self.learning_rate,
            decay=self.decay,
            denominators=self.denominators,
            reference=self.reference,
        )

    def run(self, sites: Mapping[str, RelaySite], *, seed: int = 0, test: Examples | None = None) -> TravellingResult:
        """Travel and judge. sites: at least 2, complete numbers, outcome 0 or 1; test: for the measures of each cycle.

        Raises UsageError for a clean start without `harmless`, DataError for held-out records that lack a class or
        are used as `test` too.
        """
        self._check(sites, test)
        chance, rules = Chance(seed, secrets_from_system=False), self.rules
        tables = {site: _table(one.training) for site, one in sites.items()}
        x, y = _table(concatenate([sites[site].held_out for site in sorted(sites)]))
        probe = RelayProbe(n_features=x.shape[1], hidden=self.hidden)
        rng = chance.stream("travelling", "order")
        state = travel_freely(
            rules,
            {site: t for site, t in self._harmless(sites, tables).items() if len(t[1])},
            probe,
            probe.initial(rng=chance.stream("travelling", "start")),
            shuffle=lambda names: [names[at] for at in rng.permutation(len(names))],
            shuffle_rows=lambda rows: [rows[at] for at in rng.permutation(len(rows))],
            cycles=rules.clean_cycles,
            rate=rules.rate_of_clean_cycle,
        )
        seen: list[CycleMeasures] = []
        journey = control(
            rules,
            tables,
            probe,
            state,
            count=lambda model: _counts(y, probe.predict(model, x)),
            shuffle=lambda names: [names[at] for at in rng.permutation(len(names))],
            shuffle_rows=lambda rows: [rows[at] for at in rng.permutation(len(rows))],
            after_cycle=None if test is None else lambda _, model: seen.append(_measured(probe, model, test)),
        )
        plain = rules.cycles * sum(len(rules.batches(range(len(t[1])))) for t in tables.values())
        return TravellingResult(
            sites={site: verdict_of(site, journey.relay) for site in sorted(sites)},
            journey=journey,
            cycles=tuple(seen),
            training_steps_ratio=journey.evaluations / plain,
            model_transfers=journey.evaluations * len(sites),
        )

    def _check(self, sites: Mapping[str, RelaySite], test: Examples | None) -> None:
        if len(sites) < 2:
            raise DataError(f"a relay needs at least 2 sites, got {len(sites)}")
        if self.start == "clean" and self.clean_cycles and any(one.harmless is None for one in sites.values()):
            raise UsageError(
                "detector 'travelling' with start = 'clean' must be told which records are harmless;"
                " say start = 'dirty'"
            )
        if test is not None and any(np.shares_memory(test.x, one.held_out.x) for one in sites.values()):
            raise DataError("held-out records that decide what is banned cannot be those of the final measures")

    def _harmless(self, sites: Mapping[str, RelaySite], tables: Mapping[str, Table]) -> dict[str, Table]:
        if self.start == "dirty":
            return dict(tables)
        kept = {site: one.harmless for site, one in sites.items() if one.harmless is not None}
        return {site: (tables[site][0][good], tables[site][1][good]) for site, good in kept.items()}


def _table(examples: Examples) -> Table:
    if examples.y is None or examples.layout.outcome != "binary" or not np.isfinite(examples.x).all():
        raise DataError("detector 'travelling' needs complete numbers and a binary outcome")
    return np.asarray(examples.x, dtype=np.float64).reshape(len(examples), -1), examples.y


def _counts(y: Floats, scores: Floats) -> Counts:
    called = scores >= _CUT
    return Counts(
        false_positives=int((called & (y == 0)).sum()),
        false_negatives=int((~called & (y == 1)).sum()),
        positives=int((y == 1).sum()),
        negatives=int((y == 0).sum()),
    )


def _measured(probe: RelayProbe, model: Parameters, test: Examples) -> CycleMeasures:
    x, y = _table(test)
    return measures(y, probe.predict(model, x), subgroups=test.subgroups)


def verdict_of(site: str, relay: Relay) -> Verdict:
    """Quarantine where every training record is banned, else keep; a look where half of them are."""
    share = float(relay.banned[site].mean()) if len(relay.banned[site]) else 0.0
    if relay.out(site):
        reason = "every training record was banned: with each, more held-out patients of all sites were called wrongly"
        return Verdict(site=site, kind="quarantine", posterior=1.0, channel="unrelated", reason=reason, left_out=True)
    reason = "most records were banned by all sites' held-out patients" if share >= _LOOK else "most records were kept"
    return Verdict(site=site, kind="keep", posterior=share, channel="sound", reason=reason, look=share >= _LOOK)
