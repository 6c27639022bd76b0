"""A node's pace, and a guard that is made once its sites are known."""

import pytest

from cohortium.core.exchange import MASKED, PlainGuard
from cohortium.core.parameters import Parameters
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
