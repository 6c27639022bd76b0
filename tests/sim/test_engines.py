"""Stacked and sequential give the same updates; `auto` stacks where it pays and is offered."""

import numpy as np
import pytest

from cohortium.core.seams import StackedLearner
from cohortium.sim.engines import ENGINES, choose_engine, train_all

pytest.importorskip("torch")


@pytest.fixture
def networks(works_of, make_study):
    options = {"name": "mlp", "layers": [4]}
    return list(works_of(make_study(model=options | {"l2": 0.0}, strategy={"name": "fedavg", "rounds": 2})).values())


@pytest.fixture
def by_sums(works_of, make_study):
    return list(works_of(make_study()).values())


def model_state(works):
    """The state of the model's first round: preparations are over."""
    state = works[0].start()
    while works[0].program.position(state)[0] < len(works[0].program.stages) - 1:
        state = works[0].program.merge(state, train_all(works, 1, state, engine="sequential"))
    return state


def test_stacked_updates_are_sequential_ones_up_to_rounding(networks):
    state = model_state(networks)
    one, other = (train_all(networks, 5, state, engine=engine) for engine in ENGINES)
    assert [update.site for update in one] == [update.site for update in other] == ["bonn", "lund", "porto"]
    for a, b in zip(one, other, strict=True):
        assert a.weight == b.weight
        assert a.parameters.vector() == pytest.approx(b.parameters.vector(), rel=1e-4, abs=1e-6)
        assert np.abs(a.parameters.vector()).max() > 1e-3, "something was learned"


def test_a_learner_by_sums_is_never_stacked_and_gives_the_same_bits(by_sums):
    state = model_state(by_sums)
    assert train_all(by_sums, 4, state, engine="stacked") == train_all(by_sums, 4, state, engine="sequential")


def test_auto_stacks_many_sites_where_the_learner_can(networks, by_sums):
    assert isinstance(networks[0].program.learner, StackedLearner)
    assert choose_engine("auto", networks) == "sequential", "three sites are too few"
    assert choose_engine("auto", networks * 2) == "stacked"
    assert choose_engine("auto", by_sums * 2) == "sequential"
    assert choose_engine("sequential", networks * 2) == "sequential"
