"""Multi-Krum by hand, N = 5, f = 1, a liar at 1e6."""

import pytest

from cohortium.errors import TrainingFailed
from cohortium.strategies.multi_krum import MultiKrum

FIVE = {"a": 0.0, "b": 1.0, "c": 3.0, "d": 4.0, "liar": 1e6}


def trained(fitted):
    return {site: fitted([value]) for site, value in FIVE.items()}


def test_five_sites_with_a_liar_by_hand(merged, fitted):
    assert merged(MultiKrum(f=1), [0.0], trained(fitted))[0]["w"].tolist() == [2.0]  # (0 + 1 + 3 + 4)/4
    assert merged(MultiKrum(f=1, m=2), [0.0], trained(fitted))[0]["w"].tolist() == [2.0]  # (1 + 3)/2
    assert merged(MultiKrum(f=1, m=1), [0.0], trained(fitted))[0]["w"].tolist() == [1.0]  # Krum


def test_all_of_honest_sites_is_the_plain_mean(merged, fitted):
    honest = {site: fitted([value]) for site, value in {"a": 1.0, "b": 2.0, "c": 6.0}.items()}
    assert merged(MultiKrum(f=0), [0.0], honest)[0]["w"].tolist() == [3.0]


def test_too_few_sites_and_too_many_wanted_are_refused(merged, fitted):
    with pytest.raises(TrainingFailed, match=r"^merge 'multi-krum' with f = 2 needs N >= 7 sites, got 5$"):
        merged(MultiKrum(f=2), [0.0], trained(fitted))
    assert MultiKrum(f=1, m=5).too_few(5) == "merge 'multi-krum' with f = 1 can take 4 of 5 sites, m is 5"
    with pytest.raises(ValueError, match="m must be at least 1, got 0"):
        MultiKrum(m=0)
