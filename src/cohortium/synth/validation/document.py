"""A judgement as a document for machines: plain figures by name, `intervals` beside them as [low, high]."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cohortium.reports.measure import Measure
from cohortium.synth.validation.anchors import Scored, interval
from cohortium.synth.validation.attacks import Risk

if TYPE_CHECKING:
    from cohortium.synth.validation.judge import Judgement
    from cohortium.synth.validation.predictions import Pair

__all__ = ["digest_of", "document_of"]


def digest_of(document: Mapping[str, Any]) -> bytes:
    """SHA-256 of the document's JSON (sorted keys, no white space, no NaN): what the ledger may hold."""
    text = json.dumps(_finite(document), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).digest()


def document_of(judgement: Judgement) -> dict[str, Any]:
    """Every figure; those of the contract have the names of the contract."""
    one = judgement
    found: dict[str, Any] = {"n": dict(one.n), "draws": one.draws, "credible": one.credible}
    for name, scored in one.fidelity.items():
        found[name] = _scored(scored)
    csf, gsf = one.classic
    found["classic"] = {**_measures({"csf": csf, "gsf": gsf}),
                        "floor": {"csf": one.classic_floor[0], "gsf": one.classic_floor[1]}}  # fmt: skip
    found["survival"] = _survival(one)
    found["utility"] = _utility(one)
    found["privacy"] = _privacy(one)
    found["co_occurrence"] = dict(one.co_occurrence)
    found["coverage"] = one.coverage.value
    found["intervals"] = {"coverage": one.coverage.interval}
    found["controls"] = [
        {"name": c.name, "measure": c.measure, "value": c.value, "limit": c.limit, "failed": c.failed}
        for c in one.controls
    ]
    if one.canaries is not None:
        found["canaries"] = one.canaries.document()
    if one.by_site is not None:
        found["by_site"] = one.by_site.document()
    found["verdict"] = one.verdict
    found["notes"] = list(one.notes)
    return found


def _survival(one: Judgement) -> dict[str, Any]:
    found = _measures({"c_index_tstr": one.utility.c_synthetic, "c_index_real": one.utility.c_real})
    if one.survival is not None:
        curves = one.survival
        more = _measures(
            {"km_gap": curves.km_gap, "km_gap_of_real": curves.km_gap_of_real, "optimism": curves.optimism,
             "logrank_p": curves.log_rank_p, "censoring_gap": curves.censoring_gap,
             "rmst_difference": curves.rmst_difference}
        )  # fmt: skip
        found["intervals"] |= more.pop("intervals")
        found |= {**more, "tau": curves.tau, "short_sighted": curves.short_sighted}
    if one.hazards is not None:
        hazards = one.hazards
        found |= {"hazard_signs_kept": hazards.signs_kept, "hazard_overlap": hazards.overlapping,
                  "hazard_false": hazards.false_share}  # fmt: skip
    found["subgroups"] = [
        {"name": g.name, "n_real": g.n_real, "n_synthetic": g.n_synthetic, "km_gap": g.km_gap, "optimism": g.optimism,
         "logrank_p": g.log_rank_p, "censoring_gap": g.censoring_gap, "rmst_difference": g.rmst[0],
         "hazard_signs_kept": g.signs_kept, "hazard_overlap": g.overlapping,
         "intervals": {"rmst_difference": g.rmst[1:]}}
        for g in one.subgroups
    ]  # fmt: skip
    return found


def _utility(one: Judgement) -> dict[str, Any]:
    found: dict[str, Any] = {
        "difference": one.utility.difference,
        **_measures({"auroc_tstr": one.utility.boosted_synthetic, "auroc_real": one.utility.boosted_real,
                     "importances": one.predictions.importances}),
    }  # fmt: skip
    pairs: dict[str, Pair | None] = {
        "c_index": one.predictions.c_index, "auc_two_years": one.predictions.auc_two_years,
        "brier": one.predictions.brier,
    }  # fmt: skip
    for name, pair in pairs.items():
        if pair is not None:
            found[name] = _measures({"tstr": pair.synthetic, "real": pair.real, "difference": pair.difference})
    if pairs["c_index"] is not None:
        found["intervals"]["difference"] = pairs["c_index"].difference.interval
    return found


def _privacy(one: Judgement) -> dict[str, Any]:
    near, attacks = one.privacy.nearness, one.privacy
    worst, member = attacks.worst_inference, near.membership.worst
    found = _measures(
        {"nndr": near.nndr[0], "nndr_holdout": near.nndr_holdout[0], "nndr_low": near.nndr[1],
         "nndr_holdout_low": near.nndr_holdout[1], "dcr_share": near.dcr_share, "membership_auc": member,
         "identical_rows": near.identical, "identical_rows_holdout": near.identical_holdout,
         "unique_combinations": near.combinations, "unique_combinations_holdout": near.combinations_holdout}
    )  # fmt: skip
    found |= {
        "membership_found": near.membership.found, "unique_copied": near.unique_copied,
        "singling_out": attacks.singling_out.value, "linkability": attacks.linkability.value,
        "inference": None if worst is None else worst.value,
        "findings": one.findings,
        "attacks": {"singling_out": _risk(attacks.singling_out), "linkability": _risk(attacks.linkability),
                    **{f"inference of {name}": _risk(risk) for name, risk in attacks.inference.items()}},
        "attacks_on_a_copy": {name: _risk(risk) for name, risk in one.power.items()},
    }  # fmt: skip
    found["intervals"] |= {
        "singling_out": (attacks.singling_out.low, attacks.singling_out.high),
        "linkability": (attacks.linkability.low, attacks.linkability.high),
        "inference": None if worst is None else (worst.low, worst.high),
    }
    return found


def _measures(named: Mapping[str, Measure]) -> dict[str, Any]:
    return {
        **{name: one.value for name, one in named.items()},
        "intervals": {name: one.interval for name, one in named.items()},
    }


def _scored(scored: Scored) -> dict[str, Any]:
    figures = {"score": scored.score, "floor": scored.floor, "ceiling": scored.ceiling, "skill": scored.skill}
    found: dict[str, Any] = {name: interval(values)[0] for name, values in figures.items()}
    parts = {"parts": scored.parts, "parts_floor": scored.floor_parts, "parts_ceiling": scored.ceiling_parts}
    found["intervals"] = {name: interval(values)[1:] for name, values in figures.items()}
    for key, held in parts.items():
        found[key] = {name: interval(values)[0] for name, values in held.items()}
        found["intervals"][key] = {name: interval(values)[1:] for name, values in held.items()}
    return found


def _risk(risk: Risk) -> dict[str, Any]:
    return {
        "risk": risk.value, "low": risk.low, "high": risk.high, "rate": risk.rate, "control": risk.control,
        "guess": risk.guess, "n": risk.n, "powerless": risk.powerless,
    }  # fmt: skip


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
