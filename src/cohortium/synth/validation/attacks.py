"""Three attacks on a published table, each against training patients and, as control, against held-out ones.

    singling out   a predicate that exactly one synthetic row meets is met by exactly one patient
    linkability    two halves of a patient's record lead to the same synthetic row
    inference      the nearest synthetic row by known columns tells the secret one

risk = (p_training - p_control) / (1 - p_control): what the attacker learns beyond what holds for everybody. Rates and
interval by Wilson's formula, z = 1.96. An attack that does not beat guessing has failed, it has not proven safety.
Source: Giomi et al. 2023 (a unified framework for privacy risk); implementation and choices ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.synth.facts import Fact
from cohortium.synth.rows import Rows
from cohortium.synth.validation.distances import Space, nearest

__all__ = ["Risk", "Z", "inference", "linkability", "risk_of", "singling_out", "wilson"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

Z = 1.96
N_TRIES = 500
_DRAWS = 20  # predicates drawn for each that is tried, at most
_NEAR = 0.01  # of the synthetic range: how closely a predicate of several columns names a number
_TOLERANCE = 0.05  # of the real range: a number is told when it is hit this closely


@dataclass(frozen=True, kw_only=True)
class Risk:
    """An attack's risk with 95 % interval; rate, control: hits among training and held-out patients; guess: by chance.

    powerless: whether the attack does not even beat guessing, so that a low risk proves nothing.
    """

    value: float
    low: float
    high: float
    rate: float
    control: float
    guess: float
    n: int

    @property
    def powerless(self) -> bool:
        """Whether the attack did no better than chance on training patients."""
        return self.rate <= self.guess


def wilson(hits: float, n: int) -> tuple[float, float]:
    """(centre, half width) of Wilson's interval for a rate."""
    if n == 0:
        return float("nan"), float("nan")
    centre = (hits + Z * Z / 2) / (n + Z * Z)
    half = Z / (n + Z * Z) * float(np.sqrt(hits * (n - hits) / n + Z * Z / 4))
    return centre, half


def risk_of(hits: int, control_hits: int, n: int, *, guess: float = 0.0) -> Risk:
    """The risk from hits among n training and n control tries; none where nothing could be tried."""
    if n == 0:
        return Risk(value=0.0, low=0.0, high=0.0, rate=0.0, control=0.0, guess=guess, n=0)
    (p, h), (p0, h0) = wilson(hits, n), wilson(control_hits, n)
    left = max(1 - p0, 1e-9)
    value = (p - p0) / left
    half = float(np.sqrt((h / left) ** 2 + (h0 * (1 - p) / left**2) ** 2))
    return Risk(
        value=value, low=value - half, high=value + half, rate=hits / n, control=control_hits / n, guess=guess, n=n
    )


Test = tuple[str, float, float]


# --- singling out --------------------------------------------------------------------------------------------------


def singling_out(training: Rows, control: Rows, synthetic: Rows, rng: np.random.Generator) -> Risk:
    """Predicates that exactly one synthetic row meets: does exactly one patient?

    Guessing is the same with predicates read from a held-out patient, however many others meet them.
    """
    tried = _predicates(synthetic, rng, single=True)
    n = min(len(training), len(control))  # being alone with a record is easier among fewer
    training, control = (rows.take(rng.permutation(len(rows))[:n]) for rows in (training, control))
    hits, control_hits = (sum(_matches(rows, tests) == 1 for tests in tried) for rows in (training, control))
    guessed = _predicates(control, rng, single=False)
    chance = sum(_matches(training, tests) == 1 for tests in guessed) / len(guessed)
    return risk_of(hits, control_hits, len(tried), guess=chance)


def _predicates(rows: Rows, rng: np.random.Generator, *, single: bool) -> list[list[Test]]:
    """Up to `N_TRIES` predicates read from the rows, each counted once: of 1 column (an extreme value or one level) and
    of 3 to 6 columns of one row by turns. single: only those that exactly one of the rows meets."""
    facts = rows.facts.columns
    low, high = _extremes(rows)
    found: dict[str, list[Test]] = {}
    for turn in range(_DRAWS * N_TRIES):
        alone = turn % 2 == 0
        row = int(rng.integers(len(rows)))
        chosen = rng.permutation(len(facts))[: 1 if alone else int(rng.integers(3, 7))]
        tests = [_predicate(facts[int(i)], rows, row, low, high, alone=alone) for i in chosen]
        if (key := repr(sorted(tests))) not in found and (not single or _matches(rows, tests) == 1):
            found[key] = tests
            if len(found) == N_TRIES:
                break
    return list(found.values())


def _extremes(rows: Rows) -> tuple[dict[str, float], dict[str, float]]:
    known = {f.name: rows[f.name][~np.isnan(rows[f.name])] for f in rows.facts.columns if f.is_number}
    ends = {name: np.quantile(there, [0.01, 0.99]) if len(there) else np.zeros(2) for name, there in known.items()}
    return {name: float(one[0]) for name, one in ends.items()}, {name: float(one[1]) for name, one in ends.items()}


def _predicate(fact: Fact, rows: Rows, row: int, low: dict[str, float], high: dict[str, float], *, alone: bool) -> Test:
    """What a row says of a column: (name, lowest, highest). Alone, numbers are extremes; with others, about so much."""
    value = float(rows[fact.name][row])
    if np.isnan(value) or not fact.is_number:
        return fact.name, value, value
    if alone:
        below = value < float(np.nanmedian(rows[fact.name]))
        return (fact.name, -np.inf, low[fact.name]) if below else (fact.name, high[fact.name], np.inf)
    near = _NEAR * (high[fact.name] - low[fact.name])
    return fact.name, value - near, value + near


def _matches(rows: Rows, tests: list[Test]) -> int:
    kept = np.ones(len(rows), dtype=bool)
    for name, lowest, highest in tests:
        held = rows[name]
        kept &= np.isnan(held) if np.isnan(lowest) else (held >= lowest) & (held <= highest)
    return int(kept.sum())


# --- linkability ---------------------------------------------------------------------------------------------------


def linkability(
    training: Rows, control: Rows, synthetic: Rows, rng: np.random.Generator, *, neighbours: int = 5
) -> Risk:
    """Columns are split in two by chance; linked when both halves have a nearest synthetic row in common."""
    space = Space.of(training)
    names = [fact.name for fact in space.facts]
    order = [names[int(i)] for i in rng.permutation(len(names))]
    halves = [tuple(order[: len(order) // 2]), tuple(order[len(order) // 2 :])]
    n = min(N_TRIES, len(training), len(control))
    linked = []
    for rows in (training, control):
        drawn = rows.take(rng.permutation(len(rows))[:n])
        near = [
            nearest(space.only(half).place(drawn), space.only(half).place(synthetic), neighbours)[1] for half in halves
        ]
        linked.append(int((near[0][:, :, None] == near[1][:, None, :]).any(axis=(1, 2)).sum()))
    guess = 1.0 - (1.0 - neighbours / max(len(synthetic), 1)) ** neighbours
    return risk_of(linked[0], linked[1], n, guess=guess)


# --- inference -----------------------------------------------------------------------------------------------------


def inference(
    training: Rows, control: Rows, synthetic: Rows, secret: str, rng: np.random.Generator, *, carriers: bool = False
) -> Risk | None:
    """The nearest synthetic row by all other columns tells `secret`. carriers: among patients who have the flag only.

    A number counts as told within 5 % of the real range. None with fewer than 10 targets on either side.
    """
    fact = synthetic.facts[secret]
    targets = []
    for rows in (training, control):
        known = ~np.isnan(rows[secret]) & ((rows[secret] == 1) if carriers else True)
        targets.append(rows.take(known))
    n = min(N_TRIES, len(targets[0]), len(targets[1]))
    if n < 10:
        return None
    outcome = (synthetic.facts.time, synthetic.facts.event)
    space = Space.of(training, without=outcome if secret in outcome else (secret,))
    there = synthetic.take(~np.isnan(synthetic[secret]))
    if not len(there):
        return None
    spread = float(np.nanmax(training[secret]) - np.nanmin(training[secret])) if fact.is_number else 0.0
    hits, guess = [], 0.0
    for rows in targets:
        drawn = rows.take(rng.permutation(len(rows))[:n])
        place = nearest(space.place(drawn), space.place(there), 1)[1][:, 0]
        told, true = there[secret][place], drawn[secret]
        hits.append(int(_told(told, true, spread).sum()))
        if rows is targets[0]:
            guess = float(_told(there[secret][rng.integers(len(there), size=n)], true, spread).mean())
    return risk_of(hits[0], hits[1], n, guess=guess)


def _told(guess: Floats, true: Floats, spread: float) -> Bools:
    return np.abs(guess - true) <= _TOLERANCE * spread if spread else guess == true
