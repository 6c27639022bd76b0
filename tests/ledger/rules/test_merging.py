"""From the closed round to the final merge, and what happens when it does not come about."""

import pytest

from cohortium.core.identity import keccak

D, OTHER, ROOT = b"\x11" * 32, b"\x22" * 32, keccak(b"inputs")


def closed(court, **plan):
    run = court.start(**plan)
    court.commit(run)
    return run


def others(court, run):
    return [site for site in court.sites if site != court.leader(run)]


def dump(court, run):
    return dict(
        zip(
            ("number", "phase", "leader", "term", "attempt", "committed", "frozen", "need", "threshold", "survivors",
             "contributors", "digest", "k", "attested", "disputed"),
            court.read("rounds", run),
            strict=True,
        )
    )  # fmt: skip


# posts


def test_as_many_equal_posts_as_the_threshold_are_agreed_once(court, harness):
    run = closed(court)
    for site in court.sites[:3]:
        court.do(site, "post", run, 1, 1, 5, D)
    assert "Agreed" not in court.names(court.log)
    events = court.do("oslo", "post", run, 1, 1, 5, D)
    assert court.names(events) == ["Posted", "Agreed"]
    assert court.names(court.do("porto", "post", run, 1, 1, 5, D)) == ["Posted"]
    key = harness.key_of(12, run, 1, 1 << 8 | 5, bytes(32))
    assert court.read("agreements", key) == D


def test_different_posts_do_not_add_up(court):
    run = closed(court)
    for site, digest in zip(court.sites, (D, D, D, OTHER, OTHER), strict=True):
        court.do(site, "post", run, 1, 1, 5, digest)
    assert "Agreed" not in court.names(court.log)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ((2, 1, 1, D), "phase"),
        ((1, 2, 1, D), "phase"),
        ((1, 1, 0, D), "value"),
        ((1, 1, 256, D), "value"),
        ((1, 1, 1, bytes(32)), "value"),
    ],
)
def test_a_post_names_round_attempt_step_and_digest(court, args, reason):
    run = closed(court)
    assert court.refused("bonn", "post", run, *args) == reason


def test_a_post_is_made_once_in_a_slot_and_only_by_the_frozen(court):
    run = court.start()
    court.commit(run, "bonn", "graz", "lund")
    assert court.refused("bonn", "post", run, 1, 0, 1, D) == "phase"
    for site in ("bonn", "graz", "lund"):
        court.do(site, "vote_close", run, 1)
    court.do("bonn", "post", run, 1, 1, 1, D)
    assert court.refused("bonn", "post", run, 1, 1, 1, OTHER) == "once"
    assert court.refused("oslo", "post", run, 1, 1, 1, D) == "frozen"
    court.do("bonn", "post", run, 1, 1, 2, D)


# survivors


def test_survivors_are_agreed_by_bitmap_and_then_they_are_the_contributors(court):
    run = closed(court, min_sites=3, flags=2)
    survivors = court.bits(run, *court.sites[:4])
    assert court.refused(court.leader(run), "publish", run, 1, D, ROOT, survivors, D) == "contributors"
    court.agree(run, *court.sites[:4])
    assert dump(court, run)["survivors"] == survivors
    leader = court.leader(run)
    assert court.refused(leader, "publish", run, 1, D, ROOT, 0b11111, D) == "contributors"
    court.do(leader, "publish", run, 1, D, ROOT, survivors, OTHER)
    assert court.last("Published")["contributors"] == survivors
    assert court.last("Published")["transcript"] == OTHER


def test_survivors_are_a_subset_of_the_frozen_and_not_too_few(court):
    run = closed(court, min_sites=4, flags=2)
    for bits in (0b111, 0b100000, 0b111111, (1 << 255) | 0b1111):
        assert court.refused("bonn", "post", run, 1, 1, 3, bits.to_bytes(32, "big")) == "survivors"
    court.do("bonn", "post", run, 1, 1, 3, (0b1111).to_bytes(32, "big"))


def test_step_3_of_a_plain_run_is_an_ordinary_step(court):
    run = closed(court)
    court.do("bonn", "post", run, 1, 1, 3, D)


def test_survivors_are_not_agreed_after_publication(court):
    run = closed(court, min_sites=3, flags=2)
    court.agree(run, *court.sites[:4])
    court.publish(run)
    assert court.refused("porto", "post", run, 1, 1, 3, (0b1111).to_bytes(32, "big")) == "phase"
    court.do("porto", "post", run, 1, 1, 4, D)


# publication and attestation


@pytest.mark.parametrize(
    ("n", "flags", "k"),
    [(2, 0, 1), (3, 0, 2), (4, 0, 2), (5, 0, 3), (8, 0, 4), (2, 1, 1), (3, 1, 2), (4, 1, 2), (5, 1, 2), (8, 1, 3)],
)
def test_as_many_attestations_as_the_design_asks(found, n, flags, k):
    """All: floor((m-1)/2)+1 others; drawn: min(floor(m/3)+1, m-1)."""
    court = found(n)
    run = closed(court, flags=flags)
    court.publish(run)
    assert court.last("Published")["k"] == k == dump(court, run)["k"]
    for site in others(court, run)[: k - 1]:
        court.do(site, "attest", run, 1, 0, D)
    assert court.round(run) == 1
    leader = court.leader(run)
    court.do(others(court, run)[k - 1], "attest", run, 1, 0, D)
    assert court.last("Final") == {"run": run, "round": 1, "term": 0, "digest": D, "contributors": 2**n - 1}
    assert court.read("finals", run, 1) == D
    assert court.read("runs", run)[9:] == (1, D)
    assert (court.round(run), court.phase(run)) == (2, 1)
    assert leader != court.leader(run)


def test_only_the_leader_publishes_the_right_contributors(court):
    run = closed(court)
    leader = court.leader(run)
    assert court.refused(others(court, run)[0], "publish", run, 1, D, ROOT, 0b11111, D) == "leader"
    assert court.refused(leader, "publish", run, 1, bytes(32), ROOT, 0b11111, D) == "value"
    assert court.refused(leader, "publish", run, 1, D, ROOT, 0b01111, D) == "contributors"
    assert court.refused(leader, "publish", run, 1, D, ROOT, 0b111111, D) == "contributors"
    assert court.refused(leader, "publish", run, 2, D, ROOT, 0b11111, D) == "phase"
    court.publish(run)
    assert court.refused(leader, "publish", run, 1, D, ROOT, 0b11111, D) == "phase"


def test_a_merge_of_too_few_is_not_published(court):
    run = closed(court, min_sites=4)
    gone = others(court, run)[:2]
    for site in gone:
        court.do(site, "withdraw", run, 1)
    contributors = court.bits(run, *[site for site in court.sites if site not in gone])
    assert court.refused(court.leader(run), "publish", run, 1, D, ROOT, contributors, D) == "quorum"


def test_an_attestation_is_one_contributors_word_about_one_leader(court):
    run = court.start()
    court.commit(run, *court.sites[:4])
    for site in court.sites[:3]:
        court.do(site, "vote_close", run, 1)
    assert court.refused(others(court, run)[0], "attest", run, 1, 0, D) == "phase"
    leader = court.publish(run)
    site = next(s for s in court.sites[:4] if s != leader)
    assert court.refused(leader, "attest", run, 1, 0, D) == "leader"
    assert court.refused("porto", "attest", run, 1, 0, D) == "contributors"
    assert court.refused(site, "attest", run, 1, 1, D) == "phase"
    assert court.refused(site, "attest", run, 2, 0, D) == "phase"
    assert court.refused(site, "attest", run, 1, 0, bytes(32)) == "value"
    court.do(site, "attest", run, 1, 0, D)
    assert court.refused(site, "attest", run, 1, 0, D) == "once"
    assert court.refused(site, "dispute", run, 1, 0, D, 1) == "once"


# dispute


def test_k_disputes_depose_the_leader_and_the_next_one_merges(court):
    run = closed(court)
    leader = court.publish(run)
    for site in others(court, run)[:2]:
        court.do(site, "attest", run, 1, 0, OTHER)
    assert court.leader(run) == leader
    assert court.last("Disputed")["digest"] == OTHER
    court.do([s for s in court.sites if s != leader][2], "dispute", run, 1, 0, bytes(32), 21)
    assert court.leader(run) == court.sites[(court.sites.index(leader) + 1) % 5]
    assert court.last("Failover") == {
        "run": run, "round": 1, "term": 1, "attempt": 2, "frozen": 0b11111, "leader": court.leader(run), "threshold": 4,
    }  # fmt: skip
    court.publish(run, OTHER)
    court.attest(run, OTHER)
    assert court.read("finals", run, 1) == OTHER


def test_who_disputed_a_merge_does_not_attest_it_too(court):
    run = closed(court)
    court.publish(run)
    site = others(court, run)[0]
    court.do(site, "attest", run, 1, 0, OTHER)
    assert court.refused(site, "attest", run, 1, 0, D) == "once"
    assert court.refused(site, "dispute", run, 1, 0, D, 21) == "once"


def test_a_mixed_verdict_is_final_where_k_agree(court):
    run = closed(court)
    court.publish(run)
    a, b, c, d = others(court, run)
    court.do(a, "attest", run, 1, 0, OTHER)
    for site in (b, c, d):
        court.do(site, "attest", run, 1, 0, D)
    assert court.read("finals", run, 1) == D


def test_half_of_the_frozen_do_not_depose_before_publication_but_more_do(court):
    run = closed(court)
    leader = court.leader(run)
    a, b, c, _ = others(court, run)
    court.do(a, "dispute", run, 1, 0, D, 2)
    court.do(b, "dispute", run, 1, 0, D, 2)
    assert court.leader(run) == leader
    court.do(c, "dispute", run, 1, 0, D, 2)
    assert court.leader(run) != leader
    assert court.term(run) == 1


def test_who_disputed_before_publication_may_attest_after(court):
    run = closed(court)
    site = others(court, run)[0]
    court.do(site, "dispute", run, 1, 0, D, 2)
    court.publish(run)
    court.do(site, "attest", run, 1, 0, D)


def test_a_dispute_says_why_and_comes_from_a_frozen_site(court):
    run = court.start()
    assert court.refused(others(court, run)[0], "dispute", run, 1, 0, D, 1) == "phase"
    court.commit(run, *court.sites[:4])
    for site in court.sites[:3]:
        court.do(site, "vote_close", run, 1)
    if court.leader(run) != "porto":
        assert court.refused("porto", "dispute", run, 1, 0, D, 1) == "frozen"
    site = next(s for s in court.sites[:4] if s != court.leader(run))
    assert court.refused(court.leader(run), "dispute", run, 1, 0, D, 1) == "leader"
    assert court.refused(site, "dispute", run, 1, 0, D, 0) == "value"
    assert court.refused(site, "dispute", run, 1, 0, D, 256) == "value"
    assert court.refused(site, "dispute", run, 1, 1, D, 1) == "phase"


# fail-over


def test_a_leader_steps_down_at_once(court):
    run = closed(court)
    leader = court.leader(run)
    court.do(leader, "failover", run, 1, 0)
    assert court.leader(run) == court.sites[(court.sites.index(leader) + 1) % 5]


def test_others_need_the_time_out_and_two_different_signers(court, harness):
    run = closed(court)
    leader = court.leader(run)
    a, b = others(court, run)[:2]
    assert court.refused(a, "failover", run, 1, 0) == "early"
    court.wait(harness.LEADER_S - 1)
    assert court.refused(a, "failover", run, 1, 0) == "early"
    court.wait(1)
    court.do(a, "failover", run, 1, 0)
    assert court.refused(a, "failover", run, 1, 0) == "voted"
    assert court.leader(run) == leader
    court.do(b, "failover", run, 1, 0)
    assert court.leader(run) != leader
    assert court.refused(others(court, run)[0], "failover", run, 1, 0) == "phase"
    assert court.refused(others(court, run)[0], "failover", run, 1, 1) == "early"


def test_no_failover_while_collecting(court, harness):
    run = court.start()
    court.wait(harness.LEADER_S)
    assert court.refused(court.leader(run), "failover", run, 1, 0) == "phase"


def test_a_publication_starts_the_time_out_anew(court, harness):
    run = closed(court)
    court.wait(harness.LEADER_S)
    court.publish(run)
    assert court.refused(others(court, run)[0], "failover", run, 1, 0) == "early"


def test_attestations_for_a_deposed_leader_are_gone(court):
    run = closed(court)
    leader = court.publish(run)
    for site in others(court, run)[:2]:
        court.do(site, "attest", run, 1, 0, D)
    court.do(leader, "failover", run, 1, 0)
    second = court.publish(run)
    assert court.refused(leader, "attest", run, 1, 0, D) == "phase"
    court.do(leader, "attest", run, 1, 1, D)
    assert court.round(run) == 1
    court.attest_more(run, second, leader)
    assert court.round(run) == 2


# attempts under masks


def test_a_failover_before_survivors_is_a_new_attempt_over_who_is_live(found):
    court = found(7)
    run = closed(court, min_sites=3, flags=2)
    leader = court.leader(run)
    gone = others(court, run)[0]
    court.do(leader, "post", run, 1, 1, 2, D)  # shares were dealt: a loss does not deal again
    court.do(gone, "withdraw", run, 1)
    assert dump(court, run)["attempt"] == 1
    court.do(leader, "failover", run, 1, 0)
    r = dump(court, run)
    assert (r["attempt"], r["term"]) == (2, 1)
    assert r["frozen"] == 2**7 - 1 & ~court.bits(run, gone)
    assert r["threshold"] == (6 + 2) // 2 + 1
    assert court.refused(leader, "post", run, 1, 1, 3, D) == "phase"


def test_there_are_at_most_three_attempts_then_the_nodes_vote(court):
    run = closed(court, min_sites=3, flags=2)
    for term in range(2):
        court.do(court.leader(run), "failover", run, 1, term)
    assert dump(court, run)["attempt"] == 3
    assert court.refused(court.leader(run), "failover", run, 1, 2) == "quorum"
    for site in court.sites[:3]:
        court.do(site, "vote_void", run, 1, 20)
    assert court.last("Void") == {"run": run, "round": 1, "reason": 20}
    assert court.round(run) == 2


def test_plain_rounds_have_no_limit_of_attempts(court):
    run = closed(court)
    for term in range(6):
        court.do(court.leader(run), "failover", run, 1, term)
    assert court.term(run) == 6
    court.publish(run)


def test_once_survivors_are_agreed_there_is_no_further_attempt(court, harness):
    """Unmask answers may be out: the next leader goes on with the same survivors and the same keys."""
    run = closed(court, min_sites=3, flags=2)
    court.agree(run, *court.sites[:4])
    before = dump(court, run)
    court.do(court.leader(run), "failover", run, 1, 0)
    court.do(court.leader(run), "failover", run, 1, 1)
    for site in court.sites[:2]:
        court.do(site, "withdraw", run, 1)
    after = dump(court, run)
    for unchanged in ("attempt", "frozen", "survivors", "threshold", "need"):
        assert after[unchanged] == before[unchanged]
    leader = court.leader(run)
    assert leader in court.sites[2:]
    court.do(leader, "publish", run, 1, D, ROOT, before["survivors"], D)


def test_a_round_whose_survivors_cannot_answer_is_void_and_what_was_spent_stays(court):
    run = court.start(min_sites=3, flags=2, budget=9)
    court.commit(run, eps=4)
    court.agree(run, *court.sites[:4])
    assert court.refused("bonn", "vote_void", run, 1, 0) == "value"
    court.do("bonn", "vote_void", run, 1, 6)
    assert court.refused("bonn", "vote_void", run, 1, 6) == "voted"
    court.do("graz", "vote_void", run, 1, 6)
    assert court.round(run) == 1
    court.do("lund", "vote_void", run, 1, 6)
    r = dump(court, run)
    assert (r["number"], r["phase"], r["survivors"], r["attempt"]) == (2, 1, 0, 0)
    assert court.read("finals", run, 1) == bytes(32)
    assert court.read("spent", run, 0) == 4
    assert court.read("runs", run)[9] == 0


def test_a_void_round_does_not_count_among_the_merges_agreed_on(court):
    run = closed(court, n_rounds=1)
    for site in court.sites[:3]:
        court.do(site, "vote_void", run, 1, 6)
    court.play(run)
    assert court.read("runs", run)[0] == 4
    assert court.read("finals", run, 2) == D


def test_no_round_is_void_while_collecting(court):
    run = court.start()
    assert court.refused("bonn", "vote_void", run, 1, 6) == "phase"


# ends


def test_the_last_round_finishes_the_run(court):
    run = court.start(n_rounds=2)
    court.play(run)
    court.play(run, OTHER)
    assert court.read("runs", run)[0] == 4
    assert court.phase(run) == 4
    assert court.read("runs", run)[9:] == (2, OTHER)
    assert court.refused("bonn", "commit", run, 3, D, 1, 0) == "phase"
    assert court.refused("bonn", "join", run) == "phase"
    assert court.refused("bonn", "withdraw", run, 1) == "phase"
    assert court.refused("bonn", "vote_end", run, 5, 1) == "phase"


def test_more_than_half_finish_early_or_abort(court):
    run = court.start()
    assert court.refused("bonn", "vote_end", run, 4, 1) == "phase"
    assert court.refused("bonn", "vote_end", run, 3, 1) == "value"
    assert court.refused("bonn", "vote_end", run, 5, 0) == "value"
    court.play(run)
    court.do("bonn", "vote_end", run, 4, 19)
    court.do("graz", "vote_end", run, 5, 8)
    court.do("lund", "vote_end", run, 4, 19)
    assert court.read("runs", run)[0] == 3
    assert court.refused("lund", "vote_end", run, 4, 19) == "voted"
    court.do("oslo", "vote_end", run, 4, 19)
    assert court.last("Ended") == {"run": run, "state": 4, "reason": 19}


def test_votes_to_end_belong_to_the_round_they_were_cast_in(court):
    run = court.start()
    court.play(run)
    court.do("bonn", "vote_end", run, 4, 19)
    court.do("graz", "vote_end", run, 4, 19)
    court.play(run)
    court.do("lund", "vote_end", run, 4, 19)
    assert court.read("runs", run)[0] == 3


def test_joiners_abort_a_run_before_it_starts(court):
    run = court.propose()
    court.approve(run, "bonn", "graz", "lund")
    for site in ("bonn", "graz"):
        court.do(site, "vote_end", run, 5, 8)
    assert court.last("Ended") == {"run": run, "state": 5, "reason": 8}
