"""Two noisy numbers per site: evidence that may leave under differential privacy, and verdicts that know the noise.

T = sum over a site's records of clip(e_i z_i / .8, -1, 1), for cases and for the others apart: z_i the log-odds by
probes that never saw the site, e_i the label, -1 or 1. T is near its number of records where labels agree with all
others, near 0 where they are coins, and below where they are reversed. One patient moves one of the two numbers, by 1
at most, however surprising: both together cost what one does. The log-likelihood of the audit without noise moves by
1.157 and adds up more slowly, so the same noise hides three times as much of it. Apart they tell a different population
from a wrong coding: patients who are all at more risk than the others' models know agree with them as cases and
contradict them as controls, reversed labels contradict them as both.

Numbers are rounded to multiples of 2^-10 and get an integer of the two-sided geometric distribution (Ghosh,
Roughgarden, Sundararajan 2009), so no low bits of a floating-point noise leave (Mironov 2012). Guarantee: releasing
them is one `laplace` event for one patient added or removed at one site, given the probes, which have events of their
own. Nothing else about patients leaves, not even whether a site has both classes or too few records, for one patient
may decide that; only the class of size, in tens, is told as it is everywhere. Design: harmful-data.md 6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp
from cohortium.core.verdicts import Channel, Status, Verdict
from cohortium.privacy.dp.noise import SecretStream
from cohortium.quality.calibrate import LEAST_AUROC
from cohortium.quality.decide import Table
from cohortium.quality.noisy_probe import LEAST_CERTAIN

__all__ = [
    "GRID",
    "Noisiness",
    "NoisyEvidence",
    "auroc_of",
    "denied",
    "judge_noisy",
    "noisy_numbers",
    "noisy_table",
    "posterior",
    "statistic",
    "status_of",
]  # fmt: skip

Floats = NDArray[np.float64]

GRID = 2.0**-10
_CUT = 0.8  # of a log-odds: a record speaks with its sign, nearly
_PRIORS = (0.82, 0.06, 0.12)  # sound, reversed, unrelated
_AS_STRONG, _VARIES = 0.9, 0.1  # of the strength expected: what sound sites show of it, and its spread over sites
_WEAKEST, _STRONGEST = 0.3, 3.5
_TOLD_LESS = 2.0  # records a site has more than its public size, about
_SELDOM = 1.64  # standard deviations: one-sided 95 %
_PROTECTED_BY_CHANCE = 0.1
_BY_CHANCE = 0.25
_ONE_RECORD = 1.0  # moves a number by so much: less against a label is nobody's word but that record's
_LEAST_AGREEMENT = 0.25  # of what is expected, of all sites together
_LEAST_SIZE = 20  # told in tens; of the class below it nobody knows how few records it is
_LOOK = 0.5
_POINTS = np.arange(-60, 61) / 10.0  # of a normal distribution


@dataclass(frozen=True, kw_only=True)
class NoisyEvidence:
    """What one site releases: T of its cases and of the others, each with noise. size: tens, at least 10."""

    site: str
    size: int
    cases: float
    others: float

    @property
    def value(self) -> float:
        """T of the whole site."""
        return self.cases + self.others


@dataclass(frozen=True, kw_only=True)
class Noisiness:
    """What everybody knows of an audit's numbers. strength, certain: of the probes (`NoisyProbes`), on a grid of .001.

    scale: of the noise in each number. alpha: chance that noise alone convicts a site whose labels neither agree nor
    contradict.
    """

    strength: float
    certain: float
    scale: float
    alpha: float = 0.01

    def cut_off(self, size: int) -> float:
        """T below this convicts where the posterior does as well: less than coins give by their chance, or by noise."""
        _, square = _expected(self.strength)
        by_chance = _SELDOM * math.sqrt((size + _TOLD_LESS) * square)
        return -max(self.scale * _of_two(self.alpha), by_chance)

    @property
    def agrees(self) -> float:
        """T of one class above this keeps a site: more than noise alone gives in one case of ten."""
        return self.scale * math.log(1.0 / (2.0 * _PROTECTED_BY_CHANCE))

    @property
    def contradicts(self) -> float:
        """T of one class below this speaks against it: one record does not, nor noise alone in three cases of four."""
        return -max(_ONE_RECORD, self.scale * math.log(1.0 / (2.0 * _BY_CHANCE)))


def statistic(z: Floats, y: Floats) -> tuple[float, float]:
    """T of one site's cases and of its others before noise. z: log-odds, (n,); y: 0 or 1."""
    part = np.clip((2.0 * y - 1.0) * z / _CUT, -1.0, 1.0)
    return float(part[y == 1].sum()), float(part[y == 0].sum())


def noisy_numbers(z: Floats, y: Floats, *, scale: float, stream: SecretStream) -> tuple[int, int]:
    """Both in grid steps with their noise. scale: in units of the sensitivity, 1 and a step for the rounding."""
    ratio = math.exp(-GRID / (scale * (1.0 + GRID)))
    drawn = np.floor(np.log1p(-stream.uniform(4)) / math.log(ratio))
    cases, others = (round(one / GRID) for one in statistic(z, y))
    return cases + int(drawn[0] - drawn[1]), others + int(drawn[2] - drawn[3])


def _of_two(alpha: float) -> float:
    """What the sum of two Laplace variables of scale 1 exceeds with this chance: exp(-x) (2 + x) / 4 = alpha."""
    low, high = 0.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.exp(-middle) * (2.0 + middle) / 4.0 > alpha else (low, middle)
    return high


def auroc_of(strength: float) -> float:
    """AUROC of scores whose classes lie so many standard deviations apart."""
    return NormalDist().cdf(strength / math.sqrt(2.0))


def status_of(known: Noisiness) -> Status:
    """Whether labels may be judged: the probes rank others' patients, and more certainly than by noise."""
    enough = known.certain >= LEAST_CERTAIN and auroc_of(known.strength) >= LEAST_AUROC
    return "decided" if enough else "inconclusive"


def posterior(one: NoisyEvidence, known: Noisiness) -> float:
    """Probability that the labels are reversed or unrelated, 0 to 1, of a number with this noise in it."""
    mean, square = _expected(known.strength)
    n, within = one.size + _TOLD_LESS, max(square - mean * mean, 0.05)
    terms = [
        math.log(prior) + _log_density(one.value, n * m, n * v + 4.0 * known.scale**2 + (n * wide) ** 2)
        for prior, m, v, wide in (
            (_PRIORS[0], mean * _AS_STRONG, within, mean * _VARIES),
            (_PRIORS[1], -mean * _AS_STRONG, within, mean * _VARIES),
            (_PRIORS[2], 0.0, square, 0.0),
        )
    ]
    weights = fp.exp(np.array(terms) - max(terms))
    return float(fp.ordered_sum(weights[1:]) / fp.ordered_sum(weights))


def denied(evidence: Sequence[NoisyEvidence], known: Noisiness) -> bool:
    """Whether labels of all sites together agree less than a quarter as much as the probes say.

    Masks hide who has added what to the sums, so one site can turn every probe round; its own row is all it can write
    among the numbers, and counts here no more than its size.
    """
    mean, _ = _expected(known.strength)
    held = [min(max(one.value, -one.size), one.size) for one in evidence]
    return math.fsum(held) < _LEAST_AGREEMENT * mean * _AS_STRONG * sum(one.size for one in evidence)


def _expected(strength: float) -> tuple[float, float]:
    """Mean and mean square of one record's part of T where labels agree as the probes say."""
    strength = min(max(strength, _WEAKEST), _STRONGEST)
    weight = fp.exp(-0.5 * _POINTS * _POINTS)
    part = np.clip((0.5 * strength**2 + strength * _POINTS) / _CUT, -1.0, 1.0)
    whole = fp.ordered_sum(weight)
    return float(fp.ordered_sum(weight * part) / whole), float(fp.ordered_sum(weight * part * part) / whole)


def _log_density(value: float, mean: float, variance: float) -> float:
    return -0.5 * ((value - mean) ** 2 / variance + float(fp.log(variance)))


def judge_noisy(one: NoisyEvidence, known: Noisiness, *, others: int, convict: float = 0.95) -> Verdict:
    """Keep, keep-shifted or quarantine; asked instead of convicted where one class alone may be contradicted."""
    harmful, by = round(posterior(one, known), 6), f"the model of the other {others} sites"
    if not (harmful > convict and one.value < known.cut_off(one.size)):
        look = harmful > _LOOK
        reason = (
            f"labels {'agree less than expected with' if look else 'do not contradict'} {by}, as far as noise tells"
        )
        channel: Channel = "unrelated" if look else "sound"
        return Verdict(site=one.site, kind="keep", posterior=harmful, channel=channel, reason=reason, look=look)
    if max(one.cases, one.others) > known.agrees:
        reason = f"different, not harmful: {by} contradicts one label and agrees with the other"
        return Verdict(site=one.site, kind="keep-shifted", posterior=0.0, channel="shifted", reason=reason)
    if max(one.cases, one.others) >= known.contradicts:
        asked = f"the records contradict {by}; please confirm the coding"
        reason = "one label is not the one expected; of the other there are few records, or noise hides them"
        return Verdict(
            site=one.site, kind="keep", posterior=harmful, channel="unrelated", reason=reason, question=asked
        )
    reason = f"labels contradict {by} by more than the noise allows"
    return Verdict(
        site=one.site, kind="quarantine", posterior=harmful, channel="unrelated", reason=reason, left_out=True
    )


def noisy_table(
    evidence: Sequence[NoisyEvidence],
    known: Noisiness,
    *,
    sites: Sequence[str],
    convict: float = 0.95,
    to_sign: bool = False,
) -> Table:
    """A verdict for every site, the same bytes everywhere; nobody is judged where the numbers deny the probes.

    to_sign: the study registers subgroups; how many of each a site holds is not counted, so a person signs.
    """
    status, found = status_of(known), {one.site: one for one in evidence}
    reason = "noise hides whether the models of the other sites rank patients; more records or epsilon would tell"
    if status == "decided" and found and denied(tuple(found.values()), known):
        status = "inconclusive"
        reason = "most labels contradict what the sums say of them; a site may have sent false sums"
    verdicts = []
    for site in sorted(sites):
        if status == "inconclusive":
            verdicts.append(Verdict(site=site, kind="keep", posterior=0.0, channel="sound", reason=reason))
        elif site not in found:
            silent = "the site has shown no number"
            verdicts.append(Verdict(site=site, kind="keep", posterior=0.0, channel="sound", reason=silent))
        elif found[site].size < _LEAST_SIZE:
            few = f"too few records to judge: fewer than {_LEAST_SIZE}"
            verdicts.append(Verdict(site=site, kind="keep", posterior=0.0, channel="sound", reason=few))
        else:
            one = judge_noisy(found[site], known, others=len(sites) - 1, convict=convict)
            verdicts.append(replace(one, to_sign=to_sign and one.left_out))
    auroc = round(auroc_of(known.strength), 6)
    return Table(status=status, auroc=auroc, slope=0.0, verdicts=tuple(verdicts))
