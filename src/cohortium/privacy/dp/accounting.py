"""From mechanism events to epsilon, and from epsilon to the noise that is needed.

`epsilon` is what is recorded, reported and decided on: the privacy loss distribution of all events together (PLD), add
or remove one patient, rounded up. `quick_epsilon` is the Renyi bound: sooner there, never below, for live displays.
Events are composed, their epsilons never added: three runs of 12.40 each are 23.60, not 37.19.

Both by Google's `dp-accounting` (extra `dp`), imported when used. It has no PLD for zCDP, so a run with such an event
is accounted by Renyi as a whole. Gaussians alone need none: together they are one, whose epsilon is exact. A tree of
Gaussians over batches that share no patient is one Gaussian: a patient is in floor(log2 steps) + 1 of its nodes.
Design: privacy.md section 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from cohortium.core.spending import MechanismEvent, merged
from cohortium.errors import MissingExtra

__all__ = ["accountant", "calibrate", "epsilon", "micro", "quick_epsilon", "require_accountant"]

_STEP = 1e-4  # of the privacy loss: the error of epsilon is below it for each event, always upwards
_ORDERS = (
    *(1 + k / 8 for k in range(8, 80)),
    *range(11, 65),
    80,
    96,
    128,
    192,
    256,
    512,
    1024,
)  # lower ones may not converge
_HOPELESS = 200.0  # an epsilon beyond this promises nothing, and its exact value would take minutes
_WIDEST = 1e6
_CLOSE = 2e-4
_TIGHTER = 0.9  # of the noise that Renyi asks for; usually too little

Events = tuple[MechanismEvent, ...]


def accountant() -> str:
    """What a record says of how its epsilons were found."""
    from importlib.metadata import version

    require_accountant()
    return f"dp-accounting {version('dp-accounting')} PLD 1e-4"


def require_accountant() -> None:
    """Raise MissingExtra where dp-accounting is not installed."""
    try:
        import dp_accounting  # noqa: F401
    except ImportError:
        raise MissingExtra("differential privacy", extra="dp") from None


def epsilon(events: Iterable[MechanismEvent], *, delta: float) -> float:
    """Epsilon of all events together at this delta; 0 for none, infinity where there is no guarantee."""
    together = merged(events)
    return _epsilon(together, delta) if together else 0.0


def quick_epsilon(events: Iterable[MechanismEvent], *, delta: float) -> float:
    """An upper estimate of `epsilon` by Renyi accounting."""
    together = merged(events)
    return _renyi(together, delta) if together else 0.0


def micro(value: float) -> int:
    """Epsilon in millionths, rounded up, as commits and records hold it; the largest one for infinity."""
    return math.ceil(round(value * 1e6, 3)) if math.isfinite(value) and value < 1e12 else (1 << 62)


def calibrate(events: Callable[[float], Iterable[MechanismEvent]], *, epsilon: float, delta: float) -> float:
    """The smallest noise multiplier, up to 2 in 10,000, whose events stay within epsilon; six digits, rounded up.

    events: of a noise multiplier. Raises ValueError where even a million would not do.
    """
    if not epsilon > 0 or not 0 < delta < 1:
        raise ValueError(f"epsilon must be positive and delta between 0 and 1, got {epsilon} and {delta}")

    def spent(sigma: float) -> float:
        return _epsilon(merged(events(sigma)), delta)

    low, high = 0.0, _enough(lambda sigma: _renyi(merged(events(sigma)), delta), epsilon)
    at_low, at_high = math.inf, spent(high)
    if at_high > epsilon and spent(_WIDEST) > epsilon:
        raise ValueError(f"no noise reaches epsilon {epsilon:g} at delta {delta:g} with so many steps")
    while at_high > epsilon:
        low, at_low, high = high, at_high, high * 2
        at_high = spent(high)
    while low == 0.0:
        less = high * _TIGHTER
        at_less = spent(less) if less > 1e-2 else math.inf
        if at_less > epsilon:
            low, at_low = less, at_less
        else:
            high, at_high = less, at_less
    while at_high < epsilon * (1 - _CLOSE) and high - low > 1e-6:
        middle = _between(low, at_low, high, at_high, epsilon)
        found = spent(middle)
        if found > epsilon:
            low, at_low = middle, found
        else:
            high, at_high = middle, found
    return math.ceil(high * 1e6) / 1e6


def _enough(spent: Callable[[float], float], wanted: float) -> float:
    """A multiplier to begin with: enough by Renyi, which is cheap, within a hundredth; 1 where Renyi never gets there.

    The exact one lies some percent below, so few privacy loss distributions have to be made.
    """
    if spent(_WIDEST) > wanted:
        return 1.0
    low, high = 0.0, 1.0
    while spent(high) > wanted:
        low, high = high, high * 2
    while high - low > 1e-2 * high and high > 1e-2:
        middle = (low + high) / 2
        low, high = (middle, high) if spent(middle) > wanted else (low, middle)
    return high


def _between(low: float, at_low: float, high: float, at_high: float, wanted: float) -> float:
    """Where a power law through both ends meets a value a little below the wanted one; never close to an end."""
    share = 0.5
    if math.isfinite(at_low) and at_high > 0:
        slope = math.log(at_low / at_high)
        share = math.log(at_low / (wanted * (1 - _CLOSE / 2))) / slope if slope > 0 else 0.5
    share = min(max(share, 0.02), 0.98)
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))


@lru_cache(maxsize=4096)
def _epsilon(events: Events, delta: float) -> float:
    bound = _renyi(events, delta)
    if bound > _HOPELESS or any(event.type == "zcdp" for event in events):
        return bound
    from dp_accounting import GaussianDpEvent

    whole, gaussians = None, 0.0
    for event in events:
        one = _mechanism(event)
        if isinstance(one, GaussianDpEvent):
            gaussians += event.count / one.noise_multiplier**2
            continue
        sampled = type(one).__name__ == "PoissonSampledDpEvent"
        loss = _once(event.once()).self_compose(event.count) if sampled else _composed(one, event.count)
        whole = loss if whole is None else whole.compose(loss)
    if whole is None:
        return min(_of_a_gaussian(1 / math.sqrt(gaussians), delta), bound) if gaussians else bound
    if gaussians:  # all of them together are one, with less noise
        whole = whole.compose(_together(gaussians))
    return min(float(whole.get_epsilon_for_delta(delta)), bound)


def _of_a_gaussian(sigma: float, delta: float) -> float:
    """Of one Gaussian, at most a billionth above the exact one, a thousand times sooner than by its loss distribution.

    Source: Balle and Wang 2018, Improving the Gaussian Mechanism for Differential Privacy, theorem 8.
    """
    from scipy.special import log_ndtr, ndtr

    def lost(eps: float) -> float:
        """The delta at this epsilon; falls as epsilon grows."""
        half, far = 1 / (2 * sigma), eps * sigma
        return float(ndtr(half - far) - math.exp(eps + log_ndtr(-half - far)))

    if lost(0.0) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while lost(high) > delta:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if lost(middle) > delta else (low, middle)
    return high


@lru_cache(maxsize=16)
def _once(event: MechanismEvent) -> Any:
    """One use of a sampled mechanism. Making it costs a hundred times what composing it with itself costs, and a
    run asks after every round; kept for few, each is some megabytes."""
    return _composed(_mechanism(event), 1)


@lru_cache(maxsize=16)
def _together(precision: float) -> Any:
    """Gaussians as one, given the sum of their 1 / sigma^2. Kept, for a search for the noise of steps asks again."""
    from dp_accounting import GaussianDpEvent

    return _composed(GaussianDpEvent(1.0), precision)


def _composed(mechanism: Any, count: float) -> Any:
    from dp_accounting.pld import privacy_loss_distribution as losses

    also = {"value_discretization_interval": _STEP}
    match type(mechanism).__name__:
        case "PoissonSampledDpEvent":
            also |= {"sampling_prob": mechanism.sampling_probability}
            return losses.from_gaussian_mechanism(mechanism.event.noise_multiplier, **also)
        case "GaussianDpEvent":
            return losses.from_gaussian_mechanism(mechanism.noise_multiplier / math.sqrt(count), **also)
        case _:
            return losses.from_laplace_mechanism(mechanism.noise_multiplier, **also).self_compose(int(count))


@lru_cache(maxsize=4096)
def _renyi(events: Events, delta: float) -> float:
    require_accountant()
    from dp_accounting.rdp import RdpAccountant

    accounting = RdpAccountant(_ORDERS, _add_or_remove())
    for event in events:
        accounting.compose(_mechanism(event), event.count)
    return float(accounting.get_epsilon(delta))


def _add_or_remove() -> Any:
    from dp_accounting import NeighboringRelation

    return NeighboringRelation.ADD_OR_REMOVE_ONE


def _mechanism(event: MechanismEvent) -> Any:
    """One use of an event, in the accountant's words."""
    import dp_accounting as dp

    match event.type:
        case "gaussian":
            return dp.GaussianDpEvent(float(event.sigma))
        case "poisson-gaussian":
            whole = dp.GaussianDpEvent(float(event.sigma))
            return whole if float(event.q) == 1 else dp.PoissonSampledDpEvent(float(event.q), whole)
        case "laplace":
            return dp.LaplaceDpEvent(float(event.scale))
        case "zcdp":
            return dp.ZCDpEvent(float(event.rho))
        case "tree":
            levels = event.steps.bit_length()
            return dp.GaussianDpEvent(float(event.sigma) / math.sqrt(levels))
