import numpy as np
import pytest
from lifelines.statistics import multivariate_logrank_test

from cohortium.models.log_rank import log_rank_test, observed_minus_expected

# Freireich et al. 1963: weeks in remission, 6-mercaptopurine (+ = censored) against placebo
MERCAPTOPURINE = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"


def counts(groups):
    """Events and patients at risk per week, (groups, weeks)."""
    events, at_risk = np.zeros((len(groups), 60), int), np.zeros((len(groups), 60), int)
    for g, text in enumerate(groups):
        for one in text.split():
            week = int(one.rstrip("+"))
            events[g, week] += not one.endswith("+")
            at_risk[g, : week + 1] += 1
    return events, at_risk


def test_the_published_leukaemia_trial():
    difference, covariance = observed_minus_expected(*counts([MERCAPTOPURINE, PLACEBO]))
    # 9 events against 19.25 expected, 21 against 10.75; chi-square 16.79 (Kleinbaum and Klein, Survival Analysis, 2)
    assert np.round(9 - difference[0], 2) == 19.25
    assert np.round(21 - difference[1], 2) == 10.75
    found = log_rank_test(difference, covariance)
    assert (round(found.statistic, 2), found.degrees) == (16.79, 1)
    assert found.p_value == pytest.approx(4.17e-5, abs=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_four_groups_agree_with_lifelines(seed):
    rng = np.random.default_rng(seed)
    group, time, event = rng.integers(0, 4, 200), rng.integers(1, 40, 200), rng.random(200) < 0.7
    events = np.stack([np.bincount(time[event & (group == g)], minlength=41) for g in range(4)])
    at_risk = np.stack([[(time[group == g] >= t).sum() for t in range(41)] for g in range(4)])
    found = log_rank_test(*observed_minus_expected(events, at_risk))
    oracle = multivariate_logrank_test(time, group, event)
    assert found.statistic == pytest.approx(oracle.test_statistic, abs=1e-9)
    assert found.p_value == pytest.approx(oracle.p_value, abs=1e-9)
    assert found.degrees == 3


def test_a_group_never_at_risk_is_left_out_and_one_group_is_no_test():
    events, at_risk = counts([MERCAPTOPURINE, PLACEBO, ""])
    found = log_rank_test(*observed_minus_expected(events, at_risk))
    assert (round(found.statistic, 2), found.degrees) == (16.79, 1)
    alone = log_rank_test(*observed_minus_expected(events[:1], at_risk[:1]))
    assert np.isnan(alone.p_value)
