"""Two sums a round: each exact, each of its half alone, and neither opened with too few sites in it."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import PeerError
from cohortium.privacy.secagg.groups import GroupGuard
from cohortium.privacy.secagg.halves import halves_of


@pytest.fixture
def grouped(masked):
    """`grouped(n, ...)`: a round of n sites in two halves."""

    class Grouped(masked):
        def guard(self, site):
            return GroupGuard(super().guard(site))

        def context(self, **fields):
            return super().context(**{"joiners": tuple(self.sites), **fields})

        @property
        def halves(self):
            return halves_of(self.context())

    return Grouped


@pytest.mark.parametrize("options", [{}, {"largest_weight": 9, "word_bits": 64}])
def test_both_sums_are_exact_and_add_up(grouped, options):
    world = grouped(8, weights=[1, 2, 3, 4, 5, 6, 7, 8], **options).run()
    opened = world.open()
    assert np.array_equal(opened.total["sums"], world.total(world.sites))
    for half, sites in zip(opened.groups, world.halves, strict=True):
        assert half.contributors == sites
        assert half.weight == sum(world.updates[site].weight for site in sites)
        assert np.array_equal(half.total["sums"], world.total(sites))
        assert np.allclose(half.total["w"] / half.weight, world.mean(sites), atol=1e-7)
    assert (opened.weight, opened.contributors) == (36, tuple(world.sites))
    assert len({world.open(site).total.digest for site in world.sites}) == 1, "of either half, the same bits"


def test_a_liar_is_in_the_sum_of_its_half_only(grouped):
    world = grouped(8)
    liar, honest = world.halves[0][0], world.halves[1]
    extreme = Parameters({**world.updates[liar].parameters, "w": np.full(12, 6e4, dtype=np.float32)})
    world.updates[liar] = Update(site=liar, parameters=extreme, weight=1)
    opened = world.run().open()
    assert np.abs(opened.groups[0].total["w"]).max() > 5e4
    assert np.allclose(opened.groups[1].total["w"] / 4, world.mean(honest), atol=1e-7)


def test_a_lost_site_is_left_out_of_its_half(grouped):
    world = grouped(20)
    gone = world.halves[0][0]
    survivors = [site for site in world.sites if site != gone]
    opened = world.run(survivors=survivors).open(survivors=survivors)
    assert np.array_equal(opened.total["sums"], world.total(survivors))
    assert gone not in opened.groups[0].contributors


def test_a_half_with_too_few_sites_is_neither_unmasked_nor_opened(grouped):
    world = grouped(8).run("keys", "shares", "masked")
    half, other = world.halves
    survivors = dict.fromkeys(sorted((*half[1:], *other)), Parameters())
    with pytest.raises(PeerError, match="3 survivors of 4, at least 4 are needed to unmask"):
        world.ask(half[1], "unmask", received=world.received | {"survivors": survivors})
    world.run("unmask")
    with pytest.raises(PeerError, match="3 survivors of 4, at least 4 are needed"):
        world.open(survivors=tuple(survivors))


def test_a_site_that_is_not_in_the_round_masks_nothing(grouped):
    world = grouped(8)
    with pytest.raises(PeerError, match="a set without this site's half"):
        world.guards["site-00"].step(
            "keys", world.context(joiners=()), own=world.updates["site-00"], received=world.received
        )


def test_everything_else_is_the_inner_guards(grouped):
    world = grouped(8).run()
    guard = world.guards["site-03"]
    again = world.guard("site-03")
    again.restore(guard.memory())
    assert again.memory() == guard.memory()
    guard.finish(1)
    assert all(not len(array) for name, array in guard.memory().items() if name.endswith("root"))
    assert guard.recipe.masked
    guard.check(world.updates["site-03"])
