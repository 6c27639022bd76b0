"""Attack 1: ask for both shares of one site - in one request, in two, after a restart, as the next leader."""

import pytest

from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError
from cohortium.privacy.secagg.guard import MaskedGuard
from cohortium.privacy.secagg.messages import KEY_SHARE, SELF_SHARE


class Forgetful(MaskedGuard):
    """Weak: answers every set of survivors it is shown, and remembers none."""

    def _bind_answer(self, binding, kept, survivors, header):
        binding.check_survivors(survivors)


def ask(world, survivors, holders):
    """The leader's question, first with the victim among the survivors, then without."""
    world.received["survivors"] = dict.fromkeys(survivors, Parameters())
    return {holder: world.ask(holder, "unmask") for holder in holders}


def attack(world, attacker, victim="site-04"):
    """The victim's vector without any mask, from what four of five sites answer to two questions."""
    world.run("keys", "shares", "masked")
    holders = world.sites[:4]
    b = attacker.rebuilt(world, ask(world, world.sites, holders), victim, SELF_SHARE)
    a = attacker.rebuilt(world, ask(world, holders, holders), victim, KEY_SHARE)
    return attacker.bare(world, victim, a=a, b=b)


def test_forgetful_sites_give_the_victim_away(world, attacker) -> None:
    weak = world(guard=Forgetful)
    assert attacker.is_open(attack(weak, attacker), weak.updates["site-04"])


def test_ours_answer_one_question(world, attacker) -> None:
    with pytest.raises(PeerError, match="round 1 was unmasked for other survivors"):
        attack(world(), attacker)


@pytest.mark.parametrize("first", [True, False])
def test_nor_after_a_restart_nor_in_the_other_order(world, first) -> None:
    ours = world().run("keys", "shares", "masked")
    sets = [ours.sites, ours.sites[:4]]
    ask(ours, sets[not first], ["site-00"])
    memory = ours.guards["site-00"].memory()
    ours.guards["site-00"] = ours.guard("site-00")  # the next leader finds the site restarted
    ours.guards["site-00"].restore(memory)
    with pytest.raises(PeerError, match="for other survivors"):
        ask(ours, sets[first], ["site-00"])


def test_one_answer_has_room_for_one_share_of_each_site_and_every_leader_gets_the_same_bytes(world) -> None:
    ours = world().run("keys", "shares", "masked")
    answers = [ask(ours, ours.sites, ["site-00"])["site-00"] for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["shares"].shape == (5, 32)
