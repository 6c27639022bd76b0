"""Attack 14: answer another share than the one that was dealt, so that the sum fails and an honest site is blamed."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError
from cohortium.privacy.secagg import leader

LIAR = "site-00"


def lie(world):
    world.run()
    shares = np.array(world.received["unmask"][LIAR]["shares"])
    shares[3, 0] ^= 1
    world.received["unmask"][LIAR] |= Parameters({"shares": shares})
    return world


def test_without_digests_of_shares_an_honest_dealer_is_blamed(world, monkeypatch) -> None:
    every = world(seed=1)
    monkeypatch.setattr(leader, "share_digest", lambda ctx, **named: b"same")  # weak: no share can be checked
    weak = lie(every)
    for shares in weak.received["shares"].values():
        del shares
    weak.received["shares"] = {
        s: p | Parameters({"digests": np.frombuffer(b"same" * (5 * 2 * 8), np.uint8).reshape(5, 2, 32)})
        for s, p in weak.received["shares"].items()
    }
    monkeypatch.setattr(leader, "share_digest", lambda ctx, **named: b"same" * 8)
    with pytest.raises(PeerError, match="'site-03' dealt shares of another secret") as blamed:
        weak.open("site-01", survivors=weak.sites)
    assert blamed.value.site == "site-03"  # who did nothing wrong


def test_ours_opens_the_exact_sum_from_the_others_and_names_the_liar_where_its_share_is_needed(world) -> None:
    ours = lie(world(floats=8, integers=8))
    assert np.array_equal(ours.open("site-01", survivors=ours.sites).total["sums"], ours.total(ours.sites))
    del ours.received["unmask"]["site-04"]
    with pytest.raises(PeerError, match="'site-00' answered another share than it was dealt") as named:
        ours.open("site-01", survivors=ours.sites)
    assert named.value.site == LIAR
