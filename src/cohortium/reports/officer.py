"""One page for the data protection officer: record of processing, checklist, what left, risks, DPIA to fill in.

Made from a run's record and the offline proof of its ledger; self-contained, printable, the same bytes for the same
input. What only the hospital can know stands as a line to fill in. No value of a patient, no count below the record's.
References to the law are to be confirmed by counsel, and the page says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cohortium.reports.drawing import FIGURE_CSS
from cohortium.reports.pages import templates
from cohortium.reports.privacy import AuditRecord
from cohortium.reports.privacy_sections import PrivacySections
from cohortium.reports.record import RunRecord

__all__ = ["Item", "OfficerPage", "Proof", "checklist"]


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What replaying the ledger offline has shown. began, ended: UTC, as its blocks say. command: repeats it.

    approved: sites that signed for exactly this study; budgets: what `audit privacy budget` said, line by line.
    """

    consortium: str
    engine: str
    height: int
    head: str
    began: str
    ended: str
    command: str
    approved: tuple[str, ...]
    budgets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One of the nine questions. met: whether this run holds evidence; missing: what the hospital must add."""

    number: int
    asked: str
    evidence: str
    missing: str
    met: bool


@dataclass(frozen=True)
class OfficerPage:
    """The page of one run. audit: of all tiers, made before release; released_by: who decided on an open verdict."""

    record: RunRecord
    proof: Proof
    audit: AuditRecord | None = None
    released_by: str = ""

    def html(self) -> str:
        """The whole page."""
        record = self.record
        audit = self.audit or (record.privacy.audit if record.privacy is not None else None)
        privacy = None if record.privacy is None else PrivacySections(record.privacy, record.trained)
        page = (
            templates("cohortium.reports")
            .get_template("officer.html")
            .render(
                record=record,
                proof=self.proof,
                audit=audit,
                attacks=None if privacy is None or audit is None else privacy.of_attacks(audit),
                released_by=self.released_by,
                privacy=privacy,
                items=checklist(record, self.proof, audit),
                features=_features(record),
                risks=_risks(record, audit),
                style=FIGURE_CSS,
            )
        )
        return re.sub(r"(?i)(https?):", r"\1&#58;", page).replace("//", "&#47;&#47;")


def _features(record: RunRecord) -> tuple[str, ...]:
    """Columns the study may read, by name."""
    if record.presence is not None:
        return record.presence.features
    named = record.study.get("study", {}).get("features")
    return tuple(str(name) for name in named) if isinstance(named, list) else ()


_TRAVEL = {
    "masks": "updates travel under masks; ",
    "threshold-ckks": "updates travel encrypted, opened only by all sites together; ",
    "none": "updates can be read by the members; ",
}
_AGAINST_READING = {
    "masks": "masks: no single update can be opened",
    "threshold-ckks": "threshold encryption: no single update can be opened by sites that follow the protocol",
    "none": "none beyond checking each update before it leaves",
}


def checklist(record: RunRecord, proof: Proof, audit: AuditRecord | None) -> tuple[Item, ...]:
    """The nine questions of an officer, each with the evidence in this run."""
    privacy = record.privacy
    method = privacy.method if privacy is not None else "none"
    masked = method != "none"
    promise = privacy.promise if privacy is not None else None
    random = record.randomness == "operating system"
    return (
        Item(
            number=1,
            asked="Record of processing",
            evidence=f"section 2 of this page; study digest {record.study_digest[:16]} on the ledger",
            missing="purpose in your words, legal basis, permit, retention",
            met=bool(record.study_digest),
        ),
        Item(
            number=2,
            asked="Data minimisation",
            evidence="only columns the study names are read; section 4 lists everything that left, by kind and byte",
            missing="why each column is needed",
            met=privacy is not None and bool(privacy.egress),
        ),
        Item(
            number=3,
            asked="Audit trail",
            evidence=f"{proof.height} signed blocks, replayed offline; head {proof.head[:16]}",
            missing="where the export is kept, for how long",
            met=record.ledger.verified is True,
        ),
        Item(
            number=4,
            asked="Withdrawal of a patient or a site",
            evidence="contributors of each merge stand on the ledger, so it is known which model holds whose data; "
            + ("the promise of differential privacy holds for each patient" if promise else "it can be trained anew"),
            missing="the local procedure, who starts it, how a table without the patient is made",
            met=bool(record.rounds),
        ),
        Item(
            number=5,
            asked="Leakage assessment",
            evidence="not made" if audit is None else f"section 5: {audit.verdict}, thresholds agreed before the run",
            missing="judgement of an open verdict, by name" if audit and audit.verdict == "inconclusive" else "",
            met=audit is not None and audit.verdict == "pass",
        ),
        Item(
            number=6,
            asked="Local veto",
            evidence=f"approved by {len(proof.approved)} of {len(record.sites)} sites ({', '.join(proof.approved)}),"
            " each by its own [consent] and [budget] in node.toml",
            missing="a copy of your node.toml",
            met=set(proof.approved) >= set(record.sites),
        ),
        Item(
            number=7,
            asked="Security",
            evidence=_TRAVEL[method] + f"keys and noise: {record.randomness}",
            missing="versions and patch state of the node's machine; the drill of an excluded key",
            met=masked and random,
        ),
        Item(
            number=8,
            asked="Transparency",
            evidence="report.html: contributors, results by site and subgroup, limits",
            missing="information of patients, oversight in use",
            met=bool(record.test.per_site),
        ),
        Item(
            number=9,
            asked="Impact assessment (DPIA)",
            evidence="section 6 of this page, filled in from the run",
            missing="necessity, local risks, consultation, decision",
            met=True,
        ),
    )


def _risks(record: RunRecord, audit: AuditRecord | None) -> tuple[tuple[str, str, str], ...]:
    """(risk, measure, what was measured) for the impact assessment."""
    privacy = record.privacy
    method = privacy.method if privacy is not None else "none"
    promise = privacy.promise if privacy is not None else None
    found = {one.name: one for one in audit.attacks if not one.site} if audit is not None else {}

    def measured(*names: str) -> str:
        said = [f"{found[name].verdict}: {found[name].reason}" for name in names if name in found]
        return "; ".join(said) or "not measured"

    formal = (
        f"differential privacy, epsilon {promise.epsilon:g} at delta {promise.delta:g} for one {promise.unit}"
        if promise is not None
        else "no formal limit"
    )
    return (
        (
            "A patient's record is read out of an update",
            _AGAINST_READING[method],
            measured("inversion"),
        ),
        ("It is found out that a patient was in the data", formal, measured("model", "one-run", "lira-online", "rmia")),
        (
            "A site's share of patients with the outcome is found out",
            "not prevented by masks or by privacy for patients",
            measured("prevalence"),
        ),
        (
            "The model is worse for some patients than their hospital's own",
            "comparison on each site's own test patients",
            f"does not help {', '.join(record.comparison.not_helped)}"
            if record.comparison is not None and record.comparison.not_helped
            else "no site is shown to lose"
            if record.comparison is not None
            else "not measured",
        ),
        (
            "Somebody changes the model or the history",
            "every merge recomputed and signed; ledger replayed offline",
            f"{sum(one.n_attested > 0 for one in record.rounds)} of {len(record.rounds)} merges attested",
        ),
    )
