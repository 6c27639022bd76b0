"""Privacy of a published table: every figure beside the same figure for patients who were not in it.

Pass rules: NNDR not below held-out by more than 0.02 (median and 5 % quantile); no more identical rows than held-out
patients have, none of them a unique patient's; DCR share and membership AUC at most 0.55 with an interval that holds
0.5 (`warn` when only one of the two holds: one table in twenty does so by chance); attack risk at most
`attack_risk_max` with an interval that holds 0. Design: synthetic-data.md 7.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cohortium.reports.measure import Measure
from cohortium.synth.rows import Rows
from cohortium.synth.validation.attacks import Risk, inference, linkability, singling_out, wilson
from cohortium.synth.validation.distances import Space, identical_share, nearest, nndr
from cohortium.synth.validation.membership import Membership, membership

__all__ = ["Privacy", "judge_privacy"]

DCR_DRAWS = 20
_NNDR_SLACK = 0.02
_MEMBERSHIP_AUC, _MEMBERSHIP_FOUND = 0.55, 0.03
_DCR_SHARE = 0.55
_WIDE = 0.15
_LOW_QUANTILE = 0.05


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """nndr, nndr_holdout: (median, 5 % quantile). inference: by secret column, worst first. n: patients attacked."""

    nndr: tuple[float, float]
    nndr_holdout: tuple[float, float]
    dcr_share: Measure
    identical: float
    identical_holdout: float
    unique_copied: int
    membership: Membership
    singling_out: Risk
    linkability: Risk
    inference: dict[str, Risk]
    n: int

    @property
    def worst_inference(self) -> Risk | None:
        """The column an attacker learns most about."""
        return max(self.inference.values(), key=lambda risk: risk.value, default=None)

    def findings(self, *, attack_risk_max: float) -> dict[str, str]:
        """`pass`, `warn` or `fail` by measure."""
        near = [s >= h - _NNDR_SLACK for s, h in zip(self.nndr, self.nndr_holdout, strict=True)]
        found = {
            "nndr": "pass" if all(near) else "fail",
            "dcr_share": _against_chance(self.dcr_share, _DCR_SHARE),
            "identical_rows": "pass" if self.identical <= self.identical_holdout and not self.unique_copied else "fail",
            "membership": _against_chance(self.membership.worst, _MEMBERSHIP_AUC),
        }
        if self.membership.found is not None and self.membership.found > _MEMBERSHIP_FOUND:
            centre, half = wilson(self.membership.found * self.n, self.n)
            sure = centre - half > _MEMBERSHIP_FOUND
            found["membership"] = "fail" if sure or found["membership"] == "fail" else "warn"
        attacks = {"singling_out": self.singling_out, "linkability": self.linkability}
        if self.worst_inference is not None:
            attacks["inference"] = self.worst_inference
        for name, risk in attacks.items():
            if risk.value > attack_risk_max and risk.low > 0:
                found[name] = "fail"
            else:
                found[name] = "warn" if risk.high > _WIDE else "pass"
        return found


def judge_privacy(training: Rows, reserve: Rows, synthetic: Rows, *, seed: int) -> Privacy:
    """All measures of one synthetic table."""
    rng = np.random.default_rng([seed, 7])
    space = Space.of(training)
    real, out, made = (space.place(rows) for rows in (training, reserve, synthetic))
    facts = training.facts
    secrets = [f for f in facts.columns if f.group in ("gene", "outcome", "treatment")] or list(facts.columns)
    risks: dict[str, Risk] = {}
    for fact in secrets:
        carriers = fact.kind == "flag" and fact.group == "gene"
        risk = inference(training, reserve, synthetic, fact.name, rng, carriers=carriers)
        if risk is not None:
            risks[f"{fact.name} (carriers)" if carriers else fact.name] = risk
    return Privacy(
        nndr=_quantiles(nndr(made, real)),
        nndr_holdout=_quantiles(nndr(out, real)),
        dcr_share=_dcr_share(made, real, out, rng),
        identical=identical_share(synthetic, training),
        identical_holdout=identical_share(reserve, training),
        unique_copied=_copied_unique(training, synthetic),
        membership=membership(training, reserve, synthetic, rng),
        singling_out=singling_out(training, reserve, synthetic, rng),
        linkability=linkability(training, reserve, synthetic, rng),
        n=min(len(training), len(reserve)),
        inference=dict(sorted(risks.items(), key=lambda item: -item[1].value)),
    )


def _quantiles(values: np.ndarray) -> tuple[float, float]:
    return float(np.median(values)), float(np.quantile(values, _LOW_QUANTILE))


def _dcr_share(made: np.ndarray, real: np.ndarray, out: np.ndarray, rng: np.random.Generator) -> Measure:
    """How often a training row is nearer than a held-out one, of equally many, ties half."""
    to_out = nearest(made, out, 1)[0][:, 0]
    shares = []
    for _ in range(DCR_DRAWS):
        drawn = real[rng.permutation(len(real))[: len(out)]]
        to_real = nearest(made, drawn, 1)[0][:, 0]
        shares.append(float((to_real < to_out).mean() + 0.5 * (to_real == to_out).mean()))
    value = float(np.mean(shares))
    spread = float(np.std(shares)) ** 2
    _, half = wilson(value * len(out), len(out))  # the held-out patients are the smaller sample
    half = float(np.hypot(half, 1.96 * np.sqrt(spread)))
    return Measure(value=value, low=value - half, high=value + half, n=len(made), method="Wilson, held-out patients")


def _copied_unique(training: Rows, synthetic: Rows) -> int:
    """Synthetic rows that equal a training patient who is the only one with that row."""
    real = np.ascontiguousarray(np.nan_to_num(training.matrix(), nan=-9e99))
    unique, counts = np.unique(real, axis=0, return_counts=True)
    alone = set(map(bytes, np.ascontiguousarray(unique[counts == 1])))
    made = np.ascontiguousarray(np.nan_to_num(synthetic.matrix(), nan=-9e99))
    return sum(bytes(row) in alone for row in made)


def _against_chance(measure: Measure, limit: float) -> str:
    """pass, warn or fail of a figure that is 0.5 by chance and larger where patients are told."""
    if measure.value is None:
        return "warn"
    told = measure.interval is None or measure.interval[0] > 0.5
    if measure.value > limit:
        return "fail" if told else "warn"  # too few patients to tell
    return "warn" if told and measure.value > 0.5 else "pass"
