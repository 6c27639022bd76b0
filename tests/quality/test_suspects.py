"""The list of a site's own suspect records: what speaks against a label, and what against values."""

import numpy as np
import pytest

from cohortium.quality.evidence import SUSPECT, record_suspicion
from cohortium.quality.suspects import own_margin, suspect_odds, suspicion


def test_odds_agree_with_a_hand_calculation():
    found = suspect_odds(np.array([0.0, -2.0]), np.array([2.5, 5.5]), images=True)
    label, values = np.log(0.03 / 0.97), np.log(0.01 / 0.99)
    agree = -np.log1p(np.exp(2.0))
    assert found[0] == pytest.approx([label, values])  # a coin: the label says nothing of either
    assert found[1] == pytest.approx([label + 2.0, values + 6.0 + np.log(0.5) - agree])
    whole = np.exp(found[1]).sum()
    assert suspicion(found)[1] == pytest.approx(whole / (1 + whole))


def test_strange_values_are_suspect_though_the_label_agrees():
    sure, noise = np.array([6.0]), np.array([8.0])
    assert record_suspicion(sure, noise)[0] < SUSPECT, "with both in one number it was not listed"
    assert suspicion(suspect_odds(sure, noise, images=True))[0] > SUSPECT
    assert suspicion(suspect_odds(sure, np.array([2.0]), images=True))[0] < 0.02
    assert suspicion(suspect_odds(sure, noise, images=True))[0] < 0.95, "values alone exclude no record by themselves"


def test_a_table_has_longer_tails_than_images():
    one, odd = np.array([6.0]), np.array([5.5])
    assert (
        suspicion(suspect_odds(one, odd, images=True))[0] > SUSPECT > suspicion(suspect_odds(one, odd, images=False))[0]
    )


def test_the_one_case_of_a_site_of_controls_comes_first():
    rng = np.random.default_rng(0)
    predictor, y = rng.normal(0.5, 1.0, 60), np.zeros(60)
    y[7] = 1.0
    assert np.argmin((2 * y - 1) * predictor) != 7
    assert np.argmin(own_margin(predictor, y)) == 7


def test_where_the_level_is_the_models_margins_stay_and_steps_never_run_away():
    rng = np.random.default_rng(1)
    predictor = rng.normal(0, 2, 4000)
    y = (rng.random(4000) < 1 / (1 + np.exp(-predictor))).astype(float)
    assert own_margin(predictor, y) == pytest.approx((2 * y - 1) * predictor, abs=0.15)
    far = own_margin(np.full(80, 9.0), np.zeros(80))
    p = 1 / (1 + np.exp(far[0]))
    assert -far[0] - 9.0 == pytest.approx(-80 * p, abs=1e-6), "the slope of the posterior is 0 there"
    assert own_margin(np.array([3.0]), np.array([1.0]))[0] > 3.0
