"""`measure_all`: every measure of one model on one set of outcomes, by the names that `run.json` uses.

    binary     auroc auroc_within auprc accuracy sensitivity specificity ppv npv f1 brier log_loss
               calibration_intercept calibration_slope observed_expected ece
    classes    auroc (one against the rest, mean over classes) auroc_within accuracy f1 brier log_loss
    survival   c_index c_index_within, and `auroc_<name>` for each horizon asked for
    number, count   rmse mae r2

`measure_values` gives the same names and values without intervals, for round curves and sweeps over seeds.
Rows whose outcome is unknown are left out; a prediction that is not finite raises ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import OutcomeKind
from cohortium.reports import calibration, classification, continuous, discrimination, survival_measures
from cohortium.reports.discrimination import Z95
from cohortium.reports.measure import MIN_CLASS, Measure, unavailable
from cohortium.reports.observed import Observed
from cohortium.reports.resampling import DRAWS, bootstrap, percentile_interval, weighted_means, weighted_sums

__all__ = ["LOWER_IS_BETTER", "PRIMARY", "consortium_mean", "draws_of", "measure_all", "measure_values"]

PRIMARY: Mapping[OutcomeKind, str] = {
    "binary": "auroc",
    "classes": "auroc",
    "survival": "c_index",
    "number": "rmse",
    "count": "rmse",
}
"""The figure by which a site compares models on its own patients."""

LOWER_IS_BETTER = frozenset({"brier", "log_loss", "rmse", "mae", "ece"})

Floats = NDArray[np.float64]
_Draws = Callable[[Floats], Floats]


def measure_all(
    predictions: Floats,
    observed: Observed,
    *,
    rng: np.random.Generator,
    threshold: float | Floats = 0.5,
    horizons: Mapping[str, float] | None = None,
    draws: int = DRAWS,
) -> dict[str, Measure]:
    """Every measure of the outcome's kind with its 95 % interval.

    predictions: as `Learner.predict` gives them: (n,), or (n, k) for classes. threshold: one for all rows or one a
    row (sites with their own). horizons: name -> time, e.g. {"1y": 365.25}.
    """
    values = measure_values(predictions, observed, threshold=threshold, horizons=horizons)
    p, seen, cut = _known(predictions, observed, threshold)
    measures = {name: _plain(name, value, len(seen)) for name, value in values.items()}
    if len(seen) == 0:
        return measures
    closed, drawn = _recipes(p, seen, cut)
    measures.update({name: make() for name, make in closed.items()})
    measures.update(_bootstrapped(values, drawn, seen, rng=rng, draws=draws))
    return {name: measures[name] for name in values}


def measure_values(
    predictions: Floats,
    observed: Observed,
    *,
    threshold: float | Floats = 0.5,
    horizons: Mapping[str, float] | None = None,
) -> dict[str, float | None]:
    """The same values without intervals: no resampling, a few milliseconds for thousands of patients."""
    p, seen, cut = _known(predictions, observed, threshold)
    if seen.outcome == "survival":
        values = _survival_values(p, seen, horizons or {})
    elif seen.outcome == "binary":
        values = _binary_values(p, seen, cut)
    elif seen.outcome == "classes":
        values = _class_values(p, seen)
    else:
        y = _y(seen)
        values = {"rmse": continuous.rmse(y, p), "mae": continuous.mae(y, p), "r2": continuous.r2(y, p)}
    return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}


def draws_of(measure: str, predictions: Floats, y: Floats, weights: Floats) -> Floats:
    """One resampled measure of classes, numbers or counts under each row of weights (b, n)."""
    if predictions.ndim == 2:
        return _class_draws(predictions, y)[measure](weights)
    return _number_draws(predictions, y)[measure](weights)


def consortium_mean(by_site: Mapping[str, Measure]) -> Measure:
    """Mean over sites weighted by test records, from the sites' own figures; sites without one are left out."""
    held = [m for _, m in sorted(by_site.items()) if m.value is not None and m.n]
    n = sum(m.n or 0 for m in held)
    if not n:
        return unavailable(0)
    value = sum((m.value or 0.0) * (m.n or 0) for m in held) / n
    if any(m.interval is None for m in held):
        return Measure(value=value, n=n, reason=f"not available: n = {n}, a site without an interval")
    errors = [((m.high or 0.0) - (m.low or 0.0)) / (2 * Z95) * (m.n or 0) / n for m in held]
    reach = Z95 * float(np.sqrt(sum(e * e for e in errors)))
    return Measure(value=value, low=value - reach, high=value + reach, n=n, method="mean over sites by n")


def _known(
    predictions: Floats, observed: Observed, threshold: float | Floats
) -> tuple[Floats, Observed, float | Floats]:
    p = np.asarray(predictions, dtype=np.float64)
    if len(p) != len(observed):
        raise ValueError(f"predictions have {len(p)} rows, outcomes have {len(observed)}")
    bad = len(p) - int(np.isfinite(p).reshape(len(p), -1).all(axis=1).sum()) if len(p) else 0
    if bad:
        raise ValueError(f"predictions: {bad} of {len(p)} rows are not finite")
    rows = observed.known()
    return p[rows], observed.take(rows), threshold if isinstance(threshold, float | int) else threshold[rows]


def _y(seen: Observed) -> Floats:
    assert seen.y is not None  # noqa: S101 - every outcome but survival has it
    return seen.y


def _times(seen: Observed) -> tuple[Floats, NDArray[np.bool_]]:
    assert seen.time is not None  # noqa: S101 - survival has both
    assert seen.event is not None  # noqa: S101
    return seen.time, seen.event


def _binary_values(p: Floats, seen: Observed, cut: float | Floats) -> dict[str, float]:
    y = _y(seen)
    counts = classification.confusion(y, p, threshold=cut).measures()
    slope = calibration.fit_logistic(y, calibration.logit(p))
    large = calibration.fit_logistic(y, calibration.logit(p), slope_fixed=True)
    calibrated = min(int((y > 0.5).sum()), int((y <= 0.5).sum())) >= MIN_CLASS
    return {
        "auroc": discrimination.auroc(y, p),
        "auroc_within": _within(y, p, seen.site),
        "auprc": discrimination.auprc(y, p) if len(y) else np.nan,
        **{name: np.nan if m.value is None else m.value for name, m in counts.items()},
        "brier": calibration.brier(y, p),
        "log_loss": calibration.log_loss(y, p),
        "calibration_intercept": large.intercept if large and calibrated else np.nan,
        "calibration_slope": slope.slope if slope and calibrated else np.nan,
        "observed_expected": float(y.sum() / p.sum()) if p.sum() else np.nan,
        "ece": calibration.expected_calibration_error(y, p),
    }


def _within(y: Floats, p: Floats, site: NDArray[np.str_]) -> float:
    pairs = discrimination.pairs_within(y, site)
    total = sum(pairs.values())
    parts = [w * discrimination.auroc(y[site == name], p[site == name]) for name, w in pairs.items() if w]
    return sum(parts) / total if total else float("nan")


def _class_values(p: Floats, seen: Observed) -> dict[str, float]:
    y, k = _y(seen), p.shape[1]
    called = p.argmax(axis=1) if len(p) else np.zeros(0, dtype=np.int64)
    each = [(y == c).astype(np.float64) for c in range(k)]
    hits = [(int(((called == c) & (y == c)).sum()), int((called == c).sum()), int((y == c).sum())) for c in range(k)]
    scores = [classification.f1(t, found - t, there - t) for t, found, there in hits]
    return {
        "auroc": _mean([discrimination.auroc(one, p[:, c]) for c, one in enumerate(each)]),
        "auroc_within": _mean([_within(one, p[:, c], seen.site) for c, one in enumerate(each)]),
        "accuracy": float((called == y).mean()) if len(y) else np.nan,
        "f1": _mean(scores),
        "brier": calibration.brier(y, p),
        "log_loss": calibration.log_loss(y, p),
    }


def _mean(values: list[float]) -> float:
    """Mean over the classes that have a value; NaN if none has."""
    there = [value for value in values if np.isfinite(value)]
    return sum(there) / len(there) if there else float("nan")


def _survival_values(p: Floats, seen: Observed, horizons: Mapping[str, float]) -> dict[str, float]:
    time, event = _times(seen)
    within = survival_measures.c_index_within(time, event, p, seen.patient, seen.site) if len(p) else unavailable(0)
    at = {f"auroc_{name}": survival_measures.auroc_at(time, event, p, at=t) for name, t in horizons.items()}
    value = np.nan if within.value is None else within.value
    return {"c_index": survival_measures.c_index(time, event, p), "c_index_within": value, **at}


def _plain(name: str, value: float | None, n: int) -> Measure:
    return unavailable(n) if value is None else Measure(value=value, n=n, reason="" if name == "ece" else _few(n))


def _few(n: int) -> str:
    return f"not available: n = {n}"


def _recipes(
    p: Floats, seen: Observed, cut: float | Floats
) -> tuple[dict[str, Callable[[], Measure]], dict[str, _Draws]]:
    """Measures with a formula for their interval, and statistics that are resampled."""
    if seen.outcome == "survival":
        return _survival_recipes(p, seen)
    y = _y(seen)
    if seen.outcome == "binary":
        return _binary_recipes(p, y, seen, cut)
    if seen.outcome == "classes":
        return {}, _class_draws(p, y)
    return {}, _number_draws(p, y)


def _binary_recipes(
    p: Floats, y: Floats, seen: Observed, cut: float | Floats
) -> tuple[dict[str, Callable[[], Measure]], dict[str, _Draws]]:
    counts = classification.confusion(y, p, threshold=cut)
    closed: dict[str, Callable[[], Measure]] = {
        "auroc": partial(discrimination.auroc_measure, y, p, seen.patient),
        "auroc_within": partial(discrimination.auroc_within, y, p, seen.site, seen.patient),
        "calibration_intercept": partial(calibration.calibration_intercept, y, p),
        "calibration_slope": partial(calibration.calibration_slope, y, p),
        "observed_expected": partial(calibration.observed_expected, y, p),
    }
    called, truth = (p >= cut).astype(np.float64), (y > 0.5).astype(np.float64)
    drawn: dict[str, _Draws] = {
        "brier": partial(weighted_means, terms=calibration.squared_errors(y, p)),
        "log_loss": partial(weighted_means, terms=calibration.log_losses(y, p)),
        "f1": partial(_share_draws, 2 * called * truth, called + truth),
    }
    if min(truth.sum(), (1 - truth).sum()) >= MIN_CLASS:
        drawn["auprc"] = partial(discrimination.auprc_draws, y, p)
    shares = {
        "accuracy": (called == truth, np.ones(len(y))),
        "sensitivity": (called * truth, truth),
        "specificity": ((1 - called) * (1 - truth), 1 - truth),
        "ppv": (called * truth, called),
        "npv": ((1 - called) * (1 - truth), 1 - called),
    }
    if len(np.unique(seen.patient)) == len(y):
        closed.update({name: partial(counts.measures().__getitem__, name) for name in shares})
    else:  # rows of one patient are alike: Wilson would promise too much
        drawn.update({name: partial(_share_draws, np.asarray(a, float), b) for name, (a, b) in shares.items()})
    return closed, drawn


def _number_draws(p: Floats, y: Floats) -> dict[str, _Draws]:
    return {
        "rmse": partial(continuous.rmse_draws, y, p),
        "mae": partial(weighted_means, terms=np.abs(y - p)),
        "r2": partial(continuous.r2_draws, y, p),
    }


def _class_draws(p: Floats, y: Floats) -> dict[str, _Draws]:
    each = [(y == c).astype(np.float64) for c in range(p.shape[1])]

    def macro(weights: Floats) -> Floats:
        drawn = np.array([discrimination.auroc_draws(one, p[:, c], weights) for c, one in enumerate(each) if one.any()])
        there = np.isfinite(drawn)
        sums = np.where(there, drawn, 0.0).sum(axis=0)
        return _divided(sums, there.sum(axis=0).astype(np.float64))

    return {
        "auroc": macro,
        "accuracy": partial(weighted_means, terms=(p.argmax(axis=1) == y).astype(np.float64)),
        "brier": partial(weighted_means, terms=calibration.squared_errors(y, p)),
        "log_loss": partial(weighted_means, terms=calibration.log_losses(y, p)),
    }


def _survival_recipes(p: Floats, seen: Observed) -> tuple[dict[str, Callable[[], Measure]], dict[str, _Draws]]:
    time, event = _times(seen)
    if int(event.sum()) < MIN_CLASS:
        return {}, {}
    if len(p) > survival_measures.MATRIX_LIMIT:
        args = (time, event, p, seen.patient, seen.site)
        return {
            "c_index": partial(survival_measures.c_index_measure, *args),
            "c_index_within": partial(survival_measures.c_index_within, *args),
        }, {}

    def over(weights: Floats, site: NDArray[np.str_] | None) -> Floats:
        return survival_measures.c_draws(time, event, [p], weights, site=site)[0]

    return {}, {"c_index": partial(over, site=None), "c_index_within": partial(over, site=seen.site)}


def _share_draws(top: Floats, bottom: Floats, weights: Floats) -> Floats:
    below = weighted_sums(weights, bottom)
    return _divided(weighted_sums(weights, top), below)


def _divided(top: Floats, bottom: Floats) -> Floats:
    result = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=result, where=bottom > 0)
    return result


def _bootstrapped(
    values: Mapping[str, float | None],
    drawn: Mapping[str, _Draws],
    seen: Observed,
    *,
    rng: np.random.Generator,
    draws: int,
) -> dict[str, Measure]:
    wanted = {name: statistic for name, statistic in drawn.items() if values.get(name) is not None}
    if len(np.unique(seen.patient)) < 2 * MIN_CLASS or not wanted:
        return {}
    n, found = len(seen), {}
    for name, sample in bootstrap(wanted, seen.patient, seen.site, rng=rng, draws=draws).items():
        low, high = percentile_interval(sample) or (None, None)
        reason = "" if low is not None else _few(n)
        found[name] = Measure(value=values[name], low=low, high=high, n=n, method="patient bootstrap", reason=reason)
    return found
