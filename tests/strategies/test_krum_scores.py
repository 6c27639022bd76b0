"""Krum scores by hand: five points on a line, the fifth a million away."""

import numpy as np
import pytest

from cohortium.errors import TrainingFailed
from cohortium.strategies.krum_scores import check_f, ranked, refuse_few, squared_distances, too_few

LINE = [np.array([at]) for at in (0.0, 1.0, 3.0, 4.0, 1e6)]


def test_distances_of_a_line():
    found = squared_distances(LINE)
    assert found[0][:4] == [0, 1, 9, 16]
    assert found[3][4] == (1e6 - 4) ** 2
    assert found[4][3] == found[3][4]


def test_scores_of_a_line_by_hand():
    """N = 5, f = 1: the two nearest count. Scores: 1 + 9, 1 + 4, 1 + 4, 1 + 9, huge. Ties to the first."""
    assert ranked(squared_distances(LINE), range(5), f=1) == [1, 2, 0, 3, 4]


def test_at_least_one_distance_counts():
    assert ranked(squared_distances(LINE), [0, 2, 3], f=1) == [2, 3, 0]


def test_long_vectors_are_measured_in_blocks():
    a, b = np.zeros(100_000), np.full(100_000, 0.5)
    assert squared_distances([a, b])[0][1] == pytest.approx(25_000, rel=1e-12)


def test_the_sentence_is_exact():
    sentence = too_few("krum", f=30, least=63, n_sites=40)
    assert sentence == "merge 'krum' with f = 30 needs N >= 63 sites, got 40"
    assert too_few("krum", f=30, least=63, n_sites=63) == ""
    with pytest.raises(TrainingFailed, match="needs N >= 63"):
        refuse_few(sentence)
    refuse_few("")


@pytest.mark.parametrize("f", [-1, True, 1.0])
def test_a_number_of_liars_is_a_whole_number(f):
    with pytest.raises(ValueError, match="f must be a whole number"):
        check_f(f)
