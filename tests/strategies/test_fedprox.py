"""FedProx: averaging, but the sites train on a leash."""

import numpy as np
import pytest

from cohortium.core.exact import weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Turn
from cohortium.strategies.fedprox import FedProx


def test_sites_are_asked_to_stay_near_the_shared_model():
    turn = Turn(round=0, sites=("a",), start=Parameters({"w": np.zeros(1)}), site="a")
    (asked,) = FedProx(mu=0.3, local_epochs=2).instruct(turn)
    assert (asked.proximal, asked.anchor, asked.local_epochs) == (0.3, None, 2)


def test_one_proximal_round_by_hand():
    """Loss (w - t)^2 / 2 solved exactly at each site: w = (t + mu x)/(1 + mu)."""
    start, mu, updates = Parameters({"w": np.float64([1.0])}), 0.5, []
    for site, target, n in (("a", 4.0, 3), ("b", -2.0, 1)):
        turn = Turn(round=0, sites=("a", "b"), start=start, site=site)
        solved = Parameters({"w": (target + mu * start["w"]) / (1 + mu)})
        updates.append(FedProx(mu=mu).conclude(turn, (Fitted(parameters=solved, n_samples=n),)))
    model, _ = FedProx(mu=mu).merge(Turn(round=0, sites=("a", "b"), start=start), weighted_sum(updates))
    assert model["w"][0] == pytest.approx((3 * 3.0 + 1 * -1.0) / 4, abs=1e-15)


@pytest.mark.parametrize("mu", [-0.1, float("inf"), float("nan")])
def test_a_leash_out_of_range_is_refused(mu):
    with pytest.raises(ValueError, match="mu must be at least 0"):
        FedProx(mu=mu)
