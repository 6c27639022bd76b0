"""How well four hypotheses explain a site's labels, and each record's own odds of being wrong. Pure formulas.

A record enters with its margin m_i = e_i (a z_i + b): how strongly models that never saw its site agree with its label
(e_i = +1 for a case, -1 otherwise). Logarithms are natural, evidence is in nats, every term is bounded: one record
can speak against a site with at most `CLIP` nats. Design: harmful-data.md 5.3, steps 5, 7 and 8; section 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.core import fixed_point as fp

__all__ = [
    "CLIP",
    "COIN",
    "CONTAMINATION",
    "SUSPECT",
    "TWO_CLASS",
    "SiteEvidence",
    "log_sigmoid",
    "posterior",
    "record_suspicion",
    "reversed_terms",
    "shifted",
    "site_evidence",
    "sound_terms",
    "trust",
    "two_class",
]

Floats = NDArray[np.float64]

CONTAMINATION = 0.03
"""Share of wrong records expected in a sound site (eps of the design)."""

CLIP = 4.0
"""Nats at which a record's log-likelihood is cut (c of the design); 2 where evidence gets noise."""

COIN = math.log(0.5)
"""Log-likelihood of a label that has nothing to do with the patient."""

SUSPECT = 0.5
"""A record whose suspicion is above this is counted as flagged; automatic exclusion needs `convict`."""

TWO_CLASS = 3
"""Records of each class that make a two-class site."""

_SHIFT_SD = 2.0
_NODES = 15
_LARGEST_NOVELTY = 6.0
_PRIORS = {True: (0.82, 0.0, 0.06, 0.12), False: (0.64, 0.20, 0.06, 0.10)}


@dataclass(frozen=True, kw_only=True)
class SiteEvidence:
    """One site's sums, in nats: G, F, H of the design and the novelty nu that raises `unrelated`."""

    n: int
    two_class: bool
    sound: float
    reversed: float
    shifted: float
    novelty: float

    @property
    def unrelated(self) -> float:
        """U: every label a coin, and more likely so the newer the records look."""
        return self.n * COIN + self.novelty


def log_sigmoid(t: Floats) -> Floats:
    """l(t) = -log(1 + exp(-t)), without overflow."""
    found: Floats = -np.logaddexp(0.0, -np.asarray(t, dtype=np.float64))
    return found


def sound_terms(margin: Floats, *, clip: float = CLIP) -> Floats:
    """g_i: log-likelihood of each label in a site that is right but for `CONTAMINATION` of its records, (n,)."""
    agree = np.maximum(log_sigmoid(margin), -clip)
    against = np.maximum(log_sigmoid(-margin), -clip)
    found: Floats = np.log((1 - CONTAMINATION) * np.exp(agree) + CONTAMINATION * np.exp(against))
    return found


def reversed_terms(margin: Floats, *, clip: float = CLIP) -> Floats:
    """f_i: log-likelihood of each label if the site had 0 and 1 exchanged, (n,)."""
    found: Floats = np.maximum(log_sigmoid(-margin), -clip)
    return found


def shifted(margin: Floats, sign: Floats, *, clip: float = CLIP) -> float:
    """H: the site is right, but its patients' risk is higher or lower throughout, by N(0, 2^2) on the logit.

    Gauss-Hermite quadrature with 15 nodes.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    terms = np.array([sound_terms(margin + sign * _SHIFT_SD * d, clip=clip).sum() for d in nodes])
    return float(_log_sum_exp(terms + np.log(weights / weights.sum())))


def two_class(y: Floats) -> bool:
    """Whether both classes have at least `TWO_CLASS` records."""
    cases = int(np.count_nonzero(y == 1))
    return min(cases, len(y) - cases) >= TWO_CLASS


def site_evidence(margin: Floats, y: Floats, *, novelty: float, clip: float = CLIP) -> SiteEvidence:
    """All four hypotheses for one site. margin, y: (n,), y in 0/1; novelty: nu of `novelty.site_novelty`."""
    return SiteEvidence(
        n=len(y),
        two_class=two_class(y),
        sound=float(sound_terms(margin, clip=clip).sum()),
        reversed=float(reversed_terms(margin, clip=clip).sum()),
        shifted=shifted(margin, 2.0 * y - 1.0, clip=clip),
        novelty=novelty,
    )


def posterior(evidence: SiteEvidence, *, allow_shift: bool = True) -> float:
    """p_s: probability that the labels are reversed or unrelated, 0 to 1.

    One-class sites may also be shifted; allow_shift = False judges them as if they could not be.
    """
    sound, shift, turned, coin = _PRIORS[evidence.two_class or not allow_shift]
    terms = [
        _log(sound) + evidence.sound,
        _log(turned) + evidence.reversed,
        _log(coin) + evidence.unrelated,
    ]
    if shift:
        terms.append(_log(shift) + evidence.shifted)
    whole = np.array(terms)
    return min(float(fp.exp(_log_sum_exp(whole[1:3]) - _log_sum_exp(whole))), 1.0)


def record_suspicion(margin: Floats, oddity: Floats) -> Floats:
    """rho_i: probability that a record's label or values are wrong, (n,); it stays at the site.

    oddity: o_i of `novelty.record_oddity`; above 2 it speaks against the record, with at most 6 nats.
    """
    prior = math.log(CONTAMINATION / (1 - CONTAMINATION))
    agree = np.maximum(log_sigmoid(margin), -CLIP)
    against = np.maximum(log_sigmoid(-margin), -CLIP)
    odds = prior + against - agree + np.clip(2.0 * (oddity - 2.0), 0.0, _LARGEST_NOVELTY)
    found: Floats = np.exp(log_sigmoid(odds))
    return found


def trust(harmful: float, suspicion: Floats, *, anchor: bool = False) -> Floats:
    """q_i = (1 - p_s)(1 - rho_i), the weight of each record in the next pass; 1 for anchors."""
    return np.ones_like(suspicion) if anchor else (1.0 - harmful) * (1.0 - suspicion)


def _log(share: float) -> float:
    """Of a prior: the same bits on every processor, like all that a verdict rests on."""
    return float(fp.log(share))


def _log_sum_exp(terms: Floats) -> float:
    top = float(terms.max())
    return top + float(fp.log(fp.ordered_sum(fp.exp(terms - top))))
