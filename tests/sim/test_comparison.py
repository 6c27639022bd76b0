"""Exact sums: the swarm is the pooled model; own models are trained on own rows only."""

import numpy as np
import pytest

from cohortium.core.randomness import Chance
from cohortium.errors import TrainingFailed, UsageError
from cohortium.sim.cohorts import gather
from cohortium.sim.comparison import compare, train_plainly
from cohortium.sim.evaluation import score

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


@pytest.mark.slow
def test_a_model_that_one_site_trained_alone_is_the_same_model_at_every_site(tables, make_study):
    """FedPer's last layers stay at home, and home is the only trainer: never the layers nobody has trained."""
    study = make_study(strategy={"name": "fedper", "rounds": 30}, model={"learn": "weights"})
    rows = gather(study, tables, chance=CHANCE).rows()
    plain = make_study(strategy={"name": "fedavg", "rounds": 30}, model={"learn": "weights"})
    kept, shared = (compare(one, rows, chance=CHANCE).models for one in (study, plain))
    for name in ("pooled", "own/bonn"):
        assert float(kept[name].state["model/model/intercept"][0]) == 0.0  # never sent, so never learned
        for one in rows:
            np.testing.assert_allclose(kept[name].scores(one, one.test), shared[name].scores(one, one.test), atol=1e-12)


def test_layers_kept_at_home_serve_no_other_site(tables, make_study):
    study = make_study(strategy={"name": "fedper", "rounds": 3}, model={"learn": "weights"})
    rows = gather(study, tables, chance=CHANCE).rows()
    without = compare(study, rows, chance=CHANCE).models["without/porto"]
    assert [without.serves(one.site) for one in rows] == [True, True, False]
    with pytest.raises(UsageError, match=r"site 'porto' has none, so its patients cannot be predicted"):
        without.scores(rows[2], rows[2].test)
    assert sorted(score({"without/porto": without}, rows)["without/porto"]) == ["bonn", "lund"]


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "coordinate-median"},
        {"name": "cyclic", "decay": 0.5},
        {"name": "fedavg", "weights": {"bonn": 1, "lund": 2, "porto": 3}},
    ],
    ids=lambda strategy: strategy["name"],
)
def test_rules_among_sites_leave_one_trainer_with_plain_training(tables, make_study, strategy):
    study = make_study(strategy={**strategy, "rounds": 5, "local_epochs": 2}, model={"learn": "weights"})
    rows = gather(study, tables, chance=CHANCE).rows()
    found = compare(study, rows, chance=CHANCE)
    assert {name for name in found.missing if not name.startswith("without/")} == set()
    plain = make_study(strategy={"name": "fedavg", "rounds": 5, "local_epochs": 2}, model={"learn": "weights"})
    expected = compare(plain, rows, chance=CHANCE)
    for name in ("pooled", "own/bonn"):
        assert found.models[name].state.under("model/model") == expected.models[name].state.under("model/model")


def test_a_column_too_small_for_sums_ends_the_run_instead_of_losing_its_coefficient(tables, make_study):
    """Coefficient and sd of `a` belong together: at a millionth of the scale it would round to nothing."""
    study = make_study(cohort={"scale": "none"})
    rows = gather(study, tables, chance=CHANCE).rows()
    assert abs(train_plainly(study, rows, chance=CHANCE).state["model/model/coefficients"][0]) > 0.5
    small = {name: table.with_column("a", table.column("a") * 1e-6) for name, table in tables.items()}
    rows = gather(study, small, chance=CHANCE).rows()
    with pytest.raises(TrainingFailed, match=r"column 'a': sd below 0.0039"):
        train_plainly(study, rows, chance=CHANCE)
