"""Krum by hand, N = 5, f = 1, a liar at 1e6."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import TrainingFailed
from cohortium.strategies.krum import Krum

FIVE = {"a": 0.0, "b": 1.0, "c": 3.0, "d": 4.0, "liar": 1e6}


def test_five_sites_with_a_liar_by_hand(merged, fitted):
    model, _, _ = merged(Krum(f=1), [10.0], {site: fitted([10.0 + value]) for site, value in FIVE.items()})
    assert model["w"].tolist() == [11.0]  # b and c score 5, the first name wins


def test_the_liar_wins_where_liars_are_taken_for_none_of_many(merged, fitted):
    """Two liars side by side are each other's nearest: f = 1 among five does not tolerate them."""
    far = {"a": 0.0, "b": 10.0, "c": 30.0, "liar-1": 1e6, "liar-2": 1e6}
    model, _, _ = merged(Krum(f=1), [0.0], {site: fitted([value]) for site, value in far.items()})
    assert model["w"].tolist() == [10.0]


def test_a_site_counts_once_however_large(merged, fitted):
    trained = {site: fitted([value], n=1 if site != "liar" else 10**6) for site, value in FIVE.items()}
    assert merged(Krum(), [0.0], trained)[0]["w"].tolist() == [1.0]


def test_distances_run_over_all_arrays(merged, fitted):
    start = Parameters({"w": np.zeros(1), "b": np.zeros(1)})
    points = {"a": (0, 5), "b": (0, 0), "c": (1, 0), "d": (0, 1), "e": (9, 9)}
    trained = {s: fitted(Parameters({"w": np.float64([x]), "b": np.float64([y])})) for s, (x, y) in points.items()}
    model, _, _ = merged(Krum(), start, trained)
    assert (model["w"][0], model["b"][0]) == (0, 0)


def test_too_few_sites_are_refused_with_the_exact_sentence(merged, fitted):
    four = {site: fitted([0.0]) for site in "abcd"}
    with pytest.raises(TrainingFailed, match=r"^merge 'krum' with f = 1 needs N >= 5 sites, got 4$"):
        merged(Krum(f=1), [0.0], four)
    assert Krum(f=30).too_few(40) == "merge 'krum' with f = 30 needs N >= 63 sites, got 40"
    assert Krum(f=30).too_few(63) == ""
