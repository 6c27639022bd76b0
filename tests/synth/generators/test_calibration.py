import numpy as np
import pytest

from cohortium.synth.generators.calibration import drawn_codes, moved_flags, moved_levels


def test_a_moved_flag_has_the_frequency_and_keeps_its_odds_ratios():
    logits = np.random.default_rng(0).normal(size=(500, 2)) * 3
    moved = moved_flags(logits, np.array([0.02, 0.7]))
    np.testing.assert_allclose((1 / (1 + np.exp(-moved))).mean(axis=0), [0.02, 0.7], atol=1e-6)
    np.testing.assert_allclose(np.ptp(moved - logits, axis=0), 0.0, atol=1e-9)


def test_moved_levels_have_their_frequencies_and_padding_stays_empty():
    logits = np.random.default_rng(0).normal(size=(400, 2, 3)) * 2
    logits[:, 1, 2] = -1e9
    moved = moved_levels(logits, [np.array([0.1, 0.2, 0.7]), np.array([0.5, 0.5])])
    chance = np.exp(moved - moved.max(axis=2, keepdims=True))
    chance /= chance.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(chance.mean(axis=0), [[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]], atol=2e-3)


def test_draws_follow_the_logits():
    flags, levels = np.full((20_000, 1), np.log(0.3 / 0.7)), np.tile(np.log([0.2, 0.5, 0.3]), (20_000, 1, 1))
    drawn, chosen = drawn_codes(flags, levels, np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(0.3, abs=0.015)
    np.testing.assert_allclose(np.bincount(chosen[:, 0]) / 20_000, [0.2, 0.5, 0.3], atol=0.015)


def test_a_forbidden_level_is_never_drawn():
    flags, levels = np.full((300, 2), 5.0), np.zeros((300, 1, 3))
    drawn, chosen = drawn_codes(
        flags, levels, np.random.default_rng(0), forbidden=(np.array([1, -1]), np.array([2]))
    )  # fmt: skip
    assert drawn[:, 0].sum() == 0
    assert drawn[:, 1].sum() > 280
    assert set(chosen[:, 0]) == {0, 1}


def test_nothing_to_move_is_no_problem():
    assert moved_flags(np.zeros((5, 0)), np.zeros(0)).shape == (5, 0)
    assert moved_levels(np.zeros((5, 0, 0)), []).shape == (5, 0, 0)
