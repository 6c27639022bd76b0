"""The validation where nobody holds pooled rows: scores from sums, distances and attacks at every hospital.

A hospital judges the published table against its own training and held-out patients and says counts, rates (from 50
patients on) and quantiles of two decimals, no more. The sum over hospitals and the worst of them are reported: a table
may be safe on average and still lean on one hospital's patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.reports.suppression import MIN_CELL
from cohortium.synth.exchange import fit_by_sums
from cohortium.synth.rows import Rows
from cohortium.synth.validation.attacks import Risk, inference, linkability, risk_of, singling_out
from cohortium.synth.validation.by_sums import compare
from cohortium.synth.validation.census import Census
from cohortium.synth.validation.privacy import nearness
from cohortium.synth.validation.told_apart import ToldApart

__all__ = ["LEAST_RATE", "BySite", "SiteSaid", "judge_by_site"]

LEAST_RATE = 50
"""Fewer patients than this on either side: a hospital tells no rates."""


@dataclass(frozen=True, kw_only=True)
class SiteSaid:
    """What one hospital tells. identical, unique_copied: counts, None where small; attacks: hits of n by name.

    None of the rest with fewer than `LEAST_RATE` patients on either side.
    """

    n_training: int
    n_holdout: int
    identical: int | None
    unique_copied: int | None
    nndr: tuple[float, float] | None
    nndr_holdout: tuple[float, float] | None
    membership_auc: float | None
    membership_interval: tuple[float, float] | None
    attacks: Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True, kw_only=True)
class BySite:
    """parts: by name, against the training and the held-out rows. attacks: of all hospitals together; worst: by name,
    the hospital with the highest risk and that risk. told_apart: AUC of trees that all have grown (`ToldApart`)."""

    against_training: Mapping[str, float]
    against_holdout: Mapping[str, float]
    sites: Mapping[str, SiteSaid]
    attacks: Mapping[str, Risk]
    worst: Mapping[str, tuple[str, Risk]]
    told_apart: float | None = None

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "against_training": dict(self.against_training),
            "against_holdout": dict(self.against_holdout),
            "left_out": ["indistinguishability"] if self.told_apart is None else [],
            "told_apart_auc": self.told_apart,
            "sites": {
                name: {"n_training": one.n_training, "n_holdout": one.n_holdout, "identical_rows": one.identical,
                       "unique_copied": one.unique_copied, "nndr": one.nndr, "nndr_holdout": one.nndr_holdout,
                       "membership_auc": one.membership_auc, "membership_interval": one.membership_interval}
                for name, one in self.sites.items()
            },
            "attacks": {name: {"risk": r.value, "low": r.low, "high": r.high, "n": r.n}
                        for name, r in self.attacks.items()},
            "worst": {name: {"site": site, "risk": r.value, "low": r.low, "high": r.high}
                      for name, (site, r) in self.worst.items()},
        }  # fmt: skip


def judge_by_site(
    training: Mapping[str, Rows],
    reserve: Mapping[str, Rows],
    synthetic: Rows,
    *,
    seed: int,
    counts: tuple[Parameters, Parameters] | None = None,
    told_apart: float | None = None,
) -> BySite:
    """All of it, each hospital's half on its own rows. training, reserve: by hospital.

    counts, told_apart: the finished census of both and the AUC of common trees, where a swarm has taken them. Without
    counts both are taken in a plain loop.
    """
    facts = synthetic.facts
    census = Census(facts=facts)
    if counts is None:
        real = fit_by_sums(census, list(training.values()))
        out = fit_by_sums(census.like(real), list(reserve.values()))
        judge = ToldApart(facts=facts, synthetic=synthetic)
        trees = fit_by_sums(judge, list(training.values()))
        told_apart = judge.auc(fit_by_sums(judge.asking(trees), list(reserve.values())))
    else:
        real, out = counts
    made = fit_by_sums(census.like(real), [synthetic])
    sites = {name: _said(training[name], reserve[name], synthetic, seed=seed + k) for k, name in enumerate(training)}
    names = sorted({name for one in sites.values() for name in one.attacks})
    together, worst = {}, {}
    for name in names:
        told = {site: one.attacks[name] for site, one in sites.items() if name in one.attacks}
        hits, control, n = (sum(column) for column in zip(*told.values(), strict=True))
        together[name] = risk_of(hits, control, n)
        risks = {site: risk_of(*three) for site, three in told.items()}
        site = max(risks, key=lambda one: risks[one].value)
        worst[name] = (site, risks[site])
    return BySite(
        against_training=compare(facts, real, real, made),
        against_holdout=compare(facts, real, out, made),
        sites=sites,
        attacks=together,
        worst=worst,
        told_apart=told_apart,
    )


def _said(training: Rows, reserve: Rows, synthetic: Rows, *, seed: int) -> SiteSaid:
    n = min(len(training), len(reserve))
    rng = np.random.default_rng([seed, 31])
    if n < LEAST_RATE:
        return SiteSaid(
            n_training=len(training), n_holdout=len(reserve), identical=None, unique_copied=None, nndr=None,
            nndr_holdout=None, membership_auc=None, membership_interval=None, attacks={},
        )  # fmt: skip
    near = nearness(training, reserve, synthetic, rng)
    genes = sorted(training.facts.of_group("gene"), key=lambda fact: -float(np.nansum(training[fact.name])))
    secrets = [*genes[:1], *training.facts.of_group("outcome")[-1:]]
    risks: dict[str, Risk | None] = {
        "singling_out": singling_out(training, reserve, synthetic, rng),
        "linkability": linkability(training, reserve, synthetic, rng),
        **{f"inference of {f.name}": inference(training, reserve, synthetic, f.name, rng) for f in secrets},
    }
    member = near.membership.worst
    ends = member.interval
    identical = round((near.identical.value or 0.0) * len(synthetic))
    return SiteSaid(
        n_training=len(training),
        n_holdout=len(reserve),
        identical=_told(identical),
        unique_copied=_told(near.unique_copied),
        nndr=_rounded(near.nndr),
        nndr_holdout=_rounded(near.nndr_holdout),
        membership_auc=None if member.value is None else round(member.value, 2),
        membership_interval=None if ends is None else (round(ends[0], 2), round(ends[1], 2)),
        attacks={
            name: (round(risk.rate * risk.n), round(risk.control * risk.n), risk.n)
            for name, risk in risks.items()
            if risk is not None and risk.n >= LEAST_RATE
        },
    )


def _rounded(pair: Any) -> tuple[float, float]:
    return round(float(pair[0].value), 2), round(float(pair[1].value), 2)


def _told(count: int) -> int | None:
    return None if 0 < count < MIN_CELL else count
