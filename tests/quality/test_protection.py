"""The fairness guard keeps the right sites, and only those."""

import numpy as np
import pytest

from cohortium.core import fixed_point as fp
from cohortium.quality.protection import AS_EXPECTED, expected_auroc, protects, question, ranking


def test_auroc_and_its_distance_from_chance_agree_with_a_hand_calculation():
    found = ranking(np.array([0.1, 0.4, 0.35, 0.8, 0.4]), np.array([0, 0, 1, 1, 1.0]))
    assert found.auroc == pytest.approx(4.5 / 6)
    assert found.errors == pytest.approx((4.5 / 6 - 0.5) / np.sqrt(6 / (12 * 2 * 3)))


def test_a_reversed_site_is_not_protected():
    y = np.repeat([0.0, 1.0], 10)
    right, turned = ranking(y, y), ranking(-y, y)
    assert (right.auroc, turned.auroc) == (1.0, 0.0)
    assert protects(right.errors, 9.0, novelty=0.0, two_class=True)
    assert not protects(turned.errors, 0.0, novelty=0.0, two_class=True)


def test_the_guard_holds_from_a_one_sided_ninety_percent_on_and_never_for_one_class():
    assert protects(1.29, 9.0, novelty=1.9, two_class=True)
    assert not protects(1.28, 0.0, novelty=0.0, two_class=True)
    assert not protects(5.0, 0.0, novelty=0.0, two_class=False)
    assert ranking(np.arange(5.0), np.zeros(5)).errors == 0.0


def test_what_is_expected_agrees_with_all_pairs_one_by_one_and_with_labels_that_were_drawn():
    rng = np.random.default_rng(1)
    u = np.round(rng.normal(scale=1.5, size=40), 1)  # with ties
    p = 0.03 + 0.94 * fp.sigmoid(u)
    pairs = [(p[i] * (1 - p[j]), (u[i] > u[j]) + 0.5 * (u[i] == u[j])) for i in range(40) for j in range(40) if i != j]
    weight, right = np.array(pairs).T
    assert expected_auroc(u, u) == pytest.approx(float((weight * right).sum() / weight.sum()), abs=1e-12)
    drawn = [ranking(u, (rng.uniform(size=40) < p).astype(float)) for _ in range(2000)]
    assert np.mean([one.auroc for one in drawn]) == pytest.approx(expected_auroc(u, u), abs=0.005)
    assert expected_auroc(np.zeros(1), np.zeros(1)) == 0.5


def test_of_patients_who_are_alike_less_is_expected_so_a_narrow_ward_stays_and_a_wide_one_with_that_auroc_does_not():
    rng = np.random.default_rng(2)
    narrow, wide = rng.normal(scale=0.7, size=94), rng.normal(scale=2.5, size=94)
    y = (rng.uniform(size=94) < fp.sigmoid(narrow)).astype(float)
    place = np.argsort(np.argsort(narrow))
    same_ranks = np.sort(wide)[place]
    kept, lost = ranking(narrow, y, predictor=narrow), ranking(same_ranks, y, predictor=same_ranks)
    assert kept.auroc == lost.auroc
    assert kept.errors == lost.errors
    assert kept.expected < 0.72 < 0.85 < lost.expected
    assert protects(kept.errors, kept.shortfall, novelty=5.0, two_class=True)
    assert not protects(lost.errors, lost.shortfall, novelty=5.0, two_class=True)
    assert protects(lost.errors, lost.shortfall, novelty=1.0, two_class=True)  # hard to rank, but nothing new


def test_a_site_drawn_from_the_models_own_probabilities_hardly_ever_falls_short():
    rng = np.random.default_rng(3)
    missed = 0
    for _ in range(400):
        u = rng.normal(scale=1.5, size=60)
        found = ranking(u, (rng.uniform(size=60) < 0.03 + 0.94 * fp.sigmoid(u)).astype(float), predictor=u)
        missed += found.shortfall >= AS_EXPECTED
    assert missed <= 16  # about 2.3 % of 400, twice its error above


def test_the_question_to_a_one_class_site_reads_as_agreed():
    assert question(62, majority=0) == (
        "all 62 records say 0 = control, the model of the other sites expects 1; please confirm the coding"
    )
    assert "say 1 = case, the model of the other sites expects 0" in question(9, majority=1)
