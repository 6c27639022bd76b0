"""Noisy evidence: the sensitivity holds, the noise has its scale, the cut-off moves with it."""

import math
import os

import numpy as np
import pytest

from cohortium.quality.noisy import (
    GRID,
    NoisyEvidence,
    _noisy,
    cut_off,
    judge_noisy,
    noise_scale,
    release,
    sensitivity,
    statistic,
)
from cohortium.quality.protection import ranking


def cohort(rng, n, *, cases=None):
    y = (rng.random(n) < rng.random()).astype(float)
    if cases is not None:
        y[:] = cases
    scale = rng.choice([0.5, 3.0, 30.0])
    return rng.normal(size=n) * scale, y, np.clip(rng.normal(size=n) * rng.choice([0.5, 4.0]), -3, 8)


@pytest.mark.slow
def test_one_patient_more_or_less_never_moves_the_number_beyond_the_bound():
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(10_000):
        n = int(rng.integers(6, 40))
        margin, y, oddity = cohort(rng, n, cases=None if rng.random() < 0.5 else 0)
        usual = float(rng.normal() * 0.5)
        if min(y.sum(), n - y.sum()) == 3:
            continue  # which kind a site is is declared publicly and does not follow a single patient
        whole = statistic(margin, y, oddity, usual=usual)
        keep = np.arange(n) != rng.integers(n)
        less = statistic(margin[keep], y[keep], oddity[keep], usual=usual)
        change = abs(whole - less)
        worst = max(worst, change / sensitivity(n - 1))
        assert change <= sensitivity(n - 1) + 1e-9
    assert worst > 0.5  # the bound is not a bound on something else


def test_the_bound_agrees_with_a_hand_calculation():
    assert sensitivity(16) == pytest.approx(1.157 + 8 / 15)
    assert sensitivity(31) == sensitivity(16)  # the scale is chosen from the size class, not from n
    assert sensitivity(5) == pytest.approx(1.157 + 8 / 3)
    assert noise_scale(16, epsilon=2.0) == pytest.approx((sensitivity(16) + GRID) / 2)


def stream_of(seed):
    from cohortium.privacy.dp.noise import SecretStream

    rng = np.random.default_rng(seed)
    return SecretStream(lambda n: rng.bytes(n), use="test")


def test_noise_has_the_promised_scale_and_not_two_thirds_of_it():
    stream = stream_of(1)
    drawn = np.array([_noisy(3.0, scale=1.7, stream=stream) for _ in range(20_000)]) - 3.0
    assert np.abs(drawn).mean() == pytest.approx(1.7, rel=0.03)
    assert (np.abs(drawn) > 1.7 * 3).mean() == pytest.approx(math.exp(-3), rel=0.12)
    assert (drawn / GRID == np.rint(drawn / GRID)).all()


def test_the_cut_off_moves_out_with_the_noise():
    assert cut_off(0.0) == pytest.approx(-(math.log(0.82 / 0.18) + math.log(19)))
    assert cut_off(1.0) - cut_off(2.0) == pytest.approx(math.log(50))


def test_good_sites_are_hardly_ever_convicted_by_noise_and_bad_ones_are_found():
    rng = np.random.default_rng(2)
    wrong = found = 0
    for trial in range(1000):
        y = (np.arange(40) % 2).astype(float)
        z = rng.normal(size=40) + 1.6 * (2 * y - 1)
        entropy = stream_of(trial).bytes
        for labels in (y, 1 - y):
            told, events = release("a", (2 * labels - 1) * 1.5 * z, labels, np.zeros(40), z, usual=0.0, epsilon=1.0,
                                   entropy=entropy)  # fmt: skip
            verdict = judge_noisy(told, others=82)
            if labels is y:
                wrong += verdict.left_out
                assert len(events) == 1
            else:
                found += verdict.left_out
                assert [e.scale for e in events] == ["1.0", "4.0"] or not verdict.left_out
    assert wrong <= 5
    assert found >= 950


def test_a_site_below_five_records_releases_nothing():
    assert release("a", np.ones(4), np.ones(4), np.zeros(4), np.ones(4), usual=0.0, epsilon=1.0,
                   entropy=os.urandom) == (None, ())  # fmt: skip


def test_noise_comes_from_the_entropy_it_is_handed():
    given = (np.ones(9), np.ones(9), np.zeros(9), np.ones(9))
    first, again, other = (
        release("a", *given, usual=0.0, epsilon=1.0, entropy=stream_of(seed).bytes)[0] for seed in (1, 1, 2)
    )
    assert first == again
    assert first.value != other.value


def test_a_convicted_site_that_ranks_rightly_is_shifted_and_one_class_is_asked():
    bad = NoisyEvidence(site="a", size_class=32, two_class=True, value=-40.0, scale=1.5, ranking=3.0)
    assert judge_noisy(bad, others=9).kind == "keep-shifted"
    alone = NoisyEvidence(site="a", size_class=32, two_class=False, value=-40.0, scale=1.5)
    assert "please confirm the coding" in judge_noisy(alone, others=9).question
    assert not judge_noisy(alone, others=9).left_out
    turned = NoisyEvidence(site="a", size_class=32, two_class=True, value=-40.0, scale=1.5, ranking=-3.0)
    assert judge_noisy(turned, others=9).kind == "quarantine"


def test_a_fixed_cut_off_would_convict_good_sites():
    rng = np.random.default_rng(3)
    y = (np.arange(12) % 2).astype(float)
    fixed = moved = 0
    for trial in range(500):
        z = rng.normal(size=12) + 0.6 * (2 * y - 1)
        told, _ = release("a", (2 * y - 1) * z, y, np.zeros(12), z, usual=0.0, epsilon=0.5,
                          entropy=stream_of(trial).bytes)  # fmt: skip
        fixed += told.value < cut_off(0.0)
        moved += told.value < cut_off(told.scale)
    assert fixed > 10 * max(moved, 1)
    assert ranking(z, y).auroc > 0.5
