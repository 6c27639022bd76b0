"""From arrays to a fitted learner by sums, in one process: what the estimators do without ledger and messages.

Arrays or data frames of one or several sites become `Examples`; columns are put on one scale by the exact
moments of all sites (`data.scaling`), the learner's exchanges are added up in a plain loop, and coefficients
come back in the units of the columns. Several sites give the bits of one table with all rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cohortium.core.exact import weighted_sum
from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Learner, Preparation
from cohortium.core.update import Instructions, Update
from cohortium.data.scaling import Standard
from cohortium.errors import DataError, TrainingFailed, UsageError

__all__ = [
    "Estimator",
    "LocalFit",
    "Survival",
    "exchange_until_finished",
    "fit_sites",
    "fitted_elsewhere",
    "known_errors",
    "read_columns",
    "read_survival",
    "sites_of",
    "time_grid",
    "together",
]

Floats = NDArray[np.float64]
Sites = Mapping[str, tuple[Any, Any]]

_MOST_EXCHANGES = 1_000
_SCALE = Standard(clip=4096.0)  # units of a sd; nothing real is beyond, so nothing is clipped
_DEFAULT_CELLS = 2_000
_MOST_CELLS = 20_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Survival:
    """Follow-up of n patients: time, event code (0 censored)."""

    time: Floats
    event: NDArray[np.int8]


def time_grid(sites: Sequence[Survival], resolution: float | None) -> tuple[float, float]:
    """(resolution, horizon) of time cells: whole units if all times are whole, else 1/2,000 of the longest."""
    longest = max((float(np.max(one.time, initial=0.0)) for one in sites), default=0.0)
    whole = all(bool(np.all(one.time == np.rint(one.time))) for one in sites) and longest < _MOST_CELLS
    width = (1.0 if whole or longest == 0 else longest / _DEFAULT_CELLS) if resolution is None else resolution
    if not width > 0 or longest / width >= _MOST_CELLS:
        raise UsageError(f"resolution must be positive and give at most {_MOST_CELLS} time cells, got {width}")
    return width, (math.floor(longest / width) + 1) * width


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalFit:
    """A fitted learner: its last state, the exchanges it took, and the scale of the columns."""

    learner: Learner
    state: Parameters
    rounds: int
    layout: Layout
    scale: Parameters

    def prepared(self, x: Floats, **more: Any) -> Examples:
        """Rows on the scale the learner has seen."""
        raw = Examples(layout=self.layout, x=x, **more)
        return _SCALE.apply(self.scale, raw, own=Parameters())

    @property
    def to_raw(self) -> Floats:
        """The matrix (1 + p, 1 + kept) from intercept and coefficients per sd to those per unit of the columns."""
        keep = np.asarray(self.scale["keep"], dtype=bool)
        mean, sd = (np.asarray(self.scale[name], dtype=np.float64)[keep] for name in ("mean", "sd"))
        matrix = np.zeros((len(keep) + 1, int(keep.sum()) + 1))
        matrix[0, 0] = 1.0
        matrix[0, 1:] = -mean / sd
        matrix[1 + np.flatnonzero(keep), 1 + np.arange(len(sd))] = 1.0 / sd
        return matrix


class Estimator:
    """Options by name, and what every fitted estimator knows."""

    fitted_: LocalFit

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn's pipelines and searches ask of an estimator. Only they call this, so it is installed."""
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

        kind = self._kind
        return Tags(
            estimator_type=kind,
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags() if kind == "classifier" else None,
            regressor_tags=RegressorTags() if kind == "regressor" else None,
        )

    @property
    def _kind(self) -> Literal["classifier", "regressor"] | None:
        """As scikit-learn sorts estimators; survival is neither."""
        return None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The options by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    def set_params(self, **params: Any) -> Self:
        """Change options. Raises UsageError for a name that is none."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise UsageError(f"{type(self).__name__} has no option '{name}'; it takes: {', '.join(sorted(known))}")
            setattr(self, name, value)
        return self

    @property
    def rounds_(self) -> int:
        """Exchanges the fit took."""
        return self._fit.rounds

    @property
    def feature_names_in_(self) -> tuple[str, ...]:
        """Columns it was fitted to."""
        return self._fit.layout.features

    @property
    def _fit(self) -> LocalFit:
        if not hasattr(self, "fitted_"):
            raise UsageError(f"{type(self).__name__} is not fitted; call fit first")
        return self.fitted_

    def _rows(self, table: Any) -> Examples:
        fit = self._fit
        x, _ = read_columns(table)
        if x.shape[1] != len(fit.layout.features):
            raise DataError(
                f"X has {x.shape[1]} columns, {type(self).__name__} was fitted to {len(fit.layout.features)}"
            )
        return fit.prepared(x)

    def _predicted(self, table: Any) -> Floats:
        return self._fit.learner.predict(self._fit.state, self._rows(table))


def read_columns(table: Any) -> tuple[Floats, tuple[str, ...]]:
    """Numbers (n, p) and names of an array or data frame. Raises DataError for other shapes and missing values."""
    named = getattr(table, "columns", None)
    try:
        x = np.asarray(table, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("X holds values that are no numbers; turn categories into 0/1 columns") from None
    if x.ndim != 2:
        raise DataError(f"X must have rows and columns, got {x.ndim} dimensions")
    missing = int(np.count_nonzero(~np.isfinite(x)))
    if missing:
        raise DataError(f"X holds {missing} missing or infinite values; fill them, or use a study with cohort.fill")
    names = tuple(str(c) for c in named) if named is not None else tuple(f"x{j}" for j in range(x.shape[1]))
    return x, names


def read_survival(y: Any) -> Survival:
    """Follow-up from (time, event), columns [time, event], or a structured array with one event and one time field."""
    names = getattr(getattr(y, "dtype", None), "names", None)
    if names:
        event_field = next((n for n in names if y.dtype[n].kind == "b"), names[0])
        time_field = next((n for n in names if n != event_field), event_field)
        time, event = y[time_field], y[event_field]
    elif isinstance(y, tuple) and len(y) == 2:
        time, event = y
    else:
        both = np.asarray(y, dtype=np.float64)
        if both.ndim != 2 or both.shape[1] != 2:
            raise DataError(f"y must hold time and event, got shape {both.shape}")
        time, event = both[:, 0], both[:, 1]
    times, events = np.asarray(time, dtype=np.float64), np.asarray(event, dtype=np.float64)
    wrong = int(np.count_nonzero(~((events >= 0) & (events <= 100) & (events == np.rint(events)))))
    if wrong:
        raise DataError(f"y: {wrong} events are no whole numbers of 0 (censored), 1, 2, ...")
    return Survival(time=times, event=events.astype(np.int8))


Elsewhere = Callable[[Learner, Sequence[Examples], Preparation | None], LocalFit]
_ELSEWHERE: ContextVar[Elsewhere | None] = ContextVar("cohortium_fitted_elsewhere", default=None)


@contextmanager
def fitted_elsewhere(fit: Elsewhere) -> Iterator[None]:
    """Within this block estimators hand learner, rows and scaling to `fit` (a swarm) instead of exchanging here."""
    token = _ELSEWHERE.set(fit)
    try:
        yield
    finally:
        _ELSEWHERE.reset(token)


def fit_sites(learner: Learner, sites: Sequence[Examples], *, scaled: bool = True) -> LocalFit:
    """Scale all sites by their common moments, then exchange sums until the learner has finished."""
    if (elsewhere := _ELSEWHERE.get()) is not None:
        return elsewhere(learner, sites, _SCALE if scaled else None)
    layout = sites[0].layout
    scale, _ = exchange_until_finished(_SCALE, sites) if scaled else (_SCALE.initial(layout, rng=_no_chance()), 0)
    seen = [_SCALE.apply(scale, one, own=Parameters()) if scaled else one for one in sites]
    state, rounds = exchange_until_finished(learner, seen)
    return LocalFit(learner=learner, state=state, rounds=rounds, layout=layout, scale=scale)


def exchange_until_finished(learner: Learner, sites: Sequence[Examples]) -> tuple[Parameters, int]:
    """The last state of a learner by sums, and the exchanges it took."""
    state = learner.initial(sites[0].layout, rng=_no_chance())
    for done in range(_MOST_EXCHANGES):
        if learner.finished(state):
            return state, done
        answers = [learner.fit(state, one, instructions=Instructions(), rng=_no_chance()) for one in sites]
        updates = [Update(site=f"{k:06d}", parameters=one.parameters, weight=1) for k, one in enumerate(answers)]
        state = learner.advance(state, weighted_sum(updates).total)
    raise TrainingFailed(f"not finished after {_MOST_EXCHANGES} exchanges", code="limit")


def known_errors(errors: Floats) -> Floats:
    """Errors of 0 mean that there are none: NaN."""
    return np.where(errors > 0, errors, np.nan)


def sites_of(x: Any, y: Any, sites: Sites | None) -> list[tuple[Any, Any]]:
    """The parts to fit, sorted by site: `sites`, or (x, y) as a single one."""
    if sites is None:
        return [(x, y)]
    if x is not None or y is not None:
        raise UsageError("fit takes either X and y, or sites")
    if not sites:
        raise UsageError("fit needs at least one site")
    return [sites[name] for name in sorted(sites)]


def together(parts: Sequence[tuple[Any, Any]]) -> tuple[tuple[str, ...], list[Floats], list[Any]]:
    """Column names, tables and outcomes of all sites. Raises DataError where columns or rows do not fit."""
    tables = [read_columns(x) for x, _ in parts]
    names = tables[0][1]
    for x, others in tables[1:]:
        if others != names:
            raise DataError(f"sites hold different columns: {len(names)} here, {x.shape[1]} there, or other names")
    return names, [x for x, _ in tables], [y for _, y in parts]


def _no_chance() -> np.random.Generator:
    """Learners by sums draw nothing; the seam wants a generator."""
    return np.random.default_rng(0)
