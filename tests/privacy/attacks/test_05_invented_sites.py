"""Attack 5: invent n - 1 sites, or freeze the set with strangers: the victim masks against the attacker alone."""

from dataclasses import replace

import pytest

from cohortium.core.identity import LedgerKey, recover
from cohortium.core.parameters import Parameters
from cohortium.errors import PeerError, SignatureError
from cohortium.privacy.secagg.guard import MaskedGuard
from cohortium.privacy.secagg.messages import SELF_SHARE
from cohortium.swarm.gate import Gate
from cohortium.swarm.membership import Members

VICTIM = "site-00"


class Trusting(MaskedGuard):
    """Weak: takes the set of sites from whoever sent keys, not from the ledger."""

    def step(self, step, context, *, own, received):
        senders = tuple(sorted(received.get("keys", {}))) or context.frozen
        weights = dict.fromkeys(senders, 1)
        return super().step(
            step, replace(context, frozen=senders, n_joiners=len(senders), weights=weights), own=own, received=received
        )


def attack(world, attacker, **context):
    """All others are the attacker's: it has their secrets, and opens the victim's self mask with their shares."""
    invented = [s for s in world.sites if s != VICTIM]
    for step in ("keys", "shares", "masked"):
        world.received[step] = {s: world.ask(s, step, **({} if s in invented else context)) for s in world.sites}
    world.received["survivors"] = dict.fromkeys(world.sites, Parameters())
    answers = {s: world.ask(s, "unmask") for s in invented}
    b = attacker.rebuilt(world, answers, VICTIM, SELF_SHARE)
    return attacker.bare(world, VICTIM, b=b, friends=invented)


def test_a_site_that_trusts_the_messages_masks_for_the_attacker_alone(world, attacker) -> None:
    weak = world()
    weak.guards[VICTIM] = Trusting(VICTIM, entropy=weak.privacy.entropy_of(VICTIM))
    weak.ask(VICTIM, "keys")
    assert attacker.is_open(attack(weak, attacker), weak.updates[VICTIM])


def test_ours_takes_the_set_from_the_ledger_and_strangers_keys_count_for_nothing(world) -> None:
    ours = world().run("keys")
    real = (VICTIM, "graz", "lund")
    ledger = {"frozen": real, "weights": dict.fromkeys(real, 1), "n_joiners": 3}
    ours.guards[VICTIM] = ours.guard(VICTIM)
    ours.ask(VICTIM, "keys", received={}, **ledger)
    with pytest.raises(PeerError, match="step 'keys' is not complete: missing graz, lund"):
        ours.ask(VICTIM, "shares", **ledger)


@pytest.mark.parametrize("frozen", [(VICTIM,), (VICTIM, "site-01"), ("site-01", "site-02", "site-03")])
def test_nor_does_it_mask_in_a_set_too_small_or_without_itself(world, frozen) -> None:
    with pytest.raises(PeerError, match=r"masks need 3 to 64 sites|is not in the frozen set"):
        world().ask(VICTIM, "keys", frozen=frozen, n_joiners=3)


def test_a_strangers_message_does_not_come_in_and_the_contract_knows_no_stranger(attacker) -> None:
    stranger = LedgerKey.from_bytes(bytes(31) + b"\x63")
    gate = Gate(consortium=bytes(32), me="lund", members=Members(), recover=recover)
    with pytest.raises(SignatureError, match="no active member"):
        gate.open("invented", attacker.frame(stranger, sender="invented"))
    court = attacker.Court(3)
    assert court.refused("site-00", "commit", 1, 1, b"d" * 32, 1, 0, key=stranger) == "member"
    frozen = court.named("Closed")[-1]["frozen"]
    assert frozen == court.bitmap(court.sites)
