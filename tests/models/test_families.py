from dataclasses import replace

import numpy as np
import pytest

from cohortium.errors import DataError
from cohortium.models.families import FAMILIES, check_layout, one_hot, outcome_of, softmax, softmax_loss

ETA = np.array([-3.0, -0.5, 0.0, 1.0, 4.0])


@pytest.mark.parametrize("kind", FAMILIES)
def test_slope_and_curvature_are_derivatives_of_the_loss(kind):
    family, y, h = FAMILIES[kind], np.ones(5), 1e-4

    def loss(eta):
        return family.loss(eta, y)

    slope = (loss(ETA + h) - loss(ETA - h)) / (2 * h)
    curvature = (loss(ETA + h) - 2 * loss(ETA) + loss(ETA - h)) / h**2
    assert np.allclose(slope, family.mean(ETA) - y, rtol=1e-6, atol=1e-7)
    assert np.allclose(curvature, family.curvature(family.mean(ETA)), rtol=1e-4, atol=1e-5)


def test_logistic_loss_is_minus_the_log_probability():
    p = 1 / (1 + np.exp(-ETA))
    assert np.allclose(FAMILIES["binary"].loss(ETA, np.ones(5)), -np.log(p), atol=1e-15)
    assert np.allclose(FAMILIES["binary"].loss(ETA, np.zeros(5)), -np.log(1 - p), atol=1e-14)


def test_softmax_adds_up_to_one_and_survives_large_predictors():
    eta = np.array([[1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    chance = softmax(eta)
    assert chance[0].tolist() == [1, 0, 0]
    assert np.allclose(chance.sum(axis=1), 1, atol=1e-15)
    assert np.allclose(chance[2], np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum(), atol=1e-15)
    assert np.allclose(softmax_loss(eta, np.array([1.0, 2.0, 0.0])), [1000, np.log(3), -np.log(chance[2, 0])])
    assert softmax(np.zeros((0, 3))).shape == (0, 3)
    assert softmax_loss(np.zeros((0, 3)), np.zeros(0)).shape == (0,)


def test_one_hot():
    assert one_hot(np.array([2.0, 0.0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("binary", 2.0, "not a class of 0 to 1 in 1 of 20 rows"),
        ("binary", 0.5, "not a class of 0 to 1 in 1 of 20 rows"),
        ("counts", -1.0, r"not a whole number of 0 to 2\^20 in 1 of 20 rows"),
        ("counts", 1.5, r"not a whole number of 0 to 2\^20 in 1 of 20 rows"),
        ("classes", 3.0, "not a class of 0 to 2 in 1 of 20 rows"),
        ("numbers", np.inf, "missing or not finite in 1 of 20 rows"),
    ],
)
def test_impossible_outcomes_are_counted(kit, kind, value, sentence):
    examples = getattr(kit, kind)(20)
    y = examples.y.copy()
    y[4] = value
    with pytest.raises(DataError, match=sentence):
        outcome_of(replace(examples, y=y))
    assert outcome_of(examples) is examples.y


def test_layouts_that_do_not_fit_are_refused(kit):
    check_layout(kit.layout(2, "binary"), ("binary",), model="logistic")
    with pytest.raises(DataError, match="model 'lasso' needs an outcome of kind binary or count, got survival"):
        check_layout(kit.layout(2, "survival"), ("binary", "count"), model="lasso")
    with pytest.raises(DataError, match="learns from table columns, got images"):
        check_layout(kit.layout(0, "binary", image=(1, 8, 8)), ("binary",), model="logistic")
