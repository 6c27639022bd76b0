"""One synthetic table judged: fidelity, survival, utility, privacy, controls, and a verdict for each.

    judgement = judge(training, reserve, synthetic, seed=0)
    judgement.document()        # the figures by name, their intervals beside them
    judgement.verdict           # {"fidelity": "pass" | "warn" | "fail", "utility": ..., "privacy": ...}

`training` are the rows the generator learned from, `reserve` rows it never saw. A control that does not fail as it must
makes the whole judgement `not credible`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cohortium.errors import DataError
from cohortium.synth.rows import Rows
from cohortium.synth.validation.anchors import Scored, interval, score_all, shuffled
from cohortium.synth.validation.attacks import Risk
from cohortium.synth.validation.controls import Control, coverage, run_controls
from cohortium.synth.validation.curves import km_gap, log_rank_p, optimism, restricted_mean, tau_of
from cohortium.synth.validation.fidelity import classic_pair, co_occurrence
from cohortium.synth.validation.hazards import HazardRatios, compare_hazards
from cohortium.synth.validation.privacy import Privacy, judge_privacy
from cohortium.synth.validation.utility import Utility, utility

__all__ = ["LEAST_RESERVE", "Judgement", "Limits", "Survival", "judge"]

LEAST_RESERVE = 30


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where a verdict turns, agreed in the study before anybody looks."""

    fidelity_pass: float = 0.85
    fidelity_warn: float = 0.60
    utility_pass: float = -0.015
    utility_warn: float = -0.05
    attack_risk_max: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Survival:
    """Curves of the synthetic against the held-out patients. gap_of_real: of the training rows, as the ceiling."""

    km_gap: float
    km_gap_of_real: float
    optimism: float
    log_rank_p: float
    censoring_gap: float
    restricted_mean: tuple[float, float]
    restricted_mean_real: tuple[float, float]
    tau: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """Everything that was measured. draws: of the fidelity scores."""

    fidelity: Mapping[str, Scored]
    classic: tuple[float, float]
    classic_floor: tuple[float, float]
    survival: Survival | None
    hazards: HazardRatios | None
    utility: Utility
    privacy: Privacy
    controls: Sequence[Control]
    coverage: float
    co_occurrence: Mapping[str, float]
    limits: Limits
    n: Mapping[str, int]
    draws: int
    notes: Sequence[str] = ()

    @property
    def credible(self) -> bool:
        """Whether every control failed as it must."""
        return all(control.failed for control in self.controls)

    @property
    def verdict(self) -> dict[str, str]:
        """`pass`, `warn`, `fail`, `not judged` or `not credible` for fidelity, utility, privacy."""
        if not self.credible:
            return dict.fromkeys(("fidelity", "utility", "privacy"), "not credible")
        return {"fidelity": self._fidelity(), "utility": self._utility(), "privacy": self._privacy()}

    def _fidelity(self) -> str:
        skills = [interval(one.skill)[0] for one in self.fidelity.values()]
        there = [skill for skill in skills if np.isfinite(skill)]
        if not there:
            return "not judged"
        worst = min(there)
        return (
            "pass" if worst >= self.limits.fidelity_pass else "warn" if worst >= self.limits.fidelity_warn else "fail"
        )

    def _utility(self) -> str:
        found = self.utility.difference
        if not np.isfinite(found):
            return "not judged"
        return "pass" if found >= self.limits.utility_pass else "warn" if found >= self.limits.utility_warn else "fail"

    def _privacy(self) -> str:
        found = set(self.privacy.findings(attack_risk_max=self.limits.attack_risk_max).values())
        return "fail" if "fail" in found else "warn" if "warn" in found else "pass"

    def document(self) -> dict[str, Any]:
        """For `--json`: plain figures by name; `intervals` beside them holds [low, high]."""
        found: dict[str, Any] = {"n": dict(self.n), "draws": self.draws, "credible": self.credible}
        for name, scored in self.fidelity.items():
            found[name] = _scored(scored)
        found["classic"] = {"csf": self.classic[0], "gsf": self.classic[1],
                            "floor": {"csf": self.classic_floor[0], "gsf": self.classic_floor[1]}}  # fmt: skip
        found["survival"] = self._survival_document()
        found["utility"] = {
            "difference": self.utility.difference,
            "auroc_tstr": self.utility.boosted_synthetic.value,
            "auroc_real": self.utility.boosted_real.value,
        }
        found["privacy"] = self._privacy_document()
        found["co_occurrence"] = dict(self.co_occurrence)
        found["coverage"] = self.coverage
        found["controls"] = [
            {"name": c.name, "measure": c.measure, "value": c.value, "limit": c.limit, "failed": c.failed}
            for c in self.controls
        ]
        found["verdict"] = self.verdict
        found["notes"] = list(self.notes)
        return found

    def _survival_document(self) -> dict[str, Any]:
        tstr, real = self.utility.c_synthetic, self.utility.c_real
        found: dict[str, Any] = {
            "c_index_tstr": tstr.value, "c_index_real": real.value,
            "intervals": {"c_index_tstr": tstr.interval, "c_index_real": real.interval},
        }  # fmt: skip
        if self.survival is not None:
            one = self.survival
            mean, error = one.restricted_mean
            mean_real, error_real = one.restricted_mean_real
            half = 1.96 * float(np.hypot(error, error_real))
            found |= {
                "km_gap": one.km_gap, "km_gap_of_real": one.km_gap_of_real, "optimism": one.optimism,
                "logrank_p": one.log_rank_p, "censoring_gap": one.censoring_gap, "tau": one.tau,
                "rmst_difference": mean - mean_real,
            }  # fmt: skip
            found["intervals"]["rmst_difference"] = (mean - mean_real - half, mean - mean_real + half)
        if self.hazards is not None:
            found |= {"hazard_signs_kept": self.hazards.signs_kept, "hazard_overlap": self.hazards.overlapping}
        return found

    def _privacy_document(self) -> dict[str, Any]:
        one = self.privacy
        worst, member = one.worst_inference, one.membership.worst
        found: dict[str, Any] = {
            "nndr": one.nndr[0], "nndr_holdout": one.nndr_holdout[0], "nndr_low": one.nndr[1],
            "nndr_holdout_low": one.nndr_holdout[1], "dcr_share": one.dcr_share.value,
            "membership_auc": member.value, "membership_found": one.membership.found,
            "singling_out": one.singling_out.value, "linkability": one.linkability.value,
            "inference": None if worst is None else worst.value, "identical_rows": one.identical,
            "identical_rows_holdout": one.identical_holdout, "unique_copied": one.unique_copied,
            "findings": one.findings(attack_risk_max=self.limits.attack_risk_max),
            "attacks": {"singling_out": _risk(one.singling_out), "linkability": _risk(one.linkability),
                        **{f"inference of {name}": _risk(risk) for name, risk in list(one.inference.items())[:10]}},
            "intervals": {"dcr_share": one.dcr_share.interval, "membership_auc": member.interval,
                          "singling_out": (one.singling_out.low, one.singling_out.high),
                          "linkability": (one.linkability.low, one.linkability.high),
                          "inference": None if worst is None else (worst.low, worst.high)},
        }  # fmt: skip
        return found


def judge(
    training: Rows,
    reserve: Rows,
    synthetic: Rows,
    *,
    seed: int = 0,
    draws: int = 5,
    limits: Limits | None = None,
    notes: Sequence[str] = (),
) -> Judgement:
    """Measure everything. Raises DataError when a table is too small to be judged."""
    for name, rows in (("training", training), ("held-out", reserve), ("synthetic", synthetic)):
        if len(rows) < LEAST_RESERVE:
            raise DataError(f"too few {name} rows to judge: {len(rows)} of {LEAST_RESERVE}")
    genes = [fact.name for fact in training.facts.of_group("gene")]
    together = {"kept": float("nan"), "together": float("nan"), "apart": float("nan"), "false": float("nan")}
    if len(genes) > 1:
        together = co_occurrence(*(np.column_stack([rows[name] for name in genes]) for rows in (training, synthetic)))
    floor = shuffled(training, np.random.default_rng([seed, 3]))
    return Judgement(
        fidelity=score_all(training, reserve, {"synthetic": synthetic}, draws=draws, seed=seed)["synthetic"],
        classic=classic_pair(training, synthetic),
        classic_floor=classic_pair(training, floor),
        survival=_survival(training, reserve, synthetic),
        hazards=compare_hazards(training, synthetic),
        utility=utility(training, synthetic, reserve),
        privacy=judge_privacy(training, reserve, synthetic, seed=seed),
        controls=run_controls(training, reserve, synthetic, seed=seed),
        coverage=coverage(reserve, training, synthetic),
        co_occurrence=together,
        limits=limits or Limits(),
        n={"real": len(training), "holdout": len(reserve), "synthetic": len(synthetic)},
        draws=draws,
        notes=tuple(notes),
    )


def _survival(training: Rows, reserve: Rows, synthetic: Rows) -> Survival | None:
    facts = training.facts
    if not facts.time:
        return None
    real, out, made = ((rows[facts.time], rows[facts.event]) for rows in (training, reserve, synthetic))
    tau = tau_of(real[0])
    return Survival(
        km_gap=km_gap(out, made, tau),
        km_gap_of_real=km_gap(out, real, tau),
        optimism=optimism(out, made, tau),
        log_rank_p=log_rank_p(out, made),
        censoring_gap=km_gap((out[0], 1 - out[1]), (made[0], 1 - made[1]), tau),
        restricted_mean=restricted_mean(*made, tau),
        restricted_mean_real=restricted_mean(*out, tau),
        tau=tau,
    )


def _scored(scored: Scored) -> dict[str, Any]:
    figures = {"score": scored.score, "floor": scored.floor, "ceiling": scored.ceiling, "skill": scored.skill}
    found: dict[str, Any] = {name: interval(values)[0] for name, values in figures.items()}
    found["intervals"] = {name: interval(values)[1:] for name, values in figures.items()}
    found["parts"] = {name: interval(values)[0] for name, values in scored.parts.items()}
    found["parts_floor"] = {name: interval(values)[0] for name, values in scored.floor_parts.items()}
    found["parts_ceiling"] = {name: interval(values)[0] for name, values in scored.ceiling_parts.items()}
    return found


def _risk(risk: Risk) -> dict[str, Any]:
    return {
        "risk": risk.value, "low": risk.low, "high": risk.high, "rate": risk.rate, "control": risk.control,
        "guess": risk.guess, "n": risk.n, "powerless": risk.powerless,
    }  # fmt: skip
