"""Weights have limits, and a sum cannot be asked for its parts."""

import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.update import MAX_WEIGHT, Aggregate, Update
from cohortium.errors import InvariantBroken


@pytest.mark.parametrize("weight", [0, -1, MAX_WEIGHT + 1])
def test_a_weight_outside_one_to_two_to_the_29_is_refused(weight):
    with pytest.raises(ValueError, match="weight of 'porto' must be 1 to 2\\^29"):
        Update(site="porto", parameters=Parameters(), weight=weight)


@pytest.mark.parametrize("weight", [1, MAX_WEIGHT])
def test_the_limits_themselves_are_allowed(weight):
    assert Update(site="porto", parameters=Parameters(), weight=weight).weight == weight


def test_single_updates_cannot_be_taken_from_a_sum():
    hidden = Aggregate(total=Parameters(), weight=3, contributors=("a", "b", "c"))
    with pytest.raises(InvariantBroken, match="asked for single updates"):
        _ = hidden.updates
