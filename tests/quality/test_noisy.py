"""Two noisy numbers a site: one patient moves them by one, their noise has its scale, verdicts know the noise."""

import math

import numpy as np
import pytest

from cohortium.privacy.dp.noise import SecretStream
from cohortium.quality.noisy import (
    GRID,
    Noisiness,
    NoisyEvidence,
    auroc_of,
    denied,
    judge_noisy,
    noisy_numbers,
    noisy_table,
    posterior,
    statistic,
    status_of,
)

KNOWN = Noisiness(strength=1.5, certain=9.0, scale=2.0)


def stream_of(seed):
    rng = np.random.default_rng(seed)
    return SecretStream(lambda n: rng.bytes(n), use="test")


def evidence(value, *, size=50, site="porto", others=None):
    """Of a site whose whole number is `value`, half of it from each class unless `others` is said."""
    others = value / 2 if others is None else others
    return NoisyEvidence(site=site, size=size, cases=value - others, others=others)


def test_no_patient_moves_both_numbers_together_by_more_than_one_in_ten_thousand_neighbouring_cohorts():
    rng, furthest = np.random.default_rng(0), 0.0
    for _ in range(10_000):
        n = int(rng.integers(5, 40))
        z, y = rng.normal(size=n) * rng.choice([0.1, 1.0, 30.0]), (rng.random(n) < 0.5).astype(float)
        keep = np.arange(n) != rng.integers(n)
        more, less = statistic(z, y), statistic(z[keep], y[keep])
        furthest = max(furthest, sum(abs(a - b) for a, b in zip(more, less, strict=True)))
    assert furthest <= 1.0 + 1e-12
    assert furthest > 0.99


def test_a_hand_calculation():
    z, y = np.array([0.4, -0.4, 8.0, 0.08]), np.array([1.0, 1.0, 0.0, 0.0])
    assert statistic(z, y) == pytest.approx((0.5 - 0.5, -1.0 - 0.1))


def test_the_noise_has_the_scale_it_says_and_stays_on_the_grid():
    z, y, stream = np.zeros(6), np.zeros(6), stream_of(1)
    drawn = np.array([noisy_numbers(z, y, scale=2.0, stream=stream) for _ in range(20_000)])
    assert np.issubdtype(drawn.dtype, np.integer)
    np.testing.assert_allclose(np.abs(drawn).mean(axis=0) * GRID, 2.0, rtol=0.03)
    np.testing.assert_allclose(drawn.mean(axis=0) * GRID, 0.0, atol=0.08)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.03
    share = np.mean(drawn.sum(axis=1) * GRID < KNOWN.cut_off(10))
    assert share == pytest.approx(0.01, abs=0.003), "alpha: a site of coins is convicted by noise alone"
    assert np.mean(drawn[:, 0] * GRID > KNOWN.agrees) == pytest.approx(0.1, abs=0.01)


def test_the_posterior_falls_with_agreement_and_knows_the_noise():
    found = [posterior(evidence(value), KNOWN) for value in (-30.0, 0.0, 15.0, 40.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.999
    assert found[-1] < 0.01
    loud = Noisiness(strength=1.5, certain=9.0, scale=40.0)
    assert posterior(evidence(-10.0), loud) < posterior(evidence(-10.0), KNOWN)


@pytest.mark.parametrize(
    ("value", "others", "kind", "look", "asked"),
    [
        (40.0, 20.0, "keep", False, False),
        (0.0, 0.0, "keep", True, False),  # coins: a look, since noise could have done that much
        (-30.0, -15.0, "quarantine", False, False),
        (-30.0, -30.0, "keep", False, True),  # no case is seen to speak against it: there may be none
        (-30.0, -29.0, "keep", False, True),
    ],
)
def test_a_verdict_for_each_case(value, others, kind, look, asked):
    found = judge_noisy(evidence(value, others=others), KNOWN, others=9)
    assert (found.kind, found.look, bool(found.question)) == (kind, look, asked)
    assert "the model of the other 9 sites" in found.reason + found.question


def test_a_different_population_is_kept_as_such_and_a_wrong_coding_is_not():
    older = judge_noisy(evidence(-30.0, others=-45.0), KNOWN, others=9)
    assert (older.kind, older.posterior, older.left_out) == ("keep-shifted", 0.0, False)
    assert older.reason == (
        "different, not harmful: the model of the other 9 sites contradicts one label and agrees with the other"
    )
    assert judge_noisy(evidence(-30.0, others=-28.0), KNOWN, others=9).kind == "quarantine"


def test_what_coins_do_by_chance_convicts_nobody_however_small_the_noise():
    still = Noisiness(strength=1.5, certain=9.0, scale=0.01)
    assert still.cut_off(100) == pytest.approx(-1.64 * np.sqrt(102 * 0.75), rel=0.15)
    assert judge_noisy(evidence(-9.0, size=100), still, others=9).kind == "keep"
    assert judge_noisy(evidence(-20.0, size=100), still, others=9).kind == "quarantine"


def test_of_a_thousand_noisy_good_sites_at_most_five_are_convicted():
    rng, stream, convicted = np.random.default_rng(4), stream_of(4), 0
    known = Noisiness(strength=1.0, certain=9.0, scale=1 / 0.6)
    for _ in range(1_000):
        n = int(rng.integers(5, 120))
        y = (rng.random(n) < rng.uniform(0.1, 0.9)).astype(float)
        z = (2 * y - 1) * 0.5 + rng.normal(size=n) + rng.normal() * 0.5  # a population of its own at every site
        cases, others = noisy_numbers(z, y, scale=1 / 0.6, stream=stream)
        one = NoisyEvidence(site="porto", size=max(10, n - n % 10), cases=cases * GRID, others=others * GRID)
        convicted += judge_noisy(one, known, others=9).left_out
    assert convicted <= 5


def test_weak_or_uncertain_probes_judge_nobody():
    assert status_of(KNOWN) == "decided"
    assert status_of(Noisiness(strength=1.5, certain=1.9, scale=2.0)) == "inconclusive"
    assert status_of(Noisiness(strength=0.3, certain=9.0, scale=2.0)) == "inconclusive"
    table = noisy_table([evidence(-30.0)], Noisiness(strength=1.5, certain=1.9, scale=2.0), sites=["porto", "lyon"])
    assert table.status == "inconclusive"
    assert {one.kind for one in table.verdicts} == {"keep"}


def test_one_record_is_no_label_contradicted_however_small_the_noise():
    quiet = Noisiness(strength=1.5, certain=9.0, scale=0.01)
    assert quiet.contradicts == -1.0
    assert KNOWN.contradicts == pytest.approx(-2.0 * math.log(2.0))
    assert judge_noisy(evidence(-31.0, others=-30.0), quiet, others=9).question
    assert judge_noisy(evidence(-32.0, others=-30.0), quiet, others=9).left_out


def test_nobody_is_judged_where_most_numbers_deny_the_sums_and_no_single_row_can_bring_that_about():
    against = [evidence(-30.0, site=name) for name in "abc"]
    table = noisy_table([*against, evidence(40.0, site="d")], KNOWN, sites="abcd")
    assert (table.status, [one.left_out for one in table.verdicts]) == ("inconclusive", [False] * 4)
    told = "most labels contradict what the sums say of them; a site may have sent false sums"
    assert table.verdicts[0].reason == told
    honest = [evidence(40.0, site=name) for name in "abc"]
    for value in (-1e15, 1e15):
        assert not denied([*honest, evidence(value, site="d")], KNOWN)


def test_a_table_is_sorted_and_says_who_has_shown_nothing_or_too_little():
    found = {"porto": -30.0, "turin": 40.0, "ulm": 45.0}
    shown = [evidence(value, site=site) for site, value in found.items()]
    shown.append(evidence(-19.0, size=10, site="bath"))
    table = noisy_table(shown, KNOWN, sites=["ulm", "turin", "porto", "lyon", "bath"])
    assert [one.site for one in table.verdicts] == ["bath", "lyon", "porto", "turin", "ulm"]
    assert table.verdicts[0].reason == "too few records to judge: fewer than 20"
    assert not table.verdicts[0].look
    assert table.verdicts[1].reason == "the site has shown no number"
    assert [one.site for one in table.verdicts if one.left_out] == ["porto"]
    assert table.auroc == pytest.approx(auroc_of(1.5), abs=1e-6)
    assert auroc_of(math.sqrt(2.0) * 1.2815515655) == pytest.approx(0.9)
