"""Was this patient in the training data? Scores for and against, and how well they tell members from others.

Three attackers, weakest first. `loss`: members have lower losses. LiRA (Carlini et al. 2022): a patient's confidence is
compared with that of reference models that never saw the patient (offline) or that did (online). RMIA (Zarifzadeh et
al. 2024): the model's gain for a patient is compared with its gain for others. All take arrays: models are trained
elsewhere. A score is higher where the attacker believes in membership.

`judge` gives the two figures a report shows beside guessing: the area under the curve (0.5) and the share of members
found while at most 1 % of the others are wrongly accused (0.01), both with 95 % intervals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["LEAST_OTHERS", "Membership", "confidences", "judge", "lira_offline", "lira_online", "rmia"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LEAST_OTHERS = 100
"""With fewer people outside the data a share of 1 % of them means nothing."""

_LEAST_STD = 1e-6
_FEW_REFERENCES = 64
_Z = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Membership:
    """How well an attack told `n_members` from `n_others`.

    tpr: share of members found at a false-positive rate of at most `fpr`; None, with the reason, where too few others
    make it meaningless. The interval of tpr is that of a share at the threshold chosen on the others.
    """

    auc: float
    auc_low: float
    auc_high: float
    n_members: int
    n_others: int
    fpr: float = 0.01
    tpr: float | None = None
    tpr_low: float | None = None
    tpr_high: float | None = None
    reason: str = ""


def judge(members: Floats, others: Floats, *, fpr: float = 0.01) -> Membership | None:
    """The figures of an attack's scores; None where one side is empty.

    AUC with DeLong's interval on the logit scale, so that it stays within 0 and 1; ties count half.
    """
    if not len(members) or not len(others):
        return None
    auc, deviation = _delong(members, others)
    low, high = _logit_interval(auc, deviation, n=min(len(members), len(others)))
    needed = max(LEAST_OTHERS, round(1 / fpr))
    if len(others) < needed:
        reason = f"not estimable: {len(others)} people not in the data, at least {needed} are needed"
        return Membership(
            auc=auc,
            auc_low=low,
            auc_high=high,
            n_members=len(members),
            n_others=len(others),
            fpr=fpr,
            reason=reason,
        )
    threshold = np.sort(others)[len(others) - 1 - int(fpr * len(others))]
    found = int((members > threshold).sum())
    tpr_low, tpr_high = _exact_interval(found, len(members))
    return Membership(
        auc=auc,
        auc_low=low,
        auc_high=high,
        n_members=len(members),
        n_others=len(others),
        fpr=fpr,
        tpr=found / len(members),
        tpr_low=tpr_low,
        tpr_high=tpr_high,
    )


def confidences(losses: Floats) -> Floats:
    """log(p / (1 - p)) of the probability p = exp(-loss) a model gives the truth: close to normal over models."""
    certain = np.clip(losses, 1e-12, 50.0)
    return np.asarray(-certain - np.log(-np.expm1(-certain)))


def lira_offline(target: Floats, references: Floats, outside: Flags) -> Floats:
    """Chance that a model that never saw the patient would be less confident than the target.

    target: (n,) confidences. references: (k, n). outside: (k, n), True where reference k never saw the patient.
    NaN where no reference is outside.
    """
    mean, std = _moments(references, outside)
    return np.asarray(stats.norm.cdf(target, loc=mean, scale=std))


def lira_online(target: Floats, references: Floats, outside: Flags) -> Floats:
    """Log likelihood ratio of the target's confidence: seen against never seen."""
    mean_in, std_in = _moments(references, ~outside)
    mean_out, std_out = _moments(references, outside)
    inside = stats.norm.logpdf(target, loc=mean_in, scale=std_in)
    return np.asarray(inside - stats.norm.logpdf(target, loc=mean_out, scale=std_out))


def rmia(
    target: Floats, references: Floats, outside: Flags, *, population: Flags, gamma: float = 1.0, offline: float = 0.3
) -> Floats:
    """Share of the population that gains less from the target model than the patient does, by a factor gamma.

    target: (n,) losses; references: (k, n) losses. population: (n,), whom to compare with. A patient's usual
    probability is estimated from references that never saw the patient, moved towards 1 by `offline` (0: not at all).
    """
    seen = np.where(outside, np.exp(-references), np.nan)
    with np.errstate(invalid="ignore"):
        usual = np.nanmean(np.where(outside.any(axis=0), seen, 0.0), axis=0)
    usual = 0.5 * ((1 + offline) * usual + (1 - offline))
    gain = np.where(outside.any(axis=0), np.exp(-target) / np.maximum(usual, 1e-12), np.nan)
    others = np.sort(gain[population & np.isfinite(gain)])
    if not len(others):
        return np.full(len(target), np.nan)
    share = np.searchsorted(others, gain / gamma, side="right") / len(others)
    return np.asarray(np.where(np.isfinite(gain), share, np.nan))


def _moments(references: Floats, chosen: Flags) -> tuple[Floats, Floats]:
    """Mean per patient, and spread: per patient where there are many references, else one for all of them."""
    held = np.where(chosen, references, 0.0)
    n = chosen.sum(axis=0)
    mean = np.where(n > 0, held.sum(axis=0) / np.maximum(n, 1), np.nan)
    squares = np.where(chosen, (references - mean) ** 2, 0.0)
    if (n >= _FEW_REFERENCES).all():
        std = np.sqrt(squares.sum(axis=0) / (n - 1))
    else:
        freedom = max(int(np.maximum(n - 1, 0).sum()), 1)
        std = np.full(references.shape[1], np.sqrt(np.nansum(squares) / freedom))
    return mean, np.maximum(std, _LEAST_STD)


def _delong(members: Floats, others: Floats) -> tuple[float, float]:
    """Area under the curve and its standard deviation, by placements."""
    ranks = stats.rankdata(np.concatenate([members, others]))
    n, m = len(members), len(others)
    of_members = (ranks[:n] - stats.rankdata(members)) / m
    of_others = 1 - (ranks[n:] - stats.rankdata(others)) / n
    auc = float(of_members.mean())
    variance = (of_members.var(ddof=1) / n if n > 1 else 0.25) + (of_others.var(ddof=1) / m if m > 1 else 0.25)
    return auc, float(np.sqrt(variance))


def _logit_interval(auc: float, deviation: float, *, n: int) -> tuple[float, float]:
    """95 % interval; at the ends of the scale, where DeLong's is empty, that of a share of n."""
    if deviation == 0 or not 0 < auc < 1:
        low, high = _exact_interval(round(auc * n), n)
        return min(low, auc), max(high, auc)
    logit, spread = np.log(auc / (1 - auc)), _Z * deviation / (auc * (1 - auc))
    return float(1 / (1 + np.exp(-(logit - spread)))), float(1 / (1 + np.exp(-(logit + spread))))


def _exact_interval(found: int, n: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share."""
    low = 0.0 if found == 0 else float(stats.beta.ppf(0.025, found, n - found + 1))
    high = 1.0 if found == n else float(stats.beta.ppf(0.975, found + 1, n - found))
    return low, high
