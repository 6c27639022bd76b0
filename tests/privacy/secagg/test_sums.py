"""Shared suite of masked sums: every allowed pattern of losses opens the exact integer sum; one loss more does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError
from cohortium.privacy.secagg.member import ranges_of


def played(world, survivors, answering):
    world.run("keys", "shares", "masked")
    world.received["masked"] = {s: v for s, v in world.received["masked"].items() if s in survivors}
    return world.run("unmask", survivors=survivors, answering=answering)


SIZES = [(3, 15), (5, 15), (10, 6), (20, 2), (50, 1)]


@pytest.mark.parametrize(
    ("n", "examples", "word_bits"),
    [(n, examples, bits) for n, examples in SIZES for bits in (16, 32, 64) if n < 50 or bits == 32],
)
def test_every_allowed_pattern_of_losses_opens_the_integer_sum_bit_for_bit(privacy, word_bits, n, examples) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(data=st.data())
    def every_pattern(data):
        joiners = data.draw(st.integers(n, n + n // 4))
        weights = data.draw(st.lists(st.integers(1, 32), min_size=n, max_size=n))  # sums of 2^50 stay below 2^62
        world = privacy.Masked(n, n_joiners=joiners, seed=n, word_bits=word_bits, floats=5, integers=3, weights=weights)
        binding = world.binding()
        needed = max(binding.threshold, binding.least)
        if needed > n:
            with pytest.raises(PeerError, match=r"masks need|are needed"):
                played(world, world.sites, world.sites)
            return
        lost = data.draw(st.permutations(world.sites))[: data.draw(st.integers(0, n - needed))]
        survivors = [s for s in world.sites if s not in lost]
        n_answers = data.draw(st.integers(binding.threshold, len(survivors)))
        answering = data.draw(st.permutations(survivors))[:n_answers]
        opened = played(world, survivors, answering).open(data.draw(st.sampled_from(survivors)), survivors=survivors)
        assert opened.total.digest == world.expected(survivors).digest
        assert np.array_equal(opened.total["sums"], world.total(survivors))
        whole = sum(weights)
        for name, exponent in zip(binding.layout.groups, ranges_of(binding, world.keys()), strict=True):
            bound = binding.point.error_bound(exponent) * whole / opened.weight
            assert name in ("", "w")
            assert np.abs(opened.total["w"] / opened.weight - world.mean(survivors)).max() <= bound

    every_pattern()


@pytest.mark.parametrize("n", [3, 5, 10, 20, 50])
def test_one_answer_or_one_survivor_fewer_opens_nothing(privacy, n) -> None:
    world = privacy.Masked(n, floats=2, integers=2)
    needed = max(world.binding().threshold, world.binding().least)
    few = world.sites[: needed - 1]
    world.run("keys", "shares", "masked")
    with pytest.raises(PeerError, match="are needed to unmask"):
        world.run("unmask", survivors=few)
    with pytest.raises(PeerError, match="are needed to unmask"):
        world.open(survivors=few, received={**world.received, "unmask": {}})
    enough = world.sites[: max(needed, world.binding().threshold)]
    world.run("unmask", survivors=enough, answering=enough[: world.binding().threshold - 1])
    with pytest.raises(PeerError, match=f"{world.binding().threshold - 1} of {world.binding().threshold} shares"):
        world.open(survivors=enough)


def test_nobody_opens_anything_without_answers(privacy) -> None:
    world = privacy.Masked(5, floats=2).run("keys", "shares", "masked")
    world.received["survivors"] = dict.fromkeys(world.sites, Parameters())
    for site in world.sites:
        with pytest.raises(PeerError, match="0 of 4 shares"):
            world.open(site)
