import numpy as np
import pytest

from cohortium.synth.generators.gan_conditions import Conditions, Lists, asked_as_they_are, asked_of

COUNTS = [np.array([990.0, 10.0]), np.array([100.0, 0.0, 900.0]), np.array([1000.0])]


def test_levels_are_asked_for_by_log_frequency_and_variables_evenly():
    asked = Conditions.of(COUNTS).draw(40_000, np.random.default_rng(0))
    assert (asked.variable == 0).mean() == pytest.approx(0.5, abs=0.01)
    assert (asked.variable == 2).sum() == 0  # a constant is no question
    rare = (asked.level[asked.variable == 0] == 1).mean()
    assert rare == pytest.approx(np.log(11) / (np.log(11) + np.log(991)), abs=0.01)
    assert (asked.level[asked.variable == 1] == 1).sum() == 0


def test_what_a_site_lacks_is_not_asked_for_there():
    codes = np.array([[0, 0, 0], [0, 2, 0], [0, 2, 0]])
    asked = Conditions.of(COUNTS, codes=codes).draw(500, np.random.default_rng(0))
    assert set(asked.variable) == {1}
    assert Conditions.of(COUNTS, codes=codes[1:]).draw(5, np.random.default_rng(0)) is None


def test_the_row_that_answers_has_the_level():
    rng = np.random.default_rng(0)
    codes = np.column_stack([rng.random(300) < 0.05, rng.choice([0, 2], 300), np.zeros(300)]).astype(np.int64)
    lists = Lists.of(codes, n_levels=3)
    asked = Conditions.of(COUNTS, codes=codes).draw(2000, rng)
    rows = lists.fitting(asked, rng)
    assert (codes[rows, asked.variable] == asked.level).all()
    carriers = np.flatnonzero(codes[:, 0] == 1)
    assert set(rows[(asked.variable == 0) & (asked.level == 1)]) == set(carriers)


def test_questions_as_they_are_have_the_levels_frequencies():
    margins = [one / one.sum() for one in COUNTS]
    asked = asked_as_they_are(margins, 40_000, np.random.default_rng(0))
    assert (asked.variable == 0).mean() == pytest.approx(0.5, abs=0.01)
    assert (asked.variable == 2).sum() == 0
    assert (asked.level[asked.variable == 0] == 1).mean() == pytest.approx(0.01, abs=0.003)
    assert set(asked.level[asked.variable == 1]) == {0, 2}
    assert asked_as_they_are(margins[2:], 3, np.random.default_rng(0)) is None


def test_a_patient_is_asked_for_what_the_patient_is():
    rng = np.random.default_rng(0)
    codes = np.column_stack([rng.random(300) < 0.3, rng.choice([0, 2], 300), np.zeros(300), rng.integers(0, 9, 300)])
    codes = codes.astype(np.int64)
    asked = asked_of(codes, COUNTS, rng)
    assert set(asked.variable) == {0, 1}
    assert (codes[np.arange(300), asked.variable] == asked.level).all()
    assert asked_of(codes, COUNTS[2:], rng) is None
