"""`Observed`: what really happened to the patients of one or many test parts, without their features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cohortium.core.examples import Examples, OutcomeKind

__all__ = ["Observed"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """Outcomes row by row, all arrays of length n, rows ordered by site name.

    site: name of the row's site. y: as in `Examples`, NaN where unknown; None for survival.
    time, event: survival; one cause counts, every other code ends the observation like censoring.
    patient: 0..P-1 over all sites; rows of one patient are drawn together when resampling.
    """

    outcome: OutcomeKind
    site: NDArray[np.str_]
    y: NDArray[np.float64] | None = None
    time: NDArray[np.float64] | None = None
    event: NDArray[np.bool_] | None = None
    patient: NDArray[np.int64]
    n_classes: int = 2

    @classmethod
    def of(cls, parts: Mapping[str, Examples], *, cause: int = 1) -> Observed:
        """The outcomes of the named sites' examples, sites sorted; `cause`: the event that counts.

        Raises ValueError when there are no sites.
        """
        if not parts:
            raise ValueError("no site: at least one test part is needed")
        names = sorted(parts)
        first = parts[names[0]].layout
        survival = first.outcome == "survival"
        keys = [np.column_stack([np.full(len(parts[s]), i), parts[s].patient]) for i, s in enumerate(names)]
        patient = np.unique(np.concatenate(keys), axis=0, return_inverse=True)[1].reshape(-1)
        return cls(
            outcome=first.outcome,
            site=np.concatenate([np.full(len(parts[s]), s, dtype=f"<U{max(map(len, names))}") for s in names]),
            y=None if survival else np.concatenate([_column(parts[s], "y", s) for s in names]),
            time=np.concatenate([_column(parts[s], "time", s) for s in names]) if survival else None,
            event=np.concatenate([_column(parts[s], "event", s) == cause for s in names]) if survival else None,
            patient=patient.astype(np.int64),
            n_classes=max(2, len(first.classes)),
        )

    def __len__(self) -> int:
        return len(self.site)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites that have rows here, sorted."""
        return tuple(str(name) for name in np.unique(self.site))

    def take(self, rows: NDArray[np.bool_]) -> Observed:
        """The rows of a mask, in order."""
        return replace(
            self,
            site=self.site[rows],
            y=None if self.y is None else self.y[rows],
            time=None if self.time is None else self.time[rows],
            event=None if self.event is None else self.event[rows],
            patient=self.patient[rows],
        )

    def at(self, site: str) -> Observed:
        """The rows of one site."""
        return self.take(self.site == site)

    def known(self) -> NDArray[np.bool_]:
        """Mask of rows whose outcome is known."""
        if self.outcome == "survival":
            assert self.time is not None  # noqa: S101 - set by construction
            return np.isfinite(self.time)
        assert self.y is not None  # noqa: S101 - set by construction
        return np.isfinite(self.y)

    def stack(self, scores: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        """Predictions by site, put behind one another in the order of the rows here."""
        stacked = np.concatenate([np.asarray(scores[name], dtype=np.float64) for name in self.sites])
        if len(stacked) != len(self):
            raise ValueError(f"predictions have {len(stacked)} rows, outcomes have {len(self)}")
        return stacked


def _column(examples: Examples, name: str, site: str) -> NDArray[np.float64]:
    column = getattr(examples, name)
    if column is None:
        raise ValueError(f"site {site!r}: examples carry no {name!r}, needed for a {examples.layout.outcome} outcome")
    return np.asarray(column, dtype=np.float64)
