"""F1-F10 and S1-S15 by name, as far as they live in one process: what was injected, and what must come of it."""

from dataclasses import replace
from functools import cache

import pytest

from cohortium.errors import LedgerForked, UsageError, VerificationFailed
from cohortium.sim.faulty_ports import WRONG_CERTIFICATE
from cohortium.sim.playing import Report, play
from cohortium.sim.scenarios import PUBLISHED, SCENARIOS, SITES, published
from cohortium.swarm.notices import Progressed
from cohortium.swarm.reasons import REASONS


@cache
def played(name: str) -> Report:
    return play(SCENARIOS[name])


def outcomes(report: Report, *, but: tuple[str, ...] = ()) -> set[str]:
    assert set(report.outcomes) | set(but) >= set(report.scenario.sites), report
    return {str(outcome) for site, outcome in report.outcomes.items() if site not in but}


def agreed_state(report: Report, *, but: tuple[str, ...] = ()) -> bytes:
    states = {digest for site, digest in report.states.items() if site not in but}
    assert len(states) == 1, report
    return states.pop()


def undisturbed() -> bytes:
    return agreed_state(played("none"))


def test_without_faults_all_complete_in_the_time_training_takes() -> None:
    report = played("none")
    assert outcomes(report) == {"complete"}
    assert report.ended_s < 3 * 60 + 2
    assert not any(report.refusals(site) for site in SITES)


@pytest.mark.slow
def test_f1_slow_site_that_is_heard_of_is_waited_for() -> None:
    report = played("f1")
    assert outcomes(report) == {"complete"}
    assert report.ended_s > 3 * 3600
    heard = [n for _, by, n in report.notices if by == "lund" and isinstance(n, Progressed) and n.site == "rome"]
    assert len(heard) > 3 * 3600 / 15 * 0.9, "the others see it training all the while"


def test_f1_mute_site_is_closed_out_by_majority_and_named() -> None:
    report = played("f1-mute")
    assert outcomes(report) == {"partial (6/7 sites)"}
    assert report.ended_s < 3600
    outcome = report.outcomes["aachen"]
    assert outcome.merged["rome"] == 1
    assert outcome.reasons == {"rome": ("late in 1 rounds",)}
    assert report.contributors(2) == set(SITES) - {"rome"}


def test_f2_lost_device_is_told_retried_dropped_and_welcomed_back() -> None:
    report = played("f2")
    assert outcomes(report) == {"partial (6/7 sites)"}
    assert report.contributors(9) == set(SITES)
    assert [(gone["site"], gone["reason"]) for gone in report.named("Dropped")] == [("lund", 3)]
    assert [joined["site"] for joined in report.named("Joined")] == ["lund"]
    first = min(at for at, trouble in report.troubles("lund"))
    for site in set(SITES) - {"lund"}:
        told = [at for at, trouble in report.troubles(site) if (trouble.site, trouble.code) == ("lund", "device")]
        assert min(told) - first <= 15
    assert report.outcomes["aachen"].reasons == {"lund": ("train, device",)}


def told_in_time(report: Report, site: str, stage: str, code: str) -> None:
    """All other sites know of a trouble within one heartbeat and a second."""
    (told,) = [one for one in report.told if (one.site, one.stage, one.code) == (site, stage, code)]
    assert set(told.heard_s) | {site} == set(report.scenario.sites), report
    assert told.missing in ((), (site,))
    assert told.within_s <= report.scenario.policy.heartbeat_s + 1


@pytest.mark.slow
def test_f2_f4_f7_and_f8_are_told_to_all_within_a_heartbeat() -> None:
    told_in_time(played("f2"), "lund", "train", "device")
    told_in_time(played("f4"), "porto", "train", "path_readonly")
    told_in_time(played("f4-start"), "porto", "load", "path_readonly")
    told_in_time(played("f7"), "dresden", "train", "shared_memory")
    told_in_time(played("f8-never"), "turin", "load", "data")
    told_in_time(played("f9"), "bonn", "connect", "certificate")
    told_in_time(played("f9-expired"), "bonn", "connect", "certificate")


def test_f3_killed_node_starts_again_at_once_from_its_files_without_a_manual_step() -> None:
    report = played("f3")
    assert outcomes(report) == {"complete"}
    assert agreed_state(report) == undisturbed()


def test_f4_path_that_turns_read_only_is_named_and_the_others_finish() -> None:
    report = played("f4")
    assert outcomes(report) == {"partial (6/7 sites)"}
    assert [(gone["site"], gone["reason"]) for gone in report.named("Dropped")] == [("porto", REASONS["path_readonly"])]
    assert report.outcomes["porto"].reasons == {"porto": ("train, path_readonly",)}, "its own node says so too"
    agreed_state(report, but=("porto",))
    assert not report.errors


def test_f4_path_that_is_read_only_from_the_start_keeps_the_site_from_being_ready() -> None:
    report = played("f4-start")
    assert outcomes(report) == {"partial (6/7 sites)"}
    assert "porto" not in {args["site"] for args in report.named("Ready")}
    assert report.outcomes["aachen"].reasons["porto"] == ("ready, late",)


def test_f4_site_whose_path_can_be_written_again_joins_and_contributes() -> None:
    report = played("f4-mended")
    assert outcomes(report) == {"partial (6/7 sites)"}
    assert [args["site"] for args in report.named("Joined")] == ["porto"]
    assert report.contributors(9) == set(SITES)
    agreed_state(report)


def test_f7_worker_killed_for_want_of_shared_memory_is_named_with_its_code() -> None:
    report = played("f7")
    assert outcomes(report) == {"partial (6/7 sites)"}
    assert [(gone["site"], gone["reason"]) for gone in report.named("Dropped")] == [
        ("dresden", REASONS["shared_memory"])
    ]
    assert report.outcomes["aachen"].reasons == {"dresden": ("train, shared_memory",)}
    assert report.contributors(2) == set(SITES) - {"dresden"}


def test_f9_site_with_a_certificate_of_old_is_never_ready_and_both_ends_know_why() -> None:
    report = played("f9")
    assert outcomes(report) == {"partial (6/7 sites)"}
    assert "bonn" not in {args["site"] for args in report.named("Ready")}
    assert {refused.why for refused in report.refusals("aachen")} == {f"handshake refused: {WRONG_CERTIFICATE}"}
    assert {refused.why for refused in report.refusals("bonn")} == {f"refused our handshake: {WRONG_CERTIFICATE}"}
    agreed_state(report, but=("bonn",))


def test_f9_certificate_that_expires_in_mid_run_costs_that_site_only_and_it_does_not_flap() -> None:
    report = played("f9-expired")
    assert outcomes(report) == {"partial (6/7 sites)"}
    assert [gone["site"] for gone in report.named("Dropped")] == ["bonn"]
    assert not report.named("Joined"), "it knows that nobody would hear it"


def test_f9_site_with_a_renewed_certificate_joins_and_contributes() -> None:
    report = played("f9-renewed")
    assert [args["site"] for args in report.named("Joined")] == ["bonn"]
    assert report.contributors(9) == set(SITES)
    agreed_state(report)


def test_f5_update_after_its_round_is_recorded_and_the_next_round_has_the_site() -> None:
    report = played("f5")
    assert outcomes(report) == {"partial (6/7 sites)"}
    assert "turin" not in report.contributors(2)
    assert "turin" in report.contributors(4)
    assert not report.errors


def test_f5_carry_sends_the_late_update_with_less_weight() -> None:
    report = played("f5-carry")
    weights = {c["round"]: c["weight"] for c in report.named("Committed") if c["site"] == "turin"}
    assert 2 not in weights
    assert weights[1] == 16
    carried = min(round for round in weights if round > 2)
    assert weights[carried] == int(16 / (1 + carried - 2) ** 0.5)
    assert outcomes(report) == {"partial (6/7 sites)"}


def test_f6_cut_off_site_is_gone_on_without_and_gets_the_model_when_it_is_back() -> None:
    report = played("f6")
    assert outcomes(report) == {"partial (6/7 sites)"}
    assert report.outcomes["aachen"].merged["porto"] == 1
    agreed_state(report)


def test_f6_leader_cut_off_in_mid_exchange_is_replaced_and_dropped() -> None:
    report = played("f6-leader")
    closed = next(args for args in report.named("Closed") if args["round"] == 2)
    failover = next(args for args in report.named("Failover") if args["round"] == 2)
    assert failover["leader"] != closed["leader"]
    final = next(args for args in report.named("Final") if args["round"] == 2)
    assert final["term"] >= 1
    assert report.contributors(2) == set(SITES) - {closed["leader"]}
    assert outcomes(report) == {"partial (6/7 sites)"}
    agreed_state(report)


def test_f6_minority_pauses_and_heals_without_a_fork() -> None:
    report = played("f6-minority")
    assert outcomes(report) == {"complete"}
    assert agreed_state(report) == undisturbed()
    assert report.ended_s > 2.5 * 3600


def test_f8_round_1_waits_for_the_site_that_is_ready_late() -> None:
    report = played("f8")
    assert outcomes(report) == {"complete"}
    assert report.contributors(1) == set(SITES)
    assert agreed_state(report) == undisturbed()


def test_f8_site_that_is_never_ready_is_named_and_the_run_is_partial() -> None:
    report = played("f8-never")
    assert outcomes(report) == {"partial (6/7 sites)"}
    assert report.outcomes["aachen"].reasons["turin"][0] == "ready, late"
    assert report.named("Started")[0]["missing"] != 0


def test_f10_results_after_the_end_arrive_and_the_missing_one_is_named() -> None:
    report = played("f10")
    assert outcomes(report) == {"complete"}
    for site in set(SITES) - {"dresden"}:
        assert report.missing[site] == {"dresden": "missing: not received"}


def test_s1_forged_merge_is_disputed_deposed_and_never_adopted() -> None:
    report = played("s1")
    assert outcomes(report, but=("bonn",)) == {"partial (6/7 sites)"}
    assert isinstance(report.errors["bonn"], VerificationFailed)
    assert [gone["site"] for gone in report.named("Withdrawn")] == ["bonn"]
    honest = agreed_state(report)
    assert all(args["site"] != "bonn" or args["digest"] != honest for args in report.named("Published"))


def test_s2_two_faced_leader_is_convicted_by_its_own_signatures() -> None:
    report = played("s2")
    assert outcomes(report, but=("bonn",)) == {"partial (6/7 sites)"}
    convicted = report.named("Equivocated")
    assert [args["site"] for args in convicted] == ["bonn"]
    assert convicted[0]["h1"] != convicted[0]["h2"]
    assert [args["site"] for args in report.named("Swept")] == ["bonn"]
    agreed_state(report, but=("bonn",))


def test_s3_forked_ledger_stops_every_node_with_both_signed_heads() -> None:
    report = played("s3")
    assert not report.outcomes
    assert set(report.errors) == set(SITES)
    for error in report.errors.values():
        assert isinstance(error, LedgerForked)
        assert len(error.evidence) == 2


def test_s4_withheld_payload_is_missed_by_leader_and_attestors_and_its_site_dropped() -> None:
    report = played("s4")
    assert outcomes(report) == {"partial (6/7 sites)"}
    assert [(gone["site"], gone["reason"]) for gone in report.named("Dropped")] == [("porto", 2)]
    assert report.contributors(2) == set(SITES) - {"porto"}


def test_s5_withheld_nonce_costs_taking_part_and_chooses_nothing() -> None:
    report = played("s5")
    assert outcomes(report) == {"partial (6/7 sites)"}
    assert "turin" not in {args["site"] for args in report.named("Ready")}
    assert report.contributors(1) == set(SITES) - {"turin"}


def test_s6_site_excluded_in_mid_round_is_swept_and_the_round_goes_on() -> None:
    report = played("s6")
    assert outcomes(report, but=("porto",)) == {"partial (6/7 sites)"}
    assert [args["site"] for args in report.named("Swept")] == ["porto"]
    assert report.outcomes["aachen"].reasons["porto"] == ("train, excluded",)


def test_s7_node_killed_before_its_update_was_written_trains_again_to_the_same_digest() -> None:
    report = played("s7")
    assert outcomes(report) == {"complete"}
    assert agreed_state(report) == undisturbed()


def test_s8_envelopes_before_their_round_and_out_of_order_change_nothing() -> None:
    report = played("s8")
    assert outcomes(report) == {"complete"}
    assert agreed_state(report) == undisturbed()


def replicas_agree(report: Report) -> dict[str, int]:
    """All replicas end with one head; what they skipped, which is the same everywhere."""
    assert set(report.heads) == set(report.scenario.sites)
    assert len(set(report.heads.values())) == 1, report
    skipped = list(report.skipped.values())
    assert all(one == skipped[0] for one in skipped)
    return skipped[0]


def test_s9_invalid_entries_make_no_block_anywhere_and_all_heads_are_equal() -> None:
    pytest.importorskip("eth")
    report = played("s9")
    assert outcomes(report) == {"complete"}
    skipped = replicas_agree(report)
    assert skipped["undecodable"] >= 3
    assert sum(skipped.values()) >= 8
    agreed_state(report)


def test_s10_member_that_claims_the_year_2100_moves_no_timeout() -> None:
    pytest.importorskip("eth")
    report = played("s10")
    assert outcomes(report) == {"complete"}
    replicas_agree(report)
    assert report.ended_s < 3 * 60, "nothing waited and nothing was closed early"
    assert not report.named("Dropped")
    assert report.contributors(2) == set(report.scenario.sites)


def test_s11_transactions_of_another_consortium_of_the_same_members_are_skipped() -> None:
    pytest.importorskip("eth")
    report = played("s11")
    assert outcomes(report) == {"complete"}
    skipped = replicas_agree(report)
    assert sum(skipped.values()) >= 2 * len(report.scenario.sites)
    assert {args["status"] for args in report.named("MemberChanged")} == {1}, "nobody was voted out by them"


def test_s12_restart_between_survivors_and_unmask_gives_the_same_answer_and_no_second_one() -> None:
    report = played("s12")
    assert outcomes(report) == {"complete"}
    assert report.contributors(2) == set(SITES)
    plain = play(replace(SCENARIOS["s12"], faults=()))
    attempts = [{args["attempt"] for args in one.named("Agreed")} for one in (report, plain)]
    assert attempts[0] == attempts[1], "nobody was asked a second time"
    assert agreed_state(report) == agreed_state(plain)


def test_s12_without_the_restart_the_sum_still_opens_for_those_who_masked() -> None:
    report = played("s12-never")
    assert outcomes(report, but=("lund",)) == {"partial (6/7 sites)"}
    assert report.contributors(2) == set(SITES), "its masked update was in; threshold many others answered"
    assert "lund" in report.outcomes["aachen"].reasons


def test_s13_leader_steps_down_without_a_timeout() -> None:
    report = played("s13")
    assert outcomes(report) == {"complete"}
    assert [args["round"] for args in report.named("Failover")] == [2]
    assert report.ended_s < 200
    assert agreed_state(report) == undisturbed()


def test_s14_truncated_repeated_and_corrupt_chunks_are_refused_and_asked_for_again() -> None:
    report = played("s14")
    assert outcomes(report) == {"complete"}
    agreed_state(report)
    whys = " ".join(notice.why for site in report.scenario.sites for notice in report.refusals(site))
    assert "does not hash to what its manifest promised" in whys
    assert "came before" in whys


def test_s15_late_joiner_catches_up_and_contributes() -> None:
    report = played("s15")
    assert outcomes(report) == {"complete"}
    joined = report.named("Joined")
    assert [args["site"] for args in joined] == ["turin"]
    assert "turin" in report.contributors(6)
    assert "turin" not in report.contributors(1)
    agreed_state(report)


def test_same_seed_same_trace_other_seed_another() -> None:
    first, second = (play(SCENARIOS["s14"]) for _ in range(2))
    assert str(first) == str(second)
    assert str(play(replace(SCENARIOS["s14"], seed=2))) != str(first)


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_no_scenario_ends_in_a_silent_subset(name: str) -> None:
    if SCENARIOS[name].replicated:
        pytest.importorskip("eth")
    scenario, report = SCENARIOS[name], played(name)
    assert scenario.name == name
    assert set(report.outcomes) | set(report.errors) | {"lund"} >= set(scenario.sites), "every node comes to an end"
    for outcome in report.outcomes.values():
        assert outcome.status in ("complete", "partial", "failed")
        if outcome.status != "failed":
            named = set(outcome.satisfied) | set(outcome.reasons)
            assert named == set(outcome.merged), "who approved is counted in or named with its reasons"
            assert all(outcome.reasons.values())
            assert (outcome.status == "complete") == (not outcome.reasons)


def test_published_failures_are_all_ten_with_what_happened_there() -> None:
    assert {name.split("-")[0] for name in PUBLISHED} == {f"f{n}" for n in range(1, 11)}
    assert all(SCENARIOS[f"f{n}"].there for n in range(1, 11))
    assert published("f2") is SCENARIOS["f2"]
    with pytest.raises(UsageError, match="unknown failure 'f11'; available: f1, f1-mute, f2"):
        published("f11")
