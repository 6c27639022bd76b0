"""A check is said, not lived: frozen, by keyword, with a level everybody knows."""

import dataclasses
from typing import get_args

import pytest

from cohortium.core.check import Check, Level


def test_a_check_without_a_fix_needs_none():
    assert Check(id="L1", level="ok", found="no patient stands in two parts").fix == ""


def test_equal_checks_are_equal_and_may_be_counted():
    one = Check(id="L2", level="warn", found="3 columns", fix="drop them")
    assert len({one, dataclasses.replace(one), dataclasses.replace(one, level="fail")}) == 2


def test_a_check_cannot_be_changed_after_it_was_said():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Check(id="L1", level="ok", found="nothing").level = "fail"


def test_a_check_is_written_by_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        Check("L1", "ok", "nothing")


def test_the_levels_are_those_of_a_report():
    assert get_args(Level) == ("ok", "warn", "fail", "skipped")
