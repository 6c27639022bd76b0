"""Shared suite of rules and contract: the seven pitfalls of the ledger's design, each by its name."""

D, ROOT = b"\x11" * 32, b"\x33" * 32


def test_pitfall_1_a_run_does_not_start_on_majority_and_minimum(court, harness):
    """Failure F8: the two largest sites were left out after 5.8 s, and success was reported."""
    run = court.propose(min_sites=2)
    court.approve(run, "bonn", "graz", "lund")
    court.wait(10 * harness.ANSWER_S)
    assert court.read("runs", run)[0] == 1
    court.approve(run, "oslo", "porto")
    court.ready(run, "bonn", "graz", "lund", "oslo")
    court.wait(10 * harness.ANSWER_S)
    assert court.read("runs", run)[0] == 2
    court.ready(run, "porto")
    assert court.live(run) == court.sites


def test_pitfall_2_the_order_in_which_nonces_arrive_chooses_nothing(found):
    seeds = set()
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        court = found(3)
        run = court.propose()
        court.approve(run)
        court.ready(run, *[court.sites[i] for i in order])
        seeds.add((court.read("runs", run)[2], court.leader(run)))
    assert len(seeds) == 1


def test_pitfall_2_withholding_a_nonce_costs_taking_part(court, harness):
    run = court.propose()
    court.approve(run)
    court.ready(run, *court.sites[:4])
    court.wait(harness.ANSWER_S)
    for site in court.sites[:3]:
        court.do(site, "vote_proceed", run)
    assert "porto" not in court.live(run)


def test_pitfall_3_a_failover_never_names_the_same_leader_again(found):
    """h + r = 7 with A B C D names D; A vanishes; (h + r + term) mod n over the live list named D again."""
    court = found(4)
    run = court.start(n_rounds=9)
    while court.leader(run) != court.sites[3]:
        court.play(run)
    court.commit(run)
    court.do(court.sites[0], "withdraw", run, 1)
    court.do(court.sites[3], "failover", run, court.round(run), 0)
    assert court.leader(run) == court.sites[1]


def test_pitfall_3_the_pointer_walks_over_all_who_are_left(found):
    court = found(6)
    run = court.start()
    court.commit(run)
    seen = [court.leader(run)]
    for term in range(5):
        court.do(seen[-1], "failover", run, 1, term)
        seen.append(court.leader(run))
    assert sorted(seen) == court.sites


def test_pitfall_3_who_declined_is_no_place_in_the_rotation(court):
    run = court.propose()
    court.do("bonn", "decline", run)
    court.approve(run, *court.sites[1:])
    court.ready(run, *court.sites[1:])
    leaders = []
    for _ in range(4):
        leaders.append(court.leader(run))
        court.play(run)
    assert sorted(leaders) == court.sites[1:]


def test_pitfall_4_votes_half_collected_when_a_member_leaves_are_shown_and_repeated(court, harness):
    account, tls = harness.key_named("varna").address, b"\1" * 32
    for site in ("bonn", "graz"):
        court.do(site, "vote_admit", account, "varna", tls, tls)
    assert (court.last("Voted")["count"], court.last("Voted")["round"]) == (2, 5)
    court.do("porto", "leave")
    assert court.last("MemberChanged")["epoch"] == 6
    court.do("lund", "vote_admit", account, "varna", tls, tls)
    assert (court.last("Voted")["count"], court.last("Voted")["round"]) == (1, 6)
    court.do("bonn", "vote_admit", account, "varna", tls, tls)
    court.do("graz", "vote_admit", account, "varna", tls, tls)
    assert court.read("names", "varna") == 6


def test_pitfall_5_earlier_ballots_of_a_dropped_site_do_not_count(court):
    run = court.start(n_rounds=2)
    court.commit(run, "bonn", "graz", "porto")
    court.do("porto", "vote_close", run, 1)
    court.do("graz", "vote_close", run, 1)
    court.do("porto", "withdraw", run, 1)
    assert court.phase(run) == 1
    court.commit(run, "lund")
    assert court.phase(run) == 1
    court.do("lund", "vote_close", run, 1)
    assert court.last("Voted")["count"] == 2
    assert court.phase(run) == 1
    court.do("bonn", "vote_close", run, 1)
    assert court.last("Closed")["frozen"] == court.bits(run, "bonn", "graz", "lund")


def test_pitfall_5_ballots_are_counted_again_after_a_drop(court):
    """Two votes to drop of five are too few, of three they are enough; repeating one decides, it is not refused."""
    run = court.start()
    for site in ("bonn", "graz"):
        court.do(site, "vote_drop", run, "porto", 1)
    court.do("oslo", "withdraw", run, 1)
    assert court.refused("bonn", "vote_drop", run, "porto", 1) == "voted"
    court.do("lund", "withdraw", run, 1)
    court.do("bonn", "vote_drop", run, "porto", 1)
    assert court.last("Dropped")["site"] == "porto"


def test_pitfall_6_an_excluded_member_inflates_majorities_until_it_is_swept(found):
    court = found(4)
    run = court.start()
    court.commit(run, "bonn", "graz")
    for site in ("bonn", "graz", "lund"):
        court.do(site, "vote_exclude", "oslo")
    court.do("bonn", "vote_close", run, 1)
    court.do("graz", "vote_close", run, 1)
    assert court.last("Voted")["need"] == 3
    assert court.phase(run) == 1
    court.do("lund", "sweep", run, "oslo")
    assert court.phase(run) == 2
    assert court.last("Closed")["missing"] == court.bits(run, "lund")


def test_pitfall_7_with_two_sites_nobody_is_deposed_or_dropped(found, harness):
    court = found(2)
    run = court.start()
    court.commit(run)
    leader = court.publish(run)
    other = next(site for site in court.sites if site != leader)
    court.wait(10 * harness.LEADER_S)
    court.do(other, "failover", run, 1, 0)
    court.do(other, "vote_drop", run, leader, 1)
    court.do(other, "vote_void", run, 1, 1)
    court.do(other, "vote_end", run, 5, 1)
    court.do(other, "dispute", run, 1, 0, D, 21)
    assert court.leader(run) == leader
    assert court.live(run) == court.sites
    assert (court.round(run), court.phase(run), court.read("runs", run)[0]) == (1, 3, 3)
