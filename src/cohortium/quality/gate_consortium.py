"""The local gate against the consortium: one exchange of sums, with which each site compares its own columns.

    stage      before everything else, by exact sums, under masks where the study has them
    leaves     per column a 1 in the bin of the site's median, and whether it goes with the outcome (`gate_polarity`)
    comes      per column the bin of the sites' middle median, of how many sites, and how many said with and against
    compared   own medians (`gate_units`) and own signs with these; the sentences stay at the site

Sites count alike, so that the largest one does not set the unit of all: where answers lie open, one that tells more
than a site can tell is refused. In a sum under masks nobody sees who told it; columns of which more has been told than
there are sites are not compared. A bin is an eighth of an octave wide (9 %); medians at or below zero tell no unit, and
those of fewer than ten values are compared but not told. What fewer than three sites have told is not kept: the state
travels with the model. Design: harmful-data.md 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.check import Check
from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.data.statistics import MAX_COLUMNS
from cohortium.errors import InvariantBroken, PeerError
from cohortium.quality.gate_polarity import check_polarity, signs
from cohortium.quality.gate_units import check_units, medians
from cohortium.swarm.program import Program

__all__ = ["STAGE", "ConsortiumGate", "compared"]

STAGE = "gate"

_PER_OCTAVE, _LOWEST, _OCTAVES = 8, -20, 50  # from a millionth to a milliard
_BINS = _PER_OCTAVE * _OCTAVES
_LEAST_TOLD = 10
_LEAST_SITES, _MOST_SITES = 3, 128

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ConsortiumGate:
    """A preparation that changes nothing. Of images and of tables above 1,000 columns it asks nothing."""

    learns_by: ClassVar[Literal["sums"]] = "sums"
    max_rounds: ClassVar[int] = 1

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """`step`, and for each of p columns `bin`, `sites`, `plus`, `minus`."""
        zeros = np.zeros(_width(layout), dtype=np.int64)
        return Parameters(
            {"step": np.zeros(1, dtype=np.int64), **dict.fromkeys(("bin", "sites", "plus", "minus"), zeros)}
        )

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """What this site adds to the sums: `medians` (bins, p) with one 1 a column at most, `plus` and `minus` (p,)."""
        p = _width(examples.layout)
        told, own = np.zeros((_BINS, p), dtype=np.int64), np.zeros(p, dtype=np.int64)
        if p and len(examples):
            own = signs(examples)
            known = np.count_nonzero(~np.isnan(examples.x), axis=0)
            for name, median in medians(examples).items():
                at = examples.layout.features.index(name)
                if median > 0 and known[at] >= _LEAST_TOLD:
                    told[_bin(median), at] = 1
        sums = {"medians": told, "plus": (own == 1).astype(np.int64), "minus": (own == -1).astype(np.int64)}
        return Fitted(parameters=Parameters(sums), n_samples=len(examples))

    def refuse(self, answer: Parameters, *, site: str) -> None:
        """Raise PeerError for more than one median of a column, or more than one sign."""
        told, plus, minus = (np.asarray(answer[name], dtype=np.int64) for name in ("medians", "plus", "minus"))
        if any(((one < 0) | (one > 1)).any() for one in (told, plus, minus, told.sum(axis=0), plus + minus)):
            raise PeerError(f"update of site '{site}': a site tells one median and one sign of a column", site=site)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The bin of the middle median of each column (of two middle ones the lower)."""
        medians = _possible(total["medians"])
        up_to = np.cumsum(medians, axis=0)
        sites = up_to[-1]
        middle = (2 * up_to < np.maximum(sites, 1)).sum(axis=0)
        found = {"bin": np.where(sites >= _LEAST_SITES, middle, 0), "sites": sites}
        both = _possible(np.stack([total["plus"], total["minus"]]))
        said = {"plus": both[0], "minus": both[1]}
        counts = {name: np.asarray(count, dtype=np.int64) for name, count in {**found, **said}.items()}
        return Parameters({"step": np.ones(1, dtype=np.int64), **counts})

    def finished(self, parameters: Parameters) -> bool:
        """After one exchange."""
        return int(parameters["step"][0]) >= 1

    def own(self, parameters: Parameters, training: Examples) -> Parameters:
        """Nothing."""
        return Parameters()

    def apply(self, parameters: Parameters, examples: Examples, *, own: Parameters) -> Examples:
        """The examples as they are."""
        return examples

    def layout(self, parameters: Parameters, layout: Layout) -> Layout:
        """The layout as it is."""
        return layout

    def predict(self, parameters: Parameters, examples: Examples) -> NDArray[np.float64]:
        """Never: a preparation has no outcome."""
        raise InvariantBroken("the gate predicts nothing")

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}


def compared(
    program: Program, state: Parameters, training: Examples, *, units: Mapping[str, str] | None = None
) -> list[Check]:
    """What a site finds when it compares its raw training rows with the sums in a state; nothing before they are there.

    units: the study's unit of a column, where there is one.
    """
    told = state.under(f"{STAGE}/model")
    if program.stages[0].name != STAGE or "step" not in told or not told["step"][0]:
        return []
    if not len(told["bin"]):
        what = f"images and tables of more than {MAX_COLUMNS} columns are not compared with other sites'"
        return [Check(id="units", level="skipped", found=what)]
    n_sites = len(program.sites)
    enough = (told["sites"].astype(np.int64) >= _LEAST_SITES) & (told["sites"].astype(np.int64) <= n_sites)
    middle = np.exp2(_LOWEST + (told["bin"].astype(np.int64) + 0.5) / _PER_OCTAVE)
    merged = {name: float(middle[at]) for at, name in enumerate(training.layout.features) if enough[at]}
    if not merged:
        few = f"no column's median was told by {_LEAST_SITES} sites, and by no more than there are"
        found = [Check(id="units", level="skipped", found=few)]
    else:
        found = check_units(medians(training), merged, units=units)
    plus, minus = (told[name].astype(np.int64) for name in ("plus", "minus"))
    plus, minus = (np.where(plus + minus <= n_sites, count, 0) for count in (plus, minus))
    return [*found, check_polarity(signs(training), plus=plus, minus=minus)]


def _width(layout: Layout) -> int:
    """Columns that are asked about."""
    n = len(layout.features)
    return n if layout.image is None and n <= MAX_COLUMNS else 0


def _possible(counts: NDArray[np.generic]) -> Integers:
    """Counts by column (last axis) as sites may have told them, zeros in columns of others."""
    whole = counts.astype(np.int64)
    fine = ((whole >= 0) & (whole <= _MOST_SITES)).all(axis=0)
    return np.where(fine, whole, 0)


def _bin(value: float) -> int:
    """The bin of a positive value; the outermost ones hold what lies beyond them."""
    place = int(np.floor((np.log2(value) - _LOWEST) * _PER_OCTAVE))
    return min(max(place, 0), _BINS - 1)
