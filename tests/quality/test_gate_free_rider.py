"""Free-riders: honest first updates against random, replayed and shared ones on the published shape."""

import numpy as np
import pytest

from cohortium.assembly import build_program
from cohortium.core.examples import Layout
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.study_text import study_of
from cohortium.core.update import Aggregate, Update
from cohortium.quality.gate_free_rider import RiderWatch, alarm, check_free_riders, energy_shares, replayed, shared
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


BASE = {"study": {"name": "s", "outcome": "y"}, "cohort": {"scale": "none", "fill": "none"}}
LAYOUT = Layout(features=tuple(f"c{at}" for at in range(600)), outcome="binary", classes=("0", "1"))


def program_of(**model):
    study = study_of({**BASE, "model": {"name": "logistic", **model}, "strategy": {"name": "auto"}})
    return build_program(study, LAYOUT, sites=["a"], chance=Chance(0))


def at_round(program, exchange):
    last = len(program.stages) - 1
    return program.start() | Parameters({"clock": np.array([last, exchange], dtype=np.int64)})


def honest(rng, n=12):
    base = rng.normal(size=(3, 601))
    made = {f"s{at:02d}": rng.normal(size=3) @ base + 0.05 * rng.normal(size=601) for at in range(n)}
    return {site: Parameters({"w": one, "metric/loss": np.array(0.5)}) for site, one in made.items()}


def heard(rounds, **model):
    program, watch = program_of(**model), RiderWatch()
    for exchange, updates in enumerate(rounds):
        sent = tuple(Update(site=site, parameters=one, weight=1) for site, one in updates.items())
        for _ in range(2):  # a node hears a merge again where a round needs a second attempt
            watch.hear(program, at_round(program, exchange), sent)
    return watch.checks(program)


def test_a_watch_names_who_sent_noise_a_copy_and_an_old_update():
    rng = np.random.default_rng(4)
    first, second, third = honest(rng), honest(rng), honest(rng)
    first["s03"] = Parameters({"w": rng.normal(size=601)})
    second["s05"] = second["s06"]
    third["s08"] = Parameters({"w": first["s01"]["w"], "metric/loss": np.array(0.4)})
    found = heard([first, second, third], learn="weights")
    assert {one.level for one in found} == {"warn"}
    assert [one.found for one in found] == [
        "site 's03': its update has nothing in common with the others'; verdict: look",
        "site 's05': its update is another site's; verdict: look",
        "site 's06': its update is another site's; verdict: look",
        "site 's08': its update is that of an earlier round; verdict: look",
    ]


def test_a_watch_clears_honest_sites_and_says_what_it_has_looked_at():
    rng = np.random.default_rng(5)
    (whole,) = heard([honest(rng), honest(rng)], learn="weights")
    assert whole.level == "ok"
    assert whole.found.startswith("first updates have common directions, and no site sent an update of another site")
    (few,) = heard([honest(rng, n=6)], learn="weights")
    assert few.found.endswith("of 1 rounds; first updates are compared from 10 sites and 500 values on")


def test_an_update_that_changes_nothing_is_no_copy_of_another_such():
    nothing = {site: Parameters({"w": np.zeros(601)}) for site in ("a", "b")}
    (check,) = heard([nothing, nothing], learn="weights")
    assert check.level == "ok"


def test_a_watch_says_why_it_cannot_look_under_masks_and_at_sums():
    program, watch = program_of(learn="weights"), RiderWatch()
    total = Aggregate(total=Parameters({"w": np.zeros(601)}), weight=3, contributors=("a", "b", "c"))
    watch.hear(program, at_round(program, 0), total)
    (masked,) = watch.checks(program)
    assert masked.level == "skipped"
    assert "secure aggregation hides single updates" in masked.found
    (sums,) = heard([], learn="sums")
    assert sums.found == ("free-riders were not looked for: the model learns by sums, which have no common directions")
