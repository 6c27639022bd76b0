"""What a learner sees of a cohort: a `Layout` all sites agree on and one site's `Examples`.

Examples are numbers only. Missing values are NaN until a preparation has filled them; categories
are already 0/1 columns. Which rows are here (training, calibration, test) was decided in `data`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Examples", "Layout", "OutcomeKind", "concatenate"]

OutcomeKind = Literal["binary", "classes", "number", "count", "survival"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The agreed shape of the examples; the same at every site, part of what the study's digest covers.

    features: column names in order (empty for images). image: (channels, height, width) or None.
    classes: the outcome's values in order for `binary` and `classes`.
    resolution: width of a time cell, horizon: end of the time grid, both in the study's time unit
    (`survival` only).
    """

    features: tuple[str, ...]
    outcome: OutcomeKind
    classes: tuple[str, ...] = ()
    image: tuple[int, int, int] | None = None
    resolution: float = 0.0
    horizon: float = 0.0

    @property
    def n_features(self) -> int:
        """Columns of a table, or values of one image."""
        return len(self.features) if self.image is None else int(np.prod(self.image))


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """Rows of one site, all arrays of equal length n.

    x: float64 (n, p), or float32 (n, c, h, w) for images. NaN where a value is missing.
    y: float64 (n,): 0/1, class index, number or count; None for survival or where unknown.
    time, event, entry: survival; event 0 censored, 1 event, 2.. competing; entry None = from zero.
    patient: int64 (n,) index of the patient, equal for rows of one patient.
    subgroups: name -> int8 codes (n,), -1 where unknown.
    """

    layout: Layout
    x: NDArray[np.floating]
    y: NDArray[np.float64] | None = None
    time: NDArray[np.float64] | None = None
    event: NDArray[np.int8] | None = None
    entry: NDArray[np.float64] | None = None
    patient: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    subgroups: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.patient) == 0 and len(self.x):
            object.__setattr__(self, "patient", np.arange(len(self.x), dtype=np.int64))
        for name in ("y", "time", "event", "entry", "patient"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.x):
                raise ValueError(f"{name} has {len(column)} rows, x has {len(self.x)}")

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> Examples:
        """The named rows (indices or mask), in that order."""
        return replace(
            self,
            x=self.x[rows],
            y=None if self.y is None else self.y[rows],
            time=None if self.time is None else self.time[rows],
            event=None if self.event is None else self.event[rows],
            entry=None if self.entry is None else self.entry[rows],
            patient=self.patient[rows],
            subgroups={name: codes[rows] for name, codes in self.subgroups.items()},
        )

    def with_x(self, x: NDArray[np.floating], layout: Layout) -> Examples:
        """The same rows with other columns; `layout` names them."""
        return replace(self, x=x, layout=layout)


def concatenate(parts: Sequence[Examples]) -> Examples:
    """All rows behind one another. Patients of different parts stay different patients."""
    first = parts[0]
    starts = np.cumsum([0] + [int(part.patient.max(initial=-1)) + 1 for part in parts[:-1]])

    def joined(name: str) -> NDArray[Any] | None:
        columns = [getattr(part, name) for part in parts]
        return None if any(column is None for column in columns) else np.concatenate(columns)

    return replace(
        first,
        x=np.concatenate([part.x for part in parts]),
        y=joined("y"),
        time=joined("time"),
        event=joined("event"),
        entry=joined("entry"),
        patient=np.concatenate([part.patient + offset for part, offset in zip(parts, starts, strict=True)]),
        subgroups={name: np.concatenate([part.subgroups[name] for part in parts]) for name in first.subgroups},
    )
