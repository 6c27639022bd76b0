"""Attack 4: replay vectors, shares, keys and messages of another run, round or attempt."""

import numpy as np
import pytest

from cohortium.core.identity import LedgerKey, recover
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import FrameError, PeerError
from cohortium.privacy.secagg.context import Binding
from cohortium.swarm.gate import Gate
from cohortium.swarm.membership import Members

OLD, REPLAYED = {"round": 1}, "site-03"


def replay(world, step, **now):
    """Play one attempt, then another in which one site's payload of `step` is the old one; what opens."""
    world.run(**OLD)
    old, world.received = world.received, {}
    for at in ("keys", "shares", "masked", "unmask"):
        if at == "unmask":
            world.received["survivors"] = dict.fromkeys(world.sites, Parameters())
        world.received[at] = {s: world.ask(s, at, **now) for s in world.sites}
        if at == step:
            world.received[at][REPLAYED] = old[at][REPLAYED]
    return world.open(**now)


def test_where_the_context_leaves_out_the_round_an_old_vector_counts_again(world, monkeypatch) -> None:
    monkeypatch.setattr(Binding, "digest", property(lambda self: b"c" * 32))  # weak, and secrets drawn once for good
    weak = world()
    for guard in weak.guards.values():
        guard._entropy = (lambda root: lambda n: root)(guard.site.encode().ljust(32, b"."))
    stale = weak.updates[REPLAYED]
    old = weak.run(**OLD).received["masked"][REPLAYED]
    turned = Parameters({"w": -stale.parameters["w"]})
    weak.updates[REPLAYED] = Update(site=REPLAYED, parameters=turned, weight=1)
    weak.received = {}
    for at in ("keys", "shares", "masked", "unmask"):
        if at == "unmask":
            weak.received["masked"][REPLAYED] = old
            weak.received["survivors"] = dict.fromkeys(weak.sites, Parameters())
        weak.received[at] = {s: weak.ask(s, at, round=2) for s in weak.sites}
    opened = weak.open(round=2).total["w"]
    honest = sum(u.parameters["w"].astype(float) for u in weak.updates.values())
    assert np.abs(opened - honest - 2 * stale.parameters["w"].astype(float)).max() < 1e-6  # what it no longer sent


@pytest.mark.parametrize("now", [{"round": 2}, {"run": 2}])
@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("keys", "for another attempt"),
        ("shares", "shares of site 'site-03'"),
        ("masked", "did not cancel"),
        ("unmask", ""),
    ],
)
def test_ours_refuses_what_was_made_for_another_round_or_run(world, step, words, now) -> None:
    if step == "unmask":  # answers of four others are enough; with three, the replayed one would be needed
        ours = world()
        opened = replay(ours, step, **now)
        assert opened.weight == 5
        del ours.received["unmask"]["site-00"]
        with pytest.raises(PeerError, match="'site-03' answered another share than it was dealt"):
            ours.open(**now)
    else:
        with pytest.raises(PeerError, match=words):
            replay(world(), step, **now)


def test_and_a_message_that_came_before_does_not_come_in_again(attacker) -> None:
    key, members = LedgerKey.from_bytes(bytes(31) + b"\7"), Members()
    members.admit("porto", key.address)
    gate = Gate(consortium=bytes(32), me="lund", members=members, recover=recover)
    message = attacker.frame(key, sender="porto", sequence=5)
    gate.open("porto", message)
    with pytest.raises(FrameError, match="message 5 of 'porto' came before"):
        gate.open("porto", message)
    assert gate.total_refused["porto"] == 1
