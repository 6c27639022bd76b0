"""The terms of a private run: who knows which part of the noise, and what a round costs then."""

import math

import pytest

from cohortium.core.private import PrivacyTerms
from cohortium.core.spending import MechanismEvent


def terms(**changes):
    plain = {"epsilon": 3.0, "delta": 1e-5, "noise_multiplier": 2.0, "steps": 300, "steps_a_round": 10}
    return PrivacyTerms(**{**plain, "sample_rate": 0.1, **changes})


def shared(**changes):
    return terms(mode="distributed", steps_a_round=1, n_sites=10, n_colluders=3, n_silent=2, **changes)


def test_a_site_that_adds_all_the_noise_is_private_against_everybody():
    one = terms()
    assert one.own_multiplier == 2.0
    assert one.least_survivors == 1
    whole = (MechanismEvent.poisson_gaussian(q=0.1, sigma=2.0, count=10),)
    assert {one.events(against=party) for party in ("outsiders", "colluders", "alone")} == {whole}
    assert one.planned() == (MechanismEvent.poisson_gaussian(q=0.1, sigma=2.0, count=300),)


def test_shared_noise_is_whole_with_c_colluding_and_d_silent_sites():
    one = shared()
    assert one.n_sharing == 5
    assert one.own_multiplier == pytest.approx(2.0 / math.sqrt(5))
    assert one.least_survivors == 8
    assert one.delivered() == pytest.approx(2.0)
    assert one.delivered(n_survivors=10) == pytest.approx(2.0 * math.sqrt(7 / 5))
    assert one.delivered(n_survivors=10, against="outsiders") == pytest.approx(2.0 * math.sqrt(2))
    assert one.delivered(n_survivors=10, against="alone") == pytest.approx(one.own_multiplier)


def test_events_tell_the_noise_that_was_delivered():
    (event,) = shared().events(n_survivors=9)
    assert float(event.sigma) == pytest.approx(2.0 * math.sqrt(6 / 5), abs=1e-6)
    assert event.count == 1
    assert shared().events(steps=0) == ()


def test_hiding_a_site_is_one_gaussian_a_round():
    one = terms(unit="site", sample_rate=1.0, steps=20, steps_a_round=1, n_sites=5, n_colluders=1, n_silent=1)
    assert one.shared
    assert one.planned() == (MechanismEvent.gaussian(sigma=2.0, count=20),)


def test_a_norm_that_follows_the_sites_is_paid_for_in_an_event_of_its_own():
    one = terms(unit="site", clip="quantile", sample_rate=1.0, steps=20, steps_a_round=1, n_sites=5, n_colluders=1,
                n_silent=1)  # fmt: skip
    update, count = (float(event.sigma) for event in one.planned())
    assert count == 8.0
    assert update**-2 + count**-2 == pytest.approx(2.0**-2, rel=1e-5)
    assert [event.count for event in one.planned()] == [20, 20]
    assert not terms(clip="quantile").counts_whole, "one site's own steps count patients, in the sampled event"


def test_noise_that_nobody_is_left_to_add_is_refused():
    with pytest.raises(ValueError, match="no site is left to add noise: 3 sites with 1 colluding and 2 silent"):
        terms(mode="distributed", n_sites=3, n_colluders=1, n_silent=2)
