"""The validation report: one self-contained HTML file, for a clinician-statistician and for a data protection officer.

Thirteen figures in the order of the design, each with its number; one that cannot be drawn has a sentence in its place.
The drawings are in `pictures` and `bench_pictures`; nothing refers to anything outside the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
from markupsafe import Markup

from cohortium.reports.drawing import FIGURE_CSS, Figure
from cohortium.reports.figures import Dot, dots
from cohortium.reports.pages import templates
from cohortium.synth.rows import Rows
from cohortium.synth.validation import bench_pictures, pictures
from cohortium.synth.validation.anchors import interval
from cohortium.synth.validation.controls import CONTROLS
from cohortium.synth.validation.judge import Judgement
from cohortium.synth.validation.pictures import LEAST_CELL, Tables
from cohortium.synth.validation.predictions import Pair

__all__ = ["ValidationPage"]

_PARTS = {
    "marginals": "single columns", "dependence": "columns together", "indistinguishability": "not told apart",
    "survival": "survival curve", "frequency": "gene frequency", "burden": "mutations per patient",
    "pairs": "gene pairs", "signs": "signs of pairs", "with the clinic": "genes with the clinic",
}  # fmt: skip
_SIGNS = {"pass": ("✓", "ok"), "warn": ("!", "warn"), "fail": ("✗", "fail")}
_NO_BENCH = "no benchmark was given; cohortium synth bench --json makes one, and synth validate --bench reads it."
_NO_SURVIVAL = "the study has no survival outcome."
_NO_GENES = "no gene has at least ten patients with and without a mutation."


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """The place of a numbered figure: what is drawn, or why nothing is."""

    number: int
    title: str
    figures: Sequence[Figure] = ()
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class _Section:
    title: str
    lead: str
    figures: Sequence[Figure] = ()
    slots: Sequence[_Slot] = ()
    rows: Sequence[Sequence[str]] = ()
    columns: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class ValidationPage:
    """The page of one judgement. The rows are needed for curves and densities only.

    bench: the document of `synth bench --json`. more_hazards: further log hazard ratios, as (value, low, high) in the
    order of the judgement's, by what they are.
    """

    judgement: Judgement
    training: Rows
    reserve: Rows
    synthetic: Rows
    name: str = "synthetic patients"
    digests: Mapping[str, str] = field(default_factory=dict)
    bench: Mapping[str, Any] | None = None
    more_hazards: Mapping[str, Sequence[pictures.Estimate | None]] = field(default_factory=dict)

    def html(self) -> str:
        """The whole page; the same judgement gives the same bytes."""
        css = (files("cohortium.reports") / "templates" / "report.css").read_text(encoding="utf-8")
        return (
            templates("cohortium.synth.validation")
            .get_template("validation.html")
            .render(
                name=self.name,
                judgement=self.judgement,
                verdicts=[
                    (topic, word, *_SIGNS.get(word, ("–", "note"))) for topic, word in self.judgement.verdict.items()
                ],
                sections=self._sections(),
                digests=self.digests,
                style=Markup(FIGURE_CSS + css),  # noqa: S704 - our own files
            )
        )

    @property
    def _tables(self) -> Tables:
        return Tables(training=self.training, reserve=self.reserve, synthetic=self.synthetic)

    def _sections(self) -> list[_Section]:
        return [
            self._fidelity(),
            self._survival(),
            self._genes(),
            self._columns(),
            self._privacy(),
            self._utility(),
            *self._canaries(),
            self._price(),
            *self._sites(),
            self._controls(),
        ]

    # --- fidelity ----------------------------------------------------------------------------------------------

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
        (csf, gsf), floor = self.judgement.classic, self.judgement.classic_floor
        bench = self.bench or {}
        return _Section(
            title="How like the real patients?",
            lead=(
                "Floor: the real table with every column shuffled on its own. Ceiling: other real patients. "
                f"The classic pair, for comparison with publications, is {csf.text()} and {gsf.text()}; "
                f"the shuffled table reaches {floor[0]:.3f} and {_number(floor[1])}, so it says little."
            ),
            figures=figures,
            slots=[
                _slot(1, "Skill by round", bench_pictures.by_round(bench), _NO_BENCH),
                _slot(2, "Generators and federations", bench_pictures.grid(bench), _NO_BENCH),
            ],
        )

    def _survival(self) -> _Section:
        found, facts = self.judgement.survival, self.training.facts
        if found is None or not facts.time:
            return _Section(title="Survival", lead="", slots=[_slot(3, "Survival curves", (), _NO_SURVIVAL)])
        unit = facts[facts.time].unit or "d"
        groups = pictures.survival_of_groups(self._tables, self.judgement)
        figures = (pictures.survival_of_all(self._tables, self.judgement), *([groups] if groups else []))
        return _Section(
            title="Survival",
            lead=(
                f"Mean distance of the curves up to {found.tau:.1f} {unit}: {found.km_gap.text()} (real patients among"
                f" themselves {found.km_gap_of_real.text()}); log-rank {_p(found.log_rank_p.value)}. Mean"
                f" survival up to there differs by {found.rmst_difference.text(2)} {unit}; above 0 the synthetic"
                f" patients live longer. Curves of censoring differ by {found.censoring_gap.text()}; the longest"
                f" synthetic follow-up is {_percent(found.short_sighted)} shorter."
            ),
            slots=[_slot(3, "Survival curves", figures, "")],
            columns=("", "real", "synthetic", "gap of curves", "log-rank p", f"longer in the mean ({unit})",
                     "signs of effects", "overlap of effects"),
            rows=[
                (g.name, str(g.n_real), str(g.n_synthetic), f"{g.km_gap:.3f}", _p(g.log_rank_p).removeprefix("p "),
                 f"{g.rmst[0]:+z.2f} ({g.rmst[1]:z.2f} to {g.rmst[2]:z.2f})", _percent(g.signs_kept),
                 _percent(g.overlapping))
                for g in self.judgement.subgroups
            ],
        )  # fmt: skip

    def _genes(self) -> _Section:
        together = self.judgement.co_occurrence
        has_genes = bool(self.training.facts.of_group("gene"))
        pairs = pictures.gene_pairs(self._tables, self.judgement) if has_genes else None
        return _Section(
            title="Genes",
            lead=(
                f"Gene pairs that clearly go together and still do: {_percent(together['together'])}; that exclude each"
                f" other and still do: {_percent(together['apart'])}. Of the pairs that look clear in the synthetic"
                f" table, {_percent(together['false'])} are not so in the real one (false discoveries)."
                if has_genes
                else ""
            ),
            slots=[
                _slot(4, "Mutation frequencies", (pictures.frequencies(self._tables) or ()) if has_genes else (),
                      _NO_GENES),
                _slot(5, "Genes together and apart", (pairs,) if pairs else (), _NO_GENES),
            ],
        )  # fmt: skip

    def _columns(self) -> _Section:
        return _Section(
            title="Column by column",
            lead="Single columns, pairs of them, and all of them at once.",
            slots=[
                _slot(6, "Columns one by one", (pictures.marginals(self._tables),), ""),
                _slot(7, "Associations that differ", (pictures.associations(self._tables),), ""),
                _slot(8, "Where the rows lie", (pictures.density(self._tables),), ""),
            ],
        )

    # --- privacy -----------------------------------------------------------------------------------------------

    def _privacy(self) -> _Section:
        one, limits = self.judgement.privacy, self.judgement.limits
        near = one.nearness
        member = near.membership.worst
        table = [
            ("NNDR, median", near.nndr[0].text(), near.nndr_holdout[0].text()),
            ("NNDR, 5 % quantile", near.nndr[1].text(), near.nndr_holdout[1].text()),
            ("DCR share", near.dcr_share.text(), "0.500 is chance"),
            ("identical rows", near.identical.text(4), near.identical_holdout.text(4)),
            ("genes, age band and sex of one patient only", near.combinations.text(),
             near.combinations_holdout.text()),
            ("copied unique patients", _small(near.unique_copied), "none may be"),
            ("membership AUC", member.text(), "0.500 is chance"),
            ("members found at 1 % false alarms",
             "not available: fewer than 100 held out" if near.membership.found is None
             else f"{near.membership.found:.3f}", "0.010 is chance"),
        ]  # fmt: skip
        return _Section(
            title="Is it safe?",
            lead=(
                "Each attack is made on patients who were in the training rows and on patients who were not; the "
                f"risk is the difference. Limit {limits.attack_risk_max:.2f}.{self._failed_attacks()}"
            ),
            slots=[
                _slot(9, "Distances to training patients", (pictures.distances(self._tables),), ""),
                _slot(10, "Attacks", (pictures.attack_risks(self.judgement),), ""),
            ],
            columns=("", "synthetic", "held-out patients"),
            rows=table,
        )

    def _failed_attacks(self) -> str:
        one = self.judgement
        named = {"singling_out": one.privacy.singling_out, "linkability": one.privacy.linkability,
                 **one.privacy.inference}  # fmt: skip
        no_better = [_words(name) for name, risk in named.items() if risk.powerless]
        blind = [_words(name) for name, risk in one.power.items() if risk.low <= 0]
        said = ""
        if no_better:
            said += f" Attack failed (did no better than guessing, so it proves nothing): {', '.join(no_better)}."
        if blind:
            said += f" Attack without power (finds nothing even in a copy of the real table): {', '.join(blind)}."
        return said

    def _canaries(self) -> list[_Section]:
        one = self.judgement.canaries
        if one is None:
            return []
        claim = "no epsilon is claimed" if one.epsilon is None else f"{one.epsilon:.2f}"
        return [
            _Section(
                title="Canaries",
                lead=(
                    f"{one.guesses.n_coins} improbable patients were made up, each put among the training rows by a"
                    " coin. Whoever knows them all guesses from the synthetic table which were in."
                ),
                columns=("", "found", "beside"),
                rows=[
                    ("share of those inside that were named", one.recall.text(2), "0.50 is chance"),
                    ("guesses right", f"{one.guesses.n_right} of {one.guesses.n_guessed}", "half by chance"),
                    ("epsilon at least", f"{one.bound:.2f}", f"accounted: {claim}"),
                    ("could have been shown at most", f"{one.most:.2f}", ""),
                ],
            )
        ]

    def _price(self) -> _Section:
        curve = bench_pictures.epsilon_curve(self.bench or {})
        why = (
            "the benchmark holds no generator with differential privacy."
            if self.bench is not None
            else "no benchmark with differential privacy was given; synth validate --bench reads one."
        )
        gain = bench_pictures.gain_per_site(self.bench or {})
        missing = _NO_BENCH if self.bench is None else "the benchmark holds no isolated hospitals."
        return _Section(
            title="What does privacy cost, what does sharing give?",
            lead="",
            slots=[
                _slot(12, "Epsilon against fidelity", (curve,) if curve else (), why),
                _slot(13, "Gain of each hospital", (gain,) if gain else (), missing),
            ],
        )

    # --- utility, hospitals, controls --------------------------------------------------------------------------

    def _utility(self) -> _Section:
        one, more = self.judgement.utility, self.judgement.predictions
        pairs: list[tuple[str, Pair | None]] = [
            ("C-index, Cox", more.c_index), ("AUROC at 2 years, Cox", more.auc_two_years),
            ("integrated Brier score, Cox (less is better)", more.brier),
        ]  # fmt: skip
        rows = [
            (name, pair.synthetic.text(), pair.real.text(), pair.difference.text())
            for name, pair in pairs
            if pair is not None
        ]
        boosting = "AUROC at 2 years, boosting" if self.training.facts.time else "AUROC, boosting"
        rows.append((boosting, one.boosted_synthetic.text(), one.boosted_real.text(), ""))
        rows.append(("order of importances, boosting", more.importances.text(2), "1 is the same", ""))
        forest = pictures.hazard_forest(self.judgement, self.more_hazards)
        hazards = self.judgement.hazards
        false = _percent(hazards.false_share) if hazards is not None else ""
        return _Section(
            title="Is it useful?",
            lead="Models trained on synthetic and on real patients, both judged on real held-out patients."
            + (f" Effects told by the synthetic table alone (false discoveries): {false}." if false else ""),
            columns=("", "trained on synthetic", "trained on real", "difference"),
            rows=rows,
            slots=[_slot(11, "Effects on survival", (forest,) if forest else (), _NO_SURVIVAL)],
        )

    def _sites(self) -> list[_Section]:
        one = self.judgement.by_site
        if one is None:
            return []
        rows = []
        for name, said in one.sites.items():
            told = "too few to tell" if said.nndr is None else f"{said.nndr[0]:.2f} / {said.nndr[1]:.2f}"
            beside = "" if said.nndr_holdout is None else f"{said.nndr_holdout[0]:.2f} / {said.nndr_holdout[1]:.2f}"
            auc = "" if said.membership_auc is None else f"{said.membership_auc:.2f}"
            if said.membership_interval is not None:
                auc += f" ({said.membership_interval[0]:.2f} to {said.membership_interval[1]:.2f})"
            identical = f"<{LEAST_CELL}" if said.identical is None else str(said.identical)
            rows.append((name, str(said.n_training), identical if said.nndr else "", told, beside, auc))
        worst = "; ".join(
            f"{_words(name)} {risk.value:.2f} ({risk.low:.2f} to {risk.high:.2f}) at {site}, all together"
            f" {one.attacks[name].value:.2f}"
            for name, (site, risk) in one.worst.items()
        )
        scores = ", ".join(f"{_PARTS.get(k, k)} {_number(v)}" for k, v in one.against_holdout.items() if k in _PARTS)
        if one.told_apart is not None:
            scores += f", told from synthetic rows by common trees with an AUC of {one.told_apart:.2f}"
        return [
            _Section(
                title="Hospital by hospital",
                lead=(
                    "Judged where the patients are: scores from sums, distances and attacks at every hospital."
                    f" Against held-out patients: {scores}. Highest risks: {worst or 'no hospital is large enough'}. A"
                    " membership AUC whose interval holds 0.5 may be chance."
                ),
                columns=("hospital", "training patients", "identical rows", "NNDR, median / 5 %", "held out",
                         "membership AUC"),
                rows=rows,
            )
        ]  # fmt: skip

    def _controls(self) -> _Section:
        rows = [
            (CONTROLS[c.name], c.measure.replace("_", " "), f"{c.value:.3f}", c.must_be,
             "fails, as it must" if c.failed else "DOES NOT FAIL")
            for c in self.judgement.controls
        ]  # fmt: skip
        return _Section(
            title="Controls",
            lead=(
                "Tables that must fail; if one does not, no verdict is given. Coverage of the held-out patients by the"
                f" synthetic ones: {self.judgement.coverage.text(2)}."
            ),
            columns=("table", "measure", "value", "must be", "result"),
            rows=rows,
        )


def _slot(number: int, title: str, figures: Sequence[Figure], missing: str) -> _Slot:
    return _Slot(number=number, title=title, figures=tuple(figures), missing="" if figures else missing)


def _dot(name: str, values: np.ndarray, style: int) -> Dot:
    mean, low, high = interval(values)
    return Dot(name=name, value=mean, low=low, high=high, style=style)


def _number(value: float | None, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if value is not None and np.isfinite(value) else "not available"


def _p(value: float | None) -> str:
    return pictures.p_text(value) if value is not None and np.isfinite(value) else "p not available"


def _percent(value: float) -> str:
    return f"{value:.0%}" if np.isfinite(value) else "none to judge"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _small(count: int) -> str:
    return str(count) if count == 0 or count >= LEAST_CELL else f"<{LEAST_CELL}"
