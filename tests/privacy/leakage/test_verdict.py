"""Verdicts by bounds, never by point estimates; the sample size that would decide does decide."""

import numpy as np
import pytest

from cohortium.privacy.leakage.inversion import Inversion
from cohortium.privacy.leakage.membership import judge
from cohortium.privacy.leakage.one_run import Guesses
from cohortium.privacy.leakage.verdict import (
    Finding,
    Thresholds,
    on_control,
    on_epsilon,
    on_inversion,
    on_membership,
    together,
)

T = Thresholds()


def world(gap: float, n: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    return judge(rng.normal(gap, 1, n), rng.normal(0, 1, n))


def test_a_clear_leak_fails_and_names_both_figures() -> None:
    found = on_membership(world(2.0, 500), T)
    assert found.verdict == "fail"
    assert "is above 0.6" in found.reason
    assert "at 1% false alarms, above 3%" in found.reason


def test_a_large_harmless_model_passes_and_a_small_one_is_inconclusive_with_its_number() -> None:
    assert on_membership(world(0.0, 3000), T).verdict == "pass"
    small = on_membership(world(0.0, 40), T)
    assert small.verdict == "inconclusive"
    assert small.needed >= 100
    assert "not estimable" in small.reason


@pytest.mark.parametrize("seed", range(6))
def test_the_sample_size_that_would_decide_is_of_the_right_order(seed: int) -> None:
    first = on_membership(world(0.1, 120, seed), T)
    if first.verdict == "inconclusive" and first.needed:
        assert on_membership(world(0.1, 4 * first.needed, seed), T).verdict != "inconclusive"


def test_a_point_estimate_above_the_threshold_alone_does_not_fail() -> None:
    found = world(0.45, 30, seed=1)
    assert found.auc > 0.6
    assert on_membership(found, T).verdict == "inconclusive"


def test_without_anybody_outside_nothing_is_said() -> None:
    assert on_membership(None, T).verdict == "inconclusive"


def test_coins_refute_a_claim_or_say_how_much_they_could_have_shown() -> None:
    leak = Guesses(n_coins=400, n_guessed=200, n_right=200)
    assert on_epsilon(leak, claimed=3.0, delta=1e-5).verdict == "fail"
    assert on_epsilon(leak, claimed=4.5, delta=1e-5).verdict == "pass"
    honest = on_epsilon(Guesses(n_coins=120, n_guessed=60, n_right=33), claimed=3.0, delta=1e-5)
    assert honest == Finding(
        verdict="pass",
        reason="epsilon 3.00 is claimed, at least 0.00 is shown; at most 2.97 could have been shown with 60 guesses",
    )
    assert on_epsilon(leak, claimed=None, delta=0.0).reason.startswith("no epsilon is claimed; at least 4.19 is shown")


def test_one_exact_row_is_enough_to_fail() -> None:
    hit, clean = Inversion(n_rows=80, n_recovered=1, n_tried=9), Inversion(n_rows=80, n_recovered=0, n_tried=9)
    assert on_inversion(hit, protected=False).verdict == "fail"
    assert on_inversion(clean, protected=False).verdict == "pass"
    assert (
        on_inversion(hit, protected=True).reason
        == "rows of patients stood in updates exactly, but these left protected"
    )


def test_a_control_must_be_caught() -> None:
    assert on_control(world(3.0, 300), T).verdict == "pass"
    missed = on_control(world(0.0, 300), T)
    assert missed.verdict == "inconclusive"
    assert missed.reason.startswith("the attack misses a model that knows its patients by heart")


def test_the_worst_finding_counts_and_none_is_no_pass() -> None:
    good, open_, bad = (Finding(verdict=v, reason="") for v in ("pass", "inconclusive", "fail"))
    assert together([good, open_, bad]) == "fail"
    assert together([good, open_]) == "inconclusive"
    assert together([good, good]) == "pass"
    assert together([]) == "inconclusive"
