import numpy as np
import pytest

from cohortium.errors import DataError
from cohortium.synth.exchange import fit_by_sums


def test_three_sites_give_the_state_of_the_pooled_table(world):
    thirds = [world.training.take(np.arange(k, len(world.training), 3)) for k in range(3)]
    assert fit_by_sums(world.generator, thirds).digest == world.state.digest


def test_nobody_is_nothing_to_learn_from(world):
    with pytest.raises(DataError, match="no patient"):
        fit_by_sums(world.generator, [world.training.take(np.zeros(0, dtype=int))])
