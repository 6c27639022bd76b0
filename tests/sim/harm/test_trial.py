"""Trials of the audit: a consortium that can be judged, one with nothing wrong, and the words about both."""

import pytest

from cohortium.errors import DataError, UsageError
from cohortium.sim.harm.shapes import parse_shape
from cohortium.sim.harm.trial import AuditTrial, try_audit

TWELVE = parse_shape(" ".join(["40:20/10:5"] * 12), name="twelve")


def test_reversed_and_broken_sites_are_named_and_others_are_not():
    (found,) = try_audit(TWELVE, "mixed", seeds=2, auroc=0.9)
    assert found.total("harmful") == 4
    assert found.total("judgeable") == 4
    assert found.total("harmful_named") >= 3
    assert found.total("good_named") == 0
    assert found.sentence.startswith("S3 (mixed), 12 sites, 2 draws: ")
    assert found.document()["draws"][0]["seed"] == 0


def test_nothing_harmful_names_nobody():
    (found,) = try_audit(TWELVE, "S4", seeds=2, auroc=0.9)
    assert found.total("harmful") == 0
    assert found.false_alarm_odds == 0
    assert "harmful sites named" not in found.sentence


def test_a_task_too_hard_to_judge_is_inconclusive():
    (found,) = try_audit(TWELVE, "S3", seeds=1, auroc=0.52)
    assert not found.outcomes[0].decided
    assert "1 of 1 audits inconclusive" in found.sentence


def test_the_sentence_counts_over_all_draws():
    (found,) = try_audit(TWELVE, "S1", seeds=2, auroc=0.9)
    twice = AuditTrial(case=found.case, title=found.title, n_sites=12, outcomes=found.outcomes * 2)
    assert twice.total("harmful") == 2 * found.total("harmful")
    assert f"of {2 * found.total('good')} other sites" in twice.sentence


@pytest.mark.parametrize(
    ("scenario", "sentence"),
    [("S7", "needs an audit with noise"), ("S6", "tries the local gate"), ("S8", "unknown scenario")],
)
def test_what_cannot_be_tried_is_refused(scenario, sentence):
    with pytest.raises(UsageError, match=sentence):
        try_audit(TWELVE, scenario, seeds=1)


def test_no_seed_and_no_task_are_refused():
    with pytest.raises(UsageError, match="seeds must be 1 to 1000, got 0"):
        try_audit(TWELVE, "S1", seeds=0)
    with pytest.raises(DataError, match="auroc must lie between"):
        try_audit(TWELVE, "S1", seeds=1, auroc=0.3)
