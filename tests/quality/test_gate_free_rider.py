"""Free-riders: honest first updates against random, replayed and shared ones on the published shape."""

import numpy as np
import pytest

from cohortium.quality.gate_free_rider import alarm, check_free_riders, energy_shares, replayed, shared
from cohortium.quality.relay_probe import RelayProbe
from cohortium.reports.discrimination import auroc
from cohortium.sim.harm import Case, gaussian_task, make_world


def first_updates(seed):
    """What each of the 83 sites changed in one pass over its records, from a common start."""
    world = make_world(gaussian_task(n=6000, n_features=40, auroc=0.9), case=Case(scenario="S6"), seed=seed)
    probe = RelayProbe(n_features=40)
    start = probe.initial(rng=np.random.default_rng(seed))
    found = []
    for at in range(len(world.sites)):
        rows, state = world.rows(at, held_out=False), start
        for begin in range(0, len(rows), 5):
            some = rows[begin : begin + 5]
            state = probe.step(state, world.x[some], world.y[some].astype(float), learning_rate=3e-3)
        found.append(state["w"] - start["w"])
    return world, np.stack(found)


@pytest.mark.parametrize("seed", range(2))
def test_made_up_updates_are_told_from_honest_ones(seed):
    world, updates = first_updates(seed)
    rng = np.random.default_rng(seed)
    fake = np.array([role == "rider-random" for role in world.roles])
    for at in np.flatnonzero(fake):
        made = rng.normal(size=updates.shape[1])
        updates[at] = made * np.linalg.norm(updates[at]) / np.linalg.norm(made)
    shares = energy_shares(updates)
    assert auroc(fake.astype(float), -shares) == 1.0
    assert shares[fake].max() < alarm(updates.shape[1], n_others=82) < shares[~fake].min()


def test_the_alarm_stands_above_what_a_random_vector_reaches():
    assert alarm(5000, n_others=82) == 0.03
    assert alarm(1000, n_others=82) == pytest.approx((20 + 4 * 40**0.5) / 1000)


def test_shared_updates_are_found_whatever_their_length():
    rng = np.random.default_rng(0)
    updates = rng.normal(size=(12, 300))
    updates[7] = 3.0 * updates[2] + rng.normal(scale=1e-3, size=300)
    assert shared(updates).tolist() == [[2, 7]]


def test_a_replayed_update_is_found_by_its_digest():
    rounds = [{"a": b"1", "b": b"2"}, {"a": b"3", "b": b"2"}, {"a": b"1", "b": b"5"}]
    assert replayed(rounds) == {"a": (0, 2), "b": (0, 1)}
    assert replayed([{"a": b"1"}, {"a": b"2"}]) == {}


def test_each_site_gets_its_check_with_the_reason():
    rng = np.random.default_rng(1)
    base = rng.normal(size=(3, 2000))
    updates = {f"s{at:02d}": rng.normal(size=3) @ base + 0.05 * rng.normal(size=2000) for at in range(12)}
    updates["s03"] = rng.normal(size=2000)
    updates["s05"] = updates["s06"].copy()
    found = check_free_riders(updates, digests=[{"s01": b"x"}, {"s01": b"x"}])
    assert {name for name, check in found.items() if check.level == "warn"} == {"s01", "s03", "s05", "s06"}
    assert found["s03"].found == "its update has nothing in common with the others'"
    assert found["s01"].found == "its update is that of an earlier round"


def test_few_sites_are_not_compared():
    rng = np.random.default_rng(2)
    found = check_free_riders({name: rng.normal(size=50) for name in "abc"})
    assert {check.level for check in found.values()} == {"ok"}


def test_an_update_of_no_length_is_no_honest_one():
    rng = np.random.default_rng(3)
    updates = rng.normal(size=(12, 4)) @ rng.normal(size=(4, 100))
    updates[0] = 0
    assert energy_shares(updates)[0] == 0
