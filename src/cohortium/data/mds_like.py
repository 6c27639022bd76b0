"""A consortium of invented patients with myelodysplastic syndromes, whose true model is known; no patient is in it.

    cohort = simulate(seed=0)                     # 4,427 patients: sites a 2,800, b 1,300, c 327
    cohort.table                                  # column `site`, clinical values, 27 mutation and karyotype flags
    cohort.oracle                                 # log hazard ratio of every patient, for the best C-index there can be
    truth()                                       # the coefficients behind the outcome

Flags are drawn one after another, each with odds that depend on those before, so that co-occurring and exclusive pairs
exist: at most one of the splicing genes, at most one of IDH1 and IDH2. Laboratory values follow a latent severity; the
outcome is Weibull in a linear predictor with one interaction (TP53 with a complex karyotype); censoring and follow-up
differ by site. `shift=False` and `missing=False` switch site differences and gaps off. Constants are ours, sized like
published cohorts (Bernard et al., NEJM Evidence 2022). Design: synthetic-data.md section 9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortium.core.randomness import Chance
from cohortium.data.table import Table

__all__ = ["GENES", "KARYOTYPE", "LABORATORY", "RANGES", "SITES", "MdsLike", "simulate", "truth"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SITES = {"a": 2800, "b": 1300, "c": 327}
"""Patients of each site."""

SPLICING = ("SF3B1", "SRSF2", "U2AF1", "ZRSR2")
GENES = (
    "TP53", *SPLICING, "TET2", "DNMT3A", "ASXL1", "IDH1", "IDH2", "EZH2", "RUNX1", "STAG2", "BCOR", "CBL", "NRAS",
    "KRAS", "JAK2", "SETBP1", "PHF6",
)  # fmt: skip
KARYOTYPE = ("complex", "del5q", "minus7", "plus8", "del20q", "minusY", "del17p")
LABORATORY = ("blasts", "hb", "platelets", "anc", "wbc", "ring_sideroblasts", "ldh", "ferritin", "transfused", "ecog")

RANGES: Mapping[str, tuple[float, float, bool]] = {
    "age": (18, 100, True), "blasts": (0, 20, False), "hb": (2, 20, False), "platelets": (1, 2000, True),
    "anc": (0, 50, False), "wbc": (0, 500, False), "ring_sideroblasts": (0, 100, True), "ldh": (50, 10000, True),
    "ferritin": (1, 20000, True), "ecog": (0, 4, True), "os_years": (0, 12, False),
}  # fmt: skip
"""What a clinician would agree on without looking: low, high, whether values are whole numbers."""

_NOT_MEASURED = {"c": ("BCOR", "PHF6", "SETBP1", "ZRSR2")}
_PARTLY_MEASURED = {"b": (("PHF6", "BCOR"), 0.40)}
_FERRITIN_GAPS = {"a": 0.25, "b": 0.40, "c": 0.60}
_KARYOTYPE_GAPS = {"a": 0.04, "b": 0.06, "c": 0.10}
_LONGEST = {"a": 12.0, "b": 10.0, "c": 5.0}
_LDH_SCALE = {"a": 1.0, "b": 1.08, "c": 0.92}
_OLDER = {"a": 0.0, "b": 1.0, "c": 4.0}
_MEDIAN_YEARS, _SHAPE = 5.2, 1.05

_COEFFICIENTS: Mapping[str, float] = {
    "age": 0.30, "male": 0.15, "therapy_related": 0.40, "TP53": 0.60, "complex": 0.45, "TP53 x complex": 0.45,
    "RUNX1": 0.40, "ASXL1": 0.30, "EZH2": 0.30, "STAG2": 0.20, "NRAS": 0.30, "SF3B1": -0.35, "log_blasts": 0.35,
    "hb": -0.12, "log_platelets": -0.25, "site c": 0.14,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class MdsLike:
    """What was drawn. table: with column `site`, gaps as missing values; oracle: each patient's true log hazard ratio.

    complete: the same patients before gaps were made.
    """

    table: Table
    complete: Table
    oracle: Floats


def truth() -> dict[str, float]:
    """The log hazard ratios: age per ten years, `log_blasts` = ln(1 + blasts), the rest per unit or as flags."""
    return dict(_COEFFICIENTS)


def simulate(
    *, seed: int = 0, sites: Mapping[str, int] | None = None, shift: bool = True, missing: bool = True,
    units: bool = False,
) -> MdsLike:  # fmt: skip
    """Draw a consortium. sites: patients of a, b, c. units: haemoglobin at c in g/l, which a unit check must stop.

    The same seed gives the same patients, whatever is switched off afterwards.
    """
    sizes = dict(SITES if sites is None else sites)
    if unknown := sorted(set(sizes) - set(SITES)):
        raise ValueError(f"sites of this simulator are {', '.join(SITES)}, got {unknown[0]!r}")
    chance = Chance(seed, secrets_from_system=False)
    parts = [_site(name, sizes[name], chance.stream("mds", name), shift=shift) for name in sorted(sizes)]
    columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    oracle = columns.pop("oracle")
    names = np.concatenate([np.full(sizes[name], name) for name in sorted(sizes)])
    complete = Table.from_columns({"site": names, **columns})
    gaps: dict[str, Any] = dict(columns)
    if missing:
        gaps |= _with_gaps(columns, names, chance.stream("mds", "gaps"))
    if units:
        gaps["hb"] = np.where(names == "c", gaps["hb"] * 10.0, gaps["hb"])
    return MdsLike(table=Table.from_columns({"site": names, **gaps}), complete=complete, oracle=oracle)


# --- one site ------------------------------------------------------------------------------------------------------


def _site(name: str, n: int, rng: np.random.Generator, *, shift: bool) -> dict[str, NDArray[np.generic]]:
    where = name if shift else "a"
    age = np.clip(np.round(20 + 75 * rng.beta(5.2, 2.6, n) + _OLDER[where]), 18, 97)
    male = rng.random(n) < 0.61
    therapy = rng.random(n) < 0.09
    a = (age - 70) / 10
    flags = _flags(a, male, therapy, {"a": 0.25, "b": 0.0, "c": -0.1}[where], rng)
    severity = _severity(flags, {"a": 0.25, "b": 0.0, "c": -0.25}[where], rng)
    laboratory = _laboratory(a, male, flags, severity, where, rng)
    oracle = _log_hazard_ratio(a, male, therapy, flags, laboratory, c=where == "c")
    time = _MEDIAN_YEARS * (rng.exponential(size=n) / (math.log(2) * np.exp(oracle))) ** (1 / _SHAPE)
    censored = np.minimum(rng.uniform(0.2, _LONGEST[where], n), rng.exponential(25.0, n))
    drawn: dict[str, NDArray[np.generic]] = {"age": age, "male": _number(male), "therapy_related": _number(therapy)}
    drawn |= laboratory
    drawn |= {flag: _number(flags[flag]) for flag in (*GENES, *KARYOTYPE)}
    drawn |= {"karyotype_risk": _karyotype_risk(flags), "who_class": _who_class(flags, laboratory)}
    drawn["risk_score"] = _risk_score(flags, laboratory)
    drawn["os_years"] = np.round(np.maximum(np.minimum(time, censored), 0.01), 2)
    drawn["died"] = _number(time <= censored)
    drawn["oracle"] = oracle
    return drawn


def _flags(a: Floats, male: Flags, therapy: Flags, tp53_shift: float, rng: np.random.Generator) -> dict[str, Flags]:
    n = len(a)
    f: dict[str, Floats] = {}

    def draw(logit: Floats | float) -> Floats:
        return np.asarray(rng.random(n) < 1 / (1 + np.exp(-(logit + np.zeros(n)))), dtype=np.float64)

    m, t = male.astype(np.float64), therapy.astype(np.float64)
    tp53 = f["TP53"] = draw(-2.75 + 1.3 * t + tp53_shift)
    cpx = f["complex"] = draw(-3.3 + 4.0 * tp53 + 0.6 * t)
    spliced = _one_of(
        {
            "SF3B1": -0.78 + 0.15 * a - 1.2 * tp53 - 0.5 * cpx,
            "SRSF2": -1.55 + 0.35 * a + 0.4 * m - 1.6 * tp53,
            "U2AF1": -2.15 + 0.5 * m - tp53,
            "ZRSR2": -2.2 - 3 * (1 - m) - 0.8 * tp53,
        },
        rng,
    )
    f |= spliced
    sf, sr, u2, zr = (spliced[gene] for gene in SPLICING)
    tet2 = f["TET2"] = draw(-1.45 + 0.3 * a + sr + 0.5 * zr - 1.2 * tp53)
    f["DNMT3A"] = draw(-2.05 + 0.15 * a + 0.5 * sf - 0.6 * tp53)
    asxl1 = f["ASXL1"] = draw(-1.7 + 0.15 * a + 0.9 * sr + 0.9 * u2 - 0.9 * sf - 1.2 * tp53)
    f |= _one_of({"IDH1": -3.3 - 1.6 * tet2, "IDH2": -3.3 + 1.4 * sr - 1.6 * tet2}, rng)
    ezh2 = f["EZH2"] = draw(-3.3 + 1.1 * asxl1 + 0.4 * tet2 - 0.8 * tp53)
    runx1 = f["RUNX1"] = draw(-2.7 + 0.9 * asxl1 + 0.6 * sr - 0.8 * tp53)
    f["STAG2"] = draw(-3.2 + 1.1 * asxl1 + 0.8 * sr - 0.8 * sf - 0.8 * tp53)
    f["BCOR"] = draw(-3.5 + 0.8 * u2 + 0.7 * runx1 - 0.8 * tp53)
    f["CBL"] = draw(-3.6 + 0.8 * asxl1 + 0.5 * tet2 - 0.8 * tp53)
    nras = f["NRAS"] = draw(-3.7 + 0.7 * asxl1 + 0.6 * runx1 - 0.8 * tp53)
    f["KRAS"] = draw(-4.1 + 0.6 * asxl1 + nras)
    f["JAK2"] = draw(-3.4 + 0.8 * sf)
    f["SETBP1"] = draw(-4.1 + 1.4 * asxl1)
    f["PHF6"] = draw(-3.9 + 0.9 * runx1 + 0.5 * asxl1)
    f["del5q"] = draw(-2.3 + 2.2 * cpx - 0.8 * np.minimum(sr + u2 + zr, 1) - 0.4 * sf)
    f["minus7"] = draw(-3.6 + 2.2 * cpx + 0.9 * ezh2 + 0.6 * runx1)
    f["plus8"] = draw(-2.75 + 0.6 * cpx + 0.3 * asxl1)
    f["del20q"] = draw(-3.4 + 1.3 * u2 + 0.9 * cpx)
    f["minusY"] = draw(-2.8 + 0.4 * a) * m
    f["del17p"] = draw(-5.5 + 2.5 * cpx + 1.6 * tp53)
    return {name: values > 0.5 for name, values in f.items()}


def _one_of(logits: Mapping[str, Floats], rng: np.random.Generator) -> dict[str, Floats]:
    """At most one of these for each patient; `none` has log weight 0."""
    weights = np.exp(np.stack([np.zeros(len(next(iter(logits.values())))), *logits.values()]))
    edges = np.cumsum(weights / weights.sum(axis=0), axis=0)
    chosen = (rng.random(edges.shape[1]) > edges[:-1]).sum(axis=0)
    return {name: (chosen == place).astype(np.float64) for place, name in enumerate(logits, start=1)}


def _severity(f: Mapping[str, Flags], offset: float, rng: np.random.Generator) -> Floats:
    shift = 0.8 * f["TP53"] + 0.4 * f["ASXL1"] + 0.6 * f["RUNX1"] + 0.5 * f["STAG2"] - 0.8 * f["SF3B1"]
    return np.asarray(rng.normal(size=len(f["TP53"])) + offset + shift + 0.4 * f["minus7"])


def _laboratory(
    a: Floats, male: Flags, f: Mapping[str, Flags], v: Floats, where: str, rng: np.random.Generator
) -> dict[str, NDArray[np.generic]]:
    n = len(v)
    blasts = np.clip(np.round(2 * (np.exp(1.25 + 0.62 * v) - 1)) / 2, 0, 19.5)
    hb = np.clip(np.round(9.9 - 0.45 * v - 0.7 * f["SF3B1"] + 0.5 * male + rng.normal(0, 1.6, n), 1), 3.0, 18.0)
    small_5q = f["del5q"] & ~f["complex"]
    platelets = np.exp(4.9 - 0.28 * v + 0.35 * f["SF3B1"] + 0.4 * small_5q + 0.3 * f["JAK2"] + rng.normal(0, 0.6, n))
    platelets = np.clip(np.round(platelets), 2, 1500)
    if where == "c":
        platelets = np.maximum(5 * np.round(platelets / 5), 5)
    anc = np.exp(0.65 - 0.18 * v + 0.35 * (f["CBL"] | f["NRAS"]) + rng.normal(0, 0.75, n))
    wbc = np.round(anc / rng.beta(6, 5, n) + 0.2, 2)
    ringed = np.where(
        f["SF3B1"], rng.normal(38, 15, n), np.where(rng.random(n) < 0.65, 0.0, rng.exponential(6.0, n))
    )  # fmt: skip
    ldh = np.exp(5.35 + 0.12 * v + rng.normal(0, 0.33, n)) * _LDH_SCALE[where]
    ferritin = np.exp(5.9 + 0.25 * np.clip(9.5 - hb, 0, 4) + rng.normal(0, 0.8, n))
    transfused = rng.random(n) < 1 / (1 + np.exp(-(-0.8 + 0.8 * (9.2 - hb))))
    ecog = np.clip(np.round(0.6 + 0.35 * a + 0.15 * (9.8 - hb) + rng.normal(0, 0.7, n)), 0, 3)
    return {
        "blasts": blasts, "hb": hb, "platelets": platelets, "anc": np.round(anc, 2), "wbc": wbc,
        "ring_sideroblasts": np.round(np.clip(ringed, 0, 100)), "ldh": np.round(ldh), "ferritin": np.round(ferritin),
        "transfused": _number(transfused), "ecog": ecog,
    }  # fmt: skip


def _log_hazard_ratio(
    a: Floats, male: Flags, therapy: Flags, f: Mapping[str, Flags], lab: Mapping[str, NDArray[np.generic]], *, c: bool
) -> Floats:
    k = _COEFFICIENTS
    total = k["age"] * a + k["male"] * male + k["therapy_related"] * therapy
    for gene in ("TP53", "complex", "RUNX1", "ASXL1", "EZH2", "STAG2", "NRAS", "SF3B1"):
        total = total + k[gene] * f[gene]
    total = total + k["TP53 x complex"] * (f["TP53"] & f["complex"])
    total = total + k["log_blasts"] * (np.log1p(lab["blasts"].astype(np.float64)) - 1.45)
    total = total + k["hb"] * (lab["hb"].astype(np.float64) - 9.8)
    total = total + k["log_platelets"] * (np.log(lab["platelets"].astype(np.float64)) - 4.9)
    return np.asarray(total + (k["site c"] if c else 0.0), dtype=np.float64)


# --- by rule -------------------------------------------------------------------------------------------------------


def _karyotype_risk(f: Mapping[str, Flags]) -> NDArray[np.str_]:
    """Five levels, worst rule first (after the cytogenetic score of Schanz et al. 2012, shortened)."""
    rules = [f["complex"] & f["del17p"], f["complex"], f["minus7"], f["plus8"] | f["del17p"], f["minusY"]]
    return np.select(rules, ["very poor", "poor", "poor", "intermediate", "very good"], default="good")


def _who_class(f: Mapping[str, Flags], lab: Mapping[str, NDArray[np.generic]]) -> NDArray[np.str_]:
    """Six classes by blasts, ring sideroblasts and karyotype (after WHO 2016, shortened)."""
    blasts, ringed = lab["blasts"].astype(np.float64), lab["ring_sideroblasts"].astype(np.float64)
    few = lab["platelets"].astype(np.float64) < 100
    rules = [blasts >= 10, blasts >= 5, f["del5q"] & ~f["complex"], f["SF3B1"] & (ringed >= 5) | (ringed >= 15), few]
    return np.select(rules, ["EB-2", "EB-1", "del5q", "RS", "MLD"], default="SLD")


def _risk_score(f: Mapping[str, Flags], lab: Mapping[str, NDArray[np.generic]]) -> Floats:
    """0 to 10: karyotype, blasts, haemoglobin, platelets and neutrophils by steps (after Greenberg et al. 2012)."""
    blasts, hb = lab["blasts"].astype(np.float64), lab["hb"].astype(np.float64)
    score = np.select([f["complex"], f["minus7"], f["plus8"], f["minusY"]], [4.0, 3.0, 2.0, 0.0], default=1.0)
    score = score + np.select([blasts <= 2, blasts < 5, blasts <= 10], [0.0, 1.0, 2.0], default=3.0)
    score = score + np.select([hb >= 10, hb >= 8], [0.0, 1.0], default=1.5)
    score = score + np.select([lab["platelets"].astype(np.float64) >= 100], [0.0], default=0.5)
    return np.asarray(score + np.where(lab["anc"].astype(np.float64) < 0.8, 0.5, 0.0), dtype=np.float64)


# --- gaps ----------------------------------------------------------------------------------------------------------


def _with_gaps(
    columns: Mapping[str, NDArray[np.generic]], site: NDArray[np.str_], rng: np.random.Generator
) -> dict[str, NDArray[np.generic]]:
    n = len(site)
    kept = dict(columns)

    def blank(name: str, where: Flags) -> None:
        held = kept[name]
        kept[name] = np.where(where, "" if held.dtype.kind == "U" else np.nan, held)

    for name in LABORATORY:
        share = {"ldh": 0.10, "ferritin": 0.0, "ring_sideroblasts": 0.0}.get(name, 0.02)
        blank(name, rng.random(n) < share)
    blank("ferritin", rng.random(n) < _by_site(_FERRITIN_GAPS, site))
    logit = -1 + 0.9 * (site == "b") + 1.2 * (columns["blasts"].astype(np.float64) > 5)
    blank("ring_sideroblasts", rng.random(n) < 1 / (1 + np.exp(-logit)))
    failed = rng.random(n) < _by_site(_KARYOTYPE_GAPS, site)
    for name in (*KARYOTYPE, "karyotype_risk"):
        blank(name, failed)
    for where, genes in _NOT_MEASURED.items():
        for gene in genes:
            blank(gene, site == where)
    for where, (some, share) in _PARTLY_MEASURED.items():
        lacking = (site == where) & (rng.random(n) < share)
        for gene in some:
            blank(gene, lacking)
    return kept


def _by_site(shares: Mapping[str, float], site: NDArray[np.str_]) -> Floats:
    return np.select([site == name for name in shares], list(shares.values()))


def _number(flags: Flags) -> Floats:
    return flags.astype(np.float64)
