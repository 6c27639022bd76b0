"""The fairness guard keeps the right sites, and only those."""

import numpy as np
import pytest

from cohortium.quality.protection import protects, question, ranking


def test_auroc_and_its_distance_from_chance_agree_with_a_hand_calculation():
    found = ranking(np.array([0.1, 0.4, 0.35, 0.8, 0.4]), np.array([0, 0, 1, 1, 1.0]))
    assert found.auroc == pytest.approx(4.5 / 6)
    assert found.errors == pytest.approx((4.5 / 6 - 0.5) / np.sqrt(6 / (12 * 2 * 3)))


def test_a_reversed_site_is_not_protected():
    y = np.repeat([0.0, 1.0], 10)
    right, turned = ranking(y, y), ranking(-y, y)
    assert (right.auroc, turned.auroc) == (1.0, 0.0)
    assert protects(right.errors, two_class=True)
    assert not protects(turned.errors, two_class=True)


def test_the_guard_holds_from_a_one_sided_ninety_percent_on_and_never_for_one_class():
    assert protects(1.29, two_class=True)
    assert not protects(1.28, two_class=True)
    assert not protects(5.0, two_class=False)
    assert ranking(np.arange(5.0), np.zeros(5)).errors == 0.0


def test_the_question_to_a_one_class_site_reads_as_agreed():
    assert question(62, majority=0) == (
        "all 62 records say 0 = control, the model of the other sites expects 1; please confirm the coding"
    )
    assert "say 1 = case, the model of the other sites expects 0" in question(9, majority=1)
