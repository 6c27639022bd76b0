"""Linear regression by least squares: `Linear`, one exchange of exact moments, or by weights.

The moments of features are integer sums of rounded values; those of the outcome are exact for any unit
(`core.wide_sums`), so a platelet count needs no scaling. Minimises (1/2) sum (y - x'b)^2 + (l2 n / 2)|w|^2,
intercept free. Options and names of parameters as in `glm`; `residual_variance` is RSS / (n - rank).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.examples import Examples, Layout, OutcomeKind
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Instructions
from cohortium.core.wide_sums import wide_mean, wide_square_sums, wide_sums, wide_variance
from cohortium.models import newton
from cohortium.models.families import outcome_of
from cohortium.models.glm import check_options, inference, learn_by_weights, linear_gradients, zeros
from cohortium.models.patient_gradients import LinearGradients
from cohortium.models.row_sums import X_BITS, fixed_features, linear_predictor, summed_gram, unpacked

__all__ = ["Linear", "Moments", "moment_sums", "moments"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Linear:
    """The expected number by least squares. Options as `glm.Logistic`; one exchange by sums."""

    l2: float = 0.0
    learn: Literal["sums", "weights"] = "sums"
    learning_rate: float = 0.1
    batch_size: int = 0

    max_rounds: ClassVar[int] = 1
    outcome: ClassVar[OutcomeKind] = "number"

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def learns_by(self) -> Literal["sums", "weights"]:
        """As `learn` says."""
        return self.learn

    def initial(self, layout: Layout, *, rng: np.random.Generator) -> Parameters:
        """All coefficients 0. Raises DataError for another outcome, or too many columns to learn by sums."""
        start = zeros(self, layout, name="linear")
        return start if self.learn == "weights" else start | Parameters({"residual_variance": np.zeros(1)})

    def fit(
        self, start: Parameters, examples: Examples, *, instructions: Instructions, rng: np.random.Generator
    ) -> Fitted:
        """Moments of features and outcome; or gradient steps."""
        if self.learn == "weights":
            return self.fit_many([start], [examples], instructions=[instructions], rngs=[rng])[0]
        return Fitted(parameters=moment_sums(examples), n_samples=len(examples))

    def fit_many(
        self,
        starts: Sequence[Parameters],
        examples: Sequence[Examples],
        *,
        instructions: Sequence[Instructions],
        rngs: Sequence[np.random.Generator],
    ) -> list[Fitted]:
        """Gradient steps of many sites at once."""
        return learn_by_weights(self, starts, examples, instructions=instructions, rngs=rngs)

    def patient_gradients(self, layout: Layout) -> LinearGradients:
        """Clipped gradients, where `learn` is `weights`."""
        return linear_gradients(self)

    def advance(self, start: Parameters, total: Parameters) -> Parameters:
        """The solution."""
        return start | _solution(moments(total, start["coefficients"].size), l2=self.l2)

    def finished(self, parameters: Parameters) -> bool:
        """By sums: after one exchange."""
        return self.learn == "sums" and "covariance" in parameters

    def predict(self, parameters: Parameters, examples: Examples) -> Floats:
        """The expected number, (n,)."""
        coefficients = np.asarray(parameters["coefficients"], dtype=np.float64)
        return linear_predictor(examples, coefficients) + float(parameters["intercept"][0])

    def parts(self, parameters: Parameters) -> Mapping[str, tuple[str, ...]]:
        """The intercept is what a site may keep to itself."""
        return {"head": ("intercept",)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """What least squares needs of n rows: means, and sums of products of centred columns and outcome."""

    n: int
    x_mean: Floats
    y_mean: float
    xx: Floats
    xy: Floats
    yy: float


def moment_sums(examples: Examples) -> Parameters:
    """One site's exact sums of x x' (packed, with a column of ones), x y, y and y^2."""
    x, y = fixed_features(examples), outcome_of(examples)
    products = fp.from_fixed(x, X_BITS) * y[:, None]
    return Parameters(
        {
            "rows": np.array([len(x)], dtype=np.int64),
            "xx": summed_gram(x, what="products of columns"),
            "xy": wide_sums(products, what="products with the outcome"),
            "yy": wide_square_sums(y[:, None], what="the outcome"),
        }
    )


def moments(total: Parameters, p: int) -> Moments:
    """Centred moments from merged sums; all 0 without rows."""
    n = int(total["rows"][0])
    xx = fp.from_fixed(unpacked(np.asarray(total["xx"]), p + 1), 2 * X_BITS)
    xy_wide, yy_wide = np.asarray(total["xy"]), np.asarray(total["yy"])
    if n == 0:
        return Moments(n=0, x_mean=np.zeros(p), y_mean=0.0, xx=xx[1:, 1:], xy=np.zeros(p), yy=0.0)
    count = np.full(p + 1, n, dtype=np.int64)
    xy = wide_mean(xy_wide, count)
    x_mean = xx[0, 1:] / n
    y_mean = float(xy[0])
    variance = float(wide_variance(xy_wide[:, :1], yy_wide, count[:1])[0])
    return Moments(n=n, x_mean=x_mean, y_mean=y_mean, xx=xx[1:, 1:] - n * x_mean[:, None] * x_mean,
                   xy=n * (xy[1:] - x_mean * y_mean), yy=n * variance)  # fmt: skip


def _solution(found: Moments, *, l2: float) -> Parameters:
    p = len(found.xy)
    held = newton.aliased(found.xx) if l2 == 0 else np.zeros(p, dtype=bool)
    w = newton.newton_step(found.xy, found.xx + np.diag(np.full(p, l2 * found.n)), held=held, n=0)
    w = np.zeros(p) if w is None else w
    left = found.yy - 2 * float(fp.ordered_sum(w * found.xy)) + float(fp.ordered_sum(w * fp.matvec(found.xx, w)))
    degrees = found.n - 1 - int(p - held.sum())
    variance = max(left, 0.0) / degrees if degrees > 0 else 0.0
    inverse = newton.covariance(found.xx, held=held | (np.diagonal(found.xx) == 0))
    shift = fp.matvec(inverse, found.x_mean)
    covariance = np.zeros((p + 1, p + 1))
    covariance[0, 0] = (1.0 / found.n if found.n else 0.0) + float(fp.ordered_sum(found.x_mean * shift))
    covariance[0, 1:] = covariance[1:, 0] = -shift
    covariance[1:, 1:] = inverse
    solved: dict[str, object] = {
        "coefficients": w,
        "intercept": [found.y_mean - float(fp.ordered_sum(w * found.x_mean))],
    }
    return Parameters({**solved, "residual_variance": [variance], **inference(variance * covariance)})
