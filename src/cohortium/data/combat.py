"""ComBat over sites: what a scanner adds and stretches is removed, with empirical Bayes for small sites.

    z = a + c b + site mean g + site sd d x noise      for every feature

Three exchanges of exact sums: moments of all columns; the regression b of every feature on the
covariates within sites; the residual variance over sites. Then each site estimates its own g and d from
its training rows, drawn to their mean over features, and keeps them. Covariates are features (age, sex)
whose differences between sites are real; they are scaled but not harmonised. The outcome can never be
one: it is unknown when a patient is predicted, and it would leak into test rows. A site with fewer than
`min_rows` training rows is only scaled.

Mean-removing modes cost where outcome shares differ between sites; evaluation warns of it.
Design: clinical-learning.md 1.7. Source: Johnson, Li and Rabinovic 2007, Adjusting batch effects in
microarray expression data using empirical Bayes methods; Fortin et al. 2018 for scanners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core.examples import Examples, Layout
from cohortium.core.fixed_point import from_fixed, solve_spd, to_fixed
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.core.wide_sums import wide_mean, wide_sums
from cohortium.data.moments import floats, moment_sums, moments
from cohortium.data.scaling import check_positive
from cohortium.errors import InvariantBroken, TrainingFailed

__all__ = ["ComBat"]

_BITS = 20
_RIDGE = 2.0**-20  # per record: keeps the covariates' normal equations solvable when two of them are equal
_MOST_ITERATIONS = 500

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ComBat:
    """covariates: features to adjust for and keep. clip: in sd, at the end. tolerance: of the site's iteration."""

    covariates: tuple[str, ...] = ()
    min_rows: int = 10
    clip: float = 5.0
    tolerance: float = 1e-6
    learns_by: ClassVar[Literal["sums"]] = "sums"
    max_rounds: ClassVar[int] = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "covariates", tuple(self.covariates))
        check_positive("clip", self.clip)
        check_positive("tolerance", self.tolerance)
        if len(set(self.covariates)) < len(self.covariates):
            raise ValueError(f"covariates names a column twice: {', '.join(self.covariates)}")
        if self.min_rows < 2:
            raise ValueError(f"min_rows must be at least 2, got {self.min_rows}")

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """`step`; (p,) each: `mean`, `sd`, `keep`, `centre` a, `noise` sd; `slope` (q, p); `covariate` places (q,)."""
        if layout.image is not None:
            raise TrainingFailed("ComBat works on columns, not on images", stage="combat", code="image")
        absent = [name for name in self.covariates if name not in layout.features]
        if absent:
            reason = f"covariate '{absent[0]}' is not one of the features (the outcome cannot be a covariate)"
            raise TrainingFailed(reason, stage="combat", code="covariate")
        p, q = len(layout.features), len(self.covariates)
        places = np.array([layout.features.index(name) for name in self.covariates], dtype=np.int64)
        scale = {"mean": np.zeros(p), "sd": np.ones(p), "keep": np.ones(p, dtype=np.uint8)}
        fit = {"centre": np.zeros(p), "noise": np.ones(p), "slope": np.zeros((q, p)), "covariate": places}
        return Parameters({"step": np.zeros(1, dtype=np.int64), **scale, **fit})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Moments; then within-site products with the covariates; then squared residuals. All per feature."""
        step = int(start["step"][0])
        if step == 0:
            sums = moment_sums(examples)
        else:
            z, c = _scaled(start, examples)
            sums = _products(z, c) if step == 1 else _residuals(start, z, c)
        return Fitted(parameters=sums, n_samples=len(examples))

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The scale; then slopes and centres; then the residual sd."""
        step = int(start["step"][0])
        found = (_scale, _slopes, _noise)[step](start, total)
        return start | found | Parameters({"step": np.array([step + 1], dtype=np.int64)})

    def finished(self, parameters: Parameters) -> bool:
        """After three exchanges."""
        return int(parameters["step"][0]) >= 3

    def own(self, parameters: Parameters, training: Examples) -> Parameters:
        """This site's `shift` g* and `stretch` d* (p,), both 0 and 1 when it has too few rows; they never leave."""
        p = len(training.layout.features)
        neutral = Parameters({"shift": np.zeros(p), "stretch": np.ones(p)})
        if len(training) < self.min_rows:
            return neutral
        s = _standardised(parameters, training)
        movable = np.asarray(parameters["keep"], dtype=bool) & (np.count_nonzero(~np.isnan(s), axis=0) >= 2)
        movable[parameters["covariate"]] = False
        if not movable.any():
            return neutral
        shift, stretch = np.zeros(p), np.ones(p)
        shift[movable], variance = _empirical_bayes(s[:, movable], tolerance=self.tolerance)
        stretch[movable] = np.sqrt(variance)
        return Parameters({"shift": shift, "stretch": stretch})

    def apply(self, parameters: Parameters, examples: Examples, *, own: Parameters) -> Examples:
        """Harmonised columns on the scale of the global sd, clipped."""
        harmonised = (_standardised(parameters, examples) - floats(own, "shift")) / floats(own, "stretch")
        x = harmonised * floats(parameters, "noise") + _expected(parameters, _scaled(parameters, examples)[1])
        keep = np.asarray(parameters["keep"], dtype=bool)
        x = np.clip(x[:, keep], -self.clip, self.clip)
        return examples.with_x(x, self.layout(parameters, examples.layout))

    def layout(self, parameters: Parameters, layout: Layout) -> Layout:
        """The columns with at least two different values."""
        keep = parameters["keep"]
        return replace(layout, features=tuple(f for f, k in zip(layout.features, keep, strict=True) if k))

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """Never: a preparation has no outcome."""
        raise InvariantBroken("ComBat predicts nothing")

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """None."""
        return {}


def _scaled(parameters: Parameters, examples: Examples) -> tuple[Floats, Floats]:
    """Columns (n, p) and covariates (n, q) on the global scale; a missing covariate counts as average."""
    z: Floats = (np.asarray(examples.x, dtype=np.float64) - floats(parameters, "mean")) / floats(parameters, "sd")
    c = z[:, parameters["covariate"]]
    return z, np.where(np.isnan(c), 0.0, c)


def _centred(z: Floats, c: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Columns and, for each column, covariates (n, q, p) minus their site means over the rows that have the column."""
    known = ~np.isnan(z)
    count = np.count_nonzero(known, axis=0)
    filled = np.where(known, z, 0.0)
    spread = np.where(known[:, None, :], c[:, :, None], 0.0)
    mean = np.nan_to_num(wide_mean(wide_sums(filled), count))
    q, p = c.shape[1], z.shape[1]
    flat = wide_mean(wide_sums(spread.reshape(len(z), q * p)), np.tile(count, q))
    centred = np.where(known[:, None, :], spread - np.nan_to_num(flat).reshape(q, p), 0.0)
    return np.where(known, filled - mean, 0.0), centred, known


def _products(z: Floats, c: Floats) -> Parameters:
    """Sums that give slopes and centres: `cc` (q, q, p), `cz` (q, p), and `n`, `z` (p,), `c` (q, p)."""
    within_z, within_c, known = _centred(z, c)
    q, p = c.shape[1], z.shape[1]
    cc = np.zeros((q, q, p), dtype=np.int64)
    for a in range(q):
        for b in range(q):
            cc[a, b] = to_fixed(within_c[:, a] * within_c[:, b], _BITS, what="covariates").sum(axis=0)
    cz = to_fixed(within_c * within_z[:, None, :], _BITS, what="covariate times feature").sum(axis=0)
    totals = {
        "z": to_fixed(np.where(known, z, 0.0), _BITS, what="a feature").sum(axis=0),
        "c": to_fixed(np.where(known[:, None, :], c[:, :, None], 0.0), _BITS, what="a covariate").sum(axis=0),
    }
    return Parameters({"cc": cc, "cz": cz, "n": known.sum(axis=0, dtype=np.int64), **totals})


def _residuals(start: Parameters, z: Floats, c: Floats) -> Parameters:
    """`n` (p,) and `rr` (p,): squared distances from the site's own regression line."""
    within_z, within_c, known = _centred(z, c)
    residual = within_z
    for place, slope in enumerate(floats(start, "slope")):
        residual = residual - within_c[:, place] * slope
    squares = to_fixed(residual * residual, _BITS, what="squared residual").sum(axis=0)
    return Parameters({"n": known.sum(axis=0, dtype=np.int64), "rr": squares})


def _scale(start: Parameters, total: Parameters) -> Parameters:
    found = moments(total)
    lost = [int(place) for place in start["covariate"] if not found.usable[place]]
    if lost:
        raise TrainingFailed(f"covariate in column {lost[0] + 1} has one value only", stage="combat", code="covariate")
    arrays = {
        "mean": np.where(found.count > 0, found.mean, 0.0),
        "sd": np.sqrt(np.where(found.usable, found.variance, 1.0)),
        "keep": found.usable.astype(np.uint8),
    }
    return Parameters(arrays)


def _slopes(start: Parameters, total: Parameters) -> Parameters:
    """Slopes by the normal equations within sites; centre = grand mean minus what the covariates explain."""
    q, p = start["slope"].shape
    n = np.maximum(total["n"].astype(np.float64), 1.0)
    cc, cz = from_fixed(total["cc"], _BITS), from_fixed(total["cz"], _BITS)
    slope = np.zeros((q, p))
    for feature in range(p if q else 0):
        slope[:, feature] = solve_spd(cc[:, :, feature] + n[feature] * _RIDGE * np.eye(q), cz[:, feature])
    slope[:, start["covariate"]] = 0.0  # covariates stay as they are
    centre = from_fixed(total["z"], _BITS) / n
    for place in range(q):
        centre = centre - from_fixed(total["c"][place], _BITS) / n * slope[place]
    return Parameters({"slope": slope, "centre": centre})


def _noise(start: Parameters, total: Parameters) -> Parameters:
    variance = from_fixed(total["rr"], _BITS) / np.maximum(total["n"].astype(np.float64), 1.0)
    return Parameters({"noise": np.sqrt(np.where(variance > 0, variance, 1.0))})


def _expected(parameters: Parameters, c: Floats) -> Floats:
    """a + c b, (n, p); every row by itself, so that it does not matter which rows come together."""
    centre = floats(parameters, "centre")
    expected: Floats = np.broadcast_to(centre, (len(c), len(centre)))
    for place, slope in enumerate(floats(parameters, "slope")):
        expected = expected + c[:, place, None] * slope
    return expected


def _standardised(parameters: Parameters, examples: Examples) -> Floats:
    z, c = _scaled(parameters, examples)
    standardised: Floats = (z - _expected(parameters, c)) / floats(parameters, "noise")
    return standardised


def _empirical_bayes(s: Floats, *, tolerance: float) -> tuple[Floats, Floats]:
    """g* and the variance d*^2 of every column of s (n, p): moments of g and d over columns are the prior."""
    n = np.count_nonzero(~np.isnan(s), axis=0).astype(np.float64)
    g, d = np.nanmean(s, axis=0), np.nanvar(s, axis=0, ddof=1)
    d = np.where(d > 0, d, 1.0)
    prior_spread = float(np.var(g, ddof=1)) if len(g) > 1 else 0.0
    d_mean, d_spread = float(np.mean(d)), float(np.var(d, ddof=1)) if len(d) > 1 else 0.0
    if prior_spread == 0.0 or d_spread == 0.0:
        return g, d  # one column, or no difference between columns: nothing to draw to
    alpha = (2.0 * d_spread + d_mean**2) / d_spread
    theta = (d_mean * d_spread + d_mean**3) / d_spread
    shift, variance = g, d
    for _ in range(_MOST_ITERATIONS):
        new_shift = (n * prior_spread * g + variance * float(np.mean(g))) / (n * prior_spread + variance)
        squares = np.nansum((s - new_shift) ** 2, axis=0)
        new_variance = (theta + 0.5 * squares) / (n / 2.0 + alpha - 1.0)
        moved = max(_relative(new_shift, shift), _relative(new_variance, variance))
        shift, variance = new_shift, new_variance
        if moved < tolerance:
            break
    return shift, variance


def _relative(new: Floats, old: Floats) -> float:
    return float(np.max(np.abs(new - old) / np.maximum(np.abs(old), 1e-12)))
