"""Leaders: forged merges, lost and leaving leaders, rounds that cannot end."""

from cohortium.core.exchange import PLAIN
from cohortium.swarm import events as ev
from cohortium.swarm.machine import RoundMachine
from cohortium.swarm.reasons import REASONS


def test_forged_merge_is_disputed_and_its_leader_deposed(play, swarm) -> None:
    game = play(5, rounds=1)
    game.round_open(1)
    honest = play(5, rounds=1)
    honest.until_quiet()
    game.forger = game.leader
    game.until_quiet()
    assert [e.args["leader"] for e in game.ledger.log if e.name == "Failover"]
    assert swarm.finals(game) == swarm.finals(honest)
    evidence = [fact for facts in game.facts.values() for fact in facts if fact.kind == "evidence"]
    assert evidence
    assert game.adopted[game.forger] == []  # its own merge differs from the final one: it halts its part


def test_silent_leader_is_replaced_by_two_votes_after_the_timeout_and_inputs_are_kept(play, swarm) -> None:
    game = swarm.in_exchange(play(5, rounds=2))
    leader = game.leader
    game.submissions = [(s, a) for s, a in game.submissions if s != leader]
    dead = game.machines.pop(leader)
    game.machines[leader] = RoundMachine(1, leader, PLAIN, game.policy)  # a node that never resumes
    others = [site for site in game.sites if site != leader]
    game.beat(others, 90, stage="exchange")
    assert not game.ledger.named("Failover")
    game.beat(others, 150, stage="exchange")
    failover = game.ledger.named("Failover")
    assert len(failover) == 1
    assert failover[0]["term"] == 1
    assert swarm.finals(game)[:1] == [swarm.sha("merge", b"", tuple(game.sites), inputs_of(swarm, game))]
    assert dead.adopted == (0, b"")


def inputs_of(swarm, game) -> str:
    return repr({"updates": {site: swarm.sha(site, 1, b"") for site in game.sites}})


def test_leader_that_stops_on_purpose_passes_the_lead_on_at_once(play, swarm) -> None:
    game = swarm.in_exchange(play(4, rounds=2))
    leader = game.leader
    game.give(leader, ev.StepDown())
    game.until_quiet()
    assert [e.args["term"] for e in game.ledger.log if e.name == "Failover"] == [1]
    assert swarm.finals(game)


def test_missing_quorum_publishes_nothing_and_voids_the_round(play, swarm) -> None:
    game = play(3, rounds=2, min_sites=3)
    swarm.in_exchange(game)
    game.mute.add("site-2")
    game.ledger.apply("site-0", "vote_drop", 1, "site-2", 2)
    game.ledger.apply("site-1", "vote_drop", 1, "site-2", 2)
    game.until_quiet()
    assert not swarm.finals(game)
    game.beat(["site-0", "site-1"], 150, stage="exchange")
    told = [(e.name, e.args["round"]) for e in game.ledger.log if e.name in ("Void", "Published")]
    assert told[0] == ("Void", 1)
    assert ("Published", 1) not in told


def test_merge_of_other_inputs_than_committed_is_disputed_even_if_its_digest_is_right(play, swarm) -> None:
    game = play(5, rounds=1)
    apply = game.ledger.apply

    def with_another_root(site, function, *args):
        if function == "publish" and not game.ledger.named("Published"):
            run, round, digest, _, contributors, transcript = args
            args = (run, round, digest, swarm.sha("root"), contributors, transcript)
        apply(site, function, *args)

    game.ledger.apply = with_another_root
    game.until_quiet()
    assert {args["reason"] for args in game.ledger.named("Disputed")} == {21}
    assert game.ledger.named("Failover")
    assert set(game.outcomes.values()) == {"complete"}


def test_reserve_attestors_speak_only_when_the_first_k_are_silent(play, swarm) -> None:
    game = swarm.in_exchange(play(5, rounds=1))
    leader = game.leader
    asked = [site for site in game.ledger.view.joiners if site != leader]
    start = game.ledger.view.joiners.index(leader) + 1
    asked = [game.ledger.view.joiners[(start + i) % 5] for i in range(4)]
    silenced = asked[0]
    game.machines[silenced] = RoundMachine(1, silenced, PLAIN, game.policy)
    game.until_quiet()
    assert len(game.ledger.named("Attested")) == 2, "k = 3 are needed, the fourth waits for its turn"
    game.tick(5.0)
    assert {args["site"] for args in game.ledger.named("Attested")} == set(asked[1:])


def test_failover_that_came_too_early_is_tried_again(play, swarm) -> None:
    game = swarm.in_exchange(play(4, rounds=1))
    site = next(site for site in game.sites if site != game.leader)
    key = (1, "failover", 0)
    game.machines[site]._desk.once(*key)
    game.give(site, ev.Denied(key, "early"))
    assert not game.machines[site]._desk.once(*key)
    game.machines[site].handle(ev.Tick(game.now + game.policy.retry_s))
    assert game.machines[site]._desk.once(*key)


def test_published_merge_that_too_few_are_left_to_attest_gives_way_to_those_who_came_back(play, swarm) -> None:
    """Neither final nor another leader: all four sites lived, and the run stood still for ever."""
    game = swarm.in_exchange(play(4, min_sites=3, rounds=2))
    while game.phase != 3:
        assert game.step()
    game.submissions = [call for call in game.submissions if call[1].function != "attest"]
    for site in [site for site in game.sites if site != game.leader][:2]:
        game.ledger.apply(site, "withdraw", 1, 1)
    game.until_quiet()
    game.beat(game.sites, 5 * game.policy.leader_timeout_s)
    (void,) = game.ledger.named("Void")
    assert void["reason"] == REASONS["quorum"]
    assert set(game.outcomes.values()) == {"complete"}
    assert [args["contributors"] for args in game.ledger.named("Final")] == [0b1111] * 2


def test_published_merge_is_waited_for_while_it_can_still_become_final(play, swarm) -> None:
    game = swarm.in_exchange(play(4, min_sites=4, rounds=1))
    while game.phase != 3:
        assert game.step()
    late = [call for call in game.submissions if call[1].function == "attest"]
    game.submissions = [call for call in game.submissions if call[1].function != "attest"]
    game.ledger.apply(next(site for site in game.sites if site != game.leader), "withdraw", 1, 1)
    game.until_quiet()
    game.beat(game.sites, 2 * game.policy.leader_timeout_s, stage="attest")
    assert not game.ledger.named("Void")
    game.submissions += late
    game.until_quiet()
    assert len(swarm.finals(game)) == 1
