import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.privacy.secagg.scratch import Scratch

WORD = np.dtype("<u4")


def test_memory_of_a_vector_nobody_holds_is_used_again() -> None:
    scratch = Scratch()
    place = scratch.vector("floats", 1000, WORD).ctypes.data
    assert scratch.vector("floats", 1000, WORD).ctypes.data == place


def test_vector_that_somebody_holds_is_left_alone_whatever_holds_it() -> None:
    scratch = Scratch()
    for keep in (
        lambda vector: vector,
        lambda vector: vector[:10],
        lambda vector: memoryview(vector),
        lambda vector: Parameters.owning({"w": vector}),
        lambda vector: Parameters.owning({"w": vector.reshape(10, 100)}),
    ):
        first = scratch.vector("floats", 1000, WORD)
        first[:] = 7
        kept = keep(first)
        del first
        scratch.vector("floats", 1000, WORD)[:] = 8
        assert np.all(np.asarray(kept["w"] if isinstance(kept, Parameters) else kept) == 7)


def test_other_length_or_word_gives_another_vector() -> None:
    scratch = Scratch()
    assert scratch.vector("floats", 10, WORD).shape == (10,)
    assert scratch.vector("floats", 11, WORD).shape == (11,)
    assert scratch.vector("floats", 11, np.dtype("<u2")).dtype == "<u2"


def test_memory_used_again_can_be_written_though_parameters_had_locked_it() -> None:
    scratch = Scratch()
    held = Parameters.owning({"w": scratch.vector("floats", 10, WORD)})
    del held
    scratch.vector("floats", 10, WORD)[:] = 1


def test_what_lay_open_is_overwritten_at_the_end() -> None:
    with Scratch() as scratch:
        scratch.mask[:] = 5
        scratch.values[:] = 5.0
    assert not scratch.mask.any()
    assert not scratch.values.any()
