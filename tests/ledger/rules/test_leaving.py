"""Coming to a run and going from it."""

D, ROOT = b"\x11" * 32, b"\x33" * 32


def test_who_withdraws_is_out_at_once_and_says_why(court):
    run = court.start()
    assert court.refused("bonn", "withdraw", run, 0) == "value"
    assert court.refused("bonn", "withdraw", run, 256) == "value"
    court.do("bonn", "withdraw", run, 7)
    assert court.last("Withdrawn") == {"run": run, "round": 1, "site": "bonn", "reason": 7}
    assert court.live(run) == court.sites[1:]
    assert court.refused("bonn", "commit", run, 1, D, 1, 0) == "live"
    assert court.refused("bonn", "withdraw", run, 7) == "live"


def test_who_withdraws_an_approval_does_not_take_part(court):
    run = court.propose()
    court.approve(run, "bonn", "graz", "lund")
    court.do("graz", "withdraw", run, 8)
    assert court.refused("graz", "approve", run, D) == "once"
    court.approve(run, "oslo", "porto")
    assert court.live(run) == ["bonn", "lund", "oslo", "porto"]


def test_a_withdrawal_may_close_the_round(court):
    run = court.start()
    court.commit(run, *court.sites[:4])
    court.do("porto", "withdraw", run, 3)
    assert court.names(court.log)[-2:] == ["Withdrawn", "Closed"]
    assert court.last("Closed")["missing"] == 0


def test_more_than_half_of_the_live_drop_a_site_by_name_and_reason(court):
    run = court.start()
    assert court.refused("porto", "vote_drop", run, "porto", 1) == "subject"
    assert court.refused("bonn", "vote_drop", run, "varna", 1) == "subject"
    assert court.refused("bonn", "vote_drop", run, "porto", 0) == "value"
    court.do("bonn", "vote_drop", run, "porto", 1)
    court.do("graz", "vote_drop", run, "porto", 2)
    assert court.last("Voted")["subject"] == "porto"
    assert (court.last("Voted")["count"], court.last("Voted")["need"]) == (2, 3)
    assert "porto" in court.live(run)
    court.do("lund", "vote_drop", run, "porto", 4)
    assert court.last("Dropped") == {"run": run, "round": 1, "site": "porto", "reason": 4}
    assert court.live(run) == court.sites[:4]
    assert court.refused("oslo", "vote_drop", run, "porto", 4) == "subject"


def test_votes_to_drop_belong_to_their_round(court):
    run = court.start()
    court.do("bonn", "vote_drop", run, "porto", 1)
    court.do("graz", "vote_drop", run, "porto", 1)
    court.play(run)
    court.do("lund", "vote_drop", run, "porto", 1)
    assert "porto" in court.live(run)


def test_an_approver_is_dropped_before_the_start_too(court):
    run = court.propose()
    court.approve(run)
    for site in court.sites[:3]:
        court.do(site, "vote_drop", run, "porto", 10)
    court.ready(run, *court.sites[:4])
    assert court.live(run) == court.sites[:4]


def test_the_leader_who_goes_is_followed_by_the_next(court):
    run = court.start()
    court.commit(run)
    leader = court.leader(run)
    court.do(leader, "withdraw", run, 3)
    following = court.sites[(court.sites.index(leader) + 1) % 5]
    assert court.last("Failover")["leader"] == following == court.leader(run)
    assert court.last("Failover")["frozen"] == 0b11111 & ~court.bits(run, leader)


def test_a_published_merge_needs_its_leader_no_more(court):
    run = court.start()
    court.commit(run)
    leader = court.publish(run)
    court.do(leader, "withdraw", run, 3)
    court.attest(run)
    assert court.read("finals", run, 1) == D


def test_attestations_of_a_dropped_site_do_not_count(court):
    run = court.start()
    court.commit(run)
    leader = court.publish(run)
    a, b, c, d = [site for site in court.sites if site != leader]
    court.do(a, "attest", run, 1, 0, D)
    court.do(a, "withdraw", run, 1)
    court.do(b, "attest", run, 1, 0, D)
    court.do(c, "attest", run, 1, 0, D)
    assert court.round(run) == 1
    court.do(d, "attest", run, 1, 0, D)
    assert court.round(run) == 2


# shares under masks


def masked(found):
    court = found(7)
    run = court.start(min_sites=3, flags=2)
    court.commit(run)
    site = next(s for s in court.sites if s != court.leader(run))
    return court, run, site


def test_who_goes_while_shares_are_dealt_makes_them_be_dealt_again(found):
    court, run, site = masked(found)
    leader = court.leader(run)
    voters = [s for s in court.sites if s != site][:4]
    for voter in voters:
        court.do(voter, "vote_drop", run, site, 5)
    assert court.names(court.log)[-2:] == ["Dropped", "Failover"]
    told = court.last("Failover")
    assert (told["attempt"], told["term"], told["leader"]) == (2, 1, leader)
    assert told["frozen"] == 2**7 - 1 & ~court.bits(run, site)


def test_who_goes_after_masked_vectors_were_posted_only_shrinks_the_survivors(found):
    court, run, site = masked(found)
    court.do(court.leader(run), "post", run, 1, 1, 2, D)
    court.do(site, "withdraw", run, 17)
    assert court.names(court.log)[-1] == "Withdrawn"
    assert court.read("rounds", run)[4] == 1
    court.agree(run, *[s for s in court.sites if s != site])
    court.publish(run)


def test_shares_are_not_dealt_again_to_too_few(found):
    """Three joiners: a lost one stalls the exchange, and the run pauses."""
    court = found(3)
    run = court.start(min_sites=3, flags=2)
    court.commit(run)
    site = next(s for s in court.sites if s != court.leader(run))
    court.do(site, "withdraw", run, 17)
    assert court.read("rounds", run)[4] == 1
    assert court.refused(court.leader(run), "failover", run, 1, 0) == "quorum"


# join


def test_a_late_joiner_is_in_from_the_next_round(court):
    run = court.propose()
    court.approve(run, *court.sites[:4])
    court.do("porto", "decline", run)
    assert court.refused("porto", "join", run) == "phase"
    court.ready(run, *court.sites[:4])
    court.do("porto", "join", run)
    assert court.last("Joined") == {"run": run, "round": 2, "site": "porto", "joiner": 4}
    assert court.refused("porto", "join", run) == "once"
    assert court.refused("porto", "commit", run, 1, D, 1, 0) == "live"
    court.play(run)
    assert court.live(run) == court.sites
    assert court.refused("porto", "join", run) == "once"
    court.do("porto", "commit", run, 2, D, 1, 0)


def test_who_was_dropped_returns_with_the_same_index(court):
    run = court.start()
    court.do("graz", "withdraw", run, 3)
    court.do("graz", "join", run)
    assert court.last("Joined")["joiner"] == court.index(run, "graz") == 1
    court.play(run)
    assert court.live(run) == court.sites
    assert court.read("runs", run)[4] == 5


def test_who_waits_to_join_may_change_its_mind(court):
    run = court.start()
    court.do("graz", "withdraw", run, 3)
    court.do("graz", "join", run)
    court.do("graz", "withdraw", run, 3)
    court.play(run)
    assert "graz" not in court.live(run)


def test_a_round_that_could_not_close_takes_a_returning_site_at_once(court):
    run = court.start(min_sites=4)
    court.commit(run, "bonn", "graz", "lund")
    court.do("oslo", "withdraw", run, 3)
    court.do("porto", "withdraw", run, 3)
    assert court.phase(run) == 1
    court.do("oslo", "join", run)
    assert court.last("Joined")["round"] == 1
    court.do("porto", "join", run)
    assert court.last("Joined")["round"] == 2
    court.commit(run, "oslo")
    assert court.last("Closed")["frozen"] == court.bits(run, *court.sites[:4])


def test_who_returns_with_a_commit_of_this_round_closes_it(court):
    run = court.start(min_sites=4)
    court.commit(run, *court.sites[:4])
    court.do("porto", "withdraw", run, 3)
    assert court.phase(run) == 2
    second = court.start(min_sites=4)
    court.commit(second, "bonn", "graz", "lund")
    court.do("oslo", "withdraw", second, 3)
    court.commit(second, "porto")
    assert court.phase(second) == 2
    third = court.start(min_sites=5)
    court.commit(third, *court.sites[:4])
    court.do("oslo", "withdraw", third, 3)
    court.commit(third, "porto")
    assert court.phase(third) == 1
    court.do("oslo", "join", third)
    assert court.phase(third) == 2


def test_votes_to_drop_a_site_are_void_once_it_is_gone(court):
    run = court.start(min_sites=5)
    court.do("bonn", "vote_drop", run, "porto", 1)
    court.do("porto", "withdraw", run, 3)
    court.do("porto", "join", run)
    assert court.live(run) == court.sites
    court.do("bonn", "vote_drop", run, "porto", 1)
    assert court.last("Voted")["count"] == 1


# sweep


def gone(court, site):
    court.do(site, "leave")
    return site


def test_anyone_sweeps_who_is_no_longer_a_member(court):
    run = court.start()
    assert court.refused("bonn", "sweep", run, "porto") == "subject"
    assert court.refused("bonn", "sweep", run, "varna") == "subject"
    assert court.refused("bonn", "sweep", run + 1, "porto") == "run"
    gone(court, "porto")
    court.do("stranger", "sweep", run, "porto")
    assert court.last("Swept") == {"run": run, "round": 1, "site": "porto"}
    assert court.live(run) == court.sites[:4]
    assert court.refused("bonn", "sweep", run, "porto") == "once"


def test_who_left_before_answering_no_longer_holds_the_run(court):
    run = court.propose()
    court.approve(run, *court.sites[:4])
    assert court.refused("bonn", "sweep", run, "porto") == "subject"
    gone(court, "porto")
    court.do("bonn", "sweep", run, "porto")
    assert court.read("runs", run)[0] == 2
    assert court.refused("bonn", "sweep", run, "porto") == "once"


def test_an_approver_who_left_is_swept_before_the_start(court):
    run = court.propose()
    court.approve(run)
    court.ready(run, *court.sites[:4])
    gone(court, "porto")
    court.do("bonn", "sweep", run, "porto")
    assert court.read("runs", run)[0] == 3


def test_who_waits_to_join_is_swept_as_well(court):
    run = court.start()
    court.do("porto", "withdraw", run, 3)
    court.do("porto", "join", run)
    gone(court, "porto")
    court.do("bonn", "sweep", run, "porto")
    court.play(run)
    assert court.live(run) == court.sites[:4]


def test_a_run_that_has_ended_is_not_swept(court):
    run = court.start(n_rounds=1)
    court.play(run)
    gone(court, "porto")
    assert court.refused("bonn", "sweep", run, "porto") == "phase"
