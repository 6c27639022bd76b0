"""A node's pace, and a guard that is made once its sites are known."""

import os

import pytest

from cohortium.assembly import build_guard
from cohortium.core.exchange import MASKED, Context, PlainGuard
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import PeerError
from cohortium.node.means import LateGuard, pace
from cohortium.swarm.waiting import Policy


def test_the_default_beat_changes_nothing_the_study_says():
    policy = Policy(round_timeout_s=7.0)
    assert pace(policy, heartbeat_s=15.0) == policy


def test_a_quick_beat_tries_again_quickly_and_leaves_the_studys_times_alone():
    quick = pace(Policy(), heartbeat_s=1.0)
    assert (quick.heartbeat_s, quick.retry_s, quick.rejoin_s, quick.stagger_s, quick.linger_s) == (1, 1, 4, 1, 4)
    assert (quick.round_timeout_s, quick.silence_s, quick.answer_timeout_s) == (600, 120, 86_400)


class Noted(PlainGuard):
    """A guard that remembers for how many sites it was made."""

    def __init__(self, n_sites, made):
        made.append(n_sites)
        self.recipe = MASKED
        self.kept = Parameters()

    def memory(self):
        return self.kept

    def restore(self, memory):
        self.kept = memory


def test_a_late_guard_has_its_recipe_at_once_and_its_sites_when_they_are_known():
    made, joined = [], [5]
    guard = LateGuard(lambda n: Noted(n, made), expected=7, joined=lambda: joined[0])
    assert guard.recipe is MASKED
    joined[0] = 4
    guard.restore(Parameters())
    assert guard.memory() == Parameters()
    assert made == [7, 4]
    with pytest.raises(KeyError):
        guard.open(None, survivors=(), received={})


def test_where_too_few_joined_for_masks_nobody_sends_an_update_in_the_open(make_study):
    """Masks were agreed among three members; two joined. By itself, a run of two sites would be a plain one."""
    study = make_study()
    guard = LateGuard(lambda n: build_guard(study, "bonn", n_sites=n, entropy=os.urandom), expected=3, joined=lambda: 2)
    assert guard.recipe is MASKED
    context = Context(
        consortium=b"c", study=b"s", run=1, round=1, attempt=1, base=b"", frozen=("bonn", "lund"),
        weights={"bonn": 1, "lund": 1}, n_joiners=2,
    )  # fmt: skip
    update = Update(site="bonn", parameters=Parameters({"w": [1.0]}), weight=1)
    guard.check(update)
    with pytest.raises(PeerError, match="masks need 3 to 64 sites of 2"):
        guard.step("keys", context, own=update, received={})
    guard.finish(1)
