"""A lower bound on epsilon from one training: patients in or out by coin, guessed from the model alone.

If a run is (epsilon, delta)-private, nobody guesses the coins of k patients much better than a weighted coin with
probability q = e^eps / (1 + e^eps) would. `lower_bound` is the largest epsilon that v right guesses of k refute at
95 %. A bound above the epsilon a run claims proves the claim false. A bound of zero proves nothing: with k guesses at
most `ceiling(k)` could have been shown, and the report says so.

The coins need not be thrown for the audit: which patients were held out for testing is chance too. `even_coins` takes
so many of the larger side that being in or out is equally likely for each patient that is looked at, and nobody has to
be left out of training for it. A split of fixed size has less variance than coins, so the bound stays on the safe side.

Source: Steinke, Nasr, Jagielski 2023, Privacy Auditing with One (1) Training Run, theorem 5.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

__all__ = ["Guesses", "ceiling", "even_coins", "guess", "lower_bound", "p_value"]

_CONFIDENCE = 0.95
_HIGHEST = 50.0


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """n_coins patients whose membership a coin decided, n_guessed of them guessed, n_right rightly."""

    n_coins: int
    n_guessed: int
    n_right: int

    def __add__(self, other: Guesses) -> Guesses:
        return Guesses(
            n_coins=self.n_coins + other.n_coins,
            n_guessed=self.n_guessed + other.n_guessed,
            n_right=self.n_right + other.n_right,
        )

    def __post_init__(self) -> None:
        if not 0 <= self.n_right <= self.n_guessed <= self.n_coins:
            raise ValueError("guesses: right ones are among the guessed, and these among the coins")

    def bound(self, *, delta: float = 0.0) -> float:
        """The largest epsilon these guesses refute at 95 %."""
        return lower_bound(self.n_guessed, self.n_right, n_coins=self.n_coins, delta=delta)


def even_coins(
    inside: NDArray[np.float64], outside: NDArray[np.float64], *, shuffled: Callable[[int], NDArray[np.int64]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores of as many members as others, in an order that says nothing, and which of them are members.

    shuffled(n): 0 to n - 1 in random order.
    """
    n = min(len(inside), len(outside))
    scores = np.concatenate([inside[shuffled(len(inside))[:n]], outside[shuffled(len(outside))[:n]]])
    order = shuffled(2 * n)
    return scores[order], (np.arange(2 * n) < n)[order]


def guess(scores: NDArray[np.float64], member: NDArray[np.bool_], *, share: float = 0.5) -> Guesses:
    """Guess the highest scores in and the lowest out, half of `share` of all patients each; abstain on the rest.

    The number of guesses is fixed beforehand: choosing it by the result would need a correction. Equal scores are
    taken in the order given, which must not depend on membership.
    """
    n_each = int(len(scores) * share) // 2
    order = np.argsort(scores, kind="stable")
    right = int(member[order[len(order) - n_each :]].sum()) + int((~member[order[:n_each]]).sum())
    return Guesses(n_coins=len(scores), n_guessed=2 * n_each, n_right=right)


def p_value(n_guessed: int, n_right: int, *, epsilon: float, delta: float = 0.0, n_coins: int | None = None) -> float:
    """Probability, at most, of so many right guesses if the run were (epsilon, delta)-private."""
    if n_guessed == 0:
        return 1.0
    q = 1 / (1 + math.exp(-epsilon))
    at_least = float(_at_least(np.array([n_right]), n_guessed, q)[0])
    if delta == 0:
        return at_least
    counts = np.arange(1, n_right + 1)
    between = _at_least(n_right - counts, n_guessed, q) - at_least
    worst = float(np.max(between / counts, initial=0.0))
    return min(1.0, at_least + 2 * (n_guessed if n_coins is None else n_coins) * delta * worst)


def _at_least(right: NDArray[np.int64], n_guessed: int, q: float) -> NDArray[np.float64]:
    """P[Bin(n_guessed, q) >= right], for each; the plain function, a bound asks for it a hundred times."""
    return np.asarray(np.where(right > 0, special.bdtrc(np.maximum(right - 1, 0), n_guessed, q), 1.0))


def lower_bound(n_guessed: int, n_right: int, *, delta: float = 0.0, n_coins: int | None = None) -> float:
    """The largest epsilon refuted at 95 %; 0 where none is."""
    level = 1 - _CONFIDENCE

    def refuted(epsilon: float) -> bool:
        return p_value(n_guessed, n_right, epsilon=epsilon, delta=delta, n_coins=n_coins) <= level

    if not refuted(0.0):
        return 0.0
    low, high = 0.0, _HIGHEST
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def ceiling(n_guessed: int, *, delta: float = 0.0, n_coins: int | None = None) -> float:
    """What could have been shown at most: every guess right."""
    return lower_bound(n_guessed, n_guessed, delta=delta, n_coins=n_coins)
