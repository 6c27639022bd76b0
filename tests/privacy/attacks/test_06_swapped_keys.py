"""Attack 6: a relay swaps mask and seal keys in transit (man in the middle)."""

import hashlib

import pytest

from cohortium.core.identity import LedgerKey, recover
from cohortium.core.messages import Progress
from cohortium.core.parameters import Parameters
from cohortium.errors import SignatureError
from cohortium.privacy.secagg.messages import SELF_SHARE
from cohortium.swarm.gate import Gate
from cohortium.swarm.membership import Members

VICTIM = "site-02"


def attack(world, attacker):
    """The relay shows the victim keys of its own in place of everybody's, and answers for all of them."""
    others = [s for s in world.sites if s != VICTIM]
    made_up = type(world)(len(world.sites), floats=20_000, integers=0, seed=9)  # the relay's keys under their names
    made_up.guards = {s: made_up.guard(s) for s in made_up.sites}
    for guard in made_up.guards.values():
        guard._entropy = (lambda root: lambda n: root)(hashlib.sha256(b"relay" + guard.site.encode()).digest())
    for step in ("keys", "shares", "masked"):
        sent = {s: made_up.ask(s, step, received=world.received) for s in others}
        world.received[step] = {**sent, VICTIM: world.ask(VICTIM, step)}
    survivors = {**world.received, "survivors": dict.fromkeys(world.sites, Parameters())}
    answers = {s: made_up.ask(s, "unmask", received=survivors) for s in others}
    world.guards.update({s: made_up.guards[s] for s in others})
    b = attacker.rebuilt(world, answers, VICTIM, SELF_SHARE)
    return attacker.bare(world, VICTIM, b=b, friends=others)


def test_where_keys_are_not_signed_the_relay_reads_the_update(world, attacker) -> None:
    weak = world()  # weak: payloads are taken from whoever delivers them
    assert attacker.is_open(attack(weak, attacker), weak.updates[VICTIM])


def test_ours_takes_no_word_that_its_sender_did_not_sign_with_its_ledger_key(attacker) -> None:
    porto, relay = (LedgerKey.from_bytes(bytes(31) + bytes([i])) for i in (7, 8))
    members = Members()
    members.admit("porto", porto.address)
    members.admit("relay", relay.address)
    gate = Gate(consortium=bytes(32), me="lund", members=members, recover=recover)
    signed = attacker.frame(porto, sender="porto", kind="progress", body=Progress(stage="train", fraction=0.5))
    forged = attacker.frame(relay, sender="porto", kind="progress", body=Progress(stage="train", fraction=0.5))
    altered = signed.replace(b"train", b"adopt")
    assert altered != signed
    for bad in (forged, altered):
        with pytest.raises(SignatureError, match="not signed by 'porto'"):
            gate.open("porto", bad)
    with pytest.raises(SignatureError, match="came over the stream of 'relay'"):
        gate.open("relay", signed)
    gate.open("porto", signed)
    assert (gate.total_refused["porto"], gate.total_refused["relay"]) == (2, 1)
