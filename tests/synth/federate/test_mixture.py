import numpy as np
import pytest

from cohortium.errors import UsageError
from cohortium.synth.federate.mixture import Mixture, Pool, mixture_of, opened, pool_of
from cohortium.synth.rows import Rows
from cohortium.synth.uses.impute import fill


class Constant:
    """Draws patients that are all one number."""

    def __init__(self, facts):
        self.facts = facts

    def sample(self, state, n, *, rng):
        return Rows(self.facts, {name: np.full(n, float(state["n"][0])) for name in self.facts.names})


def test_patients_come_from_the_sites_by_their_numbers(world):
    mixture = Mixture(Constant(world.facts))
    state = mixture_of([(world.state, 300), (world.state, 100)]) | _numbers(7, 9)
    drawn = mixture.sample(state, 4000, rng=np.random.default_rng(0))
    assert float((drawn["age"] == 7).mean()) == pytest.approx(0.75, abs=0.03)
    assert drawn["age"][0] != drawn["age"][-1] or len(set(drawn["age"][:50])) == 2  # mixed, not in blocks
    assert mixture.finished(state)


def _numbers(*values):
    from cohortium.core.parameters import Parameters

    return Parameters({f"site/{k}/n": np.array([value]) for k, value in enumerate(values)})


def test_models_of_several_sites_fill_no_gaps(world):
    """Which site a patient with gaps resembles would have to be weighed; a site drawn by its size gets it wrong."""
    state = mixture_of([(world.state, 1), (world.state, 1)])
    for made, held in ((Mixture(world.generator), state), (Pool(world.facts), pool_of(world.training))):
        with pytest.raises(UsageError, match="another federation than ensemble or sharing"):
            fill(made, held, world.reserve, sets=1, rng=np.random.default_rng(1))


def test_a_pool_gives_each_row_once_and_no_more(world):
    rows = world.training.take(np.arange(100))
    pool, state = Pool(world.facts), pool_of(rows)
    drawn = pool.sample(state, 100, rng=np.random.default_rng(0))
    assert sorted(map(bytes, drawn.matrix())) == sorted(map(bytes, rows.matrix()))
    with pytest.raises(UsageError, match="shared 100 rows, 101 were asked for"):
        pool.sample(state, 101, rng=np.random.default_rng(0))


def test_the_state_tells_what_draws_from_it(world):
    assert opened(world.generator, world.state) is world.generator
    assert isinstance(opened(world.generator, mixture_of([(world.state, 1)])), Mixture)
    assert isinstance(opened(world.generator, pool_of(world.training)), Pool)
