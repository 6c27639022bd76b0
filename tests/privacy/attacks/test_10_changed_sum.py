"""Attack 10: the leader publishes a changed sum."""

import numpy as np

from cohortium.core.identity import keccak
from cohortium.core.parameters import Parameters


def published(world):
    """What a lying leader says the sum is."""
    honest = world.open("site-00")
    return honest.total | Parameters({"w": np.asarray(honest.total["w"]) + 1.0})


def test_members_who_take_the_leaders_word_adopt_the_forgery(world) -> None:
    weak = world().run()
    adopted = published(weak)  # weak: nobody recomputes
    assert np.abs(adopted["w"] - sum(u.parameters["w"].astype(float) for u in weak.updates.values())).min() > 0.9


def test_every_site_of_ours_recomputes_the_same_bits_and_sees_the_difference(world) -> None:
    ours = world().run()
    digests = {ours.open(site).total.digest for site in ours.sites}
    assert len(digests) == 1
    assert published(ours).digest not in digests


def test_disputes_depose_the_leader_and_the_honest_merge_becomes_final(attacker) -> None:
    court = attacker.Court(5)
    every = court.survivors(court.sites)
    for site in court.sites:
        court.do(site, "post", 1, 1, 1, 3, every)
    assert court.agreed == [every]
    liar, frozen = court.leader, court.bitmap(court.sites)
    forged, honest, root = keccak(b"forged"), keccak(b"honest"), keccak(b"inputs")
    court.do(liar, "publish", 1, 1, forged, root, frozen, bytes(32))
    for site in [s for s in court.sites if s != liar]:
        if not court.named("Failover"):
            court.do(site, "attest", 1, 1, 0, honest)
    assert court.named("Disputed")
    assert court.named("Final") == []
    heir = court.named("Failover")[-1]
    assert heir["leader"] != liar
    court.do(heir["leader"], "publish", 1, 1, honest, root, frozen, bytes(32))
    for site in [s for s in court.sites if s not in (liar, heir["leader"])]:
        if not court.named("Final"):
            court.do(site, "attest", 1, 1, heir["term"], honest)
    assert court.named("Final")[0]["digest"] == honest
