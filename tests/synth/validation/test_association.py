import numpy as np
import pytest
from scipy.stats import spearmanr

from cohortium.synth.facts import Fact
from cohortium.synth.validation.association import agreement, bin_edges, binned, clinical_matrix, cramers_v, phi_matrix


def test_agreement_is_one_for_itself_zero_for_nothing_and_never_negative():
    a = np.array([0.5, -0.2, 0.1])
    assert agreement(a, a) == 1.0
    assert agreement(a, np.zeros(3)) == pytest.approx(0.0)
    assert agreement(a, -a) == 0.0
    assert np.isnan(agreement(np.zeros(3), a))


def test_cramers_v_by_hand():
    table = np.array([[30, 10], [20, 40]])
    a = np.repeat([0, 0, 1, 1], table.ravel())
    b = np.repeat([0, 1, 0, 1], table.ravel())
    chi2 = 100 * (30 * 40 - 10 * 20) ** 2 / (40 * 60 * 50 * 50)
    phi2 = chi2 / 100 - 1 / 99
    smaller = 2 - 1 / 99 - 1
    assert cramers_v(a, 2, b, 2) == pytest.approx(np.sqrt(phi2 / smaller))


def test_independent_columns_have_no_association():
    rng = np.random.default_rng(0)
    assert cramers_v(rng.integers(0, 3, 5000), 3, rng.integers(0, 4, 5000), 4) < 0.03


def test_phi_is_the_correlation_over_rows_that_have_both():
    flags = np.array([[1, 1.0], [1, 1], [0, 0], [0, 1], [1, np.nan]])
    assert phi_matrix(flags)[0] == pytest.approx(np.corrcoef(flags[:4].T)[0, 1])
    assert phi_matrix(np.zeros((5, 2)))[0] == 0.0


def test_numbers_are_compared_by_rank(world):
    facts = [world.facts[name] for name in ("age", "hb")]
    found = clinical_matrix(world.training, facts, bin_edges(world.training, facts))
    there = ~np.isnan(world.training["hb"])
    expected = spearmanr(world.training["age"][there], world.training["hb"][there]).statistic
    assert found[0] == pytest.approx(expected, abs=0.01)


def test_missing_values_are_a_level_of_their_own():
    codes, size = binned(np.array([0.0, np.nan, 1.0]), Fact(name="x", kind="flag", levels=("0", "1")), None)
    assert codes.tolist() == [0, 2, 1]
    assert size == 3
