"""One noisy number per site: evidence that may leave under differential privacy, and the cut-off that knows the noise.

S = [two-class: G; one-class: log(.8 e^G + .2 e^H)] - n log(1/2) - nu, with evidence clipped at 2 nats and oddity at 3.
Adding or removing one patient moves the label part by at most 1.157 and nu by at most min(6, 8/(n - 1)). S is rounded
to multiples of 2^-10 and gets an integer of the two-sided geometric distribution (Ghosh, Roughgarden, Sundararajan
2009), so no low bits of a floating-point noise leave (Mironov 2012). The scale depends on n only through the power of
two below it, which is declared. A fixed cut-off would convict good sites twenty times as often; this one moves out by
the noise's own quantile.

Guarantee: releasing S is epsilon-differentially private for one patient added or removed at one site, given the
probes, the calibration and the scale of novelty; these are separate releases with events of their own. Sites below five
records release nothing. Design: harmful-data.md 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core.spending import MechanismEvent
from cohortium.core.verdicts import LEAST_PUBLISHED, Verdict
from cohortium.privacy.dp.noise import SecretStream
from cohortium.quality.evidence import COIN, shifted, sound_terms, two_class
from cohortium.quality.novelty import site_novelty, site_oddity
from cohortium.quality.protection import RANKED_RIGHTLY, ranking

__all__ = ["GRID", "NoisyEvidence", "cut_off", "judge_noisy", "noise_scale", "release", "sensitivity", "statistic"]

Floats = NDArray[np.float64]

GRID = 2.0**-10
_CLIP = 2.0
_HIGHEST_ODDITY = 3.0
_LABEL_STEP = 1.157
_PRIOR = math.log(0.82 / 0.18)
_GUARD_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class NoisyEvidence:
    """What one site releases: S with noise, its class of size (a power of two) and the noise's scale, in nats.

    ranking: standard errors above chance with noise, NaN unless S convicts a two-class site.
    """

    site: str
    size_class: int
    two_class: bool
    value: float
    scale: float
    ranking: float = math.nan


def statistic(margin: Floats, y: Floats, oddity: Floats, *, usual: float) -> float:
    """S of one site, in nats, before noise. margin, y, oddity: (n,); usual: the median site's oddity."""
    n = len(y)
    sound = float(sound_terms(margin, clip=_CLIP).sum())
    if not two_class(y):
        moved = shifted(margin, 2.0 * y - 1.0, clip=_CLIP)
        sound = float(np.logaddexp(math.log(0.8) + sound, math.log(0.2) + moved))
    return sound - n * COIN - site_novelty(site_oddity(oddity, highest=_HIGHEST_ODDITY), usual=usual, n=n)


def sensitivity(n: int) -> float:
    """How much one patient can move S at a site of n records or more: n is rounded down to a power of two."""
    return _LABEL_STEP + min(6.0, 8.0 / (_size_class(n) - 1))


def noise_scale(n: int, *, epsilon: float) -> float:
    """beta of the noise, in nats; one grid step is added to the sensitivity for the rounding."""
    if not epsilon > 0:
        raise ValueError(f"epsilon must be above 0, got {epsilon}")
    return (sensitivity(n) + GRID) / epsilon


def cut_off(scale: float, *, convict: float = 0.95, alpha: float = 0.01) -> float:
    """S below this convicts; alpha: share of sites just at the noiseless cut-off that noise alone would convict."""
    return -(_PRIOR + math.log(convict / (1 - convict)) + scale * math.log(1 / (2 * alpha)))


def release(
    site: str,
    margin: Floats,
    y: Floats,
    oddity: Floats,
    z: Floats,
    *,
    usual: float,
    epsilon: float,
    entropy: Callable[[int], bytes],
    convict: float = 0.95,
    alpha: float = 0.01,
) -> tuple[NoisyEvidence | None, tuple[MechanismEvent, ...]]:
    """What leaves the site, and what it costs its patients; nothing below five records.

    entropy: n secret bytes, of the operating system outside of simulations. A two-class site that S convicts spends
    epsilon/4 more for its ranking.
    """
    n = len(y)
    if n < LEAST_PUBLISHED:
        return None, ()
    stream = SecretStream(entropy, use="harm-evidence")
    scale = noise_scale(n, epsilon=epsilon)
    value = _noisy(statistic(margin, y, oddity, usual=usual), scale=scale, stream=stream)
    events: tuple[MechanismEvent, ...] = (MechanismEvent.laplace(scale=1 / epsilon),)
    both, ranked = two_class(y), math.nan
    if both and value < cut_off(scale, convict=convict, alpha=alpha):
        few, spent = int(min((y == 1).sum(), (y == 0).sum())), _GUARD_SHARE * epsilon
        found = ranking(z, y)
        area = _noisy(found.auroc, scale=(1 / few + GRID) / spent, stream=stream)
        ranked = (area - 0.5) / ((found.auroc - 0.5) / found.errors) if found.errors else 0.0
        events += (MechanismEvent.laplace(scale=1 / spent),)
    told = NoisyEvidence(site=site, size_class=_size_class(n), two_class=both, value=value, scale=scale, ranking=ranked)
    return told, events


def judge_noisy(one: NoisyEvidence, *, others: int, convict: float = 0.95, alpha: float = 0.01) -> Verdict:
    """Keep, keep-shifted or quarantine from one noisy number; a one-class site is asked instead of convicted."""
    harmful = one.value < cut_off(one.scale, convict=convict, alpha=alpha)
    by = f"the model of the other {others} sites"
    if not harmful:
        reason = f"labels do not contradict {by} by more than the noise allows"
        return Verdict(site=one.site, kind="keep", posterior=0.0, channel="sound", reason=reason)
    if not one.two_class:
        asked = f"the records contradict {by}; please confirm the coding"
        reason = "nearly all records have one label, and it is not the one expected"
        return Verdict(
            site=one.site, kind="keep", posterior=convict, channel="unrelated", reason=reason, question=asked
        )
    if one.ranking > RANKED_RIGHTLY:
        reason = "different, not harmful: your patients are still ranked rightly"
        return Verdict(site=one.site, kind="keep-shifted", posterior=0.0, channel="shifted", reason=reason)
    reason = f"labels contradict {by} by more than the noise allows"
    return Verdict(
        site=one.site, kind="quarantine", posterior=convict, channel="unrelated", reason=reason, left_out=True
    )


def _size_class(n: int) -> int:
    return 1 << (n.bit_length() - 1)


def _noisy(value: float, *, scale: float, stream: SecretStream) -> float:
    """The value on the grid plus two-sided geometric noise of this scale."""
    ratio = math.exp(-GRID / scale)
    first, second = np.floor(np.log1p(-stream.uniform(2)) / math.log(ratio))
    return (round(value / GRID) + float(first - second)) * GRID
