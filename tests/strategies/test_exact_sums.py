"""Exact sums: integers added up, nothing averaged."""

import numpy as np
import pytest

from cohortium.core.exact import weighted_sum
from cohortium.core.parameters import Parameters
from cohortium.core.update import Fitted, Turn, Update
from cohortium.errors import FrameError
from cohortium.strategies.exact_sums import ExactSums

TURN = Turn(round=0, sites=("a", "b"), start=Parameters({"question": np.zeros(1)}), site="a")


def answer(*values):
    return Fitted(parameters=Parameters({"sum": np.array(values, dtype=np.int64)}), n_samples=50)


def test_sums_are_added_with_weight_one_whatever_the_number_of_patients():
    update = ExactSums().conclude(TURN, (answer(3, -4),))
    assert update.weight == 1
    other = Update(site="b", parameters=answer(10, 1).parameters, weight=1)
    total, state = ExactSums().merge(TURN, weighted_sum([other, update]))
    assert total["sum"].tolist() == [13, -3]
    assert len(state) == 0


def test_a_sum_that_was_weighted_is_refused():
    with pytest.raises(FrameError, match="weight 1 each"):
        ExactSums().merge(TURN, weighted_sum([Update(site="a", parameters=answer(1).parameters, weight=2)]))


def test_a_sum_that_is_not_of_integers_is_refused():
    wrong = Update(site="a", parameters=Parameters({"sum": np.zeros(1)}), weight=1)
    with pytest.raises(FrameError, match="array 'sum' is float64"):
        ExactSums().merge(TURN, weighted_sum([wrong]))
