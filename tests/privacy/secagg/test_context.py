import pytest

from cohortium.errors import PeerError
from cohortium.privacy.secagg.context import MAX_SITES


def test_every_part_of_the_attempt_counts_and_the_order_of_names_does_not(masked) -> None:
    world = masked(4)
    base = world.binding().digest
    assert world.binding(frozen=tuple(reversed(world.sites))).digest == base
    changes = ({"consortium": b"x"}, {"study": b"x"}, {"run": 2}, {"round": 2}, {"attempt": 2}, {"base": b"x"},
               {"frozen": tuple(world.sites[:3])}, {"n_joiners": 5})  # fmt: skip
    others = {world.binding(**change).digest for change in changes}
    others |= {masked(4, word_bits=16).binding().digest, masked(4, floats=13).binding().digest}
    assert len(others | {base}) == len(changes) + 3


def test_header_holds_weights_ranges_and_mask_keys_of_all(masked) -> None:
    world = masked(3)
    ranges, keys = dict.fromkeys(world.sites, b"\1"), dict.fromkeys(world.sites, b"k" * 32)
    base = world.binding().header(ranges, keys)
    first = world.sites[0]
    others = {
        world.binding().header(ranges | {first: b"\2"}, keys),
        world.binding().header(ranges, keys | {first: b"l" * 32}),
        world.binding(weights=dict.fromkeys(world.sites, 2)).header(ranges, keys),
        world.binding(round=2).header(ranges, keys),
    }
    assert len(others | {base}) == 5


@pytest.mark.parametrize(
    ("n", "n_joiners", "threshold", "least"),
    [(3, 3, 3, 3), (4, 4, 3, 3), (5, 5, 4, 3), (7, 7, 5, 4), (10, 10, 7, 5), (5, 10, 5, 5), (50, 50, 34, 18)],
)
def test_threshold_and_least_survivors_follow_the_joiners_not_the_present(masked, n, n_joiners, threshold, least):
    binding = masked(n, n_joiners=n_joiners).binding()
    assert (binding.threshold, binding.least) == (threshold, least)


def test_sets_that_are_too_small_too_large_strange_or_twice_are_refused(masked) -> None:
    world = masked(4, n_joiners=10)  # c = 3: at least five sites
    with pytest.raises(PeerError, match="masks need 5 to 64 sites of 10, the set has 4"):
        world.binding().check("site-00")
    many = tuple(f"site-{i:02d}" for i in range(MAX_SITES + 1))
    with pytest.raises(PeerError, match="the set has 65"):
        world.binding(frozen=many, weights=dict.fromkeys(many, 1), n_joiners=65).check("site-00")
    world = masked(3)
    with pytest.raises(PeerError, match="'lund' is not in the frozen set"):
        world.binding().check("lund")
    with pytest.raises(PeerError, match="names a site twice"):
        world.binding(frozen=(*world.sites, "site-00")).check("site-00")
    with pytest.raises(PeerError, match="no committed weight of site-01"):
        world.binding(weights={"site-00": 1, "site-02": 1}).check("site-00")


def test_survivors_that_are_too_few_or_strangers_are_refused(masked) -> None:
    world = masked(7)
    binding = world.binding()
    binding.check_survivors(tuple(world.sites[:5]))
    with pytest.raises(PeerError, match="4 survivors of 7, at least 5"):
        binding.check_survivors(tuple(world.sites[:4]))
    for wrong in ((*world.sites, "lund"), (*world.sites[:5], "site-00")):
        with pytest.raises(PeerError, match="different sites of the frozen set"):
            binding.check_survivors(wrong)
