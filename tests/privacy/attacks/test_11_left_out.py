"""Attack 11: leave out a site whose vector was there, to get its mask key while its vector is in hand."""

import numpy as np

from cohortium.core.exchange import MASKED
from cohortium.privacy.secagg.messages import KEY_SHARE
from cohortium.swarm import actions as do
from cohortium.swarm.desk import Desk
from cohortium.swarm.exchanging import _proposal
from cohortium.swarm.membership import Members
from cohortium.swarm.view import RoundView, RunView
from cohortium.swarm.waiting import Policy

VICTIM = "site-04"


def desk(me, *, sent=True):
    sites = [f"site-{i:02d}" for i in range(5)]
    view = RunView(run=1, members=Members(), joiners=sites, live=set(sites), min_sites=3, flags=2)
    made = Desk(run=1, me=me, recipe=MASKED, policy=Policy(), view=view)
    made.view.round = RoundView(number=1, leader="site-00", frozen=tuple(sites), attempt=1, n_joiners=5)
    made.own.proposals[1, 1, "survivors"] = ("site-00", 0b01111)  # without site-04
    if sent:
        made.own.stepped[1, 1, "masked"] = do.Fact(kind="stepped", run=1, round=1, attempt=1, step="masked")
    return made


def decision(made):
    return _proposal(made, made.view.round, (1, 1, "survivors"), (1, 1, "masked"))


def test_a_site_that_signs_whatever_the_leader_proposes_agrees_to_its_own_loss() -> None:
    weak = desk(VICTIM, sent=False)  # weak: does not remember that its vector went out
    assert decision(weak) == 0b01111


def test_ours_does_not_sign_a_set_without_itself_once_its_vector_is_out() -> None:
    assert decision(desk(VICTIM)) is None
    assert decision(desk("site-01")) == 0b01111  # who has nothing to object goes on


def test_its_post_on_the_ledger_shows_everybody_that_its_vector_was_there(attacker) -> None:
    court = attacker.Court(5)
    for site in court.sites:
        court.do(site, "post", 1, 1, 1, 2, np.full(32, 7, np.uint8).tobytes())
    without = court.survivors(court.sites[:4])
    for site in court.sites[:3]:
        court.do(site, "post", 1, 1, 1, 3, without)
    assert court.agreed == []  # four are needed, and the colluder's friends are three
    posted = {args["site"] for args in court.named("Posted") if args["step"] == 2}
    assert VICTIM in posted


def test_and_should_the_others_agree_its_vector_stays_closed(world, attacker) -> None:
    ours = world()
    survivors = ours.sites[:4]
    ours.run(survivors=survivors)
    a = attacker.rebuilt(ours, ours.received["unmask"], VICTIM, KEY_SHARE)
    assert attacker.is_uniform(attacker.bare(ours, VICTIM, a=a), ours.updates[VICTIM])
