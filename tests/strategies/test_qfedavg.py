"""q-FedAvg by hand: the site with the larger loss pulls harder."""

import numpy as np
import pytest

from cohortium.errors import TrainingFailed
from cohortium.strategies.qfedavg import QFedAvg


def test_one_merge_by_hand(merged, fitted):
    """q = 1, lr = 0.5, D = (1, -1), F = (4, 1): (4 x 2 - 1 x 2) / ((4 + 8) + (4 + 2))."""
    trained = {"a": fitted([1.0], rate=0.5, loss=4.0), "b": fitted([-1.0], rate=0.5, loss=1.0)}
    model, _, _ = merged(QFedAvg(q=1.0), [0.0], trained)
    assert model["w"][0] == pytest.approx((8 - 2) / (12 + 6), abs=1e-15)


def test_q_zero_is_the_plain_mean(merged, fitted):
    trained = {"a": fitted([1.0], n=100, loss=9.0), "b": fitted([-3.0], n=1, loss=1.0)}
    model, _, _ = merged(QFedAvg(q=0.0), [0.0], trained)
    assert model["w"][0] == pytest.approx(-1.0, abs=1e-15)


def test_a_loss_of_zero_gives_no_infinite_weight(merged, fitted):
    model, _, _ = merged(QFedAvg(), [0.0], {"a": fitted([0.0], loss=0.0), "b": fitted([1.0], loss=1.0)})
    assert np.isfinite(model["w"]).all()


@pytest.mark.parametrize(("wrong", "said"), [({"rate": 0.0}, "plain SGD"), ({"loss": float("nan")}, "not negative")])
def test_training_without_rate_or_loss_is_refused(merged, fitted, wrong, said):
    with pytest.raises(TrainingFailed, match=said):
        merged(QFedAvg(), [0.0], {"a": fitted([1.0], **wrong)})


def test_q_out_of_range_is_refused():
    with pytest.raises(ValueError, match="q must be at least 0"):
        QFedAvg(q=-1.0)
