"""From the proposal to the first round."""

import pytest

from cohortium.core.identity import keccak

SPEC = keccak(b"study")


def test_a_proposal_is_numbered_and_kept(court, harness):
    run = court.propose(min_sites=3, n_rounds=7, budget=9, flags=3, by="lund")
    assert run == 1
    assert court.read("plans", 1) == (SPEC, 2, 3, 7, harness.ANSWER_S, harness.LEADER_S, 9, 3)
    assert court.read("runs", 1)[:3] == (1, harness.START, bytes(32))
    assert list(court.last("Proposed")) == [
        "run", "site", "spec", "min_sites", "n_rounds", "answer_timeout_s", "leader_timeout_s", "budget", "flags",
    ]  # fmt: skip
    assert court.propose() == 2


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ((bytes(32), 2, 5, 60, 60, 0, 0), "value"),
        ((SPEC, 1, 5, 60, 60, 0, 0), "value"),
        ((SPEC, 129, 5, 60, 60, 0, 0), "value"),
        ((SPEC, 2, 0, 60, 60, 0, 0), "value"),
        ((SPEC, 2, 1_000_001, 60, 60, 0, 0), "value"),
        ((SPEC, 2, 5, 0, 60, 0, 0), "value"),
        ((SPEC, 2, 5, 60, 0, 0, 0), "value"),
        ((SPEC, 2, 5, 31_536_001, 60, 0, 0), "value"),
        ((SPEC, 2, 5, 60, 31_536_001, 0, 0), "value"),
        ((SPEC, 2, 5, 60, 60, 0, 4), "value"),
        ((SPEC, 2, 5, 60, 60, 0, 2), "value"),
        ((SPEC, 6, 5, 60, 60, 0, 0), "quorum"),
    ],
)
def test_an_impossible_proposal_is_refused(court, args, reason):
    assert court.refused("bonn", "propose", *args) == reason
    assert court.read("n_runs") == 0


def test_three_sites_are_the_least_under_masks(court):
    court.do("bonn", "propose", SPEC, 3, 1, 60, 60, 0, 2)
    court.do("bonn", "propose", SPEC, 2, 1, 60, 60, 0, 1)


def test_all_active_members_must_answer_before_a_run_goes_on(court):
    run = court.propose()
    court.approve(run, "porto", "bonn", "lund", "graz")
    assert court.read("runs", run)[0] == 1
    court.do("oslo", "decline", run)
    assert court.read("runs", run)[0] == 2
    assert court.last("Readying") == {"run": run, "live": 0b1111}
    assert [court.site_at(run, i) for i in range(4)] == ["porto", "bonn", "lund", "graz"]
    assert court.index(run, "lund") == 2
    assert court.read("indices", run, 3) == 0


def test_an_answer_is_given_once(court):
    run = court.propose()
    court.approve(run, "bonn")
    court.do("graz", "decline", run)
    assert court.refused("bonn", "approve", run, b"\1" * 32) == "once"
    assert court.refused("bonn", "decline", run) == "once"
    assert court.refused("graz", "approve", run, b"\1" * 32) == "once"
    assert court.refused("lund", "approve", run, bytes(32)) == "value"
    assert court.refused("lund", "approve", 2, b"\1" * 32) == "run"
    assert court.refused("lund", "decline", 0) == "run"


def test_a_run_that_too_few_approve_has_failed(court):
    run = court.propose(min_sites=3)
    court.approve(run, "bonn", "graz")
    for site in ("lund", "oslo", "porto"):
        court.do(site, "decline", run)
    assert court.last("Ended") == {"run": run, "state": 5, "reason": 9}
    assert court.refused("bonn", "ready", run, bytes(32)) == "phase"


def test_a_newcomer_admitted_meanwhile_must_answer_too(court, harness):
    run = court.propose()
    court.approve(run, *court.sites[:4])
    for site in court.sites[:3]:
        court.do(site, "vote_admit", harness.key_named("varna").address, "varna", b"\1" * 32, b"\2" * 32)
    court.approve(run, "porto")
    assert court.read("runs", run)[0] == 1
    court.approve(run, "varna")
    assert court.read("runs", run)[0] == 2


def test_two_joiners_close_approvals_after_the_time_out(court, harness):
    run = court.propose(min_sites=3)
    court.approve(run, "bonn", "graz")
    assert court.refused("bonn", "close_approvals", run) == "early"
    court.wait(harness.ANSWER_S)
    assert court.refused("bonn", "close_approvals", run) == "quorum"
    assert court.refused("lund", "close_approvals", run) == "joiner"
    court.approve(run, "lund")
    court.do("bonn", "close_approvals", run)
    assert court.refused("bonn", "close_approvals", run) == "voted"
    assert court.read("runs", run)[0] == 1
    court.do("graz", "close_approvals", run)
    assert court.read("runs", run)[0] == 2
    assert court.refused("oslo", "approve", run, b"\1" * 32) == "phase"
    assert court.refused("bonn", "close_approvals", run) == "phase"


def test_a_nonce_must_open_its_own_commitment(court):
    run = court.propose()
    court.approve(run)
    assert court.refused("bonn", "ready", run, court.nonce(run, "graz")) == "nonce"
    court.do("bonn", "ready", run, court.nonce(run, "bonn"))
    assert court.refused("bonn", "ready", run, court.nonce(run, "bonn")) == "once"


def test_nobody_is_ready_with_a_copied_commitment(court):
    """The commitment covers the address: who copies it cannot open it."""
    run = court.propose()
    stolen = court.commitment(run, "bonn")
    court.approve(run, "bonn", "graz", "lund", "oslo")
    court.do("porto", "approve", run, stolen)
    court.do("bonn", "ready", run, court.nonce(run, "bonn"))
    assert court.refused("porto", "ready", run, court.nonce(run, "bonn")) == "nonce"


def test_the_last_ready_joiner_starts_round_1(court):
    run = court.propose()
    court.approve(run)
    court.ready(run, "bonn", "graz", "lund", "oslo")
    assert court.refused("bonn", "commit", run, 1, b"\1" * 32, 1, 0) == "phase"
    court.ready(run, "porto")
    seed = bytes(32)
    for site in court.sites:
        seed = bytes(a ^ b for a, b in zip(seed, keccak(court.nonce(run, site)), strict=True))
    assert court.last("Started") == {"run": run, "seed": seed, "live": 0b11111, "missing": 0}
    start = int.from_bytes(keccak(seed + run.to_bytes(32, "big")), "big") % 5
    assert court.read("runs", run)[2:4] == (seed, start)
    assert court.last("RoundOpened")["leader"] == court.sites[(start + 1) % 5]
    assert (court.round(run), court.phase(run)) == (1, 1)


def test_a_majority_of_the_joiners_proceeds_without_the_missing_by_name(court, harness):
    run = court.propose()
    court.approve(run)
    court.ready(run, "bonn", "graz", "lund")
    assert court.refused("oslo", "vote_proceed", run) == "ready"
    assert court.refused("bonn", "vote_proceed", run) == "early"
    court.wait(harness.ANSWER_S)
    court.do("bonn", "vote_proceed", run)
    assert court.refused("bonn", "vote_proceed", run) == "voted"
    court.do("graz", "vote_proceed", run)
    assert court.read("runs", run)[0] == 2
    court.do("lund", "vote_proceed", run)
    assert court.last("Started")["missing"] == court.bits(run, "oslo", "porto")
    assert court.live(run) == ["bonn", "graz", "lund"]
    assert court.refused("oslo", "ready", run, court.nonce(run, "oslo")) == "live"
    assert court.refused("bonn", "vote_proceed", run) == "phase"


def test_fewer_than_the_minimum_do_not_proceed(court, harness):
    run = court.propose(min_sites=4)
    court.approve(run)
    court.ready(run, "bonn", "graz", "lund")
    court.wait(harness.ANSWER_S)
    assert court.refused("bonn", "vote_proceed", run) == "quorum"


def test_who_leaves_before_the_start_no_longer_holds_it(court):
    run = court.propose()
    court.approve(run)
    court.ready(run, "bonn", "graz", "lund", "oslo")
    court.do("porto", "withdraw", run, 8)
    assert court.names(court.log)[-2:] == ["Started", "RoundOpened"]
    assert court.last("Started")["missing"] == 0


def test_votes_to_proceed_count_again_when_somebody_leaves(court, harness):
    run = court.propose()
    court.approve(run)
    court.ready(run, "bonn", "graz", "lund")
    court.wait(harness.ANSWER_S)
    court.do("bonn", "vote_proceed", run)
    court.do("graz", "vote_proceed", run)
    court.do("porto", "withdraw", run, 8)
    assert court.read("runs", run)[0] == 2
    court.do("oslo", "withdraw", run, 8)
    assert court.read("runs", run)[0] == 3


def test_under_masks_more_than_a_third_must_be_there(found, harness):
    """Eight joiners: c = 2, so at least four."""
    court = found(8)
    run = court.propose(min_sites=3, flags=2)
    court.approve(run)
    court.ready(run, *court.sites[:3])
    court.wait(harness.ANSWER_S)
    assert court.refused("bonn", "vote_proceed", run) == "quorum"
    court.ready(run, court.sites[3])
    for site in court.sites[:3]:
        court.do(site, "vote_proceed", run)
    assert court.read("runs", run)[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["rules", "contract"])
def test_128_joiners_are_the_most(harness, engine):
    sites = [f"site-{i:03}" for i in range(128)]
    court = harness.Court(harness.ENGINES[engine](tuple(harness.founder_named(site) for site in sites)), sites)
    for site in sites[:65]:
        court.do(site, "vote_admit", harness.key_named("varna").address, "varna", b"\1" * 32, b"\2" * 32)
    run = court.start_all_but("varna")
    assert court.read("runs", run)[4] == 128
    assert court.leader(run) in sites
    assert court.refused("varna", "join", run) == "full"
