"""Codes: the worst word of each check, and no sentence."""

from cohortium.core.check import Check
from cohortium.quality.gate import codes


def test_only_the_worst_word_of_each_check_leaves():
    checks = [
        Check(id="units", level="warn", found="column 'crea': 14 rows"),
        Check(id="units", level="ok", found="fine"),
        Check(id="copies", level="fail", found="3 rows"),
        Check(id="copies", level="warn", found="2 rows"),
        Check(id="polarity", level="skipped", found="too few"),
    ]
    assert codes(checks) == {"copies": "fail", "polarity": "pass", "units": "warn"}
    assert codes([]) == {}
