"""Gaps of a patient drawn together: frequencies are those of the whole table of levels, worked out by hand."""

import numpy as np
import pytest

from cohortium.synth.generators.climb import Family
from cohortium.synth.generators.design import Design
from cohortium.synth.generators.likelihood_weighting import Gaps, weighted_draw
from cohortium.synth.generators.network import Network
from cohortium.synth.generators.tail import Tail

N = 20_000
NETWORK = Network(
    (Family(0), Family(1, (0,)), Family(2, (1,))),
    {0: np.array([[7000], [3000]]), 1: np.array([[6300, 600], [700, 2400]]), 2: np.array([[5520, 310], [1380, 2790]])},
    (2, 2, 2),
)
"""Three flags in a row: P(a) = .3; P(b | a) = .1, .8; P(c | b) = .2, .9."""


def drawn(*, free, codes=(0, 0, 0), z=(), unknown=(), tail=None, outcome=None, levels=(2, 2, 2), **options):
    n_scores = len(z)
    design = Design((2, 2, 2), (0, 0, 0), n_scores)
    tail = tail or Tail(design, np.zeros((n_scores, design.width)), np.ones(n_scores))
    gaps = Gaps(
        np.broadcast_to(np.array(codes), (N, 3)), np.tile(np.array(free), (N, 1)), levels,
        np.tile(np.array(z, float), (N, 1)), np.tile(np.array(unknown, bool), (N, 1)),
    )  # fmt: skip
    return weighted_draw(
        NETWORK, tail, gaps, unmeasured=lambda codes: np.zeros((len(codes), n_scores), dtype=bool),
        log_outcome=outcome or (lambda places, *_: np.zeros(len(places))), rng=np.random.default_rng(0),
        **options,
    )  # fmt: skip


def test_parents_follow_what_is_known_of_their_children():
    """P(a, b | c = 1): .07 x .2... the four products by hand, divided by their sum .417."""
    codes, _, _ = drawn(free=(True, True, False), codes=(0, 0, 1))
    joint = {(0, 0): 0.7 * 0.9 * 0.2, (0, 1): 0.7 * 0.1 * 0.9, (1, 0): 0.3 * 0.2 * 0.2, (1, 1): 0.3 * 0.8 * 0.9}
    for (a, b), p in joint.items():
        share = ((codes[:, 0] == a) & (codes[:, 1] == b)).mean()
        assert share == pytest.approx(p / sum(joint.values()), abs=0.015)
    assert (codes[:, 2] == 1).all()


def test_a_level_that_may_not_be_drawn_is_not_and_the_others_keep_their_odds():
    codes, _, _ = drawn(free=(True, True, False), codes=(0, 0, 1), levels=(2, 1, 2))
    assert (codes[:, 1] == 0).all()
    assert codes[:, 0].mean() == pytest.approx(0.3 * 0.2 / (0.3 * 0.2 + 0.7 * 0.9), abs=0.01)


def test_known_and_unknown_scores_weigh_in_by_their_regression():
    """Score 0 is b + noise and known to be 1.5, score 1 is half of score 0 + a + noise of sd .6 and unknown."""
    design = Design((2, 2, 2), (0, 0, 0), 2)
    coefficients = np.zeros((2, design.width))
    coefficients[0, 2] = 1.0
    coefficients[1, [1, design.n_levels]] = 1.0, 0.5
    tail = Tail(design, coefficients, np.array([1.0, 0.6]))
    codes, z, scored = drawn(free=(False, True, True), z=(1.5, 0.0), unknown=(False, True), tail=tail)
    odds = np.exp(-0.5 * 0.5**2) * 0.1 / (np.exp(-0.5 * 1.5**2) * 0.9)
    assert codes[:, 1].mean() == pytest.approx(odds / (1 + odds), abs=0.015)
    assert scored.all()
    assert (z[:, 0] == 1.5).all()
    assert (z[:, 1].mean(), z[:, 1].std()) == (pytest.approx(0.75, abs=0.02), pytest.approx(0.6, abs=0.02))


def test_the_outcome_weighs_in():
    """An outcome ten times as likely with a: odds of .3 to .7 become tenfold."""
    codes, _, _ = drawn(
        free=(True, False, False), codes=(0, 0, 0), outcome=lambda at, codes, z, there: np.log(10.0) * codes[:, 0]
    )
    odds = 10 * 0.3 * 0.2 / (0.7 * 0.9)
    assert codes[:, 0].mean() == pytest.approx(odds / (1 + odds), abs=0.015)


def test_with_the_patient_as_he_stands_among_the_draws_the_odds_stay_as_they_are():
    """Patients drawn by the odds themselves are moved by three more draws: most of them elsewhere, the odds nowhere.
    Three draws alone come nowhere near the odds."""
    p = np.array([0.7 * 0.9 * 0.2, 0.7 * 0.1 * 0.9, 0.3 * 0.2 * 0.2, 0.3 * 0.8 * 0.9])
    at = np.random.default_rng(1).choice(4, size=N, p=p / p.sum())
    start = np.column_stack([at // 2, at % 2, np.ones(N, dtype=np.int64)])
    moved, _, _ = drawn(free=(True, True, False), codes=start, tries=4, among=True)
    shares = np.bincount(2 * moved[:, 0] + moved[:, 1], minlength=4) / N
    assert shares == pytest.approx(p / p.sum(), abs=0.015)
    assert (moved[:, 2] == 1).all()
    assert (moved != start).any(axis=1).mean() > 0.3
    alone, _, _ = drawn(free=(True, True, False), codes=start, tries=3)
    assert np.abs(np.bincount(2 * alone[:, 0] + alone[:, 1], minlength=4) / N - p / p.sum()).max() > 0.05
