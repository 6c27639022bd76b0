"""One synthetic table judged: fidelity, survival, utility, privacy, controls, and a verdict for each.

    judgement = judge(training, reserve, synthetic, seed=0)
    judgement.document()        # the figures by name, their intervals beside them
    judgement.verdict           # {"fidelity": "pass" | "warn" | "fail", "utility": ..., "privacy": ...}

`training` are the rows the generator learned from, `reserve` rows it never saw. A control that does not fail as it must
makes the whole judgement `not credible`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.errors import DataError
from cohortium.reports.measure import Measure
from cohortium.synth.rows import Rows
from cohortium.synth.validation.anchors import Scored, interval, score_all, shuffled
from cohortium.synth.validation.attacks import Risk
from cohortium.synth.validation.by_site import BySite
from cohortium.synth.validation.canary import Canaries
from cohortium.synth.validation.controls import CONTROLS, Control, coverage, power_of_attacks, run_controls
from cohortium.synth.validation.curves import km_gap, log_rank_p, optimism, restricted_mean, tau_of
from cohortium.synth.validation.distances import same_patients
from cohortium.synth.validation.document import document_of
from cohortium.synth.validation.fidelity import classic_pair, co_occurrence
from cohortium.synth.validation.hazards import HazardRatios, compare_hazards
from cohortium.synth.validation.intervals import jackknifed, p_value_measure
from cohortium.synth.validation.predictions import Predictions, predictions
from cohortium.synth.validation.privacy import Privacy, judge_privacy, rate
from cohortium.synth.validation.subgroups import Subgroup, judge_subgroups
from cohortium.synth.validation.utility import Utility, utility

__all__ = ["LEAST_RESERVE", "Judgement", "Limits", "Survival", "judge"]

Integers = NDArray[np.int64]

LEAST_RESERVE = 30
_SAME_NOTE = (
    "Half or more of the held-out rows are also among the training rows. Either they are the same patients, and"
    " nothing here is judged: give patients that the generator has not learned from; or the columns"
    " cannot tell patients apart."
)


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

    km_gap: Measure
    km_gap_of_real: Measure
    optimism: Measure
    short_sighted: float
    log_rank_p: Measure
    censoring_gap: Measure
    rmst_difference: Measure
    tau: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Judgement:
    """Everything that was measured. draws: of the fidelity scores. power: of the attacks, on a copy.

    canaries, by_site: where somebody planted patients, or where the real rows are known by hospital.
    """

    fidelity: Mapping[str, Scored]
    classic: tuple[Measure, Measure]
    classic_floor: tuple[float, float]
    survival: Survival | None
    subgroups: Sequence[Subgroup]
    hazards: HazardRatios | None
    utility: Utility
    predictions: Predictions
    privacy: Privacy
    power: Mapping[str, Risk]
    controls: Sequence[Control]
    coverage: Measure
    co_occurrence: Mapping[str, float]
    limits: Limits
    n: Mapping[str, int]
    draws: int
    notes: Sequence[str] = ()
    canaries: Canaries | None = None
    by_site: BySite | None = None

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

    @property
    def reasons(self) -> dict[str, str]:
        """What a verdict turned on, beside the limits that were agreed; of privacy, the measures that did not pass."""
        if not self.credible:
            passed = "; ".join(
                f"{CONTROLS[one.name]}: {one.measure.replace('_', ' ')} {one.value:.3f}, must be {one.must_be}"
                for one in self.controls
                if not one.failed
            )
            return dict.fromkeys(self.verdict, f"a control did not fail: {passed}")
        found, limits = {}, self.limits
        if skills := self._skills():
            name = min(skills, key=lambda one: skills[one])
            found["fidelity"] = (
                f"lowest skill {skills[name]:z.2f} ({name.upper()}); pass from {limits.fidelity_pass:g}, warn from"
                f" {limits.fidelity_warn:g}"
            )
        if np.isfinite(self.utility.difference):
            cox = None not in (self.utility.c_synthetic.value, self.utility.c_real.value)
            found["utility"] = (
                f"{'C-index' if cox else 'AUROC'} {self.utility.difference:+z.3f} against training on real patients;"
                f" pass from {limits.utility_pass:g}, warn from {limits.utility_warn:g}"
            )
        failed, chance = ([name.replace("_", " ") for name, word in self.findings.items() if word == one]
                          for one in ("fail", "warn"))  # fmt: skip
        parts = [", ".join(failed), f"{', '.join(chance)}, which may be chance" if chance else ""]
        if privacy := "; ".join(part for part in parts if part):
            found["privacy"] = privacy
        return found

    def _skills(self) -> dict[str, float]:
        skills = {name: interval(one.skill)[0] for name, one in self.fidelity.items()}
        return {name: skill for name, skill in skills.items() if np.isfinite(skill)}

    def _fidelity(self) -> str:
        skills = self._skills()
        if not skills:
            return "not judged"
        worst = min(skills.values())
        return (
            "pass" if worst >= self.limits.fidelity_pass else "warn" if worst >= self.limits.fidelity_warn else "fail"
        )

    def _utility(self) -> str:
        found = self.utility.difference
        if not np.isfinite(found):
            return "not judged"
        return "pass" if found >= self.limits.utility_pass else "warn" if found >= self.limits.utility_warn else "fail"

    def _privacy(self) -> str:
        found = set(self.findings.values())
        return "fail" if "fail" in found else "warn" if "warn" in found else "pass"

    @property
    def findings(self) -> dict[str, str]:
        """`pass`, `warn` or `fail` by measure of privacy."""
        found = self.privacy.findings(attack_risk_max=self.limits.attack_risk_max)
        if self.canaries is not None and self.canaries.epsilon is not None:
            found["canaries"] = "pass" if self.canaries.bound <= self.canaries.epsilon else "fail"
        return found

    def document(self) -> dict[str, Any]:
        """For `--json`: plain figures by name; `intervals` beside them holds [low, high]."""
        return document_of(self)


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
    fidelity = score_all(training, reserve, {"synthetic": synthetic}, draws=draws, seed=seed)["synthetic"]
    privacy = judge_privacy(training, reserve, synthetic, seed=seed)
    if same_patients(reserve, training):
        notes = (*notes, _SAME_NOTE)
    together = {"kept": float("nan"), "together": float("nan"), "apart": float("nan"), "false": float("nan")}
    if len(genes) > 1:
        together = co_occurrence(*(np.column_stack([rows[name] for name in genes]) for rows in (training, synthetic)))
    floor = shuffled(training, np.random.default_rng([seed, 3]))
    return Judgement(
        fidelity=fidelity,
        classic=_classic(training, synthetic, seed=seed),
        classic_floor=classic_pair(training, floor),
        survival=_survival(training, reserve, synthetic, seed=seed),
        subgroups=judge_subgroups(training, reserve, synthetic),
        hazards=compare_hazards(training, synthetic),
        utility=utility(training, synthetic, reserve),
        predictions=predictions(training, synthetic, reserve, seed=seed),
        privacy=privacy,
        power=power_of_attacks(training, reserve, privacy, seed=seed),
        controls=run_controls(training, reserve, synthetic, fidelity=fidelity, near=privacy.nearness, seed=seed),
        coverage=rate(coverage(reserve, training, synthetic), len(reserve)),
        co_occurrence=together,
        limits=limits or Limits(),
        n={"real": len(training), "holdout": len(reserve), "synthetic": len(synthetic)},
        draws=draws,
        notes=tuple(notes),
    )


def _classic(training: Rows, synthetic: Rows, *, seed: int) -> tuple[Measure, Measure]:
    csf, gsf = jackknifed(
        lambda rows: classic_pair(training.take(rows[0]), synthetic.take(rows[1])),
        (len(training), len(synthetic)), seed=seed, lowest=0.0, highest=1.0,
    )  # fmt: skip
    return csf, gsf


def _survival(training: Rows, reserve: Rows, synthetic: Rows, *, seed: int) -> Survival | None:
    facts = training.facts
    if not facts.time:
        return None
    real, out, made = ((rows[facts.time], rows[facts.event]) for rows in (training, reserve, synthetic))
    tau = tau_of(real[0])

    def gaps(rows: Sequence[Integers]) -> Sequence[float]:
        a, b, c = ((time[i], event[i]) for (time, event), i in zip((out, made, real), rows, strict=True))
        return (km_gap(a, b, tau), km_gap(a, c, tau), optimism(a, b, tau),
                km_gap((a[0], 1 - a[1]), (b[0], 1 - b[1]), tau))  # fmt: skip

    gap, of_real, signed, censoring = jackknifed(
        gaps, (len(out[0]), len(made[0]), len(real[0])), seed=seed, lowest=-1.0
    )
    (mean, error), (mean_real, error_real) = restricted_mean(*made, tau), restricted_mean(*out, tau)
    half = 1.96 * float(np.hypot(error, error_real))
    longest = float(real[0].max())
    return Survival(
        km_gap=_positive(gap),
        km_gap_of_real=_positive(of_real),
        optimism=signed,
        short_sighted=(longest - float(made[0].max())) / longest if longest > 0 else float("nan"),
        log_rank_p=p_value_measure(log_rank_p(out, made), n=len(out[0])),
        censoring_gap=_positive(censoring),
        rmst_difference=Measure(
            value=mean - mean_real, low=mean - mean_real - half, high=mean - mean_real + half, n=len(out[0]),
            method="Greenwood",
        ),
        tau=tau,
    )  # fmt: skip


def _positive(measure: Measure) -> Measure:
    low = measure.low
    return replace(measure, low=max(low, 0.0)) if low is not None else measure
