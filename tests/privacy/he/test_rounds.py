"""Shared suite of rounds under threshold encryption: the round machine plays the recipe, with and without losses."""

import pytest

from cohortium.privacy.he.guard import CkksGuard
from cohortium.privacy.secagg import guard as masks
from cohortium.sim.faults import Crash, Scenario
from cohortium.sim.playing import play
from cohortium.swarm.waiting import Policy

SITES = ("bonn", "lund", "oslo", "porto")
PATIENT = Policy(answer_timeout_s=3600.0, leader_timeout_s=600.0, silence_s=600.0)
STEPS = ("promises", "publics", "ciphertexts", "partials")


@pytest.fixture
def played(encrypted, monkeypatch):
    """`played(faults, ...)`: the toy swarm, each site under threshold encryption with a scheme in plain sight."""
    scheme = encrypted(3).scheme

    def run(*faults, encryption=True, **options):
        if encryption:
            monkeypatch.setattr(masks, "MaskedGuard", lambda site, entropy: CkksGuard(site, scheme=scheme))
        made = {"sites": SITES, "masked": True, "min_sites": 4, "policy": PATIENT, **options}
        return play(Scenario(name="he", faults=faults, **made))

    return run


def test_a_run_ends_with_the_model_that_masks_give(played):
    masked = played(encryption=False)
    encrypted = played()
    assert {str(one) for one in encrypted.outcomes.values()} == {"complete"}
    assert encrypted.states == masked.states
    assert all(encrypted.contributors(round) == set(SITES) for round in (1, 2, 3))


@pytest.mark.parametrize("step", STEPS)
def test_a_site_that_comes_back_delays_the_run_and_changes_nothing(played, step):
    undisturbed = played()
    report = played(Crash(site="lund", fact="stepped", step=step, round=2, back_after_s=20.0))
    assert {str(one) for one in report.outcomes.values()} == {"complete"}
    assert report.states == undisturbed.states


@pytest.mark.parametrize("step", ["ciphertexts", "partials"])
def test_without_one_site_nothing_is_opened_and_the_run_waits_for_it(played, step):
    gone = Crash(site="lund", fact="stepped", step=step, round=2, back_after_s=None)
    report = played(gone, policy=Policy(answer_timeout_s=3600.0), within_s=3000.0)
    assert report.outcomes == {}
    assert report.contributors(1) == set(SITES)
    assert report.contributors(2) == report.contributors(3) == set(), "three of four keys open nothing"
    assert report.named("Void")[0]["round"] == 2


def test_a_site_that_was_given_up_comes_back_and_the_run_goes_on(played):
    late = Crash(site="lund", fact="stepped", step="partials", round=2, back_after_s=1500.0)
    report = played(late, policy=Policy(answer_timeout_s=3600.0), within_s=20_000.0)
    assert {str(one) for one in report.outcomes.values()} == {"complete"}
    finals = [one["round"] for one in report.named("Final")]
    assert len(finals) == 3
    assert 2 not in finals
