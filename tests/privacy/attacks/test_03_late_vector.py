"""Attack 3: declare a site lost, get its mask key rebuilt, then open the vector that arrived after all."""

from cohortium.privacy.secagg import leader, member
from cohortium.privacy.secagg.messages import KEY_SHARE

VICTIM = "site-04"


def attack(world, attacker):
    survivors = world.sites[:4]
    world.run(survivors=survivors)
    a = attacker.rebuilt(world, world.received["unmask"], VICTIM, KEY_SHARE)
    return attacker.bare(world, VICTIM, a=a)  # the vector is here: it was only said to be late


def test_without_a_self_mask_the_late_vector_lies_open(world, attacker, monkeypatch) -> None:
    own = member._own_streams
    monkeypatch.setattr(member, "_own_streams", lambda *args: own(*args)[1:])  # weak: pair masks alone
    removed = leader._to_remove
    monkeypatch.setattr(leader, "_to_remove", lambda *args: removed(*args)[len(args[3]) :])
    weak = world()
    words = attack(weak, attacker)
    assert weak.open(survivors=weak.sites[:4]).weight == 4  # and the sum comes out right, so nobody notices
    assert attacker.is_open(words, weak.updates[VICTIM])


def test_ours_stays_uniform(world, attacker) -> None:
    ours = world()
    assert attacker.is_uniform(attack(ours, attacker), ours.updates[VICTIM])
