"""Attack 8: let the round finish, then start a new attempt without the victim and subtract the sums; also on a fork."""

import numpy as np
import pytest

from cohortium.errors import PeerError
from cohortium.privacy.secagg.guard import MaskedGuard

VICTIM = "site-04"


class Obliging(MaskedGuard):
    """Weak: serves every attempt the ledger shows."""

    def _refuse_after_answer(self, at):
        return


def attack(world):
    first = world.run().open().total["w"]
    rest = tuple(world.sites[:4])
    world.received = {}
    for step in ("keys", "shares", "masked", "unmask"):
        if step == "unmask":
            world.received["survivors"] = dict.fromkeys(rest, world.received["masked"][rest[0]])
        world.received[step] = {s: world.ask(s, step, attempt=2, frozen=rest) for s in rest}
    return first - world.open(survivors=rest, attempt=2, frozen=rest).total["w"]


def test_obliging_sites_give_a_second_sum_whose_difference_is_the_victim(world) -> None:
    weak = world(guard=Obliging)
    assert np.corrcoef(attack(weak), weak.updates[VICTIM].parameters["w"])[0, 1] > 0.999999


def test_ours_refuses_every_other_attempt_of_a_round_it_answered_in(world) -> None:
    with pytest.raises(PeerError, match="round 1 was unmasked in attempt 1; attempt 2 is refused"):
        attack(world())


@pytest.mark.parametrize("final", [False, True])
def test_whatever_a_forked_ledger_shows_and_after_a_restart(world, final) -> None:
    """A fork that hides `Agreed`, or `Final`: the site goes by what it did, not by what it is shown."""
    ours = world().run()
    guard = ours.guards["site-00"]
    if final:
        guard.finish(1)
    ours.guards["site-00"] = ours.guard("site-00")
    ours.guards["site-00"].restore(guard.memory())
    for step in ("keys", "shares", "masked", "unmask"):
        with pytest.raises(PeerError, match="attempt 2 is refused"):
            ours.ask("site-00", step, attempt=2, frozen=tuple(ours.sites[:4]))


class Forgetful(MaskedGuard):
    """Weak: a round that came to nothing is forgotten with its promises."""

    def _forget(self):
        newest = max(at[:2] for at in self._kept)
        self._kept = {at: kept for at, kept in self._kept.items() if at[:2] == newest}


def void_and_again(world, *, base=b"b"):
    """A colluder's garbage makes the opened round void for all but itself; in the next the victim is left out."""
    first = world.run().open().total["w"]
    rest = tuple(world.sites[:4])
    world.received = {}
    for step in ("keys", "shares", "masked", "unmask"):
        if step == "unmask":
            world.received["survivors"] = dict.fromkeys(rest, world.received["masked"][rest[0]])
        world.received[step] = {s: world.ask(s, step, round=2, frozen=rest, base=base) for s in rest}
    return first - world.open(survivors=rest, round=2, frozen=rest, base=base).total["w"]


def test_a_void_round_and_the_next_give_a_forgetful_sites_neighbour_away(world) -> None:
    weak = world(guard=Forgetful)
    assert np.corrcoef(void_and_again(weak), weak.updates[VICTIM].parameters["w"])[0, 1] > 0.999999


@pytest.mark.parametrize("restarted", [False, True])
def test_ours_never_opens_one_update_among_two_sets_of_survivors(world, restarted) -> None:
    ours = world()
    if restarted:
        ask = ours.ask

        def ask_after_restart(site, step, **fields):
            again = ours.guard(site)
            if len(ours.guards[site].memory()):
                again.restore(ours.guards[site].memory())
            ours.guards[site] = again
            return ask(site, step, **fields)

        ours.ask = ask_after_restart
    with pytest.raises(PeerError, match="the same update was unmasked for other survivors in round 1"):
        void_and_again(ours)


def test_the_next_model_is_another_update(world) -> None:
    void_and_again(world(), base=b"the merge of round 1")
