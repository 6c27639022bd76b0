import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.synth.federate.carried import Carried, carried_by, reserve_of, with_reserve
from cohortium.synth.federate.divergence import Portrait

from .conftest import examples_of


def test_states_of_several_stages_go_on_in_the_layout_and_rows_stay(world, sites):
    examples = examples_of(sites["c"][0])
    first, second = (Carried(name=name, inner=Portrait(facts=world.facts)) for name in ("one", "two"))
    seen = first.apply(Parameters({"a": np.ones(1)}), examples, own=Parameters())
    seen = second.apply(Parameters({"b": np.zeros(1)}), seen, own=Parameters())
    assert list(carried_by(seen.layout)) == ["one/a", "two/b"]
    assert seen.layout.features == examples.layout.features
    assert seen.x is examples.x
    assert len(carried_by(examples.layout)) == 0


def test_the_reserve_stays_beside_the_rows_through_preparations(world, sites):
    training, held = (examples_of(rows) for rows in sites["b"])
    assert reserve_of(training) is None
    both = with_reserve(training, held)
    seen = Carried(name="x", inner=Portrait(facts=world.facts)).apply(Parameters(), both, own=Parameters())
    assert reserve_of(seen) is held
    assert len(seen) == len(training)
