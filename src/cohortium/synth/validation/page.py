"""The validation report: one self-contained HTML file, for a clinician-statistician and for a data protection officer.

Figures: scores between floor and ceiling, survival curves, mutation frequencies, pairs that go together or exclude each
other, marginals, differences of association, where the rows lie, distances, attack risks, hazard ratios. No patient is
ever drawn singly, no cell below the limit is shown, nothing refers to anything outside the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cohortium.reports.drawing import FIGURE_CSS, Figure
from cohortium.reports.figures import Dot, Series, dots, heat_map, lines, steps
from cohortium.synth.rows import Rows
from cohortium.synth.validation.anchors import interval
from cohortium.synth.validation.association import agreement, bin_edges, clinical_matrix, phi_matrix
from cohortium.synth.validation.curves import kaplan_meier, tau_of
from cohortium.synth.validation.distances import Space, nearest, nndr
from cohortium.synth.validation.judge import Judgement
from cohortium.synth.validation.marginals import distance

__all__ = ["ValidationPage"]

LEAST_CELL = 10
_KM_POINTS = 24
_MOST_GENES = 24
_MOST_HAZARDS = 20
_PARTS = {
    "marginals": "single columns", "dependence": "columns together", "indistinguishability": "not told apart",
    "survival": "survival curve", "frequency": "gene frequency", "burden": "mutations per patient",
    "pairs": "gene pairs", "signs": "signs of pairs", "with the clinic": "genes with the clinic",
}  # fmt: skip
_SIGNS = {"pass": ("✓", "ok"), "warn": ("!", "warn"), "fail": ("✗", "fail")}


@dataclass(frozen=True, kw_only=True)
class _Section:
    title: str
    lead: str
    figures: Sequence[Figure] = ()
    rows: Sequence[Sequence[str]] = ()
    columns: Sequence[str] = field(default=())


@dataclass(frozen=True, kw_only=True, eq=False)
class ValidationPage:
    """The page of one judgement. The rows are needed for curves and densities only."""

    judgement: Judgement
    training: Rows
    reserve: Rows
    synthetic: Rows
    name: str = "synthetic patients"
    digests: Mapping[str, str] = field(default_factory=dict)

    def html(self) -> str:
        """The whole page; the same judgement gives the same bytes."""
        environment = Environment(
            loader=PackageLoader("cohortium.synth.validation", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        css = PackageLoader("cohortium.reports", "templates").get_source(environment, "report.css")[0]
        return environment.get_template("validation.html").render(
            name=self.name,
            judgement=self.judgement,
            verdicts=[
                (topic, word, *_SIGNS.get(word, ("–", "note"))) for topic, word in self.judgement.verdict.items()
            ],
            sections=self._sections(),
            digests=self.digests,
            style=Markup(FIGURE_CSS + css),  # noqa: S704 - our own files
        )

    # --- sections ----------------------------------------------------------------------------------------------

    def _sections(self) -> list[_Section]:
        found = [self._fidelity(), self._columns()]
        if self.judgement.survival is not None:
            found.append(self._survival())
        if self.training.facts.of_group("gene"):
            found.append(self._genes())
        return [*found, self._utility(), self._privacy(), self._controls()]

    def _fidelity(self) -> _Section:
        figures = []
        for key, title in (("csf", "Clinical fidelity (CSF)"), ("gsf", "Genomic fidelity (GSF)")):
            scored = self.judgement.fidelity[key]
            if not np.isfinite(scored.score).any():
                continue
            rows = [("score", [_dot("floor", scored.floor, 1), _dot("synthetic", scored.score, 0),
                               _dot("ceiling", scored.ceiling, 2)])]  # fmt: skip
            rows += [
                (_PARTS[part], [_dot("floor", scored.floor_parts[part], 1), _dot("synthetic", values, 0),
                                _dot("ceiling", scored.ceiling_parts[part], 2)])
                for part, values in scored.parts.items()
                if np.isfinite(values).any()
            ]  # fmt: skip
            skill = interval(scored.skill)
            told = f"{skill[0]:.2f} ({skill[1]:.2f} to {skill[2]:.2f})"
            sentence = f"{title}: skill {told}; 0 is the shuffled table, 1 the real one."
            figures.append(dots(title, rows, x_label="score", sentence=sentence))
        classic, floor = self.judgement.classic, self.judgement.classic_floor
        return _Section(
            title="How like the real patients?",
            lead=(
                "Floor: the real table with every column shuffled on its own. Ceiling: other real patients. "
                f"The classic pair, for comparison with publications, is {classic[0]:.3f} and {_number(classic[1])}; "
                f"the shuffled table reaches {floor[0]:.3f} and {_number(floor[1])}, so it says little."
            ),
            figures=figures,
        )

    def _columns(self) -> _Section:
        facts = self.training.facts.columns
        apart = sorted(
            ((distance(self.reserve[f.name], self.synthetic[f.name], f), f.name) for f in facts), reverse=True
        )[:20]
        real = {name: distance(self.reserve[name], self.training[name], self.training.facts[name]) for _, name in apart}
        rows = [(name, [Dot(name="synthetic", value=value), Dot(name="real", value=real[name], style=2)])
                for value, name in apart]  # fmt: skip
        first = dots("Columns farthest from held-out patients", rows, x_label="distance, 0 = the same")
        clinical = list(self.training.facts.of_group("clinical", "outcome"))[:14]
        edges = bin_edges(self.training, clinical)
        matrices = [clinical_matrix(rows, clinical, edges) for rows in (self.training, self.synthetic)]
        values = _square(np.abs(matrices[0] - matrices[1]), len(clinical))
        names = [fact.name for fact in clinical]
        sentence = f"Differences of association: agreement {agreement(*matrices):.2f} of 1; darker is farther apart."
        second = heat_map("Associations that differ", names, names, values, sentence=sentence)
        return _Section(
            title="Column by column",
            lead="Distances of single columns, and how far associations of pairs differ.",
            figures=[first, second, self._where()],
        )

    def _where(self) -> Figure:
        """Real and synthetic rows on the two main directions of the real ones, as counts in cells of at least ten."""
        space = Space.of(self.training)
        real, made = space.place(self.training), space.place(self.synthetic)
        centre = real.mean(axis=0)
        _, _, axes = np.linalg.svd(real - centre, full_matrices=False)
        points = [(x - centre) @ axes[:2].T for x in (real, made)]
        low, high = np.quantile(points[0], 0.005, axis=0), np.quantile(points[0], 0.995, axis=0)
        cells = 8
        edges = [np.linspace(low[k], high[k], cells + 1) for k in (0, 1)]
        counts = [np.histogram2d(p[:, 0], p[:, 1], bins=edges)[0] for p in points]
        share = counts[1] / len(made) - counts[0] / len(real)
        hidden = (counts[0] < LEAST_CELL) | (counts[1] < LEAST_CELL)
        values = [[None if hidden[i, j] else float(100 * share[i, j]) for i in range(cells)] for j in range(cells)]
        sentence = (
            "Share of synthetic minus real rows, in per cent, over the two main directions of the real table; cells"
            f" below {LEAST_CELL} patients are hidden."
        )
        names = [str(k + 1) for k in range(cells)]
        return heat_map("Where the rows lie", names, names, values, digits=1, sentence=sentence)

    def _survival(self) -> _Section:
        facts = self.training.facts
        found = self.judgement.survival
        if found is None:
            return _Section(title="Survival", lead="")
        tau = tau_of(self.training[facts.time])
        grid = np.linspace(tau / _KM_POINTS, tau, _KM_POINTS)
        drawn, at_risk = [], []
        for style, (name, rows) in enumerate((("held-out", self.reserve), ("synthetic", self.synthetic))):
            curve = kaplan_meier(rows[facts.time], rows[facts.event])
            drawn.append(Series(name=name, x=grid.tolist(), y=[float(v) for v in curve.at(grid)], style=style))
            left = [int((rows[facts.time] >= t).sum()) for t in grid]
            at_risk.append([n if n >= LEAST_CELL else None for n in left])
        unit = facts[facts.time].unit or "d"
        figures = [steps("Survival", drawn, at_risk=at_risk, x_label=f"time ({unit})", y_label="alive")]
        if self.judgement.hazards is not None:
            figures.append(self._hazards())
        difference = found.restricted_mean[0] - found.restricted_mean_real[0]
        return _Section(
            title="Survival",
            lead=(
                f"Mean distance of the curves {found.km_gap:.3f} (real patients among themselves"
                f" {found.km_gap_of_real:.3f}); log-rank p {found.log_rank_p:.2f}; mean survival up to {found.tau:.1f}"
                f" {unit} differs by {difference:+.2f}; "
                f"censoring curves differ by {found.censoring_gap:.3f}."
            ),
            figures=figures,
        )

    def _hazards(self) -> Figure:
        one = self.judgement.hazards
        if one is None:
            raise ValueError("no hazard ratios")
        order = np.argsort(-np.abs(one.real / np.where(one.real_error > 0, one.real_error, np.inf)))[:_MOST_HAZARDS]
        rows = []
        for k in order:
            pair = []
            for style, (name, value, error) in enumerate(
                (("real", one.real[k], one.real_error[k]), ("synthetic", one.synthetic[k], one.synthetic_error[k]))
            ):
                half = 1.96 * float(error)
                known = np.isfinite(half)
                pair.append(Dot(name=name, value=float(value), low=float(value) - half if known else None,
                                high=float(value) + half if known else None, style=style))  # fmt: skip
            rows.append((one.names[k], pair))
        sentence = f"Log hazard ratios of a Cox regression: {one.signs_kept:.0%} of the told effects keep their sign."
        return dots("Effects on survival", rows, x_label="log hazard ratio", reference=0.0, sentence=sentence)

    def _genes(self) -> _Section:
        names = [fact.name for fact in self.training.facts.of_group("gene")]
        tables = [np.column_stack([rows[name] for name in names]) for rows in (self.training, self.synthetic)]
        shares = [np.nanmean(t, axis=0) for t in tables]
        shown = [k for k in np.argsort(-shares[0]) if np.nansum(tables[0][:, k]) >= LEAST_CELL][:_MOST_GENES]
        rows = []
        for k in shown:
            dots_of = []
            for style, (name, share, table) in enumerate(
                zip(("real", "synthetic"), (shares[0][k], shares[1][k]), tables, strict=True)
            ):
                n = int((~np.isnan(table[:, k])).sum())
                half = 1.96 * float(np.sqrt(max(share * (1 - share), 0.0) / max(n, 1)))
                dots_of.append(Dot(name=name, value=float(share), low=float(share) - half, high=float(share) + half,
                                   style=style))  # fmt: skip
            rows.append((names[k], dots_of))
        together = self.judgement.co_occurrence
        figures = [dots("Mutation frequencies", rows, x_label="share of patients")]
        if len(shown) > 1:
            phi = [_square(phi_matrix(t[:, shown]), len(shown)) for t in tables]
            values = [[phi[0][i][j] if i < j else phi[1][i][j] if i > j else None for j in range(len(shown))]
                      for i in range(len(shown))]  # fmt: skip
            labels = [names[k] for k in shown]
            sentence = "Correlation of gene pairs: above the diagonal in real, below in synthetic patients."
            figures.append(heat_map("Pairs of genes", labels, labels, values, sentence=sentence))
        return _Section(
            title="Genes",
            lead=(
                f"Of the gene pairs that clearly go together, {_percent(together['together'])} still do; of those that "
                f"exclude each other, {_percent(together['apart'])}. Of the pairs that look significant in the "
                f"synthetic table, {_percent(together['false'])} are not in the real one."
            ),
            figures=figures,
        )

    def _utility(self) -> _Section:
        one = self.judgement.utility
        rows = [
            ("C-index, Cox", one.c_synthetic.text(), one.c_real.text()),
            ("gradient boosting, AUROC", one.boosted_synthetic.text(), one.boosted_real.text()),
        ]
        return _Section(
            title="Is it useful?",
            lead="Models trained on synthetic and on real patients, both judged on real held-out patients.",
            columns=("", "trained on synthetic", "trained on real"),
            rows=rows,
        )

    def _privacy(self) -> _Section:
        one, limits = self.judgement.privacy, self.judgement.limits
        risks = [("singling out", one.singling_out), ("linkability", one.linkability)]
        risks += [(f"inference: {name}", risk) for name, risk in list(one.inference.items())[:8]]
        rows = [
            (name, [Dot(name="risk", value=risk.value, low=risk.low, high=risk.high)]) for name, risk in risks
        ]  # fmt: skip
        space = Space.of(self.training)
        real, out, made = (space.place(rows) for rows in (self.training, self.reserve, self.synthetic))
        figures = [
            dots("Attacks: risk beyond what holds for everybody", rows, x_label="risk", reference=0.0),
            _histogram("Distance to the nearest real patient", nearest(made, real, 1)[0][:, 0],
                       nearest(out, real, 1)[0][:, 0], x_label="distance"),
            _histogram("Nearest over second nearest (NNDR)", nndr(made, real), nndr(out, real), x_label="ratio"),
        ]  # fmt: skip
        member = one.membership.worst
        table = [
            ("NNDR, median", f"{one.nndr[0]:.3f}", f"{one.nndr_holdout[0]:.3f}"),
            ("DCR share", one.dcr_share.text(), "0.500 is chance"),
            ("identical rows", f"{one.identical:.4f}", f"{one.identical_holdout:.4f}"),
            ("copied unique patients", _small(one.unique_copied), "none may be"),
            ("membership AUC", member.text(), "0.500 is chance"),
        ]
        failed = [name for name, _ in risks if dict(risks)[name].powerless]
        said = (
            f" Attacks that did not even beat guessing, so that they prove nothing: {', '.join(failed)}."
            if failed
            else ""
        )
        return _Section(
            title="Is it safe?",
            lead=(
                "Each attack is made on patients who were in the training rows and on patients who were not; the "
                f"risk is the difference. Limit {limits.attack_risk_max:.2f}.{said}"
            ),
            figures=figures,
            columns=("", "synthetic", "held-out patients"),
            rows=table,
        )

    def _controls(self) -> _Section:
        words = {"copy": "a copy of the real rows", "shuffled": "every column shuffled", "collapse": "50 rows repeated"}
        rows = [
            (words[c.name], c.measure.replace("_", " "), f"{c.value:.3f}", f"{c.limit:.3f}",
             "fails, as it must" if c.failed else "DOES NOT FAIL")
            for c in self.judgement.controls
        ]  # fmt: skip
        return _Section(
            title="Controls",
            lead=(
                "Tables that must fail; if one does not, no verdict is given. Coverage of the held-out patients by the"
                f" synthetic ones: {self.judgement.coverage:.2f}."
            ),
            columns=("table", "measure", "value", "limit", "result"),
            rows=rows,
        )


def _dot(name: str, values: np.ndarray, style: int) -> Dot:
    mean, low, high = interval(values)
    return Dot(name=name, value=mean, low=low, high=high, style=style)


def _histogram(title: str, made: np.ndarray, out: np.ndarray, *, x_label: str) -> Figure:
    low, high = (float(np.quantile(np.concatenate([made, out]), q)) for q in (0.005, 0.995))
    edges = np.linspace(low, high if high > low else low + 1.0, 13)
    middle = (0.5 * (edges[1:] + edges[:-1])).tolist()
    series = []
    for style, (name, values) in enumerate((("synthetic", made), ("held-out", out))):
        counts = np.histogram(values, edges)[0]
        share: list[float | None] = [float(c / len(values)) if c >= LEAST_CELL or c == 0 else None for c in counts]
        series.append(Series(name=name, x=middle, y=share, style=style))
    return lines(title, series, x_label=x_label, y_label="share of rows")


def _square(pairs: np.ndarray, n: int) -> list[list[float | None]]:
    """A symmetric matrix from its lower triangle."""
    values: list[list[float | None]] = [[None] * n for _ in range(n)]
    at = 0
    for i in range(n):
        for j in range(i):
            values[i][j] = values[j][i] = float(pairs[at]) if np.isfinite(pairs[at]) else None
            at += 1
    return values


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "not available"


def _percent(value: float) -> str:
    return f"{value:.0%}" if np.isfinite(value) else "none to judge"


def _small(count: int) -> str:
    return str(count) if count == 0 or count >= LEAST_CELL else f"<{LEAST_CELL}"
