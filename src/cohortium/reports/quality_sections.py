"""The section on harmful data: what each site's data look like to the others, what was done, and what it changed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress

from cohortium.reports import figures
from cohortium.reports.drawing import Figure
from cohortium.reports.figures import Dot
from cohortium.reports.glossary import label
from cohortium.reports.measure import Measure
from cohortium.reports.panel import LOWER_IS_BETTER
from cohortium.reports.quality import Effect, QualityRecord, SiteVerdict, TrialFigure
from cohortium.reports.sections import Table

__all__ = ["QualitySections"]

_DETECTORS = {
    "out-of-bag": "out of bag: every patient is judged by models of other sites that never saw the patient's site",
    "agreement": "agreement: every site's own model judges the patients of every other site",
    "travelling": "travelling: a model visits the sites, and a step that harms held-out patients is undone",
}
_EFFECTS = {
    "audit": "no training by itself: a site named mends its data or appeals before a training is proposed",
    "report": "nothing; the verdicts are told",
    "repair": "named repairs are applied, and the data are audited again",
    "quarantine": "a convicted site does not train until its data are mended or cleared",
    "eliminate": "a convicted site does not train; it is eliminated if a paired trial shows that this helps",
}
_TO_SIGN = (
    "a twentieth or more of a registered subgroup is there, so between hospitals a person signs before a node votes the"
    " site out"
)
_WORDS = {
    "keep": "keep",
    "keep-shifted": "keep: different, not harmful",
    "repair": "repair",
    "quarantine": "quarantine",
    "eliminate": "eliminate",
}


@dataclass(frozen=True)
class QualitySections:
    """One audit of the sites' data, table by table; each is None where there is nothing to show."""

    record: QualityRecord

    def facts(self) -> list[tuple[str, str]]:
        """The audit in a few lines."""
        found, cost = self.record, self.record.cost
        lines = [
            ("Detector", _DETECTORS.get(found.detector, found.detector)),
            ("A verdict means", _EFFECTS.get(found.on_harm, found.on_harm)),
            ("Outcome", "decided" if found.status == "decided" else f"inconclusive: {found.why}"),
        ]
        if found.repaired:
            lines.append(("Repaired", ", ".join(f"{site} ({name})" for site, name in sorted(found.repaired.items()))))
        if found.left_out:
            lines.append(("Did not train", ", ".join(found.left_out)))
        work = f"the work of {cost.training_steps_ratio:.1f} trainings of one such model on all patients"
        lines.append(("Cost", f"{work}, {cost.model_transfers} payloads sent"))
        return lines

    @property
    def counts_suspects(self) -> bool:
        """Whether suspect records are counted for any site; an audit under noise tells no such number."""
        return any(n is not None for n in self.record.records_flagged.values())

    def verdicts(self) -> Table | None:
        """A line per site: verdict, how sure, reason, what to do."""
        if not self.record.sites:
            return None
        rows: tuple[tuple[str, ...], ...] = tuple(
            (
                site,
                _verdict(one) + (f" ({one.votes} votes)" if one.votes else ""),
                f"{one.posterior:.2f}",
                one.reason,
                _to_do(one, repaired=site in self.record.repaired),
                _count(self.record.records_flagged.get(site)),
                "" if site not in self.record.again else _verdict(self.record.again[site]),
            )
            for site, one in sorted(self.record.sites.items())
        )
        columns: tuple[str, ...] = (
            "Site",
            "Verdict",
            "Probability of harm",
            "Why",
            "What to do",
            "Suspect records",
            "After repair",
        )
        shown = [True] * 5 + [self.counts_suspects, bool(self.record.again)]
        columns, rows = tuple(compress(columns, shown)), tuple(tuple(compress(row, shown)) for row in rows)
        return Table(caption="Verdicts on the sites' data", columns=columns, rows=rows)

    def effects(self) -> Table | None:
        """The model without and with the verdicts."""
        if not self.record.effects:
            return None
        rows = tuple(
            (
                f"{label(one.name)}{f', {one.subgroup}' if one.subgroup else ''}",
                one.without.text(),
                one.under.text(),
                _change(one),
            )
            for one in self.record.effects
        )
        columns = ("", "Without the audit", "Under its verdicts", "Difference")
        return Table(caption="The model before and after, on the same test patients", columns=columns, rows=rows)

    def trial(self) -> Table | None:
        """The trainings with and without the sites in quarantine, on trusted patients of the others."""
        found = self.record.trial
        if found is None or found.whole is None:
            return None
        figures_of = {f"all patients of {found.judges} sites": found.whole, **found.subgroups}
        rows = tuple(
            (name, _bounds(one), "may lose more than .01" if name in found.endangered else "")
            for name, one in figures_of.items()
        )
        caption = f"The paired trial: AUROC without {', '.join(found.sites)} minus AUROC with"
        return Table(caption=caption, columns=("", "Gain (one-sided 90 % bounds)", ""), rows=rows)

    def trial_said(self) -> str:
        """What came of the trial, in a sentence; empty without one."""
        found = self.record.trial
        if found is None:
            return ""
        if found.why:
            return f"No paired trial was made: {found.why}. {', '.join(found.sites)} stays in quarantine."
        if found.passed:
            return (
                "The trial passed: without these sites the model is better, and no registered subgroup pays for it. "
                "Between hospitals a named person signs before anybody is eliminated."
            )
        lost = f"; {', '.join(found.endangered)} might pay for it" if found.endangered else ""
        return f"The trial did not pass{lost}: the sites stay in quarantine, and nobody is eliminated."

    def change(self) -> Figure | None:
        """The same as a picture: what is compared over all patients."""
        told = [one for one in self.record.effects if not one.subgroup and one.name not in LOWER_IS_BETTER]
        held = [one for one in told if one.without.value is not None]
        if not held:
            return None
        groups = [
            (label(one.name), [_dot("without the audit", one.without, 1), _dot("under its verdicts", one.under, 0)])
            for one in held
        ]
        sentence = "The model trained on the data as they came, and under the verdicts; right is better."
        return figures.dots("Before and after the audit", groups, x_label="value", sentence=sentence)


def _dot(name: str, found: Measure, style: int) -> Dot:
    return Dot(name=name, value=found.value, low=found.low, high=found.high, style=style)


def _verdict(one: SiteVerdict) -> str:
    words = _WORDS.get(one.verdict, one.verdict)
    words += f": {one.repair}" if one.repair else ""
    return f"{words}, look" if one.look else words


def _to_do(one: SiteVerdict, *, repaired: bool) -> str:
    if repaired:
        return "repaired for this run; at the hospital, mend the data where they are kept"
    return _advice(one) + ("; " + _TO_SIGN if one.to_sign else "")


def _advice(one: SiteVerdict) -> str:
    if one.question:
        return one.question
    if one.repair:
        return f"check the data and apply '{one.repair}'; the next audit looks at the new data version"
    if one.verdict in ("quarantine", "eliminate"):
        return "look at the records listed at the site; appeal, or bring a new data version"
    return "look at the records listed at the site" if one.look else "nothing"


def _count(n: int | None) -> str:
    return "withheld" if n is None else str(n)


def _change(one: Effect) -> str:
    """The difference, with its interval where both models saw the same patients."""
    if one.difference is None or one.difference.value is None:
        return _difference(one.without.value, one.under.value)
    found = one.difference
    between = "" if found.interval is None else f" ({found.low:+.3f} to {found.high:+.3f})"
    return f"{found.value:+.3f}{between}"


def _bounds(one: TrialFigure) -> str:
    return f"{one.gain:+.3f} ({one.low:+.3f} to {one.high:+.3f})"


def _difference(without: float | None, under: float | None) -> str:
    return "–" if without is None or under is None else f"{under - without:+.3f}"
