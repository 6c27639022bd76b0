"""Whether what sites show of themselves fits what others can see: two checks that ask for a look and accuse nobody.

**Halves.** Before a site shows its row, it adds it to the sums of the halves it belongs to. A row that was changed in
between does not add up in exactly these halves; with eight of them up to sixteen kinds of site can be told apart.

**Influence.** A record is scored by probes that contain a site and by others that do not. Where those with site s are
worse for other sites' records, though s reports sound data and so kept its weight, its evidence is not what its data
do. T_v(s) is the difference of losses at site v, its records' trust as weights, over the square root of their number;
t(s) is Student's t of the T_v(s) over all other sites, the effect their difference in nats a record. A tripwire: halves
are few, so neighbours of a liar share its halves; in a large consortium one site moves no probe; and a population that
is merely different moves them too.

Both need liars who are careless, or train on what they claim is sound. A site that feeds the audit good records fits.
Design: harmful-data.md 5.9 (b).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.quality.calibrate import LOGIT_CLIP
from cohortium.quality.decide import Table

__all__ = [
    "ESCALATED",
    "INFLUENCE_COLUMNS",
    "LEAST_EFFECT",
    "Influence",
    "by_halves",
    "influence",
    "influence_sums",
    "with_doubts",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Membership = NDArray[np.bool_]

ESCALATED, LEAST_EFFECT = 3.0, 0.04
"""Standard errors, and nats a record; both must be passed. By .02 it was one honest site in eleven."""

INFLUENCE_COLUMNS = 5
_BITS = 20
_LEAST_SITES = 5
_MOST_LIARS = 3
_NAMED = 3

_HALVES = (
    "what the halves had added up does not fit the rows that sites show; a row of this site that was changed since, or"
    " was not in the sums, would explain it"
)
_INFLUENCE = "models that learned from this site are worse for the others' patients than its evidence says"
_FIRST = "look first at {}: models that learned there are worse for others, and may be what speaks against this site"


def by_halves(told: Integers, rows: Integers, member: Membership) -> tuple[int, ...]:
    """Places of the sites whose rows, if changed, explain where the sums of halves differ from those of the rows shown.

    told: (halves, k) as it was added up before; rows: (sites, k) as shown; member: (sites, halves). As few as possible
    are taken, three at most; sites that share all halves cannot be told apart, unless the whole row of one was not
    in the sums: it had come too late. Nobody where all sums agree, all where so few do not explain it.
    """
    gap = member.T.astype(np.int64) @ rows - told
    if not gap.any():
        return ()
    kinds, of_site = np.unique(member, axis=0, return_inverse=True)
    columns = gap[:, gap.any(axis=0)]
    for size in range(1, _MOST_LIARS + 1):
        suspects = {kind for first in range(len(kinds)) for kind in _explaining(kinds, first, size, columns)}
        if suspects:
            alike = np.flatnonzero(np.isin(of_site.ravel(), list(suspects)))
            late = [at for at in alike if (gap == member[at][:, None] * rows[at]).all()]
            return tuple(int(at) for at in late or alike)
    return tuple(range(len(member)))


def _explaining(kinds: Membership, first: int, size: int, columns: Integers) -> set[int]:
    """The kinds, `first` and `size` - 1 later ones, whose rows can together have made all columns of the gap.

    Decided by elimination in whole numbers, since all nodes must come to the same; the columns one after the other,
    for the choices that have explained those before.
    """
    some = [(first, *others) for others in combinations(range(first + 1, len(kinds)), size - 1)]
    chosen = np.array(some, dtype=np.int64).reshape(len(some), size)
    for column in columns.T:
        held = np.concatenate(
            [kinds[chosen].swapaxes(1, 2).astype(np.int64), np.tile(column[:, None], (len(chosen), 1, 1))], axis=2
        )
        chosen = chosen[_consistent(held)]
    return set(chosen.ravel().tolist())


def _consistent(held: Integers) -> NDArray[np.bool_]:
    """Of each system, (n, equations, unknowns + 1) with the right side last, whether it has a solution, (n,)."""
    which = np.arange(len(held))
    for unknown in range(held.shape[2] - 1):
        at = np.abs(held[:, :, unknown]).argmax(axis=1)
        pivot = held[which, at]
        lead = np.where(pivot[:, unknown] == 0, 1, pivot[:, unknown])
        held = held * lead[:, None, None] - held[:, :, unknown, None] * pivot[:, None, :]
    return np.asarray(~held[:, :, -1].any(axis=1), dtype=np.bool_)


@dataclass(frozen=True, kw_only=True, eq=False)
class Influence:
    """Of every site, (sites,): t of what the probes that contain it lose at the others, and how much, nats a record."""

    t: Floats
    effect: Floats

    def places(self) -> tuple[int, ...]:
        """The sites whose t and effect are both large."""
        return tuple(int(at) for at in np.flatnonzero((self.t > ESCALATED) & (self.effect > LEAST_EFFECT)))


def influence_sums(
    logits: Floats, y: Floats, q: Floats, *, site: int, member: Membership, usable: Membership
) -> Integers:
    """One site's part, (sites, 5) at 2^-20: whether it knows of s, T_v(s), its square, loss and trust behind it.

    logits: (n, halves) of its own records; y: 0/1; q: trust; site: its place.
    """
    found = np.zeros((len(member), INFLUENCE_COLUMNS))
    unseen = usable & ~member[site]
    if len(y) and int(unseen.sum()) >= 2:
        held = np.clip(logits[:, unseen], -LOGIT_CLIP, LOGIT_CLIP)
        per_half = (q[:, None] * (fp.log1p_exp(held) - y[:, None] * held)).sum(axis=0)
        inside = member[:, unseen].astype(np.float64)
        n_in = inside.sum(axis=1)
        n_out = inside.shape[1] - n_in
        known = (n_in > 0) & (n_out > 0)
        known[site] = False
        lost = (inside @ per_half)[known] / n_in[known] - ((1.0 - inside) @ per_half)[known] / n_out[known]
        moved = lost / math.sqrt(len(y))
        found[known] = np.column_stack([np.ones(len(lost)), moved, moved**2, lost, np.full(len(lost), q.sum())])
    return fp.to_fixed(found, _BITS, what="influence")


def influence(sums: Integers) -> Influence:
    """From the merged sums; 0 where fewer than `_LEAST_SITES` know anything."""
    n, total, square, lost, trust = (fp.from_fixed(np.asarray(part, dtype=np.int64), _BITS) for part in sums.T)
    known = np.maximum(n, 2.0)
    variance = np.maximum(square - total * total / known, 1e-9) / (known - 1.0)
    t = total / np.sqrt(known * variance)
    enough = n >= _LEAST_SITES
    return Influence(t=np.where(enough, t, 0.0), effect=np.where(enough, lost / np.maximum(trust, 1.0), 0.0))


def with_doubts(table: Table, sites: Sequence[str], *, halves: Sequence[int], influence: Sequence[int]) -> Table:
    """The same verdicts; the sites at these places are asked to be looked at, and the reason says why.

    Where models may have been spoilt, the reason of every other site that they convict says whose data come first.
    """
    why: Mapping[str, list[str]] = {site: [] for site in sites}
    for places, sentence in ((halves, _HALVES), (influence, _INFLUENCE)):
        for at in places:
            why[sites[at]].append(sentence)
    spoilers = [sites[at] for at in influence]
    for one in table.verdicts:
        if spoilers and one.left_out and one.site not in spoilers:
            why[one.site].append(_FIRST.format(", ".join(f"'{name}'" for name in spoilers[:_NAMED])))
    verdicts = tuple(
        replace(one, look=True, reason="; ".join([one.reason, *why[one.site]])) if why[one.site] else one
        for one in table.verdicts
    )
    return replace(table, verdicts=verdicts)
