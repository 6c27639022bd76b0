"""The relay of a travelling model: which steps are kept, which records wait for another try, which are banned.

Theory of operation. One model visits the sites in a new random order each cycle. A site offers a batch of at most five
records; after the step all sites count false positives and false negatives on their own held-out records. Is one of
the two rates worse than the reference by more than tolerance x batch size, the step is undone: weights, optimiser
moments and normalisation statistics go back, for all of them are in the `Parameters` that travel. The records of the
batch are then tried one by one; those rejected again wait until the end of cycle c + revisit, get one last try, and
return in the cycle after it or are banned for good. What is kept moves the reference.

Pure rules and a state that travels beside the model; who trains and who counts is in `quality.travelling`. The relay
shows every site the model before and after each visit, so it needs single updates and no masks would hide anything.
Source: Souza et al. 2025, npj Digital Medicine, doi 10.1038/s41746-025-01499-0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from cohortium.core.fixed_point import exp
from cohortium.core.parameters import Parameters
from cohortium.errors import DataError

__all__ = ["Counts", "Rates", "Relay", "RelayRules"]

Rows = NDArray[np.int64]
_Cell = TypeVar("_Cell", bound=np.generic)

_SLACK = 1e-12
"""A rise of exactly the tolerance is kept, whatever the last bit of a quotient says."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Errors of one model on all held-out records, summed over sites."""

    false_positives: int
    false_negatives: int
    positives: int
    negatives: int


@dataclass(frozen=True)
class Rates:
    """Share of held-out controls called cases, and of cases called controls."""

    fpr: float
    fnr: float


@dataclass(frozen=True, kw_only=True)
class RelayRules:
    """The published numbers.

    clean_cycles: before any control. cycles: under control. tolerance: rise of a rate per record of the batch.
    revisit: cycles until a rejected record's last try. learning_rate, decay: times exp(-decay) after each cycle.
    denominators: `true` FP/M and FN/P; `original` divides the other way round, FP/P and FN/M, and restarts the decay
    after the first controlled cycle, as the published program does. reference: the rates of the last kept step, or
    the best of each so far.
    """

    clean_cycles: int = 10
    cycles: int = 30
    batch_size: int = 5
    tolerance: float = 0.02
    revisit: int = 2
    learning_rate: float = 1e-4
    decay: float = 0.1
    denominators: Literal["true", "original"] = "true"
    reference: Literal["last-accepted", "best"] = "last-accepted"

    def __post_init__(self) -> None:
        for name, least in (("clean_cycles", 0), ("cycles", 1), ("batch_size", 1), ("revisit", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 < self.tolerance < float("inf") or not 0 < self.learning_rate < float("inf") or self.decay < 0:
            raise ValueError("tolerance and learning_rate must be positive, decay at least 0")
        if self.denominators not in ("true", "original"):
            raise ValueError(f"denominators must be 'true' or 'original', got {self.denominators!r}")
        if self.reference not in ("last-accepted", "best"):
            raise ValueError(f"reference must be 'last-accepted' or 'best', got {self.reference!r}")

    def rates(self, counts: Counts) -> Rates:
        """Both rates. Raises DataError when a class is missing among the held-out records of all sites."""
        if counts.positives < 1 or counts.negatives < 1:
            raise DataError("held-out records of all sites together need both classes")
        of_fp, of_fn = counts.negatives, counts.positives
        if self.denominators == "original":
            of_fp, of_fn = of_fn, of_fp
        return Rates(counts.false_positives / of_fp, counts.false_negatives / of_fn)

    def keeps(self, found: Rates, reference: Rates, *, n_records: int) -> bool:
        """Whether a step on so many records may stay."""
        room = self.tolerance * n_records + _SLACK
        return found.fpr <= reference.fpr + room and found.fnr <= reference.fnr + room

    def next_reference(self, kept: Rates, reference: Rates) -> Rates:
        """What the next step is held against."""
        if self.reference == "last-accepted":
            return kept
        return Rates(min(kept.fpr, reference.fpr), min(kept.fnr, reference.fnr))

    def batches(self, rows: Sequence[int]) -> list[tuple[int, ...]]:
        """Records in the order given, in floor(n/b) batches of b = min(batch_size, n); the remainder waits a cycle."""
        if not rows:
            return []
        b = min(self.batch_size, len(rows))
        return [tuple(rows[at * b : (at + 1) * b]) for at in range(len(rows) // b)]

    def rate_of_clean_cycle(self, cycle: int) -> float:
        """Learning rate of an uncontrolled cycle, from 1."""
        return self.learning_rate * float(exp(-self.decay * (cycle - 1)))

    def rate_of_cycle(self, cycle: int) -> float:
        """Learning rate of a controlled cycle, from 1."""
        done = self.clean_cycles + cycle - 1
        if self.denominators == "original" and cycle > 1:
            done = cycle - 1
        return self.learning_rate * float(exp(-self.decay * done))


@dataclass(frozen=True, kw_only=True, eq=False)
class Relay:
    """What travels beside the model: the cycle, the reference, and for every record its last try (0: none) and ban."""

    reference: Rates
    due: Mapping[str, Rows]
    banned: Mapping[str, NDArray[np.bool_]]
    cycle: int = 1

    @classmethod
    def begin(cls, sizes: Mapping[str, int], reference: Rates) -> Relay:
        """Nobody listed, nobody banned. sizes: training records by site."""
        return cls(
            reference=reference,
            due={site: np.zeros(n, dtype=np.int64) for site, n in sizes.items()},
            banned={site: np.zeros(n, dtype=bool) for site, n in sizes.items()},
        )

    def free(self, site: str) -> list[int]:
        """Records that take part: neither banned nor waiting."""
        return np.flatnonzero((self.due[site] == 0) & ~self.banned[site]).tolist()

    def waiting(self) -> list[tuple[str, int]]:
        """(site, record) whose last try is at the end of this cycle, sorted."""
        return [
            (site, row) for site in sorted(self.due) for row in np.flatnonzero(self.due[site] == self.cycle).tolist()
        ]

    def listed(self, site: str, row: int, *, revisit: int) -> Relay:
        """The record waits until the end of cycle c + revisit."""
        return replace(self, due=_with(self.due, site, row, self.cycle + revisit))

    def tried(self, site: str, row: int, *, kept: bool) -> Relay:
        """The last try: the record is free again from the next cycle on, or banned for good."""
        freed = replace(self, due=_with(self.due, site, row, 0))
        return freed if kept else replace(freed, banned=_with(self.banned, site, row, True))

    def out(self, site: str) -> bool:
        """Whether every record of a site is banned."""
        return bool(self.banned[site].all())

    def parameters(self) -> Parameters:
        """The same as arrays, to travel with the model and be part of its digest."""
        arrays: dict[str, object] = {
            "cycle": np.int64(self.cycle),
            "reference": np.array([self.reference.fpr, self.reference.fnr]),
        }
        for site in sorted(self.due):
            arrays[f"due/{site}"] = self.due[site]
            arrays[f"banned/{site}"] = self.banned[site].astype(np.uint8)
        return Parameters(arrays)

    @classmethod
    def of(cls, parameters: Parameters) -> Relay:
        """What `parameters` gave."""
        fpr, fnr = (float(rate) for rate in parameters["reference"])
        return cls(
            cycle=int(parameters["cycle"]),
            reference=Rates(fpr, fnr),
            due={site: array.astype(np.int64) for site, array in parameters.under("due").items()},
            banned={site: array.astype(bool) for site, array in parameters.under("banned").items()},
        )


def _with(table: Mapping[str, NDArray[_Cell]], site: str, row: int, value: object) -> dict[str, NDArray[_Cell]]:
    """The table with one cell changed."""
    changed: NDArray[Any] = table[site].copy()
    changed[row] = value
    return {**table, site: changed}
