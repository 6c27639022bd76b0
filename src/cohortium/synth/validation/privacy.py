"""Privacy of a published table: every figure beside the same figure for patients who were not in it.

Pass rules: NNDR not below held-out by more than 0.02 (median and 5 % quantile); no more identical rows than held-out
patients have, none of them a unique patient's; DCR share and membership AUC at most 0.55 with an interval that holds
0.5; attack risk at most `attack_risk_max` with an interval that holds 0, for the inference of many columns the interval
of the worst of so many (Bonferroni). `warn` where chance alone could be the reason: one table in twenty is so unlucky.
Design: synthetic-data.md 7.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.measure import Measure
from cohortium.synth.rows import Rows
from cohortium.synth.validation.attacks import Risk, Z, inference, linkability, singling_out, wilson
from cohortium.synth.validation.distances import Space, identical_share, nearest, nndr
from cohortium.synth.validation.intervals import quantile_measure
from cohortium.synth.validation.membership import Membership, membership

__all__ = ["Nearness", "Privacy", "judge_privacy", "nearness", "rate"]

Floats = NDArray[np.float64]

DCR_DRAWS = 20
_NNDR_SLACK = 0.02
_MEMBERSHIP_AUC, _MEMBERSHIP_FOUND = 0.55, 0.03
_DCR_SHARE = 0.55
_WIDE = 0.15
_LOW_QUANTILE = 0.05
_AGE_BAND = 5.0
_SEX = ("sex", "gender", "male", "female")


@dataclass(frozen=True, kw_only=True)
class Nearness:
    """What distances alone say. nndr, nndr_holdout: median and 5 % quantile of synthetic and of held-out patients.

    combinations, combinations_holdout: share of rows with a mutation whose genes, age band and sex are those of exactly
    one training patient; chance alone makes some, so the held-out ones stand beside. n: patients attacked.
    """

    nndr: tuple[Measure, Measure]
    nndr_holdout: tuple[Measure, Measure]
    dcr_share: Measure
    identical: Measure
    identical_holdout: Measure
    unique_copied: int
    combinations: Measure
    combinations_holdout: Measure
    membership: Membership
    n: int

    def findings(self) -> dict[str, str]:
        """`pass`, `warn` or `fail` by measure."""
        near = [_nearer(s, h) for s, h in zip(self.nndr, self.nndr_holdout, strict=True)]
        alike = (self.identical.value or 0.0) <= (self.identical_holdout.value or 0.0)
        found = {
            "nndr": "fail" if "fail" in near else "warn" if "warn" in near else "pass",
            "dcr_share": _against_chance(self.dcr_share, _DCR_SHARE),
            "identical_rows": "pass" if alike and not self.unique_copied else "fail",
            "membership": _against_chance(self.membership.worst, _MEMBERSHIP_AUC),
        }
        if self.membership.found is not None and self.membership.found > _MEMBERSHIP_FOUND:
            centre, half = wilson(self.membership.found * self.n, self.n)
            sure = centre - half > _MEMBERSHIP_FOUND
            found["membership"] = "fail" if sure or found["membership"] == "fail" else "warn"
        return found


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """Distances and attacks. inference: by secret column, worst first."""

    nearness: Nearness
    singling_out: Risk
    linkability: Risk
    inference: dict[str, Risk]

    @property
    def membership(self) -> Membership:
        """Of the distances."""
        return self.nearness.membership

    @property
    def worst_inference(self) -> Risk | None:
        """The column an attacker learns most about."""
        return max(self.inference.values(), key=lambda risk: risk.value, default=None)

    @property
    def attacks(self) -> dict[str, Risk]:
        """All three kinds, inference by its worst column."""
        worst = self.worst_inference
        return {"singling_out": self.singling_out, "linkability": self.linkability,
                **({} if worst is None else {"inference": worst})}  # fmt: skip

    def findings(self, *, attack_risk_max: float) -> dict[str, str]:
        """`pass`, `warn` or `fail` by measure."""
        found = self.nearness.findings()
        for name, risk in self.attacks.items():
            many = len(self.inference) if name == "inference" else 1
            over = [one for one in (self.inference.values() if many > 1 else [risk]) if one.value > attack_risk_max]
            if any(_surely_above_zero(one, many) for one in over):
                found[name] = "fail"
            else:
                found[name] = "warn" if risk.high > _WIDE or any(one.low > 0 for one in over) else "pass"
        return found


def nearness(training: Rows, reserve: Rows, synthetic: Rows, rng: np.random.Generator) -> Nearness:
    """Distances, identical rows and membership of one synthetic table."""
    space = Space.of(training)
    real, out, made = (space.place(rows) for rows in (training, reserve, synthetic))
    return Nearness(
        nndr=_quantiles(nndr(made, real)),
        nndr_holdout=_quantiles(nndr(out, real)),
        dcr_share=_dcr_share(made, real, out, rng),
        identical=rate(identical_share(synthetic, training), len(synthetic)),
        identical_holdout=rate(identical_share(reserve, training), len(reserve)),
        unique_copied=_copied_unique(training, synthetic),
        combinations=rate(_unique_combinations(synthetic, training), len(synthetic)),
        combinations_holdout=rate(_unique_combinations(reserve, training), len(reserve)),
        membership=membership(training, reserve, synthetic, rng),
        n=min(len(training), len(reserve)),
    )


def judge_privacy(training: Rows, reserve: Rows, synthetic: Rows, *, seed: int) -> Privacy:
    """All measures of one synthetic table."""
    rng = np.random.default_rng([seed, 7])
    facts = training.facts
    secrets = [f for f in facts.columns if f.group in ("gene", "outcome", "treatment")] or list(facts.columns)
    risks: dict[str, Risk] = {}
    for fact in secrets:
        carriers = fact.kind == "flag" and fact.group == "gene"
        risk = inference(training, reserve, synthetic, fact.name, rng, carriers=carriers)
        if risk is not None:
            risks[f"{fact.name} (carriers)" if carriers else fact.name] = risk
    return Privacy(
        nearness=nearness(training, reserve, synthetic, rng),
        singling_out=singling_out(training, reserve, synthetic, rng),
        linkability=linkability(training, reserve, synthetic, rng),
        inference=dict(sorted(risks.items(), key=lambda item: -item[1].value)),
    )


def _quantiles(values: Floats) -> tuple[Measure, Measure]:
    return quantile_measure(values, 0.5), quantile_measure(values, _LOW_QUANTILE)


def rate(share: float, n: int) -> Measure:
    """A share of n rows with Wilson's interval."""
    centre, half = wilson(share * n, n)
    return Measure(value=share, low=max(centre - half, 0.0), high=min(centre + half, 1.0), n=n, method="Wilson")


def _unique_combinations(rows: Rows, training: Rows) -> float:
    """Share of rows with a mutation whose genes, age band and sex are those of exactly one training patient."""
    facts = training.facts
    genes = [fact.name for fact in facts.of_group("gene")]
    if not genes or not len(rows):
        return float("nan")
    sex = [name for name in facts.names if name.casefold() in _SEX]
    keys = []
    for table in (training, rows):
        age = [np.floor(table[name] / _AGE_BAND) for name in facts.names if name.casefold() == "age"]
        keys.append(np.nan_to_num(np.column_stack([*(table[name] for name in [*genes, *sex]), *age]), nan=-1.0))
    carriers = (keys[1][:, : len(genes)] == 1).any(axis=1)
    unique, counts = np.unique(np.ascontiguousarray(keys[0]), axis=0, return_counts=True)
    alone = set(map(bytes, np.ascontiguousarray(unique[counts == 1])))
    return sum(bytes(row) in alone for row in np.ascontiguousarray(keys[1][carriers])) / len(rows)


def _dcr_share(made: Floats, real: Floats, out: Floats, rng: np.random.Generator) -> Measure:
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


def _nearer(made: Measure, out: Measure) -> str:
    """pass, warn (chance could do it) or fail of a quantile of NNDR that should not lie below the held-out one."""
    if made.value is None or out.value is None or made.high is None or out.low is None:
        return "warn"
    below = out.value - made.value - _NNDR_SLACK
    if below <= 0:
        return "pass"
    return "fail" if below > np.hypot(made.high - made.value, out.value - out.low) else "warn"


def _surely_above_zero(risk: Risk, many: int) -> bool:
    """Whether the interval of one of `many` attacks leaves 0 out, one-sided at 2.5 % for all of them together."""
    z = NormalDist().inv_cdf(1 - 0.025 / many) / Z
    return risk.value - z * (risk.value - risk.low) > 0


def _against_chance(measure: Measure, limit: float) -> str:
    """pass, warn or fail of a figure that is 0.5 by chance and larger where patients are told."""
    if measure.value is None:
        return "warn"
    told = measure.interval is None or measure.interval[0] > 0.5
    if measure.value > limit:
        return "fail" if told else "warn"  # too few patients to tell
    return "warn" if told and measure.value > 0.5 else "pass"
