"""What the section on harmful data says of one audit."""

from dataclasses import replace

from cohortium.reports.measure import Measure
from cohortium.reports.quality import AuditCost, Effect, QualityRecord, SiteVerdict
from cohortium.reports.quality_sections import QualitySections

GOOD = SiteVerdict(verdict="keep", posterior=0.02, reason="labels and patients agree")
RECORD = QualityRecord(
    status="decided",
    detector="out-of-bag",
    on_harm="quarantine",
    why="",
    sites={"bonn": GOOD},
    records_flagged={"bonn": 0},
    cost=AuditCost(training_steps_ratio=2.0, model_transfers=8),
)


def row(verdict, **facts):
    return QualitySections(replace(RECORD, sites={"bonn": verdict}, **facts)).verdicts().rows[0]


def test_every_verdict_says_what_to_do():
    assert row(GOOD) == ("bonn", "keep", "0.02", "labels and patients agree", "nothing", "0")
    assert "appeal" in row(replace(GOOD, verdict="quarantine", posterior=0.97))[4]
    assert "a person signs before a node" in row(replace(GOOD, verdict="quarantine", to_sign=True))[4]
    assert "look at the records" in row(replace(GOOD, look=True))[4]
    assert row(replace(GOOD, question="please confirm the coding"))[4] == "please confirm the coding"
    mended = row(replace(GOOD, verdict="repair", repair="label-polarity"), again={"bonn": GOOD})
    assert mended[1] == "repair: label-polarity"
    assert "'label-polarity'" in mended[4]
    assert mended[6] == "keep"
    done = row(replace(GOOD, verdict="repair", repair="axes"), repaired={"bonn": "axes"})
    assert done[4].startswith("repaired for this run")
    assert row(replace(GOOD, verdict="quarantine", votes=7))[1] == "quarantine (7 votes)"
    assert row(replace(GOOD, verdict="keep-shifted"))[1] == "keep: different, not harmful"


def test_an_audit_that_counts_no_suspect_records_has_no_column_for_them():
    silent = QualitySections(replace(RECORD, records_flagged={"bonn": None}))
    assert not silent.counts_suspects
    assert "Suspect records" not in silent.verdicts().columns
    assert silent.verdicts().rows == (("bonn", "keep", "0.02", "labels and patients agree", "nothing"),)
    assert "Suspect records" in QualitySections(RECORD).verdicts().columns


def test_facts_name_what_was_done():
    facts = dict(QualitySections(replace(RECORD, repaired={"bonn": "axes"}, left_out=("lund",))).facts())
    assert facts["Repaired"] == "bonn (axes)"
    assert facts["Did not train"] == "lund"
    silent = dict(QualitySections(replace(RECORD, status="inconclusive", why="AUROC 0.55")).facts())
    assert silent["Outcome"] == "inconclusive: AUROC 0.55"
    assert "Repaired" not in silent


def test_the_effect_is_a_difference_on_the_same_patients():
    effect = Effect(name="auroc", without=Measure(value=0.7, n=90), under=Measure(value=0.9, n=90))
    sections = QualitySections(replace(RECORD, effects=(effect,)))
    assert sections.effects().rows[0][-1] == "+0.200"
    assert sections.change() is not None


def test_an_audit_without_effects_shows_no_figure():
    bare = QualitySections(replace(RECORD, sites={}))
    assert bare.effects() is None
    assert bare.change() is None
    assert bare.verdicts() is None
