"""Structure of a Bayesian network by parallel hill climbing on summed counts: a few exchanges instead of one an edge.

Every child asks for one block of counts: its own family (child and parents) against the levels of all variables. From
it follow the scores of all its additions and removals. All children's moves are sorted by gain and walked down: a move
is taken if its child has not moved in this exchange and no cycle arises with those taken so far. Only children that
moved ask again. Scores are rounded to 1e-6, ties go to the first child, so every partition of the patients gives the
same graph. Score: log likelihood minus kappa (r - 1) per non-empty row of parents, kappa = 1 (AIC) or ln(N)/2 (BIC).
Design: synthetic-data.md 5.1; parallel acceptance is ours, the score is Akaike 1974 and Schwarz 1978.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp

__all__ = ["Family", "Moved", "block_counts", "climb", "family_codes", "one_hot", "topological"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MAX_CELLS = 5000
LEAST_PER_CELL = 5
_GAIN = 1e-6
_DIGITS = 6
_MOST_TABLED = 1 << 20


@dataclass(frozen=True)
class Family:
    """A child and its parents, as indices; parents ascending."""

    child: int
    parents: tuple[int, ...] = ()

    @property
    def members(self) -> tuple[int, ...]:
        """Child first, then parents: the order of a block's rows, the child changing slowest."""
        return (self.child, *self.parents)

    def with_parent(self, other: int) -> Family:
        """One parent more."""
        return Family(self.child, tuple(sorted((*self.parents, other))))

    def without(self, other: int) -> Family:
        """One parent fewer."""
        return Family(self.child, tuple(parent for parent in self.parents if parent != other))

    def size(self, sizes: Sequence[int]) -> int:
        """Cells of its table."""
        return int(np.prod([sizes[member] for member in self.members], dtype=np.int64))


@dataclass(frozen=True)
class Moved:
    """What one exchange changed."""

    families: tuple[Family, ...]
    changed: tuple[int, ...]


def one_hot(codes: Integers, sizes: Sequence[int]) -> Floats:
    """All variables' levels side by side as 0 and 1, shape (n, sum of sizes). codes: (n, variables)."""
    n = len(codes)
    starts = np.concatenate([[0], np.add.accumulate(sizes)[:-1]]).astype(np.int64)
    wide = np.zeros((n, int(sum(sizes))))
    wide[np.arange(n)[:, None], codes + starts] = 1.0
    return wide


def family_codes(codes: Integers, members: Sequence[int], sizes: Sequence[int]) -> Integers:
    """One number per patient for the cell of a family it is in; the first member changes slowest."""
    found = np.zeros(len(codes), dtype=np.int64)
    for member in members:
        found = found * sizes[member] + codes[:, member]
    return found


def block_counts(codes: Integers, wide: Floats, family: Family, sizes: Sequence[int]) -> Integers:
    """Patients by cell of the family and level of every variable, (cells, sum of sizes).

    A product of zeros and ones in float64: every partial sum is a whole number below 2^53, so it is exact in any order.
    """
    cells = family.size(sizes)
    rows = np.zeros((len(codes), cells))
    rows[np.arange(len(codes)), family_codes(codes, family.members, sizes)] = 1.0
    return (rows.T @ wide).astype(np.int64)


def climb(
    families: Sequence[Family],
    blocks: Mapping[int, Integers],
    sizes: Sequence[int],
    *,
    n: int,
    kappa: float,
    max_parents: int,
) -> Moved:
    """The best moves that go together. blocks: by child, of its current family. Empty `changed`: it is over."""
    moves: list[tuple[float, int, int, Family]] = []
    for family in families:
        moves += _moves(family, blocks[family.child], sizes, n=n, kappa=kappa, max_parents=max_parents)
    moves.sort(key=lambda move: (-move[0], move[1], move[2]))
    held = list(families)
    changed: set[int] = set()
    for _, child, _, wanted in moves:
        if child in changed or _reaches(held, child, wanted):
            continue
        held[child] = wanted
        changed.add(child)
    return Moved(tuple(held), tuple(sorted(changed)))


def topological(families: Sequence[Family]) -> tuple[int, ...]:
    """Children after their parents, the lowest index first among those that are free."""
    order: list[int] = []
    placed: set[int] = set()
    while len(order) < len(families):
        free = next(f.child for f in families if f.child not in placed and placed.issuperset(f.parents))
        order.append(free)
        placed.add(free)
    return tuple(order)


def _moves(
    family: Family, block: Integers, sizes: Sequence[int], *, n: int, kappa: float, max_parents: int
) -> list[tuple[float, int, int, Family]]:
    child, r = family.child, sizes[family.child]
    starts = np.concatenate([[0], np.add.accumulate(sizes)[:-1]])
    base = block[:, : sizes[0]].sum(axis=1)
    shape = [sizes[member] for member in family.members]
    now = _score(base.reshape(r, -1), kappa)
    found: list[tuple[float, int, int, Family]] = []
    if len(family.parents) < max_parents:
        others = [x for x in range(len(sizes)) if x not in family.members]
        allowed = [x for x in others if len(base) * sizes[x] <= min(MAX_CELLS, n // LEAST_PER_CELL)]
        scores = _added_scores(block.reshape(r, -1, block.shape[1]), starts, sizes, kappa)
        for x in allowed:
            gain = round(float(scores[x]) - now, _DIGITS)
            if gain > _GAIN:
                found.append((gain, child, x, family.with_parent(x)))
    for place, parent in enumerate(family.parents, start=1):
        left = base.reshape(shape).sum(axis=place).reshape(r, -1)
        gain = round(_score(left, kappa) - now, _DIGITS)
        if gain > _GAIN:
            found.append((gain, child, parent, family.without(parent)))
    return found


def _added_scores(cells: Integers, starts: Integers, sizes: Sequence[int], kappa: float) -> Floats:
    """Score of the family with each variable as one parent more. cells: (r, parent rows, levels of all variables)."""
    rows = cells.sum(axis=0)
    likelihood = _n_log_n(cells).reshape(-1, cells.shape[2])
    per_level = fp.ordered_sum(likelihood) - fp.ordered_sum(_n_log_n(rows))
    per_level = per_level - kappa * (len(cells) - 1) * (rows > 0).sum(axis=0)
    return np.array([float(fp.ordered_sum(per_level[s : s + size])) for s, size in zip(starts, sizes, strict=True)])


def _score(table: Integers, kappa: float) -> float:
    """table: (levels of the child, rows of parents)."""
    rows = table.sum(axis=0)
    likelihood = float(fp.ordered_sum(_n_log_n(table).ravel()) - fp.ordered_sum(_n_log_n(rows)))
    return likelihood - kappa * (len(table) - 1) * int((rows > 0).sum())


def _n_log_n(counts: Integers) -> Floats:
    """Looked up: counts are whole numbers of patients, and the same ones come again and again."""
    most = int(counts.max(initial=0))
    return _tabled(max(most.bit_length(), 12))[np.maximum(counts, 0)] if most < _MOST_TABLED else _worked_out(counts)


@lru_cache(maxsize=4)
def _tabled(bits: int) -> Floats:
    return _worked_out(np.arange(1 << bits, dtype=np.int64))


def _worked_out(counts: Integers) -> Floats:
    held = counts.astype(np.float64)
    return np.where(counts > 0, held * fp.log(np.maximum(held, 1.0)), 0.0)


def _reaches(families: Sequence[Family], child: int, wanted: Family) -> bool:
    """Whether one of the wanted parents descends from the child, so that a cycle would arise."""
    waiting, seen = list(wanted.parents), set()
    while waiting:
        one = waiting.pop()
        if one == child:
            return True
        if one not in seen:
            seen.add(one)
            waiting += families[one].parents
    return False
