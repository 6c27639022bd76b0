"""The figures of the report that need rows: survival, genes, marginals, associations, densities, distances, attacks.

No patient is drawn singly and no count of real patients from 1 to 9 is shown or can be read off: histograms have gaps
there, curves end where fewer than ten are followed, pairs of genes with one to nine carriers of both are dots, axes end
where at least ten patients lie beyond. Design: synthetic-data.md 7.8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortium.reports.drawing import Figure
from cohortium.reports.figures import Dot, Series, dots, steps
from cohortium.reports.multiples import Panel, Steps, density_panels, step_panels
from cohortium.reports.signed import Point, paired_bars, scatter, signed_map
from cohortium.synth.facts import Fact
from cohortium.synth.rows import Rows
from cohortium.synth.validation.association import agreement, bin_edges, clinical_matrix
from cohortium.synth.validation.attacks import wilson
from cohortium.synth.validation.curves import kaplan_meier, tau_of
from cohortium.synth.validation.distances import Space, nearest, nndr
from cohortium.synth.validation.fidelity import log_odds_of
from cohortium.synth.validation.judge import Judgement
from cohortium.synth.validation.marginals import distance
from cohortium.synth.validation.subgroups import groups_of

__all__ = [
    "LEAST_CELL",
    "Tables",
    "associations",
    "attack_risks",
    "density",
    "distances",
    "frequencies",
    "gene_pairs",
    "hazard_forest",
    "marginals",
    "p_text",
    "survival_of_all",
    "survival_of_groups",
]

Floats = NDArray[np.float64]
Estimate = tuple[float, float | None, float | None]

LEAST_CELL = 10
_KM_POINTS = 24
_MOST_GENES, _MOST_CLINICAL, _MOST_PANELS, _MOST_HAZARDS, _MOST_SECRETS = 24, 24, 18, 20, 8
_BINS, _CELLS = 12, 11
_END = 0.005
_LN_OR = 3.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """The rows behind a judgement."""

    training: Rows
    reserve: Rows
    synthetic: Rows

    @property
    def named(self) -> dict[str, Rows]:
        """By name."""
        return {"training": self.training, "reserve": self.reserve, "synthetic": self.synthetic}


# --- survival ------------------------------------------------------------------------------------------------------


def survival_of_all(tables: Tables, judgement: Judgement) -> Figure:
    """Figure 3, everybody: held-out and synthetic patients with the numbers at risk."""
    facts = tables.training.facts
    tau = tau_of(tables.training[facts.time])
    grid = np.linspace(0.0, tau, _KM_POINTS + 1)
    drawn, at_risk = [], []
    for style, (name, rows) in enumerate((("real, held out", tables.reserve), ("synthetic", tables.synthetic))):
        heights = _curve(rows, grid)
        drawn.append(Series(name=name, x=grid.tolist(), y=heights, style=style))
        left = [int((rows[facts.time] >= t).sum()) for t in grid]
        at_risk.append([n if n >= LEAST_CELL else None for n in left])
    found = judgement.survival
    p = "" if found is None or found.log_rank_p.value is None else f", log-rank {p_text(found.log_rank_p.value)}"
    unit = facts[facts.time].unit or "d"
    return steps(f"Survival of all patients{p}", drawn, at_risk=at_risk, x_label=f"time ({unit})", y_label="alive",
                 small=f"<{LEAST_CELL}")  # fmt: skip


def survival_of_groups(tables: Tables, judgement: Judgement) -> Figure | None:
    """Figure 3, by gene and by third of risk, with the p-value of each; None where no group is large enough."""
    facts = tables.training.facts
    if not facts.time or not judgement.subgroups:
        return None
    tau = tau_of(tables.training[facts.time])
    edges = np.linspace(0.0, tau, _KM_POINTS + 1)
    masks = groups_of(tables.training, tables.named)
    panels = []
    for group in judgement.subgroups:
        series = []
        for style, (name, key) in enumerate((("real, held out", "reserve"), ("synthetic", "synthetic"))):
            heights = _curve(tables.named[key].take(masks[group.name][key]), edges[:-1])
            series.append(Steps(name=name, edges=edges.tolist(), heights=heights, style=style))
        p = p_text(group.log_rank_p) if np.isfinite(group.log_rank_p) else ""
        panels.append(Panel(title=group.name, note=p, series=series, ends=("0", f"{tau:.3g}")))
    few = sum(1 for group in judgement.subgroups if group.log_rank_p < 0.05)
    unit = facts[facts.time].unit or "d"
    sentence = (
        f"Share alive over time ({unit}) by gene and by third of risk, with the log-rank p of each: {few} of"
        f" {len(panels)} lie below 0.05; one in twenty would by chance. Curves end where fewer than {LEAST_CELL} are"
        " followed."
    )
    return step_panels("Survival by gene and risk group", panels, columns=3, top=1.0, value="alive", sentence=sentence)


def p_text(p: float) -> str:
    """`p 0.43`, and `p <0.001` where two decimals would say 0.00."""
    return "p <0.001" if p < 0.001 else f"p {p:.3f}" if p < 0.01 else f"p {p:.2f}"


def _curve(rows: Rows, times: Floats) -> list[float | None]:
    """Survival at the times, None where fewer than ten are followed."""
    facts = rows.facts
    time = rows[facts.time]
    held = kaplan_meier(time, rows[facts.event]).at(times)
    return [float(s) if (time >= t).sum() >= LEAST_CELL else None for s, t in zip(held, times, strict=True)]


# --- genes ---------------------------------------------------------------------------------------------------------


def _shown_genes(tables: Tables) -> list[str]:
    """Genes with at least ten real carriers and ten without, most frequent first."""
    found = []
    for fact in tables.training.facts.of_group("gene"):
        held = tables.training[fact.name]
        if min(int((held == 1).sum()), int((held == 0).sum())) >= LEAST_CELL:
            found.append((float(np.nanmean(held)), fact.name))
    return [name for _, name in sorted(found, reverse=True)[:_MOST_GENES]]


def _and_more(n: int, what: str) -> str:
    """A sentence on what is not drawn, with a space before it; empty where nothing is missing."""
    return f" Not drawn: {n} more, {what}." if n > 0 else ""


def _unseen_genes(tables: Tables, shown: Sequence[str]) -> str:
    rest = len(tables.training.facts.of_group("gene")) - len(shown)
    return _and_more(rest, f"rarer or with fewer than {LEAST_CELL} patients")


def frequencies(tables: Tables) -> tuple[Figure, Figure] | None:
    """Figure 4: bars and scatter of how often each gene is mutated, with binomial intervals."""
    points = [Point(name=name, x=_share(tables.training[name]), y=_share(tables.synthetic[name]))
              for name in _shown_genes(tables)]  # fmt: skip
    if not points:
        return None
    apart = [p.name for p in points if p.y[1] > p.x[2] or p.y[2] < p.x[1]]
    said = f"apart: {', '.join(apart)}" if apart else "no two intervals lie apart"
    bars = paired_bars(
        "Mutation frequencies", [(p.name, p) for p in points], names=("real", "synthetic"), unit="share of patients",
        sentence=f"Share of patients with each mutation and 95 % intervals; {said}."
        + _unseen_genes(tables, [point.name for point in points]),
    )  # fmt: skip
    plot = scatter(
        "Mutation frequencies, real against synthetic", points, x_label="real", y_label="synthetic",
        sentence="Genes on the dashed line are as frequent in both tables; bars are 95 % intervals.",
    )  # fmt: skip
    return bars, plot


def _share(values: Floats) -> tuple[float, float, float]:
    there = values[~np.isnan(values)]
    centre, half = wilson(float(there.sum()), len(there))
    return float(there.mean()) if len(there) else 0.0, max(centre - half, 0.0), min(centre + half, 1.0)


def gene_pairs(tables: Tables, judgement: Judgement) -> Figure | None:
    """Figure 5: log odds of pairs, real above the diagonal, synthetic below, stars where clear."""
    names = _shown_genes(tables)
    if len(names) < 2:
        return None
    log_odds, z, both = [], [], []
    for rows in (tables.training, tables.synthetic):
        flags = np.column_stack([rows[name] for name in names])
        there, ones = (~np.isnan(flags)).astype(np.float64), np.nan_to_num(flags)
        together = ones.T @ ones
        found = log_odds_of(together, ones.T @ there, there.T @ there)
        both.append(together)
        log_odds.append(_square(found[0], len(names)))
        z.append(_square(found[1], len(names)))
    n = len(names)
    values: list[list[float | None]] = [[None] * n for _ in range(n)]
    stars = [[False] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            which = 0 if i < j else 1
            if i == j or any(0 < table[i, j] < LEAST_CELL for table in both[: 1 + which]):
                continue
            values[i][j], stars[i][j] = float(log_odds[which][i, j]), bool(abs(z[which][i, j]) > 3.0)
    kept = judgement.co_occurrence["kept"]
    told = f"{kept:.0%} of the clear pairs of the real table keep their sign" if np.isfinite(kept) else "no clear pair"
    sentence = (
        f"Log odds of two mutations together: above the diagonal in real, below in synthetic patients; {told}. A dot:"
        f" one to {LEAST_CELL - 1} patients have both, so nothing is shown.{_unseen_genes(tables, names)}"
    )
    return signed_map("Genes together and apart", names, values, most=_LN_OR, stars=stars, value="log odds ratio",
                      sentence=sentence)  # fmt: skip


def _square(pairs: Floats, n: int) -> Floats:
    found = np.zeros((n, n))
    below = np.tril_indices(n, -1)
    found[below] = pairs
    return found + found.T


# --- columns -------------------------------------------------------------------------------------------------------


def marginals(tables: Tables) -> Figure:
    """Figure 6: every clinical column as a small histogram, those farthest from the held-out patients first."""
    facts = tables.training.facts.of_group("clinical", "outcome", "treatment")
    order = sorted(facts, key=lambda f: -distance(tables.reserve[f.name], tables.synthetic[f.name], f))
    panels = [_marginal(tables, fact) for fact in order[:_MOST_PANELS]]
    rest = len(order) - len(panels)
    sentence = (
        "Share of patients in each part of a column's range, real as areas and synthetic as lines, d is their largest"
        f" distance; bins with fewer than {LEAST_CELL} real patients are left out"
        + (f"; {rest} columns that are nearer are not drawn." if rest > 0 else ".")
    )
    return step_panels("Columns one by one", panels, columns=3, tall=50.0, value="share", sentence=sentence)


def _marginal(tables: Tables, fact: Fact) -> Panel:
    real, made = tables.training[fact.name], tables.synthetic[fact.name]
    known, other = real[~np.isnan(real)], made[~np.isnan(made)]
    if fact.is_number:
        edges = _bins(known)
        half = 0.5 if bool((edges == np.floor(edges) + 0.5).all()) else 0.0  # whole numbers stand in the middle
        ends = (_short(edges[0] + half), f"{_short(edges[-1] - half)} {fact.unit}".strip())
    else:
        edges = np.arange(len(fact.levels or "01") + 1, dtype=np.float64) - 0.5
        levels = fact.levels or ("0", "1")
        ends = (levels[0], levels[-1])
    shares = []
    for values in (known, other):
        counts = np.histogram(np.clip(values, edges[0], edges[-1]) if fact.is_number else values, edges)[0]
        shares.append([_told(int(c), len(values)) for c in counts])
    gap = distance(real, made, fact)
    return Panel(
        title=fact.name, note=f"d {gap:.2f}", ends=ends,
        series=[Steps(name="real", edges=edges.tolist(), heights=shares[0], style=0, filled=True),
                Steps(name="synthetic", edges=edges.tolist(), heights=shares[1], style=1)],
    )  # fmt: skip


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _bins(known: Floats) -> Floats:
    """Even bins whose ends have at least ten patients beyond, as whole numbers where the column holds few of them."""
    if not len(known):
        return np.array([0.0, 1.0])
    q = min(max(_END, LEAST_CELL / len(known)), 0.25)
    low, high = (float(np.quantile(known, one, method="nearest")) for one in (q, 1 - q))
    if bool((known == np.rint(known)).all()) and high - low < _BINS:
        return np.arange(np.floor(low), np.ceil(high) + 2) - 0.5
    return np.linspace(low, high if high > low else low + 1.0, _BINS + 1)


def _told(count: int, n: int) -> float | None:
    return None if 0 < count < LEAST_CELL else count / max(n, 1)


def associations(tables: Tables) -> Figure:
    """Figure 7: how much stronger or weaker pairs of clinical columns go together in the synthetic table."""
    every = tables.training.facts.of_group("clinical", "treatment", "outcome")
    facts = every[:_MOST_CLINICAL]
    edges = bin_edges(tables.training, facts)
    found = [clinical_matrix(rows, facts, edges) for rows in (tables.training, tables.synthetic)]
    difference = _square(found[1] - found[0], len(facts))
    values: list[list[float | None]] = [[float(v) for v in row] for row in difference]
    names = [fact.name for fact in facts]
    largest = np.unravel_index(np.abs(difference).argmax(), difference.shape)
    sentence = (
        f"Association in synthetic minus real patients (rank correlation of two numbers, else Cramer's V); agreement"
        f" {agreement(found[0], found[1]):.2f} of 1. A full cell is a difference of 0.3; the largest is"
        f" {difference[largest]:+.2f} between {names[int(largest[0])]} and {names[int(largest[1])]}."
        + _and_more(len(every) - len(facts), "the last columns of the table, which are in the scores")
    )
    return signed_map("Associations that differ", names, values, most=0.3, value="difference", sentence=sentence)


def density(tables: Tables) -> Figure:
    """Figure 8: where the rows of each table lie on the two main directions of the real one, as densities."""
    space = Space.of(tables.training)
    placed = [space.place(rows) for rows in (tables.training, tables.synthetic, tables.reserve)]
    centre = placed[0].mean(axis=0)
    _, _, axes = np.linalg.svd(placed[0] - centre, full_matrices=False)
    points = [(x - centre) @ axes[:2].T for x in placed]
    q = min(max(_END, LEAST_CELL / len(points[0])), 0.25)
    ends = [np.quantile(points[0][:, k], [q, 1 - q]) for k in (0, 1)]
    edges = [np.linspace(low, high, _CELLS + 1) for low, high in ends]
    panels = []
    hidden = 0
    names = ("real, training", "synthetic", "real, held out")
    for name, p in zip(names, points, strict=True):
        counts = np.histogram2d(p[:, 1], p[:, 0], bins=[edges[1], edges[0]])[0]
        hidden += int(((counts > 0) & (counts < LEAST_CELL)).sum())
        panels.append((name, [[_told(int(c), len(p)) for c in row] for row in counts]))
    sentence = (
        "Share of rows over the two main directions of the real table, darker is more: the three maps should look"
        f" alike. {hidden} cells with fewer than {LEAST_CELL} rows are left white, more of them in a smaller table."
    )
    return density_panels("Where the rows lie", panels, x_label="first direction", y_label="second", value="share",
                          sentence=sentence)  # fmt: skip


# --- privacy -------------------------------------------------------------------------------------------------------


def distances(tables: Tables) -> Figure:
    """Figure 9: distance to the nearest training patient and NNDR, synthetic against held-out rows."""
    space = Space.of(tables.training)
    real, out, made = (space.place(rows) for rows in (tables.training, tables.reserve, tables.synthetic))
    panels = []
    pairs = (
        ("nearest patient (DCR)", nearest(made, real, 1)[0][:, 0], nearest(out, real, 1)[0][:, 0]),
        ("nearest / second (NNDR)", nndr(made, real), nndr(out, real)),
    )
    for title, mine, held in pairs:
        q = min(LEAST_CELL / len(held), 0.25)
        low, high = float(np.quantile(held, q)), float(np.quantile(held, 1 - q))
        low = min(low, float(np.quantile(mine, 0.01)))
        edges = np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
        series = []
        for name, values, style, filled in (("held out", held, 0, True), ("synthetic", mine, 1, False)):
            counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
            heights = [_told(int(c), len(values)) for c in counts]
            series.append(Steps(name=name, edges=edges.tolist(), heights=heights, style=style, filled=filled))
        panels.append(Panel(title=title, series=series, ends=(f"{edges[0]:.2f}", f"{edges[-1]:.2f}")))
    sentence = (
        "How near rows lie to the training patients: synthetic rows (line) should not lie farther left than held-out"
        f" patients (area), who were in no training. Bins with fewer than {LEAST_CELL} are left out."
    )
    return step_panels(
        "Distances to training patients", panels, columns=2, tall=110.0, value="share", sentence=sentence
    )


def attack_risks(judgement: Judgement) -> Figure:
    """Figure 10: what attacks learn beyond what holds for everybody, on this table and on a copy as control."""
    one = judgement.privacy
    named = {"singling out": ("singling_out", one.singling_out), "linkability": ("linkability", one.linkability)}
    named |= {f"infer {name}": (name, risk) for name, risk in list(one.inference.items())[:_MOST_SECRETS]}
    rows = []
    for name, (key, risk) in named.items():
        pair = [Dot(name="this table", value=risk.value, low=risk.low, high=risk.high, style=0)]
        copy = judgement.power.get(key)
        if copy is not None:
            pair.append(Dot(name="a copy (control)", value=copy.value, low=copy.low, high=copy.high, style=1))
        rows.append((name, pair))
    sentence = (
        "Risk of each attack on training patients beyond held-out ones, 0 is none; an attack that finds nothing in a"
        " copy of the real table could not have found anything here either."
        + _and_more(len(one.inference) - _MOST_SECRETS, "secrets with a lower risk, which are in the JSON")
    )
    return dots("Attacks", rows, x_label="risk", reference=0.0, sentence=sentence)


# --- effects -------------------------------------------------------------------------------------------------------


def hazard_forest(judgement: Judgement, more: Mapping[str, Sequence[Estimate | None]]) -> Figure | None:
    """Figure 11: log hazard ratios in both tables; more: further estimates by name, in the order of the columns."""
    one = judgement.hazards
    if one is None:
        return None
    order = np.argsort(-np.abs(one.real / np.where(one.real_error > 0, one.real_error, np.inf)))[:_MOST_HAZARDS]
    rows = []
    for k in order:
        group = []
        for style, (name, value, error) in enumerate(
            (("real", one.real[k], one.real_error[k]), ("synthetic", one.synthetic[k], one.synthetic_error[k]))
        ):
            half = 1.96 * float(error)
            ends = (float(value) - half, float(value) + half) if np.isfinite(half) else (None, None)
            group.append(Dot(name=name, value=float(value), low=ends[0], high=ends[1], style=style))
        for style, (name, estimates) in enumerate(more.items(), start=2):
            known = estimates[int(k)]
            if known is not None:
                group.append(Dot(name=name, value=known[0], low=known[1], high=known[2], style=style))
        rows.append((one.names[k], group))
    kept = f"{one.signs_kept:.0%}" if np.isfinite(one.signs_kept) else "none to judge"
    overlap = f"{one.overlapping:.0%}" if np.isfinite(one.overlapping) else "none"
    sentence = (
        f"Log hazard ratios of one Cox regression in each table: effects told by the real table that keep their sign"
        f" {kept}; intervals that overlap by more than half {overlap}."
        + _and_more(len(one.names) - len(order), "less sure in the real table, which count in both shares")
    )
    return dots("Effects on survival", rows, x_label="log hazard ratio", reference=0.0, sentence=sentence)
