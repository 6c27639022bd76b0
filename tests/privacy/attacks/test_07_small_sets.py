"""Attack 7: shrink the survivors or wait for absences, until the colluders leave one honest site in the sum."""

import numpy as np
import pytest

from cohortium.errors import PeerError
from cohortium.privacy.secagg.context import Binding

JOINERS = 10  # c = 3: site-00 to site-02
COLLUDERS, VICTIM = ["site-00", "site-01", "site-02"], "site-03"


def attack(world):
    """Five of ten are left; the leader says that a fourth, honest one was lost as well."""
    survivors = [*COLLUDERS, VICTIM]
    world.run(survivors=survivors)
    total = world.open(survivors=survivors).total["w"]
    return total - sum(world.updates[s].parameters["w"].astype(float) for s in COLLUDERS)


def test_where_colluders_are_counted_from_those_present_the_victim_is_alone_in_the_sum(world, monkeypatch) -> None:
    monkeypatch.setattr(Binding, "n_joiners", property(lambda self: self.n))  # weak: c = floor(5/3) = 1
    weak = world(5, n_joiners=JOINERS)
    left = attack(weak)
    assert np.corrcoef(left, weak.updates[VICTIM].parameters["w"])[0, 1] > 0.999999


def test_ours_counts_them_from_all_who_joined(world) -> None:
    with pytest.raises(PeerError, match="4 survivors of 5, at least 5 are needed to unmask"):
        attack(world(5, n_joiners=JOINERS))
    with pytest.raises(PeerError, match="masks need 5 to 64 sites of 10, the set has 4"):
        world(4, n_joiners=JOINERS).run("keys")


@pytest.mark.parametrize("joiners", range(3, 65))
def test_two_honest_sites_are_in_every_sum_that_opens(world, joiners, privacy) -> None:
    for n in range(3, joiners + 1):
        made = privacy.Masked(3, n_joiners=joiners)
        binding = Binding(
            context=made.context(frozen=tuple(f"s{i:02d}" for i in range(n))), layout=made.binding().layout
        )
        assert max(binding.least, binding.threshold) - joiners // 3 >= 2
