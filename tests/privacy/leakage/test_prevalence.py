"""A share that shapes the model is told; one that does not is guessed."""

import numpy as np
import pytest

from cohortium.privacy.leakage.prevalence import infer_property


def test_answers_that_move_with_the_share_tell_it() -> None:
    rng = np.random.default_rng(0)
    shift = np.array([1.0, 0.0, -0.5])
    low, high = rng.normal(size=(30, 3)), rng.normal(size=(30, 3)) + 3 * shift
    found = infer_property(low, high, 3 * shift)
    assert found.figures.auc > 0.95
    assert found.target > 0 > infer_property(low, high, 0 * shift).target


def test_answers_that_do_not_are_guessed_and_no_model_is_judged_by_itself() -> None:
    rng = np.random.default_rng(1)
    areas = [
        infer_property(rng.normal(size=(12, 40)), rng.normal(size=(12, 40)), np.zeros(40)).figures.auc
        for _ in range(40)
    ]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.08), "40 answers of 24 models would fit any labels"


def test_too_few_models_or_constant_answers_say_nothing() -> None:
    assert infer_property(np.zeros((1, 3)), np.zeros((5, 3)), np.zeros(3)) is None
    found = infer_property(np.ones((4, 3)), np.ones((4, 3)), np.ones(3))
    assert found.figures.auc == 0.5
    assert found.target == 0.0
