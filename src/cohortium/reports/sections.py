"""What each section of the page shows of a record: figures and small tables, `None` where there is nothing to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cohortium.reports import figures
from cohortium.reports.calibration import Bin
from cohortium.reports.comparison import Gain, SiteComparison
from cohortium.reports.drawing import Figure
from cohortium.reports.figures import Dot, Series
from cohortium.reports.glossary import in_order, label
from cohortium.reports.measure import Measure
from cohortium.reports.record import RunRecord
from cohortium.reports.summary import state

__all__ = ["Sections", "Table"]

_ROLES = (("swarm", "swarm", 0), ("own", "own model", 1), ("pooled", "pooled", 2), ("without", "swarm without it", 3))
_TOLD = ("auroc", "c_index", "rmse", "brier")
_LEFT_OUT = 12  # so many curves of single sites are still told apart
_OPERATING = ("sensitivity", "specificity", "ppv", "npv")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of ready text; the first column is a row header."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Sections:
    """One record, section by section."""

    record: RunRecord

    # Does it help?

    def overall(self) -> Table | None:
        """All measures over all test rows: swarm, pooled, mean single site; between hospitals, of the own site only."""
        test, alone = self.record.test, bool(self.record.shared)
        names = in_order(test.swarm)
        if not names:
            return None
        single = "Own model" if alone else "Mean single site"
        held = [("Swarm", test.swarm), ("Pooled", test.pooled), (single, test.single_mean)]
        held = [(name, measures) for name, measures in held if measures]
        rows = tuple((label(n), *(_measure(measures.get(n)) for _, measures in held)) for n in names)
        whose = "This site's test patients" if alone else "All test patients"
        return Table(caption=f"{whose}, 95 % intervals", columns=("", *(n for n, _ in held)), rows=rows)

    def shared(self) -> Table | None:
        """Between hospitals: what every site that approved told of the final model, or why it told nothing."""
        told = self.record.shared
        if not told:
            return None
        names = [n for n in in_order({n for one in told.values() for n in one.swarm}) if n in _TOLD] or [_TOLD[0]]
        gated = any(one.gate for one in told.values())
        measured = (f"{label(n)}: {who}" for n in names for who in ("swarm", "own model"))
        columns = ("Site", *measured, "Missing, and why", *(["Warned of its data"] if gated else []))
        rows = tuple(
            (
                site,
                *(_measure(held.get(n)) for n in names for held in (one.swarm, one.own)),
                one.missing or "–",
                *([", ".join(n for n, word in one.gate.items() if word != "pass") or "–"] if gated else []),
            )
            for site, one in sorted(told.items())
        )
        return Table(caption="Every site on its own test patients, as it told the others", columns=columns, rows=rows)

    def at_home(self) -> Figure | None:
        """Every site's own test patients, sites by size: swarm, own, pooled, swarm without the site."""
        found = self.record.comparison
        if found is None:
            return None
        ordered = sorted(found.sites, key=lambda row: (-(row.n_train or 0), row.site))
        groups = [(_sized(row), _roles(row)) for row in ordered]
        name = label(found.measure)
        sentence = f"{name} at each site on its own test patients, largest on top. Whiskers: 95 % intervals."
        if any(row.n_train for row in ordered):
            sentence += " In brackets: the patients the site trains on."
        return figures.dots("On its own patients", groups, x_label=name, sentence=sentence)

    def gains(self) -> Figure | None:
        """Swarm minus own model at each site, and what a new site may expect."""
        found = self.record.comparison
        if found is None:
            return None
        ordered = sorted(found.sites, key=lambda row: (-(row.n_train or 0), row.site))
        groups = [(row.site, [_gain_dot(row.gains[found.measure])]) for row in ordered]
        new = found.new_site
        if new is not None:
            groups.append(("weighted mean", [Dot(name="gain", value=new.mean, low=new.low, high=new.high, style=2)]))
            if new.new_low is not None:
                dot = Dot(name="gain", value=new.mean, low=new.new_low, high=new.new_high, style=3)
                groups.append(("a new site", [dot]))
        sentence = "Gain of the swarm over each site's own model; right of the line the swarm is better."
        x_label = f"gain in {label(found.measure)}"
        return figures.dots("Gain by site", groups, x_label=x_label, reference=0.0, sentence=sentence)

    def gain_table(self) -> Table | None:
        """The gains with tests and verdicts."""
        found = self.record.comparison
        if found is None:
            return None
        names = in_order(name for row in found.sites for name in row.gains)
        rows = tuple(
            (row.site, *(_gain(row.gains.get(name)) for name in names), f"{row.verdict}: {row.why}")
            for row in found.sites
        )
        columns = ("Site", *(f"{label(name)}: gain" for name in names), "Verdict")
        return Table(caption="Swarm minus own model on the same patients", columns=columns, rows=rows)

    def exam(self) -> Table | None:
        """EXAM's two figures."""
        found = self.record.comparison
        if found is None or found.at_home.gain is None:
            return None
        rows = []
        for name, exam in (("At home", found.at_home), ("Elsewhere", found.elsewhere)):
            if exam.own is not None and exam.swarm is not None and exam.gain is not None:
                per_cent = "–" if exam.gain_percent is None else f"{exam.gain_percent:+.1f}\u00a0%"
                row = (name, f"{exam.own:.3f}", f"{exam.swarm:.3f}", f"{exam.gain:+.3f}", per_cent, str(exam.n_sites))
                rows.append(row)
        columns = ("", "Own models", "Swarm", "Gain", "Gain in %", "Sites")
        return Table(caption=f"Mean {label(found.measure)} over the sites", columns=columns, rows=tuple(rows))

    def elsewhere(self) -> Figure | None:
        """Own model and swarm on everyone else's test patients."""
        found = self.record.comparison
        if found is None or all(row.own_elsewhere is None for row in found.sites):
            return None
        groups = [
            (
                row.site,
                [
                    Dot(name="swarm", value=row.swarm_elsewhere, style=0),
                    Dot(name="own model", value=row.own_elsewhere, style=1),
                ],
            )
            for row in sorted(found.sites, key=lambda row: (-(row.n_train or 0), row.site))
        ]
        name = label(found.measure)
        sentence = f"Mean {name} over all other sites' test patients: how far each site's own model carries."
        return figures.dots("On everyone else's patients", groups, x_label=name, sentence=sentence)

    def matrix(self) -> Figure | None:
        """Models against test sets."""
        found = self.record.matrix
        if found is None:
            return None
        rows = [_model(model) for model in found.models]
        values = [[cell.value for cell in row] for row in found.cells]
        return figures.heat_map(
            "Every model on every site's test patients",
            rows,
            found.sites,
            values,
            sentence=f"{label(found.measure)} of each model (row) on each site's test patients (column).",
        )

    def matrix_holes(self) -> tuple[str, ...]:
        """Why cells of the matrix are missing, each reason once with its count."""
        found = self.record.matrix
        if found is None:
            return ()
        reasons = [cell.reason for row in found.cells for cell in row if cell.value is None]
        return tuple(f"{reason} ({reasons.count(reason)} cells)" for reason in dict.fromkeys(reasons))

    # Can it be used?

    def calibration(self) -> tuple[Figure, ...]:
        """One calibration curve per site, before and after its recalibration."""
        drawn = []
        for site, found in sorted(self.record.calibration.items()):
            series = [_curve("before", found.bins_before, 1), _curve("after", found.bins_after, 0)]
            series = [one for one in series if len(one.x)]
            if series:
                drawn.append(figures.calibration(f"Calibration at {site}", series))
        return tuple(drawn)

    def recalibration_table(self) -> Table | None:
        """Before and after each site's recalibration, on its test patients."""
        if not self.record.calibration:
            return None
        names = ("brier", "calibration_intercept", "calibration_slope", "ece", "accuracy")
        rows = []
        for site, found in sorted(self.record.calibration.items()):
            shown = [_before_after(found.before.get(name), found.after.get(name)) for name in names]
            kind = {"prevalence": "prevalence shift", "slope": "intercept and slope"}.get(
                found.recalibration.kind, found.recalibration.kind
            )
            rows.append((site, kind, *shown, found.recalibration.reason))
        columns = ("Site", "Recalibration", *(label(name) for name in names), "Note")
        return Table(caption="On the test patients, before → after recalibration", columns=columns, rows=tuple(rows))

    def operating_table(self) -> Table | None:
        """Sensitivity, specificity and predictive values at each site's threshold."""
        if not self.record.calibration:
            return None
        rows = tuple(
            (
                site,
                f"{found.threshold.value:.3f}",
                *(_measure(found.after.get(name), digits=2) for name in _OPERATING),
                found.threshold.reason or found.threshold.rule,
            )
            for site, found in sorted(self.record.calibration.items())
        )
        columns = ("Site", "Threshold", *(label(name) for name in _OPERATING), "Rule")
        return Table(caption="At the chosen threshold, on the test patients", columns=columns, rows=rows)

    def survival(self) -> Figure | None:
        """Survival by group with numbers at risk."""
        curves = self.record.curves
        if not curves:
            return None
        series = [
            Series(name=c.name, x=c.time, y=c.survival, low=c.low, high=c.high, style=i % 7)
            for i, c in enumerate(curves)
        ]
        unit = self.record.time_unit
        return figures.steps(
            "Survival of the test patients by predicted risk",
            series,
            at_risk=[c.at_risk for c in curves],
            x_label=f"time ({unit})" if unit else "time",
            y_label="free of the event",
        )

    def subgroup_table(self) -> Table | None:
        """Measures per subgroup."""
        if not self.record.subgroups:
            return None
        names = ("auroc", "sensitivity", "specificity", "calibration_intercept")
        rows = tuple(
            (
                f"{group.attribute}: {group.level}",
                "withheld" if group.n is None else str(group.n),
                "–" if group.share is None else f"{100 * group.share:.0f} %",
                *(_measure(group.measures.get(name), digits=2) for name in names),
                _measure(group.gain, digits=2),
            )
            for group in self.record.subgroups
        )
        columns = ("Subgroup", "n", "Outcome", *(label(name) for name in names), "Gain over own models")
        return Table(caption="Test patients by subgroup", columns=columns, rows=rows)

    def gap_table(self) -> Table | None:
        """Largest gaps between subgroups."""
        rows = tuple(
            (gap.attribute, label(gap.measure), f"{gap.higher} vs {gap.lower}", gap.difference.text(2))
            for gap in self.record.gaps
        )
        if not rows:
            return None
        return Table(caption="Largest gaps", columns=("Attribute", "Measure", "Between", "Difference"), rows=rows)

    # Training

    def curves(self) -> tuple[Figure, ...]:
        """One figure per metric: the merged model at every site over the rounds, and the mean of the sites."""
        rounds = self.record.rounds
        names = in_order(n for one in rounds for n in (*one.metrics, *_site_metrics(one.per_site)))
        drawn = []
        for name in names:
            xs = [float(one.round) for one in rounds]
            merged = Series(name="mean of sites", x=xs, y=[one.metrics.get(name) for one in rounds], style=0)
            sites = sorted({s for one in rounds for s, held in one.per_site.items() if name in held})[:_LEFT_OUT]
            own = [
                Series(name=s, x=xs, y=[one.per_site.get(s, {}).get(name) for one in rounds], style=1 + i % 6)
                for i, s in enumerate(sites)
            ]
            series = [s for s in (merged, *own) if any(v is not None for v in s.y)]
            if series:
                drawn.append(figures.lines(f"{label(name)} by round", series, x_label="round", y_label=label(name)))
        return tuple(drawn)

    def rounds_table(self) -> Table | None:
        """Who led, who is in the merge, who is missing and why."""
        if not self.record.rounds:
            return None
        n, seconds = len(self.record.trained), self.record.timings.rounds
        rows = tuple(
            (
                str(one.round),
                one.stage,
                one.leader,
                f"{len(one.contributors)}/{n}",
                "; ".join(f"{site}: {why}" for site, why in sorted(one.missing.items())) or "–",
                f"{one.bytes:,}",
                f"{seconds[i]:.2f}" if i < len(seconds) else "–",
            )
            for i, one in enumerate(self.record.rounds)
        )
        sent = "Bytes sent here" if self.record.shared else "Bytes"
        columns = ("Round", "Stage", "Leader", "Sites", "Missing, and why", sent, "Seconds")
        return Table(caption="Rounds", columns=columns, rows=rows)

    def time_line(self) -> Figure | None:
        """What each site did when."""
        spans = [(s.site, s.stage, s.start_s, s.end_s) for s in self.record.timings.spans]
        return figures.time_line("What each site did when", spans) if spans else None

    def facts(self) -> tuple[tuple[str, str], ...]:
        """What is needed to repeat the run."""
        record = self.record
        held = [
            ("Study", f"{record.name} ({record.study_digest[:16]})" if record.study_digest else record.name),
            ("Model", record.model.name),
            ("Model digest", record.model.digest),
            ("Strategy", record.model.strategy),
            ("Numbers in the model", f"{record.model.n_parameters:,}" if record.model.n_parameters else ""),
            ("Training engine", record.engine),
            ("Seed", str(record.seed)),
            ("Randomness", record.randomness),
            ("Time", f"{record.seconds:.1f} s"),
            ("Versions", ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))),
            ("Repeat", record.command),
        ]
        return tuple((name, value) for name, value in held if value)

    # Ledger

    def members(self) -> Table | None:
        """Members and the study each approved."""
        if not self.record.ledger.members:
            return None
        rows = tuple(
            (m.site, m.account or "–", f"{m.approved[:16]}…" if m.approved else "not approved")
            for m in self.record.ledger.members
        )
        return Table(caption="Members", columns=("Site", "Account", "Study approved"), rows=rows)

    def merges(self) -> Table | None:
        """One line per round as the ledger tells it."""
        if not self.record.rounds:
            return None
        rows = tuple(
            (str(one.round), one.leader, f"{one.inputs[:16] or '–'}", f"{one.merge[:16]}", str(one.n_attested))
            for one in self.record.rounds
        )
        return Table(caption="Merges", columns=("Round", "Leader", "Inputs", "Merge digest", "Attested by"), rows=rows)

    @property
    def finished(self) -> bool:
        """Whether there is a model to speak of."""
        return state(self.record) != "failed"


def _sized(row: SiteComparison) -> str:
    return f"{row.site} ({row.n_train:,})" if row.n_train else row.site


def _roles(row: SiteComparison) -> list[Dot]:
    held: list[Dot] = []
    for role, name, style in _ROLES:
        measure: Measure = getattr(row, role)
        if measure.value is not None:
            held.append(Dot(name=name, value=measure.value, low=measure.low, high=measure.high, style=style))
    return held or [Dot(name="figures", value=None)]


def _gain_dot(gain: Gain) -> Dot:
    return Dot(name="gain", value=gain.value, low=gain.low, high=gain.high, style=0)


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return "–"
    if gain.value is None:
        return gain.reason
    text = f"{gain.value:+.3f}"
    if gain.low is not None and gain.high is not None:
        text += f" ({gain.low:+.3f} to {gain.high:+.3f})"
    elif gain.reason:
        text += f" (interval {gain.reason})"
    if gain.p is not None and gain.p_holm is not None:
        text += f", p {_p(gain.p)}, Holm {_p(gain.p_holm)}"
    return text


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _measure(measure: Measure | None, *, digits: int = 3) -> str:
    return "–" if measure is None else measure.text(digits)


def _before_after(before: Measure | None, after: Measure | None) -> str:
    shown = ["–" if m is None or m.value is None else f"{m.value:.3f}" for m in (before, after)]
    if shown == ["–", "–"]:
        return after.reason if after is not None and after.reason else "–"
    return " → ".join(shown)


def _model(model: str) -> str:
    kind, _, site = model.partition("/")
    return {"own": f"own {site}", "without": "without the site"}.get(kind, kind)


def _curve(name: str, bins: Sequence[Bin], style: int) -> Series:
    return Series(name=name, x=[b.predicted for b in bins], y=[b.observed for b in bins], style=style)


def _site_metrics(per_site: dict[str, dict[str, float | None]]) -> list[str]:
    return [name for held in per_site.values() for name in held]
