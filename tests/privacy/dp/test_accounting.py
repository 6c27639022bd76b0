"""Epsilon against the published answers of the accountant, and noise that keeps what it promises."""

import math

import pytest

pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'cohortium[dp]'")

from cohortium.core.spending import MechanismEvent as Event
from cohortium.errors import MissingExtra
from cohortium.privacy.dp.accounting import accountant, calibrate, epsilon, micro, quick_epsilon

DELTA = 1e-5


def poisson(q, sigma, count):
    return Event.poisson_gaussian(q=q, sigma=sigma, count=count)


KNOWN = [
    (poisson(0.1, 1.0, 300), 13.710, 12.398),
    (poisson(0.05, 1.1, 1000), 10.015, 9.192),
    (Event.gaussian(sigma=5.0, count=50), 7.077, 6.573),
    (poisson(0.1, 2.584471, 300), 3.273, 3.000),
]


@pytest.mark.parametrize(("event", "renyi", "pld"), KNOWN)
def test_the_listed_answers_within_half_a_percent(event, renyi, pld):
    assert quick_epsilon([event], delta=DELTA) == pytest.approx(renyi, rel=0.005)
    assert epsilon([event], delta=DELTA) == pytest.approx(pld, rel=0.005)


def test_one_gaussian_agrees_with_the_closed_form():
    assert epsilon([Event.gaussian(sigma=1.0)], delta=DELTA) == pytest.approx(4.3772, rel=1e-4)


@pytest.mark.parametrize(("sigma", "count", "delta"), [(0.7, 3, 1e-3), (10.0, 40, 1e-6), (5.0, 1, 1e-9)])
def test_gaussians_cost_what_their_privacy_loss_distribution_says(sigma, count, delta):
    from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism

    loss = from_gaussian_mechanism(sigma / math.sqrt(count), value_discretization_interval=1e-4)
    assert epsilon([Event.gaussian(sigma=sigma, count=count)], delta=delta) == pytest.approx(
        loss.get_epsilon_for_delta(delta), abs=1e-6
    )


def test_three_runs_are_composed_and_not_added():
    event, _, alone = KNOWN[0]
    together = epsilon([event] * 3, delta=DELTA)
    assert together == pytest.approx(23.60, rel=0.005)
    assert together < 0.7 * 3 * alone


@pytest.mark.parametrize(("runs", "spent"), [(2, 4.41), (3, 5.55), (5, 7.47), (8, 9.89)])
def test_runs_of_epsilon_three(runs, spent):
    assert epsilon([poisson(0.1, 2.584471, 300)] * runs, delta=DELTA) == pytest.approx(spent, rel=0.005)


def test_mixed_events_compose_in_any_order_and_cost_more_than_each():
    mixed = [poisson(0.1, 2.0, 100), Event.gaussian(sigma=8.0), poisson(0.2, 3.0, 20), Event.laplace(scale=4.0)]
    spent = epsilon(mixed, delta=DELTA)
    assert spent == epsilon(reversed(mixed), delta=DELTA)
    assert max(epsilon([one], delta=DELTA) for one in mixed) < spent < sum(epsilon([one], delta=DELTA) for one in mixed)


@pytest.mark.parametrize(
    "events",
    [
        [poisson(0.2, 1.4, 1)],
        [poisson(0.2, 1.4, 37), poisson(0.2, 1.5, 3)],
        [poisson(0.1, 2.0, 10), Event.gaussian(sigma=8.0, count=4), Event.laplace(scale=4.0, count=2)],
    ],
)
def test_remembered_steps_add_up_to_what_the_accountant_itself_says(events):
    from dp_accounting import GaussianDpEvent, LaplaceDpEvent, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant

    oracle = PLDAccountant(value_discretization_interval=1e-4)
    for one in events:
        if one.type == "laplace":
            oracle.compose(LaplaceDpEvent(float(one.scale)), one.count)
            continue
        plain = GaussianDpEvent(float(one.sigma))
        oracle.compose(plain if one.type == "gaussian" else PoissonSampledDpEvent(float(one.q), plain), one.count)
    assert epsilon(events, delta=DELTA) == pytest.approx(oracle.get_epsilon(DELTA), rel=1e-9)


def test_a_patient_in_every_batch_is_one_gaussian():
    assert epsilon([poisson(1.0, 5.0, 50)], delta=DELTA) == epsilon([Event.gaussian(sigma=5.0, count=50)], delta=DELTA)


def test_a_tree_costs_what_its_levels_cost():
    tree = epsilon([Event.tree(sigma=5.0, steps=8)], delta=DELTA)
    assert tree == pytest.approx(epsilon([Event.gaussian(sigma=5.0, count=4)], delta=DELTA), rel=1e-3)
    assert tree > epsilon([Event.gaussian(sigma=5.0, count=3)], delta=DELTA)


def test_concentrated_privacy_is_accounted_by_renyi_also_together_with_others():
    assert epsilon([Event.zcdp(rho=0.1)], delta=DELTA) < 0.1 + 2 * math.sqrt(0.1 * math.log(1 / DELTA)) + 1e-9
    both = [Event.zcdp(rho=0.1), Event.gaussian(sigma=3.0)]
    assert epsilon(both, delta=DELTA) > epsilon([Event.gaussian(sigma=3.0)], delta=DELTA)


def test_nothing_spent_is_zero_and_hardly_any_noise_no_guarantee():
    assert epsilon([], delta=DELTA) == quick_epsilon([], delta=DELTA) == 0.0
    assert epsilon([Event.gaussian(sigma=0.01)], delta=DELTA) > 1000


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [0.5, 3.0, 8.0])
def test_calibrated_noise_reaches_epsilon_and_a_little_less_does_not(wanted):
    sigma = calibrate(lambda s: [poisson(0.1, s, 300)], epsilon=wanted, delta=DELTA)
    assert epsilon([poisson(0.1, sigma, 300)], delta=DELTA) <= wanted
    assert epsilon([poisson(0.1, 0.999 * sigma, 300)], delta=DELTA) > wanted


@pytest.mark.slow
def test_calibration_counts_what_else_is_spent():
    alone = calibrate(lambda s: [poisson(0.1, s, 100)], epsilon=2.0, delta=DELTA)
    beside = calibrate(lambda s: [poisson(0.1, s, 100), Event.gaussian(sigma=5.0)], epsilon=2.0, delta=DELTA)
    assert beside > 1.05 * alone
    with pytest.raises(ValueError, match="no noise reaches epsilon"):
        calibrate(lambda s: [poisson(0.1, s, 100), Event.gaussian(sigma=0.5)], epsilon=2.0, delta=DELTA)


def test_millionths_are_rounded_up():
    assert micro(0.8120001) == 812001
    assert micro(3.0) == 3_000_000
    assert micro(math.inf) == 1 << 62


def test_the_accountant_says_its_version():
    assert accountant().startswith("dp-accounting 0.")
    assert accountant().endswith("PLD 1e-4")


def test_without_the_extra_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dp_accounting", None)
    with pytest.raises(MissingExtra, match=r"differential privacy needs the extra 'dp'"):
        accountant()
