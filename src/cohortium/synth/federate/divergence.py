"""How far a site's patients are from the cohort's: one number between 0 and 1, worked out at the site.

`Portrait` is a learner by sums with three exchanges: ranges and level counts, fine histograms, and the divergences,
of which only hundredths leave a site and, under masks, only their sum is seen. From the sum and its own number each
site knows its weight. d = mean over columns of the Jensen-Shannon divergence (base 2; named columns) or of min(1,
Wasserstein-1 distance of normal scores). Design: synthetic-data.md 6, C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.errors import UsageError
from cohortium.synth.facts import Facts
from cohortium.synth.generators.normal_scores import (
    Scores,
    coarse_counts,
    fine_counts,
    fine_grid,
    scores_of,
    step_counts,
)
from cohortium.synth.generators.preparing import check_counts
from cohortium.synth.phases import at_phase, phase_of
from cohortium.synth.rows import Rows, rows_of_examples

__all__ = ["UNIT", "Portrait", "divergence", "jensen_shannon", "wasserstein", "weight_of_site"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

UNIT = 1024
"""A weight of 1."""
_HUNDREDTHS = 100
_LEVELS = 128
_COUNTS, _FINE, _COMPARE, _DONE = 0, 1, 2, -1


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """Histograms of all sites together, and the sum of the sites' divergences from them."""

    facts: Facts
    min_cell: int = 10

    learns_by: ClassVar[Literal["sums"]] = "sums"
    reads_columns: ClassVar[bool] = False
    max_rounds: ClassVar[int] = 3

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """The first question."""
        return Parameters(at_phase(_COUNTS))

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """This site's counts, or its divergence."""
        rows = rows_of_examples(examples, self.facts)
        return Fitted(parameters=self.answer(start, rows), n_samples=len(rows))

    def answer(self, state: Parameters, rows: Rows) -> Parameters:
        """The sums the state asks for."""
        phase = phase_of(state)
        if phase == _COUNTS:
            found: dict[str, object] = {"n": np.array([len(rows)], dtype=np.int64)}
            for fact in self.facts.columns:
                if fact.is_number:
                    found[f"coarse/{fact.name}"] = coarse_counts(rows[fact.name])
                    found[f"steps/{fact.name}"] = step_counts(rows[fact.name])
                else:
                    found[f"levels/{fact.name}"] = _level_counts(rows[fact.name])
            return Parameters(found)
        if phase == _FINE:
            return Parameters(
                {
                    f"fine/{fact.name}": fine_counts(
                        rows[fact.name], np.asarray(state[f"grid/{fact.name}"], dtype=np.float64)
                    )
                    for fact in self.facts.columns
                    if fact.is_number
                }
                | {"n": np.array([len(rows)], dtype=np.int64)}
            )
        own = divergence(state, rows)
        return Parameters({"divergence": np.array([own, 1], dtype=np.int64)})

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The leader half. Raises ValueError for totals that are no counts."""
        phase = phase_of(start)
        check_counts(total)
        if phase == _COUNTS:
            found: dict[str, object] = {**at_phase(_FINE), "n": total["n"]}
            for fact in self.facts.columns:
                if fact.is_number:
                    coarse, whole = (
                        np.asarray(total[f"{key}/{fact.name}"], dtype=np.int64) for key in ("coarse", "steps")
                    )
                    found[f"grid/{fact.name}"] = fine_grid(coarse, whole, low=fact.low, high=fact.high)
                    found[f"steps/{fact.name}"] = whole
                else:
                    found[f"levels/{fact.name}"] = total[f"levels/{fact.name}"]
            return Parameters(found)
        if phase == _FINE:
            found = {name: array for name, array in start.items() if name.startswith("levels/") or name == "n"}
            found |= at_phase(_COMPARE)
            for fact in self.facts.columns:
                if fact.is_number:
                    table = Scores.joined(
                        np.asarray(start[f"grid/{fact.name}"], dtype=np.float64),
                        np.asarray(total[f"fine/{fact.name}"], dtype=np.int64),
                        whole=np.asarray(start[f"steps/{fact.name}"], dtype=np.int64),
                        min_cell=self.min_cell,
                    )
                    found |= dict(table.to_parameters().prefixed(f"table/{fact.name}").items())
            return Parameters(found)
        done = Parameters({**at_phase(_DONE), "divergence": total["divergence"]})
        return start | done

    def finished(self, parameters: Parameters) -> bool:
        """Whether the divergences are summed."""
        return phase_of(parameters) == _DONE

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Nothing to predict. Raises UsageError."""
        raise UsageError("histograms predict nothing")

    def parts(self, parameters: Parameters) -> dict[str, tuple[str, ...]]:
        """None."""
        return {}


def divergence(portrait: Parameters, rows: Rows) -> int:
    """The divergence of these rows from the portrait in hundredths; columns without a value are left out."""
    found: list[float] = []
    for fact in rows.facts.columns:
        values = rows[fact.name][~np.isnan(rows[fact.name])]
        if not len(values):
            continue
        if fact.is_number:
            table = scores_of(portrait.under(f"table/{fact.name}"))
            found.append(min(1.0, wasserstein(table.score(values), table.z, table.counts)))
        else:
            everybody = np.asarray(portrait[f"levels/{fact.name}"], dtype=np.float64)
            found.append(jensen_shannon(_level_counts(rows[fact.name]).astype(np.float64), everybody))
    return round(_HUNDREDTHS * float(np.mean(found))) if found else 0


def weight_of_site(portrait: Parameters, rows: Rows) -> int:
    """(1 - d / sum of all d) in steps of 1/1024, times K/(K-1), so that equally distant sites weigh 1 each."""
    total, n_sites = (int(v) for v in portrait["divergence"])
    if total == 0 or n_sites < 2:
        return UNIT
    own = min(divergence(portrait, rows), total)
    return round(UNIT * (1.0 - own / total) * n_sites / (n_sites - 1))


def jensen_shannon(a: Floats, b: Floats) -> float:
    """Of two count vectors, base 2: 0 where shares agree, 1 where nothing is common."""
    if a.sum() == 0 or b.sum() == 0:
        return 0.0
    p, q = a / a.sum(), b / b.sum()
    middle = 0.5 * (p + q)

    def against(x: Floats) -> float:
        there = x > 0
        return float((x[there] * np.log2(x[there] / middle[there])).sum())

    return 0.5 * (against(p) + against(q))


def wasserstein(own: Floats, z: Floats, counts: Integers) -> float:
    """Distance between the scores of a site, (n,), and those of all: z with so many patients each."""
    if not len(own) or counts.sum() == 0:
        return 0.0
    at = np.unique(np.concatenate([own, z]))
    ours = np.searchsorted(np.sort(own), at, side="right") / len(own)
    theirs = np.array([float(counts[z <= point].sum()) for point in at]) / float(counts.sum())
    return float((np.abs(ours - theirs)[:-1] * np.diff(at)).sum())


def _level_counts(values: Floats) -> Integers:
    there = values[~np.isnan(values)].astype(np.int64)
    return np.bincount(there[(there >= 0) & (there < _LEVELS)], minlength=_LEVELS).astype(np.int64)
