"""The audit of the data on the page: whole for its site, without small counts and names for others."""

from dataclasses import replace

import pytest

from cohortium.reports.measure import Measure
from cohortium.reports.pages import Report
from cohortium.reports.quality import AuditCost, Effect, QualityRecord, SiteVerdict
from cohortium.reports.quality_sections import QualitySections
from cohortium.reports.record import RunRecord
from cohortium.reports.scope import scoped
from cohortium.reports.sections import Sections
from cohortium.reports.summary import run_checks, three_sentences


def auroc(value, n=400):
    return Measure(value=value, low=value - 0.02, high=value + 0.02, n=n, method="DeLong")


@pytest.fixture
def quality(small_record):
    first, second, *rest = small_record.sites
    sites = {site: SiteVerdict(verdict="keep", posterior=0.01, reason="labels and patients agree") for site in rest}
    sites[first] = SiteVerdict(
        verdict="repair", posterior=0.99, repair="label-polarity", gain=32,
        reason="labels look reversed: the model of the other 7 sites contradicts 24 of 27 records",
    )  # fmt: skip
    sites[second] = SiteVerdict(
        verdict="keep", posterior=0.6, look=True, reason="too few records to judge: 4, needed about 9"
    )
    return QualityRecord(
        status="decided",
        detector="out-of-bag",
        on_harm="repair",
        why="",
        sites=sites,
        records_flagged={first: 24, second: 3, **dict.fromkeys(rest, 0)},
        cost=AuditCost(training_steps_ratio=2.8, model_transfers=90),
        repaired={first: "label-polarity"},
        again={first: SiteVerdict(verdict="keep", posterior=0.01, reason="labels and patients agree")},
        effects=(Effect(name="auroc", without=auroc(0.71), under=auroc(0.93)),),
    )


def harm_check(record):
    return next(check for check in run_checks(record) if check.id == "harm")


def test_it_comes_back_from_json_as_it_was(small_record, quality):
    record = replace(small_record, quality=quality)
    assert RunRecord.from_json(record.to_json()).quality == quality
    assert RunRecord.from_json(small_record.to_json()).quality is None


def test_the_page_says_verdict_reason_repair_and_effect(small_record, quality):
    page = Report(replace(small_record, quality=quality)).html()
    for words in ("6 Harmful data", "repair: label-polarity", "labels look reversed", "0.710 (0.690 to 0.730)",
                  "+0.220", "the work of 2.8 trainings", "repaired for this run", "keep, look"):  # fmt: skip
        assert words.replace("(0.690 to 0.730)", "(0.690\u00a0to\u00a00.730)") in page
    assert "were not audited" in Report(small_record).html()


def test_others_see_neither_names_nor_small_counts(small_record, quality):
    first, second, *_ = small_record.sites
    seen = scoped(replace(small_record, quality=quality), "consortium").quality
    assert not set(seen.sites) & set(small_record.sites)
    assert set(seen.repaired) == set(seen.again)
    reasons = [one.reason for one in seen.sites.values()]
    assert "the figures stay at the site" in reasons
    assert not any(": 4, needed" in reason for reason in reasons)
    assert any("24 of 27" in reason for reason in reasons)
    assert sorted(n for n in seen.records_flagged.values() if n is not None) == [
        0 for site in small_record.sites if site not in (first, second)
    ] + [24]
    own = scoped(replace(small_record, quality=quality), "site", site=second).quality
    assert own.sites[second].reason.endswith("4, needed about 9")
    assert own.records_flagged[second] == 3


def test_the_check_tells_what_is_left_to_do(small_record, quality):
    first, *_ = small_record.sites

    def level(**facts):
        return harm_check(replace(small_record, quality=replace(quality, **facts))).level

    assert harm_check(small_record).level == "skipped"
    assert level() == "ok"
    assert level(repaired={}, again={}) == "warn"
    assert level(status="inconclusive", why="out-of-bag AUROC .55") == "skipped"
    bad = {first: replace(quality.sites[first], verdict="quarantine", repair="", gain=0)}
    assert level(sites={**quality.sites, **bad}, repaired={}, again={}, left_out=(first,)) == "warn"
    assert level(sites={first: quality.again[first]}, repaired={}, again={}) == "ok"


def test_a_site_left_out_by_its_verdict_is_not_missing_from_the_run(small_record, quality):
    first, *rest = small_record.sites
    included = tuple(tuple(rest) for _ in small_record.included)
    held = replace(quality, left_out=(first,))
    under = replace(small_record, included=included, quality=held)
    assert next(c for c in run_checks(under) if c.id == "run-complete").level == "ok"
    assert next(c for c in run_checks(replace(under, quality=None)) if c.id == "run-complete").level != "ok"


def test_a_site_that_the_audit_left_out_is_not_said_to_have_trained(heart_record, quality):
    out = heart_record.sites[0]
    kept = heart_record.sites[1:]
    record = replace(
        heart_record,
        quality=replace(quality, repaired={}, again={}, left_out=(out,)),
        included=tuple(kept for _ in heart_record.included),
        rounds=tuple(replace(one, contributors=kept, missing={}) for one in heart_record.rounds),
        status="complete",
    )
    trained = sum(heart_record.flow[site].train for site in kept)
    assert record.trained == kept
    assert three_sentences(record)[0] == (
        f"3 sites trained one logistic model together in 12 rounds on {trained} training records; "
        f"every merge holds every site but {out}, left out by the audit."
    )
    whole = next(check for check in run_checks(record) if check.id == "run-complete")
    assert (whole.level, whole.found) == ("ok", f"every merge holds every site but {out}, left out by the audit")
    assert {row[3] for row in Sections(record).rounds_table().rows} == {"3/3"}
    assert "After repair" not in QualitySections(record.quality).verdicts().columns
    assert "After repair" in QualitySections(quality).verdicts().columns
