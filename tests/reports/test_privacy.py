"""The record of privacy goes through JSON whole, and readers outside see no site's own figures."""

from dataclasses import replace

import pytest

from cohortium.reports.measure import Measure
from cohortium.reports.pages import Report
from cohortium.reports.privacy import (
    Attack,
    AuditRecord,
    EgressLine,
    PrivacyRecord,
    PrivateStudy,
    Promise,
    RoundProtection,
    SiteSpending,
)
from cohortium.reports.record import RunRecord
from cohortium.reports.scope import scoped
from cohortium.reports.summary import run_checks


def attack(site="", **facts):
    figure = Measure(value=0.51, low=0.47, high=0.55, n=400, method="AUC, DeLong")
    return Attack(**{"tier": 1, "name": "model", "verdict": "pass", "reason": "AUC 0.510", "site": site,
                     "figure": figure, "guessing": 0.5, **facts})  # fmt: skip


@pytest.fixture
def privacy(small_record):
    first, *rest = small_record.sites
    return PrivacyRecord(
        method="masks",
        noise="operating system",
        colluders=1,
        word_bits=32,
        promise=Promise(
            epsilon=3.0, delta=1e-5, unit="patient", mode="local", sample_rate=0.1, clipping_norm=1.0,
            noise_multiplier=2.5, steps=300,
        ),
        rounds=(
            RoundProtection(round=1, survivors=small_record.sites, frozen=len(small_record.sites), threshold=3),
            RoundProtection(round=2, survivors=tuple(rest), frozen=len(small_record.sites), threshold=3),
        ),
        spending=tuple(
            SiteSpending(site=site, rounds=2, outsiders=0.8, colluders=0.9, alone=1.4, total=2.5, cap=10.0, delta=1e-5,
                         history=(0.7, 0.9))
            for site in small_record.sites
        ),
        egress=(
            EgressLine(site=first, kind="offer", what="masked", receivers=2, frames=4, bytes=4096, digest="ab" * 32),
        ),
        audit=AuditRecord(verdict="pass", max_auc=0.6, max_tpr=0.03, attacks=(attack(), attack(site=first))),
    )  # fmt: skip


def test_it_comes_back_from_json_as_it_was(small_record, privacy):
    record = replace(small_record, privacy=privacy)
    assert RunRecord.from_json(record.to_json()).privacy == privacy
    assert RunRecord.from_json(small_record.to_json()).privacy is None


def test_readers_outside_see_verdicts_but_no_sites_figures_or_names(small_record, privacy):
    record = replace(small_record, privacy=privacy)
    seen = scoped(record, "consortium").privacy
    text = scoped(record, "consortium").to_json()
    assert not [name for name in small_record.sites if f'"{name}"' in text]
    pooled, of_site = seen.audit.attacks
    assert pooled == privacy.audit.attacks[0]
    assert (of_site.figure, of_site.reason, of_site.verdict) == (None, "figures stay at the site", "pass")
    own = scoped(record, "site", site=small_record.sites[0]).privacy
    assert own.audit.attacks[1] == privacy.audit.attacks[1]
    assert len(seen.rounds[1].survivors) == len(privacy.rounds[1].survivors)


def test_the_checks_of_the_page_follow_the_audit_and_the_budget(small_record, privacy):
    def level(record, name):
        return next((c.level, c.found) for c in run_checks(record) if c.id == name)

    good = replace(small_record, privacy=privacy)
    assert level(good, "leakage") == ("ok", "attacks on the model stay below what was agreed")
    assert level(good, "budget")[0] == "ok"
    leak = replace(privacy.audit, verdict="fail", attacks=(attack(verdict="fail", reason="AUC 0.910"),))
    assert level(replace(good, privacy=replace(privacy, audit=leak)), "leakage") == (
        "fail", "attacks on the model succeed: AUC 0.910",
    )  # fmt: skip
    few = replace(privacy.audit, verdict="inconclusive", attacks=(attack(verdict="inconclusive", needed=620),))
    assert level(replace(good, privacy=replace(privacy, audit=few)), "leakage") == (
        "warn", "too few patients to say that attacks fail; about 620 patients would decide",
    )  # fmt: skip
    over = replace(privacy, spending=(replace(privacy.spending[0], total=10.5),))
    assert level(replace(good, privacy=over), "budget")[0] == "fail"
    assert level(small_record, "leakage")[0] == level(small_record, "budget")[0] == "skipped"


def test_the_page_shows_what_an_officer_asks(small_record, privacy):
    page = Report(replace(small_record, privacy=privacy)).html()
    for words in ("7 Privacy", "only the sum of the survivors", "epsilon 3 at delta 1e-05 for one patient",
                  "Epsilon spent", "Budget history", "Everything that left, by kind", "random words to everybody",
                  "Attacks on our own model: pass", "cohortium audit privacy budget ledger.jsonl"):  # fmt: skip
        assert words in page


def test_a_private_study_beside_a_run_is_shown_scoped_and_comes_back_from_json(small_record, privacy):
    measured = {"auroc": Measure(value=0.8123, low=0.7, high=0.9, n=100, method="DeLong")}
    site = small_record.sites[0]
    beside = PrivateStudy(
        name="again", folder="private", status="complete", model="logistic", digest="ab" * 32, privacy=privacy,
        test=measured, notes=(f"noise was seeded at {site}",),
    )  # fmt: skip
    record = replace(small_record, private_study=beside)
    assert RunRecord.from_json(record.to_json()).private_study == beside
    page = Report(record).html()
    for shown in (
        "The same question with differential privacy", "0.812", "Attacks on the private model",
        "cohortium audit privacy budget private/ledger.jsonl", f"noise was seeded at {site}",
    ):  # fmt: skip
        assert shown in page
    assert "The same question" not in Report(small_record).html()
    seen = scoped(record, "consortium").private_study
    assert site not in seen.notes[0]
    assert not {one.site for one in seen.privacy.spending} & set(small_record.sites)
    own_figures = [one.figure for one in seen.privacy.audit.attacks if one.site]
    assert own_figures == [None] * len(own_figures)
