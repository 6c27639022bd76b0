"""Round figures: the few that everybody reads, from held-out patients, none before there is a model."""

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.models.kaplan_meier import KaplanMeier
from cohortium.sim.round_measures import measure_round


class Fixed:
    """Predicts its only column."""

    learns_by = "weights"

    def predict(self, parameters, examples):
        return examples.x[:, 0]


LAYOUT = Layout(features=("p",), outcome="binary", classes=("0", "1"))


def test_a_hand_calculated_auroc_and_brier():
    examples = Examples(layout=LAYOUT, x=np.array([[0.1], [0.6], [0.4], [0.9]]), y=np.array([0.0, 0.0, 1.0, 1.0]))
    found = measure_round(Fixed(), Parameters(), examples)
    assert found["auroc"] == pytest.approx(3 / 4)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert found["accuracy"] == pytest.approx(2 / 4)
    assert set(found) == {"auroc", "accuracy", "brier"}


def test_what_cannot_be_computed_is_left_out():
    one_class = Examples(layout=LAYOUT, x=np.array([[0.1], [0.2]]), y=np.zeros(2))
    found = measure_round(Fixed(), Parameters(), one_class)
    assert "auroc" not in found
    assert "brier" in found


def test_nobody_held_out_gives_no_figure():
    assert measure_round(Fixed(), Parameters(), Examples(layout=LAYOUT, x=np.zeros((0, 1)), y=np.zeros(0))) == {}


def test_a_model_by_sums_without_an_answer_yet_gives_no_figure():
    layout = Layout(features=(), outcome="survival", resolution=30.0, horizon=300.0)
    ones = np.ones(3)
    examples = Examples(layout=layout, x=np.zeros((3, 0)), time=ones * 90, event=np.ones(3, dtype=np.int8))
    learner = KaplanMeier()
    first = learner.initial(layout, rng=np.random.default_rng(0))
    assert measure_round(learner, first, examples) == {}
