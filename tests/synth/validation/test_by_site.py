import json

import numpy as np
import pytest

from cohortium.synth.rows import Rows
from cohortium.synth.validation.by_site import LEAST_RATE, judge_by_site


def split(rows, *cuts):
    names = ("a", "b", "c")
    return dict(zip(names, (rows.take(one) for one in np.split(np.arange(len(rows)), cuts)), strict=True))


@pytest.fixture(scope="module")
def parts(world):
    return split(world.training, 500, 930), split(world.reserve, 120, 230)


def test_a_small_hospital_tells_no_rate_and_no_quantile(world, parts):
    found = judge_by_site(*parts, world.synthetic, seed=0)
    small = found.sites["c"]
    assert small.n_holdout < LEAST_RATE
    assert small.nndr is small.identical is small.membership_auc is small.membership_interval is None
    assert small.attacks == {}
    assert all(one.n >= LEAST_RATE for one in found.attacks.values())
    json.dumps(found.document())


def test_the_sum_is_the_sum_and_the_worst_the_worst(world, parts):
    found = judge_by_site(*parts, world.synthetic, seed=0)
    for name, risk in found.attacks.items():
        assert risk.n == sum(one.attacks[name][2] for one in found.sites.values() if name in one.attacks)
        assert found.worst[name][1].value >= risk.value - 1e-9


def test_what_leaks_of_one_hospital_shows_there(world, parts):
    training, reserve = parts
    mine = training["b"]
    leaked = Rows(
        world.facts, {name: np.concatenate([world.synthetic[name][: len(mine)], mine[name]]) for name in mine}
    )
    found = judge_by_site(training, reserve, leaked, seed=0)
    assert found.sites["b"].identical == len(mine)
    assert found.sites["a"].identical == 0
    assert found.sites["a"].membership_interval[0] < 0.5 < 0.9 < found.sites["b"].membership_auc
    assert found.worst["linkability"][0] == "b"
    assert found.worst["linkability"][1].low > 0.1


def test_quantiles_leave_with_two_decimals(world, parts):
    said = judge_by_site(*parts, world.synthetic, seed=0).sites["a"]
    assert all(
        value == round(value, 2)
        for value in (*said.nndr, *said.nndr_holdout, said.membership_auc, *said.membership_interval)
    )
    assert said.membership_interval[0] <= said.membership_auc <= said.membership_interval[1]
