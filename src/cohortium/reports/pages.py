"""`Report`: a run record as one self-contained HTML page, written for a clinician-statistician.

Which sections and checks a page has is decided in `outline`, what each section shows in `sections`, how in
`templates/`. The page holds no script but the record as a `type="application/json"` block, refers to nothing outside
itself and forbids it by policy; same record, same bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cohortium.core.check import Check
from cohortium.reports.drawing import FIGURE_CSS
from cohortium.reports.glossary import LEAKAGE, label, words_for
from cohortium.reports.outline import CHECKED_IN, TITLES, outline, purpose
from cohortium.reports.patient_sections import PatientSections
from cohortium.reports.privacy_sections import PrivacySections
from cohortium.reports.quality_sections import QualitySections
from cohortium.reports.record import RunRecord
from cohortium.reports.scope import Scope, scoped
from cohortium.reports.sections import Sections
from cohortium.reports.summary import run_checks, state, three_sentences

__all__ = ["Report", "templates"]

_MARK = "@@record@@"
_LEAKAGE = (
    "Before training, L1 to L8 looked for data leakage: what makes a model look good here and fail on new patients."
)
_SIGNS = {"ok": ("✓", "pass"), "warn": ("!", "warn"), "fail": ("✗", "fail"), "skipped": ("–", "note")}


@dataclass(frozen=True)
class Report:
    """The page of one record. scope, site: who reads it, see `scope`."""

    record: RunRecord
    scope: Scope = "site"
    site: str | None = None

    @cached_property
    def seen(self) -> RunRecord:
        """The record as this reader may see it, by way of its JSON, so that a page made again has the same bytes."""
        return RunRecord.from_json(scoped(self.record, self.scope, site=self.site).to_json())

    def html(self) -> str:
        """The whole page."""
        record = self.seen
        page = (
            templates("cohortium.reports")
            .get_template("report.html")
            .render(
                record=record,
                scope=self.scope,
                state=state(record),
                sentences=three_sentences(record),
                checks=_checks(record),
                purpose=purpose(record),
                outline={section: TITLES[section] for section in outline(record)},
                sections=Sections(record),
                patients=PatientSections(record),
                quality=None if record.quality is None else QualitySections(record.quality),
                privacy=None if record.privacy is None else PrivacySections(record.privacy, record.trained),
                private=_private(record),
                words=words_for(_names_used(record)),
                label=label,
                style=FIGURE_CSS,
                mark=_MARK,
            )
        )
        return _without_addresses(page).replace(_MARK, _embedded(record))

    def save(self, path: Path | str) -> Path:
        """Write the page (UTF-8) and return where it is."""
        target = Path(path)
        target.write_text(self.html(), encoding="utf-8", newline="\n")
        return target

    def _repr_html_(self) -> str:
        """For notebooks: the page in a frame of its own, so that its style stays inside."""
        return str(Markup('<iframe srcdoc="{}" sandbox="" width="100%" height="800" title="report"></iframe>').format(
            self.html()))  # fmt: skip


def _checks(record: RunRecord) -> list[tuple[str, list[tuple[Check, str, str, str, str]]]]:
    """The checks of the run, then those of leakage: what to say before, and of each check sign, word, name, section."""
    others = [*run_checks(record), *(check for check in record.checks if check.id not in LEAKAGE)]
    leaks = [check for check in record.checks if check.id in LEAKAGE]
    return [
        (lead, [(check, *_SIGNS[check.level], *_name(check.id)) for check in checks])
        for lead, checks in (("", others), (_LEAKAGE, leaks))
        if checks
    ]


def _name(check: str) -> tuple[str, str]:
    """What the page calls a check, and the section that shows or explains it."""
    return (label(check), "words") if check in LEAKAGE else (check, CHECKED_IN.get(check, ""))


def _private(record: RunRecord) -> PrivacySections | None:
    """Of the private study beside the run."""
    return None if record.private_study is None else PrivacySections(record.private_study.privacy, record.sites)


@cache
def templates(package: str) -> Environment:
    """A package's pages, compiled once a process: strict, escaped, with the filter `unbroken`."""
    environment = Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    return environment


def _unbroken(cell: str) -> str:
    """A table cell whose intervals and arrows are never parted by the end of a line."""
    return re.sub(r"\([^()]* to [^()]*\)|\S+ → \S+", lambda found: found[0].replace(" ", "\u00a0"), cell)


def _names_used(record: RunRecord) -> set[str]:
    """Every name the page prints and a reader may want explained."""
    names = {"swarm", "round", "ledger", "digest"}
    names |= {check.id for check in record.checks} & set(LEAKAGE)
    names |= {"interval"} if "help" in outline(record) or record.quality is not None else set()
    names |= set(record.test.swarm) | set(record.test.single_mean)
    names |= {"pooled"} if record.test.pooled else set()
    names |= {"single_mean"} if record.test.single_mean else set()
    if record.comparison is not None:
        names |= {"own", "gain", "p", "at_home", "elsewhere", "new_site", record.comparison.measure}
        names |= {"without"} if any(row.without.value is not None for row in record.comparison.sites) else set()
    if record.calibration:
        names |= {"recalibration", "threshold"}
        names |= {name for found in record.calibration.values() for name in found.after}
    return names


def _embedded(record: RunRecord) -> str:
    """The record's JSON as it may stand inside <script>: no tag can open or close, no address is spelled out."""
    text = record.to_json()
    for sign, code in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("//", "\\/\\/")):
        text = text.replace(sign, code)
    return re.sub(r"(?i)(https?):", r"\1\\u003a", text)


def _without_addresses(page: str) -> str:
    """Addresses a study or a note may hold are shown, but as text that nothing follows."""
    return re.sub(r"(?i)(https?):", r"\1&#58;", page).replace("//", "&#47;&#47;")
