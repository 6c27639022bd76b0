import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cohortium.reports.paired import holm, mcnemar, sign_flip, wilcoxon_greater


def test_exact_mcnemar_by_hand():
    """8 patients only the first model got right, 1 only the second: p = 2 (C(9,0) + C(9,1)) / 2^9."""
    first = np.array([True] * 8 + [False] + [True] * 20)
    second = np.array([False] * 8 + [True] + [True] * 20)
    assert mcnemar(first, second) == pytest.approx(2 * 10 / 512)
    assert mcnemar(first, first) == 1.0
    assert mcnemar(second, first) == mcnemar(first, second)


def test_sign_flip_is_exact_for_few_patients():
    """d = 1, 2, 3: only +++ and --- reach a sum of 6: 2 of 8."""
    assert sign_flip(np.array([1.0, 2.0, 3.0]), rng=np.random.default_rng(0)) == 0.25
    assert sign_flip(np.zeros(4), rng=np.random.default_rng(0)) == 1.0


def test_sign_flip_of_many_agrees_with_the_t_test_and_from_both_sides():
    rng = np.random.default_rng(1)
    d = rng.normal(0.15, 1, size=300)
    assert sign_flip(d, rng=rng) == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.015)
    assert sign_flip(d + 1, rng=rng) == pytest.approx(1e-4)
    assert sign_flip(d - d.mean(), rng=rng) > 0.9


@pytest.mark.parametrize("size", [10, 60])
def test_sign_flip_keeps_its_level(size):
    rng = np.random.default_rng(2)
    p = np.array([sign_flip(rng.normal(size=size), rng=rng, flips=199) for _ in range(400)])
    assert 0.025 <= (p <= 0.05).mean() <= 0.08


def test_holm_by_hand():
    """0.01 x 3, 0.02 x 2, and 0.03 x 1 lifted to the one before; a test not made stays None."""
    found = holm({"a": 0.03, "b": 0.01, "c": 0.02, "d": None})
    assert found == {"b": pytest.approx(0.03), "c": pytest.approx(0.04), "a": pytest.approx(0.04), "d": None}
    assert holm({"a": 0.7, "b": 0.9}) == {"a": 1.0, "b": 1.0}


def test_wilcoxon_golden_number():
    assert wilcoxon_greater(np.arange(1.0, 8.0)) == pytest.approx(0.011247, abs=5e-7)


@pytest.mark.filterwarnings("ignore")
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40).filter(any))
def test_wilcoxon_equals_scipy(values):
    d = np.array(values, float)
    reference = stats.wilcoxon(d, alternative="greater", correction=True, method="approx", zero_method="wilcox")
    assert wilcoxon_greater(d) == pytest.approx(reference.pvalue, abs=1e-12)


def test_wilcoxon_of_no_difference_is_one():
    assert wilcoxon_greater(np.zeros(5)) == 1.0
