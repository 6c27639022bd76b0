"""The one-run bound: the published answers, honest coins, and what cannot be shown."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.privacy.leakage.one_run import Guesses, ceiling, even_coins, guess, lower_bound, p_value


@pytest.mark.parametrize(
    ("guessed", "right", "epsilon"),
    [(20, 20, 1.82), (60, 60, 2.97), (200, 200, 4.19), (500, 500, 5.11), (1000, 1000, 5.81), (200, 150, 0.82),
     (200, 120, 0.16), (200, 110, 0.0)],
)  # fmt: skip
def test_the_known_answers(guessed: int, right: int, epsilon: float) -> None:
    assert lower_bound(guessed, right) == pytest.approx(epsilon, abs=0.005)


@pytest.mark.parametrize("k", [0, 3, 20, 400])
def test_the_ceiling_is_every_guess_right(k: int) -> None:
    assert ceiling(k) == lower_bound(k, k)
    assert ceiling(k) >= lower_bound(k, k - 1 if k else 0)


@given(st.integers(1, 200), st.data())
@settings(max_examples=40, deadline=None)
def test_more_right_guesses_never_lower_the_bound_and_delta_never_raises_it(k: int, data) -> None:
    v = data.draw(st.integers(0, k))
    assert lower_bound(k, v) <= lower_bound(k, min(v + 1, k)) + 1e-6
    assert lower_bound(k, v, delta=1e-3, n_coins=2 * k) <= lower_bound(k, v) + 1e-6


def test_the_level_holds_where_nothing_is_learned() -> None:
    rng = np.random.default_rng(0)
    shown = [lower_bound(100, int(rng.binomial(100, 0.5))) > 0 for _ in range(400)]
    assert np.mean(shown) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
    assert p_value(100, 50, epsilon=0.0) > 0.5


def test_randomised_response_is_not_refuted_above_its_epsilon_but_close_below() -> None:
    rng, q, k = np.random.default_rng(1), 1 / (1 + np.exp(-2.0)), 2000
    bounds = [lower_bound(k, int(rng.binomial(k, q))) for _ in range(40)]
    assert sum(bound > 2.0 for bound in bounds) <= 5
    assert np.median(bounds) > 1.75


def test_guesses_take_the_two_ends_and_abstain_between() -> None:
    scores = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 0.0, 6.0, 7.0])
    member = np.array([True, False, True, False, False, True, True, True])
    assert guess(scores, member) == Guesses(n_coins=8, n_guessed=4, n_right=3)
    assert guess(scores, member, share=1.0).n_guessed == 8
    assert guess(scores[:3], member[:3]) == Guesses(n_coins=3, n_guessed=0, n_right=0)
    assert guess(scores[:3], member[:3]).bound() == 0.0


def test_sites_add_up_their_guesses() -> None:
    both = Guesses(n_coins=40, n_guessed=20, n_right=20) + Guesses(n_coins=80, n_guessed=40, n_right=40)
    assert both.bound() == pytest.approx(2.97, abs=0.005)
    with pytest.raises(ValueError, match="right ones are among the guessed"):
        Guesses(n_coins=4, n_guessed=2, n_right=3)


def test_coins_are_even_and_carry_no_order() -> None:
    rng = np.random.default_rng(2)
    firsts = [even_coins(np.ones(200), np.zeros(60), shuffled=rng.permutation)[1][0] for _ in range(200)]
    assert 60 < sum(firsts) < 140
    scores, member = even_coins(np.ones(200), np.zeros(60), shuffled=rng.permutation)
    assert (len(scores), int(member.sum())) == (120, 60)
    assert (scores == member).all()
    assert len(even_coins(np.ones(3), np.zeros(0), shuffled=rng.permutation)[0]) == 0


def test_a_held_out_split_refutes_nothing_where_the_model_forgot_everybody() -> None:
    rng = np.random.default_rng(3)
    shown = []
    for _ in range(200):
        losses = rng.normal(size=200)
        drawn = rng.permutation(200)  # a split of fixed size, as studies make it
        scores, member = even_coins(-losses[drawn[:140]], -losses[drawn[140:]], shuffled=rng.permutation)
        shown.append(guess(scores, member).bound() > 0)
    assert np.mean(shown) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)
