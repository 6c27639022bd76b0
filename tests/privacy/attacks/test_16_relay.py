"""Attack 16: read or alter sealed shares as a relay."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError
from cohortium.privacy.secagg import member
from cohortium.privacy.secagg.messages import SEALED_BYTES
from cohortium.privacy.secagg.shamir import combine

VICTIM = "site-02"


def captured(world):
    """All a relay sees: every payload, as bytes."""
    return b"".join(
        np.asarray(array).tobytes() for sent in world.received.values() for p in sent.values() for array in p.values()
    )


def test_unsealed_shares_open_the_self_mask_at_the_relay(world, attacker, monkeypatch) -> None:
    monkeypatch.setattr(  # weak: shares travel in the clear
        member, "seal", lambda pair, **to: (pair[0] + pair[1]).ljust(SEALED_BYTES, b"\0")
    )
    weak = world().run("keys", "shares", "masked")
    sealed = np.asarray(weak.received["shares"][VICTIM]["sealed"])
    shares = {x + 1: sealed[x, :32].tobytes() for x in range(5) if x != 2}
    b = combine(shares, n_bytes=31)
    assert b == weak.secrets(VICTIM).b
    a = combine({x + 1: sealed[x, 32:64].tobytes() for x in range(5) if x != 2}, n_bytes=32)
    assert attacker.is_open(attacker.bare(weak, VICTIM, a=a, b=b), weak.updates[VICTIM])


def test_captured_bytes_of_ours_hold_no_share_and_no_secret(world) -> None:
    ours = world().run("keys", "shares", "masked")
    seen = captured(ours)
    for site in ours.sites:
        secrets = ours.secrets(site)
        shares = [share for pair in member._own_shares(ours.binding(), secrets) for share in pair]
        assert not any(part in seen for part in (secrets.a, secrets.e, secrets.b, *shares))


@pytest.mark.parametrize("what", ["altered", "swapped"])
def test_altered_or_redirected_shares_are_noticed_and_left_out(world, what) -> None:
    ours = world(floats=4, integers=4).run("keys", "shares")
    sealed = np.array(ours.received["shares"][VICTIM]["sealed"])
    if what == "altered":
        sealed[0, 5] ^= 1
    else:
        sealed[[0, 1]] = sealed[[1, 0]]
    ours.received["shares"][VICTIM] |= Parameters({"sealed": sealed})
    ours.run("masked").run("unmask")
    assert ours.received["unmask"]["site-00"]["held"].tolist() == [1, 1, 0, 1, 1]
    if what == "altered":  # four others have theirs
        assert np.array_equal(ours.open().total["sums"], ours.total(ours.sites))
    else:
        with pytest.raises(PeerError, match="3 of 4 shares of site 'site-02'"):
            ours.open()
