"""Evidence formulas against hand calculations in 40-digit arithmetic."""

import numpy as np
import pytest

from cohortium.quality.evidence import (
    SiteEvidence,
    log_sigmoid,
    posterior,
    record_suspicion,
    reversed_terms,
    shifted,
    site_evidence,
    sound_terms,
    trust,
    two_class,
)

MARGINS = np.array([2.0, -0.5, 1.0, -6.0])
LABELS = np.array([1.0, 1.0, 0.0, 1.0])


def close(found, expected):
    assert found == pytest.approx(expected, abs=1e-9, rel=0)


def test_terms_of_a_record_agree_with_a_hand_calculation():
    close(sound_terms(MARGINS), [-0.153210326582, -0.954802301986, -0.332407419717, -3.042991798175])
    close(reversed_terms(MARGINS), [-2.126928011043, -0.474076984180, -1.313261687518, -0.002475685138])


def test_a_site_of_four_records_agrees_with_a_hand_calculation():
    found = site_evidence(MARGINS, LABELS, novelty=1.5)
    assert (found.n, found.two_class) == (4, False)
    close(found.sound, -4.483411846461)
    close(found.reversed, -3.916742367879)
    close(found.unrelated, -1.272588722240)
    close(found.shifted, -4.792578878686)
    close(posterior(found), 0.766698086732)
    two = SiteEvidence(n=4, two_class=True, sound=found.sound, reversed=found.reversed, shifted=0.0, novelty=1.5)
    close(posterior(two), 0.789834239208)
    close(posterior(found, allow_shift=False), 0.789834239208)


def test_a_site_of_one_record_agrees_with_a_hand_calculation():
    found = site_evidence(np.array([-1.25]), np.array([0.0]), novelty=0.0)
    close((found.sound, found.reversed, found.shifted), (-1.429877954949, -0.251929081345, -1.109569024519))
    close(posterior(found), 0.306054105637)


def test_suspicion_and_trust_of_records_agree_with_a_hand_calculation():
    found = record_suspicion(MARGINS, np.array([0.0, 2.5, -1.0, 7.0]))
    close(found, [0.004168180865, 0.121735334592, 0.011249718587, 0.998530592636])
    close(trust(0.25, found)[0], 0.75 * (1 - 0.004168180865))
    assert (trust(0.99, found, anchor=True) == 1.0).all()


def test_one_record_never_says_more_than_the_clip():
    surprising = np.array([-1e6, 1e6])
    assert np.abs(reversed_terms(surprising)).max() == pytest.approx(4.0)
    assert sound_terms(surprising).min() > -4.0
    assert np.isfinite(log_sigmoid(np.array([-1e308, 1e308]))).all()


def test_a_clip_of_two_bounds_the_label_part_by_1_157():
    everywhere = sound_terms(np.linspace(-50, 50, 200_001), clip=2.0) + np.log(2)
    assert everywhere.min() == pytest.approx(-1.157, abs=5e-4)
    assert everywhere.max() == pytest.approx(0.667, abs=5e-4)


def test_a_shift_explains_a_site_whose_patients_are_all_at_higher_risk():
    margin, sign = np.full(40, -2.0), np.full(40, 1.0)
    assert shifted(margin, sign) > sound_terms(margin).sum() + 20
    mixed = np.tile([1.0, -1.0], 20)
    assert shifted(margin, mixed) < reversed_terms(margin).sum() - 50  # reversed labels are no shift


def test_three_of_each_class_make_a_two_class_site():
    assert two_class(np.array([0, 0, 0, 1, 1, 1.0]))
    assert not two_class(np.array([0, 0, 0, 0, 1, 1.0]))
