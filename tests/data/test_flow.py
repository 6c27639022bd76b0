import re

import numpy as np
import pytest

from cohortium.data.flow import RULES, Flow, describe_rows, find


def rows(*numbers):
    where = np.zeros(60, dtype=bool)
    where[[number - 1 for number in numbers]] = True
    return where


def test_the_sentence_names_column_count_rows_and_what_was_expected():
    (found,) = find("negative_time", "os_months", rows(3, 8, 21, 40))
    assert found.sentence == "column 'os_months': 4 negative times (rows 3, 8, 21, ...); follow-up must be >= 0"
    (one,) = find("negative_time", "os_months", rows(3))
    assert one.sentence == "column 'os_months': 1 negative time (row 3); follow-up must be >= 0"
    assert find("negative_time", "os_months", rows()) == []


def test_a_finding_may_carry_its_own_expectation_and_action():
    (found,) = find("non_finite", "os", rows(1), expected="expected 1 to 5", action="skip")
    assert found.sentence.endswith("; expected 1 to 5")
    assert found.action == "skip"


@pytest.mark.parametrize(
    ("numbers", "text"), [((3,), "row 3"), ((3, 8), "rows 3, 8"), ((1, 2, 3, 4), "rows 1, 2, 3, ...")]
)
def test_rows_are_described_shortly(numbers, text):
    assert describe_rows(numbers) == text


def test_small_counts_do_not_leave_the_site():
    findings = (
        *find("negative_time", "t", rows(1, 2)),
        *find("out_of_range", "age", rows(*range(1, 8))),
        *find("out_of_range", "bmi", rows(9)),
        *find("zero_time", "t", rows(5)),
    )
    flow = Flow(n_read=60, n_kept=58, findings=findings)
    assert flow.skipped == {"negative_time": 2}
    assert flow.blanked == {"out_of_range": 8}
    assert flow.shared() == {"read": 60, "kept": 58, "skipped negative_time": "<5", "blanked out_of_range": 8}
    assert flow.sentences[0].endswith("follow-up must be >= 0 (skipped)")
    assert flow.sentences[-1].endswith("counted as half a time step (kept)")


def test_every_rule_has_words_for_one_and_for_many():
    for name, rule in RULES.items():
        assert re.fullmatch(r"[a-z_]+", name)
        assert rule.one != rule.many
        assert rule.expected
