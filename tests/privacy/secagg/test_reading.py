import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError, PeerError
from cohortium.privacy.secagg.messages import Keys, Shares
from cohortium.privacy.secagg.reading import Reader


def test_payloads_are_read_once_and_again_when_another_comes(masked) -> None:
    world = masked(4).run("keys", "shares")
    binding, reader = world.binding(), Reader()
    keys, shares = reader.keys(binding, world.received), reader.shares(binding, world.received)
    assert keys == world.keys()
    assert shares["site-01"] == Shares.from_parameters(world.received["shares"]["site-01"], binding, site="site-01")
    assert reader.keys(binding, world.received)["site-01"] is keys["site-01"]
    changed = world.received["keys"]["site-01"] | Parameters({"self_digest": np.zeros(32, np.uint8)})
    again = reader.keys(binding, {**world.received, "keys": {**world.received["keys"], "site-01": changed}})
    assert again["site-01"] == Keys.from_parameters(changed, binding, site="site-01") != keys["site-01"]
    assert again["site-02"] is keys["site-02"]


def test_nothing_read_for_one_attempt_serves_another(masked) -> None:
    world = masked(4).run("keys")
    reader = Reader()
    reader.keys(world.binding(), world.received)
    with pytest.raises(FrameError, match="for another attempt"):
        reader.keys(world.binding(attempt=2), world.received)


def test_who_is_missing_is_named(masked) -> None:
    world = masked(4).run("keys")
    del world.received["keys"]["site-02"]
    with pytest.raises(PeerError, match="step 'keys' is not complete: missing site-02"):
        Reader().keys(world.binding(), world.received)
    with pytest.raises(PeerError, match="step 'shares' is not complete: missing site-00, site-01, site-02, site-03"):
        Reader().shares(world.binding(), world.received)
