"""Attack 2: show two survivor sets to two halves of the sites, open both sums, subtract."""

import numpy as np
import pytest

from cohortium.core.exchange import n_colluders, threshold
from cohortium.core.identity import LedgerKey, message_digest
from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError
from cohortium.ledger.rules.evidence import slot_digest
from cohortium.privacy.secagg import context
from cohortium.swarm.gate import SURVIVORS_SLOT, Witness

COLLUDER, VICTIM = "site-00", "site-04"


def halves(world):
    """Two leaders' views of one attempt: one half of the sites is shown the victim as lost."""
    world.run("keys", "shares", "masked")
    with_it, without = world.sites, [s for s in world.sites if s != VICTIM]
    opened = []
    for survivors, holders in (
        (with_it, [COLLUDER, "site-01", "site-04"]),
        (without, [COLLUDER, "site-02", "site-03"]),
    ):
        world.received["survivors"] = dict.fromkeys(survivors, Parameters())
        if survivors == without:  # a colluder answers both halves: it has no memory to respect
            world.guards[COLLUDER]._kept = {
                at: type(kept)(root=kept.root, ctx=kept.ctx, layout=kept.layout, header=kept.header)
                for at, kept in world.guards[COLLUDER]._kept.items()
            }
        world.received["unmask"] = {s: world.ask(s, "unmask") for s in holders}
        opened.append(world.open(COLLUDER, survivors=survivors).total["w"])
    return opened[0] - opened[1]


def test_with_a_bare_majority_two_sets_open_and_the_difference_is_the_victim(world, monkeypatch) -> None:
    monkeypatch.setattr(context, "threshold", lambda n, joiners: n // 2 + 1)  # weak: two majorities share a colluder
    weak = world()
    difference = halves(weak)
    assert np.corrcoef(difference, weak.updates[VICTIM].parameters["w"])[0, 1] > 0.999999


def test_with_ours_three_of_five_answers_open_nothing(world) -> None:
    with pytest.raises(PeerError, match="3 of 4 shares"):
        halves(world())


@pytest.mark.parametrize("joiners", range(3, 51))
def test_no_two_sets_can_both_reach_the_threshold_though_every_colluder_posts_twice(joiners) -> None:
    c = n_colluders(joiners)
    for n in range(max(3, c + 2), joiners + 1):
        honest = n - min(c, n)
        best = max(min(first, honest - first) + c for first in range(honest + 1))
        assert best < threshold(n, joiners)


def test_the_ledger_agrees_on_one_set_at_most(attacker) -> None:
    court = attacker.Court(5)
    for site in ("site-00", "site-01", "site-02"):
        court.do(site, "post", 1, 1, 1, 3, court.survivors(court.sites))
    assert court.refused("site-00", "post", 1, 1, 1, 3, court.survivors(court.sites[:4])) == "once"
    for site in ("site-03", "site-04"):
        court.do(site, "post", 1, 1, 1, 3, court.survivors(court.sites[:4]))
    assert court.agreed == []


def test_two_signed_bitmaps_of_a_colluder_exclude_it(attacker) -> None:
    court, witness = attacker.Court(5), Witness()
    key: LedgerKey = court.keys["site-00"]
    slot = (1, 1, 1 << 32, SURVIVORS_SLOT)
    said = []
    for sites in (court.sites, court.sites[:4]):
        digest = court.survivors(sites)
        signature = key.sign(message_digest(slot_digest(bytes(19) + b"\1", 7, *slot, digest)))
        said.append(witness.note("site-00", slot, digest, signature))
    assert said[0] is None
    court.do("site-01", "report_equivocation", *slot, *said[1])
    assert court.named("Equivocated")[0]["site"] == "site-00"
