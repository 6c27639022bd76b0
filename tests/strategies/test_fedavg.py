"""Federated averaging by hand, and against gradient descent on the pooled rows."""

import numpy as np
import pytest

from cohortium.core.exact import weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Turn
from cohortium.errors import TrainingFailed
from cohortium.strategies.fedavg import FedAvg

START = Parameters({"w": np.float64([1.0, 2.0])})


def turn(site=""):
    return Turn(round=0, sites=("a", "b"), start=START, site=site)


def fitted(values, n):
    return Fitted(parameters=Parameters({"w": np.float64(values)}), n_samples=n)


def merged(strategy, **sites):
    updates = [strategy.conclude(turn(site), (fitted(*what),)) for site, what in sites.items()]
    return strategy.merge(turn(), weighted_sum(updates))[0]["w"].tolist()


def test_sites_count_by_their_patients():
    assert merged(FedAvg(), a=([2.0, 2.0], 30), b=([5.0, 0.0], 10)) == [1 + (30 * 1 + 10 * 4) / 40, 2 - 20 / 40]


def test_two_equal_sites_merge_to_the_plain_mean():
    assert merged(FedAvg(), a=([2.0, 2.0], 30), b=([4.0, 0.0], 30)) == [3.0, 1.0]


def test_equal_weights_forget_the_number_of_patients():
    assert merged(FedAvg(weights="equal"), a=([2.0, 2.0], 30), b=([5.0, 0.0], 10)) == [3.5, 1.0]


def test_a_table_of_weights_is_obeyed_and_must_name_the_site():
    assert merged(FedAvg(weights={"a": 1, "b": 3}), a=([2.0, 2.0], 30), b=([6.0, 2.0], 10)) == [5.0, 2.0]
    with pytest.raises(TrainingFailed, match="no weight for site 'a'"):
        FedAvg(weights={"b": 1}).conclude(turn("a"), (fitted([0, 0], 1),))


def test_a_cap_bounds_the_largest_site():
    assert merged(FedAvg(cap=10), a=([2.0, 2.0], 1000), b=([4.0, 0.0], 10)) == [3.0, 1.0]


def test_one_full_batch_step_a_site_is_gradient_descent_on_the_pooled_rows():
    rng = np.random.default_rng(1)
    w, rows = (
        np.zeros(4),
        {s: (rng.normal(size=(n, 4)), rng.normal(size=n)) for s, n in (("a", 31), ("b", 7), ("c", 90))},
    )
    strategy, model = FedAvg(), Parameters({"w": w})
    x, y = np.concatenate([r[0] for r in rows.values()]), np.concatenate([r[1] for r in rows.values()])
    for _ in range(20):
        updates = []
        for site, (xs, ys) in rows.items():
            here = Turn(round=0, sites=tuple(rows), start=model, site=site)
            after = model["w"] - 0.05 * xs.T @ (xs @ model["w"] - ys) / len(ys)
            updates.append(strategy.conclude(here, (Fitted(parameters=Parameters({"w": after}), n_samples=len(ys)),)))
        model, _ = strategy.merge(Turn(round=0, sites=tuple(rows), start=model), weighted_sum(updates))
        w = w - 0.05 * x.T @ (x @ w - y) / len(y)
    np.testing.assert_allclose(model["w"], w, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"local_epochs": 0}, "local_epochs must be at least 1, got 0"),
        ({"sync_every": 0}, "sync_every must be at least 1 batch"),
        ({"weights": "size"}, "weights must be 'samples'"),
        ({"weights": {"a": 0}}, "site 'a' must be a whole number of 1 to 100"),
        ({"cap": 0}, "cap must be at least 1"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options, said):
    with pytest.raises(ValueError, match=said):
        FedAvg(**options)
