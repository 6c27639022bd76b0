import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.synth.phases import at_phase, phase_of


def test_a_state_says_its_phase_and_a_later_one_takes_its_place():
    state = Parameters({**at_phase(2), "n": np.zeros(1)})
    assert phase_of(state) == 2
    assert phase_of(Parameters(dict(state.items()) | at_phase(-1))) == -1
    assert at_phase(2)["phase"].dtype == np.int64
    with pytest.raises(KeyError):
        phase_of(state.without(["phase"]))
