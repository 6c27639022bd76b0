"""Attack 23: what masks do not stop - rounds that differ by one site, and a legal but extreme vector."""

import numpy as np

from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.privacy.secagg.groups import GroupGuard
from cohortium.privacy.secagg.halves import halves_of
from cohortium.privacy.secagg.survivors import lone_difference

VICTIM = "site-04"


def two_rounds(world):
    """Nobody learned more than a trace between two rounds; the second went without the victim."""
    first = world.run().open().total["w"]
    world.received = {}
    for site, update in world.updates.items():  # the very same update is not opened among other survivors
        moved = Parameters({"w": update.parameters["w"] * np.float32(1 + 1e-5)})
        world.updates[site] = Update(site=site, parameters=moved, weight=update.weight)
    rest = world.sites[:4]
    world.run("keys", "shares", "masked", "unmask", survivors=rest, round=2)
    return first - world.open(survivors=rest, round=2).total["w"]


def test_two_rounds_that_differ_by_one_site_give_it_away(world) -> None:
    """No variant of ours is weaker or stronger here: sums are sums. It takes noise, or the same survivors."""
    ours = world()
    assert np.corrcoef(two_rounds(ours), ours.updates[VICTIM].parameters["w"])[0, 1] > 0.999999


def test_so_the_site_is_named_in_a_warning() -> None:
    everyone = ("bonn", "graz", "lund", "porto")
    assert lone_difference(everyone, everyone[:3]) == "porto"
    assert lone_difference(everyone[:3], everyone) == "porto"
    assert lone_difference(everyone, everyone) == ""
    assert lone_difference(everyone, everyone[:2]) == ""
    assert lone_difference(everyone, ("bonn", "graz", "lund", "oslo")) == ""
    assert lone_difference((), everyone[:1]) == ""


def test_extreme_vector_shifts_the_mean_by_its_announced_range_and_no_further(world) -> None:
    ours = world()
    extreme = Parameters({"w": np.full(20_000, 65_536.0, np.float32)})
    ours.updates[VICTIM] = Update(site=VICTIM, parameters=extreme, weight=1)
    opened = ours.run().open()
    mean, reach = opened.total["w"] / opened.weight, 65_536.0
    assert np.abs(mean).max() <= reach / 5 + 5.0  # the others are standard normal
    assert mean.min() > reach / 5 - 5.0  # but shift it does: it takes a detector to see it


def test_extreme_vector_is_seen_in_the_sum_of_its_half_and_leaves_the_other_alone(world) -> None:
    ours = world(8, floats=100)
    ours.guards = {site: GroupGuard(guard) for site, guard in ours.guards.items()}
    joiners = tuple(ours.sites)
    extreme = Parameters({"w": np.full(100, 65_536.0, np.float32)})
    ours.updates[VICTIM] = Update(site=VICTIM, parameters=extreme, weight=1)
    opened = ours.run(joiners=joiners).open(joiners=joiners)
    halves = halves_of(ours.context(joiners=joiners))
    for half, sites in zip(opened.groups, halves, strict=True):
        largest = np.abs(half.total["w"] / half.weight).max()
        assert (largest > 16_000) if VICTIM in sites else (largest < 5)
