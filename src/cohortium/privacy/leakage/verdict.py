"""From figures to a verdict: pass, fail or inconclusive, by thresholds that were agreed before the run.

fail: the lower 95 % bound of a figure is above its threshold; the one-run bound is above the claimed epsilon; any
patient's row stood exactly in an update. pass: every upper bound is below. Else inconclusive, with the sample size that
would decide: releasing such a model is a person's decision, by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cohortium.privacy.leakage.inversion import Inversion
from cohortium.privacy.leakage.membership import LEAST_OTHERS, Membership
from cohortium.privacy.leakage.one_run import Guesses, ceiling

__all__ = ["Finding", "Thresholds", "Verdict", "on_control", "on_epsilon", "on_inversion", "on_membership", "together"]

Verdict = Literal["pass", "fail", "inconclusive"]

_LARGE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a released model may not exceed: area under the attack's curve, members found at 1 % false alarms."""

    auc: float = 0.60
    tpr: float = 0.03


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A verdict on one attack and why. needed: patients (members and others alike) that would decide, if known."""

    verdict: Verdict
    reason: str
    needed: int | None = None


def on_membership(found: Membership | None, thresholds: Thresholds) -> Finding:
    """Whether members can be told from people not in the data."""
    if found is None:
        return Finding(verdict="inconclusive", reason="nobody is inside, or nobody is outside the data to compare with")
    over = []
    if found.auc_low > thresholds.auc:
        over.append(f"AUC {found.auc:.3f} ({found.auc_low:.3f} to {found.auc_high:.3f}) is above {thresholds.auc:g}")
    if found.tpr is not None and found.tpr_low is not None and found.tpr_low > thresholds.tpr:
        share = f"{found.tpr:.1%} ({found.tpr_low:.1%} to {found.tpr_high:.1%})"
        over.append(f"{share} of the members are found at {found.fpr:.0%} false alarms, above {thresholds.tpr:.0%}")
    if over:
        return Finding(verdict="fail", reason="; ".join(over))
    needed = max(_needed_for_auc(found, thresholds.auc), _needed_for_tpr(found, thresholds.tpr))
    if not needed:
        return Finding(verdict="pass", reason=f"AUC {found.auc:.3f}, upper bound {found.auc_high:.3f}, guessing 0.5")
    text = f"AUC {found.auc:.3f} ({found.auc_low:.3f} to {found.auc_high:.3f}); {found.reason or 'too few patients'}"
    return Finding(verdict="inconclusive", reason=text, needed=needed if needed < _LARGE else None)


def on_epsilon(found: Guesses, *, claimed: float | None, delta: float) -> Finding:
    """Whether the coins refute the epsilon that the run claims; without a claim there is nothing to refute."""
    shown = found.bound(delta=delta)
    most = ceiling(found.n_guessed, delta=delta, n_coins=found.n_coins)
    limit = f"at most {most:.2f} could have been shown with {found.n_guessed} guesses"
    if claimed is None:
        return Finding(verdict="pass", reason=f"no epsilon is claimed; at least {shown:.2f} is shown, {limit}")
    if shown > claimed:
        return Finding(verdict="fail", reason=f"at least epsilon {shown:.2f} is shown, {claimed:.2f} is claimed")
    return Finding(verdict="pass", reason=f"epsilon {claimed:.2f} is claimed, at least {shown:.2f} is shown; {limit}")


def on_control(found: Membership | None, thresholds: Thresholds) -> Finding:
    """Whether the attack finds the patients of a model that knows them by heart, as it must."""
    said = on_membership(found, thresholds)
    if said.verdict == "fail":
        return Finding(verdict="pass", reason=f"the attack finds what was learned by heart: {said.reason}")
    why = "the attack misses a model that knows its patients by heart, so it proves nothing here"
    return Finding(verdict="inconclusive", reason=f"{why}: {said.reason}", needed=said.needed)


def on_inversion(found: Inversion, *, protected: bool) -> Finding:
    """Whether a patient's row stood in an update that others could read. protected: under masks, or noisy."""
    if not found.n_recovered:
        return Finding(verdict="pass", reason=f"no patient's row in {found.n_tried} quotients")
    if protected:
        return Finding(verdict="pass", reason="rows of patients stood in updates exactly, but these left protected")
    return Finding(verdict="fail", reason="rows of patients stood in an update exactly, and nothing protected it")


def together(findings: Iterable[Finding]) -> Verdict:
    """The worst of them; inconclusive when there is none."""
    said = [finding.verdict for finding in findings]
    if "fail" in said:
        return "fail"
    return "pass" if said and "inconclusive" not in said else "inconclusive"


def _needed_for_auc(found: Membership, threshold: float) -> int:
    """0 when the upper bound is below the threshold, else how many patients would bring it there or the lower above."""
    if found.auc_high < threshold:
        return 0
    width = (found.auc_high - found.auc_low) / 2
    return _scaled(min(found.n_members, found.n_others), width / max(abs(found.auc - threshold), 1e-9))


def _needed_for_tpr(found: Membership, threshold: float) -> int:
    if found.tpr is None:
        return LEAST_OTHERS
    if found.tpr_high is not None and found.tpr_high < threshold:
        return 0
    high = found.tpr_high if found.tpr_high is not None else 1.0
    return _scaled(found.n_members, (high - found.tpr) / max(abs(found.tpr - threshold), 1e-9))


def _scaled(n: int, ratio: float) -> int:
    """Intervals shrink with the root of n; rounded up to two digits."""
    needed: float = min(n * max(ratio, 1.0) ** 2, 1e12)
    unit = 10 ** max(int(math.log10(max(needed, 1))) - 1, 0)
    return int(math.ceil(needed / unit) * unit)
