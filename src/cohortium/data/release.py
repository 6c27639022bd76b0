"""What of the consortium's statistics may be printed: the step from a state of sums to a `Description`.

Sums over fewer than three sites or fifty records are left out, counts below the smallest cell are hidden
together with what would give them back, columns of few carriers show nothing. Once per data version: two
answers over nearly equal sets of patients could be subtracted. Against members who read their software's
memory only noise helps; `study check` says so. Design: clinical-learning.md 1.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Layout
from cohortium.core.parameters import Parameters
from cohortium.data.moments import floats
from cohortium.data.statistics import CrossTable
from cohortium.data.suppression import HIDDEN, Policy, Shown, rare_columns, show_row, show_table

__all__ = ["ColumnSummary", "Description", "TimeCells", "describe", "join_cells", "show_correlations"]


@dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    """One feature. Counts are `HIDDEN` and figures None where they may not be shown; reason says why.

    sd divides by n - 1. quantiles in the order asked for, each within `quantile_error` of the exact one.
    """

    name: str
    present: int
    missing: int
    ones: int | None = None
    mean: float | None = None
    sd: float | None = None
    quantiles: tuple[float, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class TimeCells:
    """Events and censorings over time in joined cells. start, end: in the study's time unit, end excluded."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    at_risk: NDArray[np.int64]
    events: NDArray[np.int64]
    censored: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Description:
    """records: all. classes: rows per class, or None for other outcomes. tables: in the order asked for."""

    records: int
    sites: int
    columns: tuple[ColumnSummary, ...] = ()
    classes: NDArray[np.int64] | None = None
    times: TimeCells | None = None
    tables: tuple[Shown, ...] = ()
    reason: str = ""


def describe(state: Parameters, layout: Layout, policy: Policy, *, tables: Sequence[CrossTable] = ()) -> Description:
    """The printable part of a finished `Describe` state. tables: those `Describe` was asked for."""
    records, sites = (int(n) for n in state["rows"])
    if not policy.allows_sum(n_sites=sites, n_records=records):
        needed = f"needs at least {policy.min_sites} sites and {policy.min_records} records"
        return Description(records=HIDDEN, sites=sites, reason=needed)
    times = None
    if "events" in state:
        times = join_cells(
            state["events"].astype(np.int64), state["leaving"].astype(np.int64), policy, resolution=layout.resolution
        )
    return Description(
        records=records,
        sites=sites,
        columns=_columns(state, layout, policy, records),
        classes=show_row(state["classes"].astype(np.int64), policy) if "classes" in state else None,
        times=times,
        tables=tuple(show_table(state[f"table/{i}"].astype(np.int64), policy) for i in range(len(tables))),
    )


def join_cells(
    events: NDArray[np.int64], leaving: NDArray[np.int64], policy: Policy, *, resolution: float, least_at_risk: int = 10
) -> TimeCells:
    """The time grid with neighbours joined until events and censorings are each 0 or at least the smallest cell.

    Stops before fewer than `least_at_risk` are at risk; what is left then is not shown, and never a small number.
    """
    at_risk = int(leaving.sum())
    cells: list[tuple[float, float, int, int, int]] = []
    first, d, c = 0, 0, 0
    for cell in range(len(events)):
        d += int(events[cell])
        c += int(leaving[cell]) - int(events[cell])
        if at_risk < least_at_risk:
            break
        if d + c and all(n == 0 or n >= policy.min_cell for n in (d, c, at_risk - d - c)):
            cells.append((first * resolution, (cell + 1) * resolution, at_risk, d, c))
            first, at_risk, d, c = cell + 1, at_risk - d - c, 0, 0
    table = np.array(cells, dtype=np.float64).reshape(-1, 5)
    counts = table[:, 2:].astype(np.int64)
    return TimeCells(table[:, 0], table[:, 1], counts[:, 0], counts[:, 1], counts[:, 2])


def show_correlations(state: Parameters, policy: Policy) -> NDArray[np.float64]:
    """r (p, p) of a finished `Correlations` state, NaN for pairs with too few records."""
    return np.where(state["n"].astype(np.int64) >= policy.min_records, floats(state, "r"), np.nan)


def _columns(state: Parameters, layout: Layout, policy: Policy, records: int) -> tuple[ColumnSummary, ...]:
    names = layout.features if layout.image is None else tuple(f"channel {i}" for i in range(layout.image[0]))
    present, sites = state["count"].astype(np.int64), state["sites"].astype(np.int64)
    if layout.image is not None:
        present = np.full(len(names), records)
        is_code, ones = np.zeros(len(names), dtype=bool), np.zeros(len(names), dtype=np.int64)
    else:
        is_code, ones = state["others"].astype(np.int64) == 0, state["ones"].astype(np.int64)
    rare = is_code & rare_columns(ones, present, policy)
    found = []
    for place, name in enumerate(names):
        n = int(present[place])
        allowed = policy.allows_sum(n_sites=int(sites[place]), n_records=n)
        if not allowed or rare[place]:
            why = "fewer carriers than may be shown" if allowed else "too few sites or records have it"
            found.append(ColumnSummary(name=name, present=HIDDEN, missing=HIDDEN, reason=why))
        elif is_code[place]:
            shown = show_row(np.array([ones[place], n - ones[place], records - n]), policy)
            whole = HIDDEN not in shown
            found.append(
                ColumnSummary(
                    name=name,
                    present=n if whole else HIDDEN,
                    missing=int(shown[2]),
                    ones=int(shown[0]),
                    mean=float(ones[place] / n) if whole else None,
                    reason="" if whole else "few are missing: counts that would tell how many are hidden",
                )
            )
        else:
            found.append(_number(state, place, name, show_row(np.array([n, records - n]), policy), n))
    return tuple(found)


def _number(state: Parameters, place: int, name: str, shown: NDArray[np.int64], n: int) -> ColumnSummary:
    quantiles = tuple(float(q) for q in state["quantile"][:, place]) if "quantile" in state else ()
    return ColumnSummary(
        name=name,
        present=int(shown[0]),
        missing=int(shown[1]),
        mean=float(state["mean"][place]),
        sd=float(np.sqrt(state["variance"][place] * n / (n - 1))),
        quantiles=quantiles,
    )
