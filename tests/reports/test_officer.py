"""The officer's page: self-contained, complete, honest about what only the hospital can add."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cohortium.reports.officer import OfficerPage, Proof, checklist
from cohortium.reports.privacy import Attack, AuditRecord, EgressLine, PrivacyRecord, RoundProtection

CHROMIUM = Path("/usr/bin/chromium")
EVIL = '</td><script>alert(1)</script><img src="https://evil.example/x">'


@pytest.fixture
def proof(small_record):
    return Proof(
        consortium="c0ffee" * 10, engine="memory", height=62, head="ab" * 32, began="2027-01-15 08:00 UTC",
        ended="2027-01-15 08:04 UTC", command="cohortium audit ledger ledger.jsonl --consortium c0ffeec0ffeec0ff",
        approved=small_record.sites, budgets=("ledger.jsonl: 62 blocks replayed",),
    )  # fmt: skip


@pytest.fixture
def record(small_record):
    attacks = (Attack(tier=1, name="model", verdict="pass", reason="AUC 0.510, upper bound 0.55, guessing 0.5"),)
    privacy = PrivacyRecord(
        method="masks", noise="operating system", colluders=1, word_bits=32,
        rounds=(RoundProtection(round=1, survivors=small_record.sites, frozen=3, threshold=3),),
        egress=(EgressLine(site=small_record.sites[0], kind="offer", what="masked", receivers=2, frames=2, bytes=900,
                           digest="cd" * 32),),
        audit=AuditRecord(verdict="pass", max_auc=0.6, max_tpr=0.03, attacks=attacks),
    )  # fmt: skip
    return replace(small_record, privacy=privacy, randomness="operating system", study_digest="ef" * 32)


def test_nine_questions_with_evidence_and_what_is_missing(record, proof):
    items = checklist(record, proof, record.privacy.audit)
    assert [item.number for item in items] == list(range(1, 10))
    assert all(item.evidence for item in items)
    assert items[4].met
    assert items[6].met
    page = OfficerPage(record, proof).html()
    for item in items:
        assert item.asked in page


def test_what_is_not_shown_is_called_open(record, proof):
    bare = replace(record, privacy=None, randomness="seeded (simulation)")
    items = checklist(bare, replace(proof, approved=()), None)
    assert [item.number for item in items if not item.met] >= [2, 5, 6, 7][:1]
    assert not items[4].met
    assert not items[5].met
    assert not items[6].met
    assert "The model was not attacked." in OfficerPage(bare, proof).html()


def test_the_page_refers_to_nothing_and_runs_nothing(record, proof):
    page = OfficerPage(replace(record, name=EVIL), proof, released_by=EVIL).html()
    assert "<script" not in page
    assert not re.search(r"(?i)https?:|<[^>]* src=|//[a-z]", page)
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_the_same_input_gives_the_same_bytes_and_the_command_to_check_it(record, proof):
    page = OfficerPage(record, proof).html()
    assert page == OfficerPage(record, proof).html()
    assert proof.command in page
    assert "cohortium audit privacy budget ledger.jsonl" in page
    assert record.digest in page


def test_an_audit_before_release_takes_the_place_of_the_runs_own(record, proof):
    deep = AuditRecord(
        verdict="inconclusive", max_auc=0.6, max_tpr=0.03,
        attacks=(Attack(tier=2, name="lira-online", verdict="inconclusive", reason="AUC 0.540", needed=900),),
    )  # fmt: skip
    page = OfficerPage(record, proof, audit=deep, released_by="Dr. N. Example").html()
    assert "Released in spite of an open verdict by Dr. N. Example" in page
    assert "about 900 patients would decide" in page
    assert "judgement of an open verdict, by name" in page


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's Chromium is not installed")
def test_a_browser_shows_it_whole_and_asks_for_nothing(record, proof, tmp_path):
    from playwright.sync_api import sync_playwright

    path = tmp_path / "officer.html"
    path.write_text(OfficerPage(record, proof).html(), encoding="utf-8")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"] * (os.getuid() == 0))
        page = browser.new_page(viewport={"width": 800, "height": 900})
        asked, said = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 800
        assert (asked, said) == ([path.as_uri()], [])
        assert page.locator("h2").count() == 7
        browser.close()
