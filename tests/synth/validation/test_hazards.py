import numpy as np
import pytest

from cohortium.synth.validation.hazards import HazardRatios, compare_hazards


def test_signs_and_overlap_by_hand():
    one = HazardRatios(
        names=("a", "b", "c"), real=np.array([1.0, -1.0, 0.0]), real_error=np.array([0.1, 0.1, 0.1]),
        synthetic=np.array([0.9, 1.0, 0.0]), synthetic_error=np.array([0.1, 0.1, 0.1]),
    )  # fmt: skip
    assert one.told.tolist() == [True, True, False]
    assert one.signs_kept == 0.5
    assert one.overlapping == pytest.approx(2 / 3)
    assert one.false_share == 0.5, "a is so in the real table, b is turned round, c is told by neither"


def test_effects_survive_synthesis(world):
    found = compare_hazards(world.training, world.synthetic)
    assert found.signs_kept > 0.8
    assert found.overlapping > 0.5
