"""Attack 12: the leader crashes between survivors and answers; its successor proposes other survivors."""

import numpy as np
import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError
from cohortium.privacy.secagg.guard import MaskedGuard


class PerLeader(MaskedGuard):
    """Weak: a new leader is a new story."""

    def _bind_answer(self, binding, kept, survivors, header):
        binding.check_survivors(survivors)


def attack(world):
    """Two answers were given when the leader died; the next one asks for another set."""
    world.run("keys", "shares", "masked")
    world.received["survivors"] = dict.fromkeys(world.sites, Parameters())
    early = {s: world.ask(s, "unmask") for s in world.sites[:2]}
    world.received["survivors"] = dict.fromkeys(world.sites[:4], Parameters())
    return early, {s: world.ask(s, "unmask") for s in world.sites[:4]}


def test_sites_that_answer_each_leader_anew_give_both_kinds_of_shares(world) -> None:
    early, late = attack(world(guard=PerLeader))
    for site in early:
        assert not np.array_equal(early[site]["shares"][4], late[site]["shares"][4])


def test_ours_answers_the_successor_with_the_same_bytes_or_not_at_all(world) -> None:
    with pytest.raises(PeerError, match="round 1 was unmasked for other survivors"):
        attack(world())


def test_with_the_same_survivors_the_sum_is_that_of_the_undisturbed_round(world) -> None:
    undisturbed = world().run().open().total.digest
    ours = world().run("keys", "shares", "masked")
    ours.received["survivors"] = dict.fromkeys(ours.sites, Parameters())
    early = {s: ours.ask(s, "unmask") for s in ours.sites[:2]}
    for site in ours.sites:  # all of them restart, the successor is another
        memory = ours.guards[site].memory()
        ours.guards[site] = ours.guard(site)
        ours.guards[site].restore(memory)
    ours.received["unmask"] = {s: ours.ask(s, "unmask") for s in ours.sites}
    assert all(ours.received["unmask"][s] == early[s] for s in early)
    assert ours.open("site-03").total.digest == undisturbed


def test_the_ledger_keeps_the_agreed_set_for_the_next_leader_too(attacker) -> None:
    court = attacker.Court(5)
    for site in court.sites[:4]:
        court.do(site, "post", 1, 1, 1, 3, court.survivors(court.sites))
    assert court.agreed == [court.survivors(court.sites)]
    for site in court.sites[:4]:
        assert court.refused(site, "post", 1, 1, 1, 3, court.survivors(court.sites[:4])) == "once"
    court.do("site-04", "post", 1, 1, 1, 3, court.survivors(court.sites[:4]))
    assert court.agreed == [court.survivors(court.sites)]
