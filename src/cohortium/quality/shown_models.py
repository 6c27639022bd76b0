"""The exchanges of `agreement`: which question a round asks, what a site answers, what the answers decide.

    scale -> probes (each site shows the probe it has trained alone) -> rankings (how every other probe ranks its own
    patients) -> done

A site's answer to the last two is its own row of a table, which is shown (`core.marks`): first a word, 0 where nothing
was shown, 1 with too few records of a class, 2 otherwise; then its probe at 2^-20, or AUROCs in millionths by the place
of the probe's site, 0 for its own and for sites without one. The start of a site's search follows from the ledger's
seed. `advance` is pure and bit-exact; sites keep nothing between rounds. Design: harmful-data.md 5.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.marks import SHOWN, drawn_by, lot_of, showing
from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError
from cohortium.quality.binding import own_rows
from cohortium.quality.evidence import two_class
from cohortium.quality.halves import stream_of
from cohortium.quality.pool import Pool, Scale, flat, scale_of, scale_sums
from cohortium.quality.protection import ranking
from cohortium.quality.slots import EXACT, begin, logits, newton, slot_sums
from cohortium.quality.stakes import SUBGROUPS, counted

__all__ = ["EXCHANGES", "MICRO", "ShownModels"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MICRO = 1_000_000
_SCALE, _PROBES, _RANKINGS, _DONE = range(4)
EXCHANGES = _DONE
_NAMES = {_PROBES: "probes", _RANKINGS: "rankings"}
_FEW, _SCORED = 1, 2
_POINT_BITS = 20
_LARGEST = 256.0  # of a coefficient: no honest probe comes near it, and predictors stay exact


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownModels:
    """Both halves of the audit. sites: all, sorted."""

    sites: tuple[str, ...]

    def initial(self, lot: int | bytes = 0) -> Parameters:
        """Before the first exchange. lot: what starts follow from, 32 bytes of the ledger, or a number."""
        return drawn_by(_clock(_SCALE), lot)

    def finished(self, state: Parameters) -> bool:
        """Whether every site's model was tried at every other."""
        return _stage(state) == _DONE

    def answer(self, state: Parameters, pool: Pool) -> Parameters:
        """What the sites of the pool answer: sums, then their own rows."""
        stage = _stage(state)
        if stage == _SCALE:
            return Parameters({**scale_sums(pool.x), **counted(pool.examples.values())})
        table = np.zeros((len(self.sites), self._width(state)), dtype=np.int64)
        for site, examples in pool.examples.items():
            if stage == _RANKINGS and not np.asarray(state["probes"])[site, 0]:
                continue  # it came too late to show its probe
            x, y = Scale.read(state).fixed(flat(examples)), np.asarray(examples.y, dtype=np.float64)
            table[site, 0] = _SCORED if two_class(y) else _FEW
            if table[site, 0] == _SCORED:
                found = self._alone(state, site, x, y) if stage == _PROBES else self._tried(state, site, x, y)
                table[site, 1:] = found
        return Parameters({_NAMES[stage]: table})

    def advance(self, state: Parameters, total: Parameters) -> Parameters:
        """The next state from the merged sums, or from the rows shown."""
        stage = _stage(state)
        if stage == _SCALE:
            scale = scale_of(total)
            stakes = Parameters({name: total[name] for name in (SUBGROUPS,) if name in total})
            return showing(state | scale.write() | stakes | _clock(_PROBES))
        state |= Parameters({_NAMES[stage]: total[_NAMES[stage]]}) | _clock(stage + 1)
        return state if stage == _PROBES else state.without([SHOWN])

    def gather(self, state: Parameters, answers: Mapping[str, Parameters]) -> Parameters:
        """The table of an exchange whose answers are shown, each site's own row.

        Raises PeerError naming a site that shows anything else, or numbers that no site can have found.
        """
        name, width = _NAMES[_stage(state)], self._width(state)
        table = np.zeros((len(self.sites), width), dtype=np.int64)
        for at, row in own_rows(answers, name, sites=self.sites, width=width).items():
            if wrong := self._wrong(state, at, row):
                raise PeerError(f"site '{self.sites[at]}' shows {name} that no site can have found: {wrong}",
                                site=self.sites[at])  # fmt: skip
            table[at] = row
        return Parameters({name: table})

    def aurocs(self, state: Parameters) -> Floats:
        """A (n, n) of a finished audit, i's model at j; NaN in rows and columns of sites that were not scored."""
        rankings = np.asarray(state["rankings"], dtype=np.int64)
        scored = rankings[:, 0] == _SCORED
        return np.where(scored[:, None] & scored[None, :], rankings[:, 1:].T / MICRO, np.nan)

    def silent(self, state: Parameters) -> frozenset[str]:
        """The sites of a finished audit that have not answered to the end."""
        rankings = np.asarray(state["rankings"], dtype=np.int64)
        return frozenset(site for site, word in zip(self.sites, rankings[:, 0], strict=True) if not word)

    def _width(self, state: Parameters) -> int:
        return 1 + (1 + np.asarray(state["scale"]).shape[1] if _stage(state) == _PROBES else len(self.sites))

    def _wrong(self, state: Parameters, at: int, row: Integers) -> str:
        """Why a row cannot be; empty where it can."""
        probed = _stage(state) == _PROBES
        told = np.zeros(len(self.sites)) if probed else np.asarray(state["probes"], dtype=np.int64)[:, 0]
        if not probed and not row.any():
            return "nothing, after its probe" if told[at] else ""
        if row[0] not in (_FEW, _SCORED):
            return f"the word {row[0]}"
        if row[0] == _FEW:
            wrong = row[1:].any() or told[at] == _SCORED
            return "a probe or rankings in spite of too few records" if wrong else ""
        if probed:
            largest = int(_LARGEST) << _POINT_BITS
            return "a coefficient above 256" if ((row[1:] > largest) | (row[1:] < -largest)).any() else ""
        if told[at] != _SCORED:
            return "rankings without a probe"
        if row[1 + at] or row[1:][told != _SCORED].any():
            return "rankings of a probe that was not shown"
        return "an AUROC outside 0 to 1" if ((row[1:] < 0) | (row[1:] > MICRO)).any() else ""

    def _alone(self, state: Parameters, site: int, x: Integers, y: Floats) -> Integers:
        """One site's own probe, (1 + d,) at 2^-20."""
        everyone = np.ones((len(y), 1), dtype=bool)
        slots = begin(1, x.shape[1], rng=stream_of(lot_of(state), "alone", site))
        while not slots.done.all():
            slots = newton(slots, Parameters(slot_sums(x, y, np.ones(len(y)), everyone, slots)), settled=EXACT)
        return fp.to_fixed(np.clip(slots.point[0], -_LARGEST, _LARGEST), _POINT_BITS, what="probe")

    def _tried(self, state: Parameters, site: int, x: Integers, y: Floats) -> Integers:
        """The AUROC of every other site's probe among this site's patients, (n,) in millionths."""
        probes = np.asarray(state["probes"], dtype=np.int64)
        found = np.zeros(len(self.sites), dtype=np.int64)
        for other in np.flatnonzero(probes[:, 0] == _SCORED):
            if other != site:
                score = logits(x, fp.from_fixed(probes[other : other + 1, 1:], _POINT_BITS))[:, 0]
                found[other] = round(ranking(score, y).auroc * MICRO)
        return found


def _stage(state: Parameters) -> int:
    return int(state["clock"][0])


def _clock(stage: int) -> Parameters:
    return Parameters({"clock": np.array([stage], dtype=np.int64)})
