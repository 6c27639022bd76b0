"""New patients from a finished generator: as many as asked for, under conditions, and none that breaks a rule.

Rows that break a logic rule (`wbc >= anc`) are drawn again, up to `REDRAWS` times; what is left is counted, not hidden.
Conditions are fulfilled by drawing until enough rows do: exact for the model, costly for the rare. One that nobody
of many meets is given up early. From a pool of shared rows each is taken once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.errors import UsageError
from cohortium.synth.conditions import Condition
from cohortium.synth.facts import Facts
from cohortium.synth.rows import Rows

__all__ = ["Drawn", "Generator", "broken_by", "draw", "most_rows"]

REDRAWS = 20
_MOST_DRAWS = 2_000_000  # or a hundred for each patient asked for
_NOBODY_DRAWS = 200_000
_BATCH = 5_000


class Generator(Protocol):
    """What sampling asks of a generator beside being a learner."""

    @property
    def facts(self) -> Facts: ...

    def finished(self, parameters: Parameters) -> bool: ...

    def sample(self, state: Parameters, n: int, *, rng: np.random.Generator) -> Rows: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """The rows; n_tried: rows drawn for them; broken: rows that still break a rule, by rule."""

    rows: Rows
    n_tried: int
    broken: dict[str, int]


def draw(
    generator: Generator,
    state: Parameters,
    n: int,
    *,
    rng: np.random.Generator,
    where: Condition | None = None,
    rules: Sequence[Condition] = (),
) -> Drawn:
    """n patients. Raises UsageError when the condition is too rare to be met."""
    if n < 1:
        raise UsageError(f"at least one patient must be asked for, got {n}")
    if hasattr(generator, "whole"):
        return _picked(generator.whole(state), n, rng=rng, where=where, rules=rules)
    kept: list[Rows] = []
    n_kept = tried = 0
    batch = n
    while n_kept < n:
        if tried >= (max(_MOST_DRAWS, 100 * n) if n_kept else _NOBODY_DRAWS):
            raise UsageError(
                f"condition '{where.text if where else ''}' is too rare: {n_kept} of {n} patients in {tried:,} draws"
            )
        rows = _lawful(generator, state, batch, rng=rng, rules=rules)
        tried += batch
        fitting = rows if where is None else rows.take(where.holds(rows))
        kept.append(fitting)
        n_kept += len(fitting)
        batch = max(_BATCH, n)
    return _counted(_joined(kept, n), tried, rules)


def most_rows(generator: Any, state: Parameters) -> float:
    """How many patients it can draw: those of a pool, or any number."""
    return len(generator.whole(state)) if hasattr(generator, "whole") else float("inf")


def _picked(
    pool: Rows, n: int, *, rng: np.random.Generator, where: Condition | None, rules: Sequence[Condition]
) -> Drawn:
    """n rows of those there are, each once; rows that break a rule only where there are too few others."""
    fitting = pool if where is None else pool.take(where.holds(pool))
    if n > len(fitting):
        which = f" and {len(fitting):,} of them fulfil '{where.text}'" if where is not None else ""
        raise UsageError(
            f"the sites shared {len(pool):,} rows{which}, {n:,} were asked for; a pool gives each row once"
        )
    order = rng.permutation(len(fitting))
    wrong = np.zeros(len(fitting), dtype=bool)
    for rule in rules:
        wrong |= broken_by(rule, fitting)
    first = order[np.argsort(wrong[order], kind="stable")][:n]
    return _counted(fitting.take(rng.permutation(first)), len(pool), rules)


def _counted(rows: Rows, tried: int, rules: Sequence[Condition]) -> Drawn:
    broken = {rule.text: int(broken_by(rule, rows).sum()) for rule in rules}
    return Drawn(rows=rows, n_tried=tried, broken={text: k for text, k in broken.items() if k})


def _lawful(
    generator: Generator, state: Parameters, n: int, *, rng: np.random.Generator, rules: Sequence[Condition]
) -> Rows:
    rows = generator.sample(state, n, rng=rng)
    for _ in range(REDRAWS if rules else 0):
        wrong = np.zeros(len(rows), dtype=bool)
        for rule in rules:
            wrong |= broken_by(rule, rows)
        if not wrong.any():
            break
        fresh = generator.sample(state, n, rng=rng).take(np.flatnonzero(wrong) % n)
        columns = {name: rows[name].copy() for name in rows}
        for name in rows:
            columns[name][wrong] = fresh[name]
        rows = Rows(rows.facts, columns)
    return rows


def broken_by(rule: Condition, rows: Rows) -> Any:
    """Rows that break a rule, (n,) of bool; where a column of it is missing, none does."""
    there = np.logical_and.reduce([~np.isnan(rows[name]) for name in rule.columns])
    return there & ~rule.holds(rows)


def _joined(parts: Sequence[Rows], n: int) -> Rows:
    facts = parts[0].facts
    return Rows(facts, {name: np.concatenate([part[name] for part in parts])[:n].copy() for name in facts.names})
