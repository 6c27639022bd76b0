"""Scaling by agreed ranges: known answers, nothing learned from patients, missing ranges refused by name."""

import numpy as np
import pytest

from cohortium.core.examples import Examples, Layout
from cohortium.core.parameters import Parameters
from cohortium.core.update import Instructions
from cohortium.data.public_scale import PublicScale
from cohortium.errors import InvariantBroken, StudyError

RNG = np.random.default_rng(0)
LAYOUT = Layout(features=("age", "chol", "stage=II"), outcome="binary", classes=("0", "1"))


def apply(scale, layout, x):
    start = scale.initial(layout, rng=RNG)
    assert scale.finished(start)
    return scale.apply(start, Examples(layout=layout, x=x), own=Parameters()).x


def test_a_range_becomes_minus_one_to_one_and_missing_values_its_middle():
    scale = PublicScale(ranges=(("age", 20, 80), ("*", 100, 300)))
    x = np.array([[20.0, 300.0, np.nan], [50.0, 150.0, 100.0], [95.0, np.nan, 300.0]])
    assert apply(scale, LAYOUT, x).tolist() == [[-1, 1, 0], [0, -0.5, -1], [1, 0, 1]]


@pytest.mark.parametrize("order", [1, -1])
def test_agreed_categories_are_known_and_the_longest_pattern_counts_in_any_order(order):
    scale = PublicScale(ranges=(("a*", 0, 1), ("age", 20, 80), ("chol", 0, 2))[::order])
    assert apply(scale, LAYOUT, np.array([[80.0, 1.0, 1.0], [20.0, 2.0, 0.0]])).tolist() == [[1, 0, 1], [-1, 1, -1]]


def test_images_are_centred_and_keep_their_dtype():
    layout = Layout(features=(), outcome="binary", image=(1, 2, 2))
    found = apply(PublicScale(), layout, np.array([[[[0, 0.25], [0.5, 1]]]], dtype=np.float32))
    assert found.dtype == np.float32
    assert found.tolist() == [[[[-1, -0.5], [0, 1]]]]


def test_columns_without_a_range_are_named_all_at_once():
    with pytest.raises(StudyError, match=r"no public range for column 'age', 'chol'; give cohort.ranges"):
        PublicScale().initial(LAYOUT, rng=RNG)


@pytest.mark.parametrize("bounds", [(1, 1), (2, 1), (0, float("inf")), (float("nan"), 1)])
def test_a_range_that_does_not_rise_is_refused(bounds):
    with pytest.raises(ValueError, match="ranges: 'age' must be two numbers that rise"):
        PublicScale(ranges=(("age", *bounds),))


def test_nobody_is_asked_and_nothing_else_is_known():
    scale, start = PublicScale(ranges=(("*", 0, 1),)), Parameters()
    examples = Examples(layout=LAYOUT, x=np.zeros((2, 3)))
    with pytest.raises(InvariantBroken, match="asks nobody"):
        scale.fit(start, examples, instructions=Instructions(), rng=RNG)
    with pytest.raises(InvariantBroken, match="asks nobody"):
        scale.advance(start, start)
    with pytest.raises(InvariantBroken, match="predicts nothing"):
        scale.predict(start, examples)
    assert scale.own(start, examples) == Parameters()
    assert scale.layout(start, LAYOUT) is LAYOUT
    assert scale.parts(start) == {}
