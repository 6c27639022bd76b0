"""Bulyan by hand: N = 7, f = 1, a liar at 1e6 (five sites do not suffice), and its refusals."""

import numpy as np
import pytest

from cohortium.errors import TrainingFailed
from cohortium.strategies.bulyan import Bulyan

SEVEN = {"a": 0.0, "b": 1.0, "c": 2.0, "d": 4.0, "e": 6.0, "f": 9.0, "liar": 1e6}


def test_seven_sites_with_a_liar_by_hand(merged, fitted):
    """Picks, nearest companions in brackets: c (4 of 7: 1, 4, 4, 16), b (3 of 6: 1, 9, 25), ... down to five of seven.

    b 1+1+9+25 = 36, c 1+4+4+16 = 25, d 4+4+9+16 = 33 -> c. Then b 1+9+25 = 35, d 4+9+16 = 29, e 4+9+25 = 38 -> d.
    Then two of five: a 1+36, b 1+25, e 9+25, f 9+64 -> b. Then one of four: e and f 9, first name -> e.
    Last, one of three: a 81, f 81, first name -> a. Picked 0, 1, 2, 4, 6: median 2; the three nearest are 1, 2, then 0
    and 4 alike: the smaller, 0. Mean 1.
    """
    assert merged(Bulyan(f=1), [0.0], {s: fitted([v]) for s, v in SEVEN.items()})[0]["w"].tolist() == [1.0]


def test_one_far_coordinate_does_not_pass(merged, fitted):
    """The liar hides in 100 coordinates and is far in one: its distance is small, its coordinate is dropped."""
    rng = np.random.default_rng(0)
    trained = {site: rng.normal(size=100) for site in "abcdef"}
    hidden = np.mean(list(trained.values()), axis=0)
    hidden[7] += 12.0
    trained["liar"] = hidden
    model, _, _ = merged(Bulyan(f=1), np.zeros(100), {site: fitted(value) for site, value in trained.items()})
    assert abs(model["w"][7]) < 2.5


def test_no_liar_tolerated_is_the_plain_mean(merged, fitted):
    honest = {site: fitted([value]) for site, value in {"a": 1.0, "b": 2.0, "c": 6.0}.items()}
    assert merged(Bulyan(f=0), [0.0], honest)[0]["w"].tolist() == [3.0]


def test_too_few_sites_are_refused_with_the_exact_sentence(merged, fitted):
    with pytest.raises(TrainingFailed, match=r"^merge 'bulyan' with f = 1 needs N >= 7 sites, got 5$"):
        merged(Bulyan(f=1), [0.0], {site: fitted([0.0]) for site in "abcde"})
