"""FedYogi by hand: the second moment moves by a fixed share of D^2, up or down."""

import pytest

from cohortium.core.parameters import Parameters
from cohortium.strategies.fedyogi import FedYogi


@pytest.mark.parametrize(("v", "sign"), [(1e-6, 1), (1.0, -1)])
def test_second_moment_moves_towards_the_square_of_the_change(merged, fitted, v, sign):
    state = Parameters({"m/w": [0.0], "v/w": [v]})
    _, after, _ = merged(FedYogi(), [0.0], {"a": fitted([0.5])}, state=state)
    assert after["v/w"][0] == pytest.approx(v + sign * 0.01 * 0.25, abs=1e-15)


def test_a_change_equal_to_the_moment_leaves_it(merged, fitted):
    state = Parameters({"m/w": [0.0], "v/w": [0.25]})
    _, after, _ = merged(FedYogi(), [0.0], {"a": fitted([0.5])}, state=state)
    assert after["v/w"].tolist() == [0.25]


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="beta_2"):
        FedYogi(beta_2=2.0)
