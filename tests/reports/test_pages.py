import json
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cohortium.core.check import Check
from cohortium.reports.pages import Report
from cohortium.reports.quality import AuditCost, QualityRecord, SiteVerdict
from cohortium.reports.record import RunRecord

CHROMIUM = Path("/usr/bin/chromium")
EVIL = '</script><img src=x onerror="alert(1)">'


class Reader(HTMLParser):
    """Collects tags, and what stands in the one script block."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.script, self._open = [], "", False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = self._open or tag == "script"

    def handle_endtag(self, tag):
        self._open = self._open and tag != "script"

    def handle_data(self, data):
        self.script += data if self._open else ""


def read(page):
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_page_has_its_sections_and_no_others(heart_record):
    page = Report(heart_record).html()
    heads = re.findall(r"<h2>(.*?)</h2>", page)
    assert heads == ["1 Summary", "2 Does it help?", "3 Can it be used?", "4 Patients", "5 Training",
                     "6 Harmful data", "7 Privacy", "8 Ledger", "9 Words, method, limits"]  # fmt: skip
    ids = re.findall(r'<section id="(\w+)"', page)
    assert set(re.findall(r'href="#(\w+)"', page)) <= set(ids)


def test_the_page_of_a_generator_says_nothing_of_predictions(generator_record):
    page = Report(generator_record).html()
    heads = re.findall(r"<h2>(.*?)</h2>", page)
    assert heads == ["1 Summary", "2 Patients", "3 Training", "4 Privacy", "5 Ledger", "6 Words, method, limits"]
    ids = re.findall(r'<section id="(\w+)"', page)
    assert set(re.findall(r'href="#(\w+)"', page)) <= set(ids)
    shown = page[: page.index('<script type="application/json"')]
    assert "validation: fidelity pass, utility pass, privacy warn" in shown
    for word in ("own models", "alibration", "AUROC", "attacked", "95 % interval", "test patients"):
        assert word not in shown, word


def test_same_record_same_bytes(heart_record):
    assert Report(heart_record).html() == Report(RunRecord.from_json(heart_record.to_json())).html()


def test_nothing_outside_is_referred_to(heart_record):
    told = replace(heart_record, notes=("see https://example.org/x and //cdn.example.org/y",),
                   study={"cite": "HTTP://example.org"}, command="curl http://10.0.0.7:9000")  # fmt: skip
    for record in (heart_record, told):
        page = Report(record).html()
        assert not re.search(r"(?i)https?:|//[a-z]", page)
        loaded = [v for _, attrs in read(page).tags for k, v in attrs.items() if k in ("src", "href", "action", "data")]
        assert {v for v in loaded if not v.startswith("#")} == {"data:,"}
    assert "see https&#58;" in page


def test_no_script_runs_and_the_policy_forbids_it(heart_record):
    reader = read(Report(heart_record).html())
    scripts = [attrs for tag, attrs in reader.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "record"}]
    assert not [name for _, attrs in reader.tags for name in attrs if name.startswith("on")]
    policy = next(a["content"] for tag, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_the_record_is_embedded_whole(small_record):
    reader = read(Report(small_record).html())
    assert json.loads(reader.script) == json.loads(small_record.to_json())


@pytest.mark.parametrize("field", ["name", "status", "command"])
def test_a_hostile_text_stays_text(small_record, field):
    reader = read(Report(replace(small_record, **{field: EVIL})).html())
    assert "img" not in [tag for tag, _ in reader.tags]
    assert json.loads(reader.script)[field] == EVIL


def test_a_hostile_site_name_stays_text(heart_record):
    text = heart_record.to_json().replace("switzerland", json.dumps(EVIL)[1:-1])
    reader = read(Report(RunRecord.from_json(text)).html())
    assert "img" not in [tag for tag, _ in reader.tags]
    assert [tag for tag, _ in reader.tags].count("script") == 1
    assert EVIL in json.loads(reader.script)["sites"]


def test_checks_show_word_and_sign_from_both_sides(small_record):
    good = Report(small_record).html()
    bad = Report(replace(small_record, status="failed (porto, train, error)",
                         checks=(Check(id="L1", level="fail", found="a patient is in two parts"),))).html()  # fmt: skip
    assert '<li class="fail">' not in good
    assert bad.count('<li class="fail">') == 2
    assert '<span class="sign" aria-hidden="true">✗</span><strong>fail</strong>' in bad
    assert "a patient is in two parts" in bad


def test_the_checks_of_leakage_are_introduced_named_and_explained(small_record):
    leaks = (Check(id="L1", level="ok", found="nobody twice"), Check(id="L7", level="warn", found="months for days"))
    checks = (leaks[0], Check(id="units", level="ok", found="no site is warned"), leaks[1])
    page = Report(replace(small_record, checks=checks)).html()
    assert re.findall(r'<a href="#words">([^<]+)</a>: ([^<]+)<', page) == [
        ("L1, one patient twice", "nobody twice"),
        ("L7, time zero", "months for days"),
    ]
    lead = page.index("L1 to L8 looked for data leakage")
    assert page.index("units: no site is warned") < lead < page.index("L1, one patient twice")
    explained = re.findall(r"<dt>(L\d)[^<]*</dt><dd>[^<]+\.</dd>", page)
    assert explained == ["L1", "L7"]
    without = Report(replace(small_record, checks=checks[1:2])).html()
    assert "L1 to L8" not in without
    assert "<dt>L1" not in without


def test_a_missing_interval_prints_its_reason_and_never_zero(small_record):
    page = Report(small_record).html()
    assert "not available: n = 7" in page
    assert "(0.000 to 0.000)" not in page


def test_no_value_of_a_patient_can_reach_the_page(heart_record):
    """The record holds no field for one: a marker planted as an extra field is refused or dropped."""
    document = json.loads(heart_record.to_json())
    document["patients"] = ["MARKER-4711"]
    document["flow"]["va"]["rows"] = ["MARKER-4711"]
    assert "MARKER-4711" not in Report(RunRecord.from_json(json.dumps(document))).html()


def test_consortium_scope_names_nobody(heart_record):
    page = Report(heart_record, scope="consortium").html()
    assert not [name for name in heart_record.sites if re.search(rf"(?<![\w-]){name}(?![\w-])", page)]
    assert "for the consortium" in page


def test_every_measure_on_the_page_is_explained(heart_record):
    page = Report(heart_record).html()
    words = re.findall(r"<dt>([^<]+)</dt><dd>[^<]+\.</dd>", page)
    assert {"AUROC within sites", "Brier score", "Own model", "p, Holm", "Calibration slope"} <= set(words)


def test_saving_and_showing_in_a_notebook(small_record, tmp_path):
    report = Report(small_record)
    assert report.save(tmp_path / "report.html").read_text(encoding="utf-8") == report.html()
    assert report._repr_html_().startswith("<iframe srcdoc=")
    assert 'sandbox=""' in report._repr_html_()


def test_a_big_run_stays_small_and_quick(heart_record):
    assert len(Report(heart_record).html()) < 400_000


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip("Debian's Chromium is not installed (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        args = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = running.chromium.launch(executable_path=str(CHROMIUM), args=args)
        yield opened
        opened.close()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "light"), (390, "dark")])
def test_chromium_shows_the_page_quietly_and_without_overflow(browser, heart_record, tmp_path, width, scheme):
    path = Report(heart_record).save(tmp_path / "report.html")
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert said == []
    assert [url for url in asked if url != path.as_uri() and not url.startswith("data:")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('figure svg')].map(s => 12 * s.getBoundingClientRect().width / 360))"
    )
    assert smallest >= 11.5
    context.close()


@pytest.mark.browser
def test_paper_opens_the_folded_tables_and_is_light(browser, heart_record, tmp_path):
    path = Report(heart_record).save(tmp_path / "report.html")
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(path.as_uri())
    table = page.locator("figure details table").first
    assert not table.is_visible()
    page.emulate_media(media="print", color_scheme="dark")
    assert table.bounding_box()["height"] > 20
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(prefer_css_page_size=True)[:4] == b"%PDF"
    context.close()


def test_a_page_between_hospitals_says_what_it_cannot_compare_with(deployed_record, small_record):
    page = Report(deployed_record).html().split('type="application/json"')[0]
    assert "no model was trained on all of them in one place" in page
    assert "left the run (train, silent)" in page
    assert "pooled" not in page.lower()
    assert "At the other hospitals" not in Report(small_record).html()


def test_a_site_left_out_by_the_audit_is_named_where_its_patients_are_missing(small_record):
    verdict = SiteVerdict(verdict="quarantine", posterior=0.99, reason="labels look reversed")
    audited = QualityRecord(
        status="decided",
        detector="out-of-bag",
        on_harm="quarantine",
        why="",
        sites={"porto": verdict},
        records_flagged={"porto": 9},
        cost=AuditCost(training_steps_ratio=2.0, model_transfers=8),
        left_out=("porto",),
    )
    page = Report(replace(small_record, quality=audited)).html()
    for part in page.split('<section id="')[2:4]:
        assert "Left out by the audit (“Harmful data”): porto. These sites did not train" in part
    assert "Left out by the audit" not in Report(small_record).html()


def test_the_page_of_an_audit_says_that_nothing_was_trained(small_record):
    verdict = SiteVerdict(verdict="repair", posterior=0.99, reason="labels look reversed", repair="label-polarity")
    audited = QualityRecord(
        status="decided",
        detector="out-of-bag",
        on_harm="audit",
        why="",
        sites={"porto": verdict},
        records_flagged={"porto": 9},
        cost=AuditCost(training_steps_ratio=2.0, model_transfers=8),
    )
    page = Report(replace(small_record, quality=audited)).html()
    assert "audited their data together" in page
    assert "the data of porto look harmful; no model was trained" in page
