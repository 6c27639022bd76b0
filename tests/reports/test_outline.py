from dataclasses import replace

from cohortium.reports.outline import CHECKED_IN, TITLES, applies, outline, purpose
from cohortium.reports.quality import AuditCost, QualityRecord


def those_that_apply(record):
    return [check for check in CHECKED_IN if applies(check, record)]


def test_a_run_that_learns_a_model_has_everything(small_record):
    assert purpose(small_record) == "model"
    assert outline(small_record) == tuple(TITLES)
    assert those_that_apply(small_record) == list(CHECKED_IN)


def test_nothing_is_asked_of_a_generator_that_predictions_would_answer(generator_record):
    assert purpose(generator_record) == "generator"
    assert outline(generator_record) == ("summary", "patients", "training", "privacy", "ledger", "words")
    assert those_that_apply(generator_record) == ["run-complete", "attested", "verified", "budget", "randomness"]


def test_an_audit_shows_harm_and_no_model(small_record):
    audit = QualityRecord(
        status="decided",
        detector="agreement",
        on_harm="audit",
        why="",
        sites={},
        records_flagged={},
        cost=AuditCost(training_steps_ratio=1.0, model_transfers=6),
    )
    record = replace(small_record, quality=audit)
    assert purpose(record) == "audit"
    assert [section for section in TITLES if section not in outline(record)] == ["help", "use"]
    assert "harm" in those_that_apply(record)
    assert not {"gain", "within", "accuracy", "slope", "leakage"} & {*those_that_apply(record)}
