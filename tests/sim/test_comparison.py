"""Exact sums: the swarm is the pooled model; own models are trained on own rows only."""

import numpy as np
import pytest

from cohortium.core.randomness import Chance
from cohortium.sim.cohorts import gather
from cohortium.sim.comparison import compare, train_plainly

CHANCE = Chance(0, secrets_from_system=False)


@pytest.fixture
def rows(study, tables):
    return gather(study, tables, chance=CHANCE).rows()


def test_the_swarm_by_sums_equals_the_pooled_model_bit_for_bit(study, rows):
    swarm = train_plainly(study, rows, chance=CHANCE)
    pooled = compare(study, rows, chance=CHANCE).models["pooled"]
    assert swarm.state.under("model/model") == pooled.state.under("model/model")
    for one in rows:
        assert np.array_equal(swarm.scores(one, one.test), pooled.scores(one, one.test))


def test_every_asked_for_model_is_there(study, rows):
    found = compare(study, rows, chance=CHANCE)
    sites = ["bonn", "lund", "porto"]
    assert sorted(found.models) == sorted(["pooled", *(f"own/{s}" for s in sites), *(f"without/{s}" for s in sites)])
    assert found.missing == {}


def test_what_the_study_leaves_out_is_not_trained(rows, make_study):
    study = make_study(evaluation={"per_site": False, "leave_one_out": False})
    assert list(compare(study, rows, chance=CHANCE).models) == ["pooled"]


def test_a_swarm_without_one_site_equals_a_swarm_of_the_others(study, rows):
    without = compare(study, rows, chance=CHANCE).models["without/porto"]
    others = train_plainly(study, rows[:2], chance=CHANCE)
    assert without.state == others.state


def test_weights_learned_by_fedavg_come_near_the_pooled_model(tables, make_study):
    study = make_study(strategy={"name": "fedavg", "rounds": 60})
    rows = gather(study, tables, chance=CHANCE).rows()
    swarm = train_plainly(study, rows, chance=CHANCE)
    exact = train_plainly(make_study(), rows, chance=CHANCE)
    for one in rows:
        assert np.corrcoef(swarm.scores(one, one.test), exact.scores(one, one.test))[0, 1] > 0.98
