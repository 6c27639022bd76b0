import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError
from cohortium.synth.federate.parcels import packed_rows, packed_state, unpacked_rows, unpacked_state


def test_rows_come_back_as_they_were_gaps_and_all(world):
    rows = world.training.take(np.arange(50))
    packed = packed_rows(rows, size=80)
    assert packed["values"].shape == (80, len(world.facts.names))
    found = unpacked_rows(packed, world.facts)
    assert all(np.array_equal(found[name], rows[name], equal_nan=True) for name in rows)
    with pytest.raises(ValueError, match="do not fit"):
        packed_rows(rows, size=49)


@pytest.mark.parametrize("wrong", [{"n": np.array([81])}, {"n": np.array([-1])}, {"gaps": np.zeros((2, 2), np.uint8)}])
def test_rows_of_another_shape_are_refused(world, wrong):
    packed = packed_rows(world.training.take(np.arange(50)), size=80) | Parameters(wrong)
    with pytest.raises(FrameError, match="agreed shape"):
        unpacked_rows(packed, world.facts)


def test_a_model_comes_back_to_the_bit_from_a_longer_parcel(world):
    packed = packed_state(world.state)
    longer = packed_state(world.state, size=len(packed["bytes"]) + 1000)
    assert unpacked_state(longer).digest == world.state.digest
    assert len(unpacked_state(Parameters({"n": np.zeros(1, dtype=np.int64), "bytes": longer["bytes"]}))) == 0


@pytest.mark.parametrize("n", [-1, 100, 1 << 40])
def test_bytes_that_are_no_model_are_refused(world, n):
    packed = packed_state(world.state)
    with pytest.raises(FrameError):
        unpacked_state(Parameters({"n": np.array([n]), "bytes": packed["bytes"]}))
    with pytest.raises(FrameError):
        unpacked_state(Parameters({"x": np.ones(1)}))
