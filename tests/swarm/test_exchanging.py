"""The exchange of a closed round: a masked recipe through the unchanged machine, and what plain rounds ask for."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from cohortium.core.exact import weighted_sum
from cohortium.core.exchange import MASKED, PLAIN
from cohortium.core.marks import showing
from cohortium.core.messages import body_of, decode
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Update
from cohortium.errors import PeerError, TrainingFailed
from cohortium.privacy.secagg.guard import MaskedGuard
from cohortium.swarm import actions as do
from cohortium.swarm import events as ev
from cohortium.swarm.machine import RoundMachine
from cohortium.swarm.reasons import REASONS
from cohortium.swarm.waiting import Policy
from cohortium.transport.memory import MemoryNetwork


class ToyGuard:
    """Additive masks without any cryptography: it shows that the machine needs to know nothing about them."""

    from cohortium.core.exchange import MASKED as recipe

    def __init__(self, site: str, seed: int) -> None:
        self.site, self.seed = site, seed

    def check(self, update):
        """Every update can be sent."""

    def _secret(self, context, peer):
        return np.random.default_rng([self.seed, context.round, context.attempt, context.frozen.index(peer)])

    def step(self, step, context, *, own, received):
        size = np.asarray(own.parameters["w"]).size
        if step == "keys":
            return Parameters()
        if step == "shares":
            seeds = {peer: self._secret(context, peer).integers(1 << 60, size=size) for peer in context.frozen}
            return Parameters(seeds)
        if step == "masked":
            y = np.asarray(np.rint(np.asarray(own.parameters["w"]) * own.weight * 1000), np.int64)
            return Parameters({"y": y + self._mask(context, received["shares"], self.site, context.frozen)})
        assert step == "unmask"
        lost = [site for site in context.frozen if site not in received["survivors"]]
        return Parameters({site: self._mask(context, received["shares"], self.site, [site]) for site in lost})

    def _mask(self, context, shares, site, peers):
        total = np.zeros_like(np.asarray(shares[site][site]))
        for peer in peers:
            if peer > site:
                total = total + np.asarray(shares[site][peer])
            elif peer < site:
                total = total - np.asarray(shares[peer][site])
        return total

    def open(self, context, *, survivors, received):
        total = sum(np.asarray(received["masked"][site]["y"]) for site in survivors)
        lost = [site for site in context.frozen if site not in survivors]
        for site in survivors:
            total = total - self._mask(context, received["shares"], site, lost)
        weight = sum(context.weights[site] for site in survivors)
        return (Update(site="sum", parameters=Parameters({"w": total / 1000 / weight}), weight=weight),)

    def memory(self):
        return Parameters({"seed": np.array([self.seed], np.int64)})

    def restore(self, memory):
        assert int(memory["seed"][0]) == self.seed

    def finish(self, round):
        """Nothing to let go."""


class LosesMasked:
    """A transport whose site's masked vector never gets anywhere."""

    def __init__(self, inner) -> None:
        self.inner = inner

    async def send(self, peer, frame):
        envelope = decode(frame)
        if envelope.kind == "offer" and body_of(envelope).manifest.step == "masked":
            return
        await self.inner.send(peer, frame)

    async def receive(self):
        return await self.inner.receive()

    async def close(self):
        await self.inner.close()


def masked_swarm(kit, n_sites=5, **more):
    options = {f"site-{i}": {"guard": ToyGuard(f"site-{i}", i + 1)} for i in range(n_sites)}
    return kit.run(n_sites, min_sites=3, options=options, **more)


def test_masked_recipe_gives_the_plain_sum_through_the_unchanged_machine(swarm) -> None:
    result = masked_swarm(swarm, rounds=2)
    plain = swarm.run(5, rounds=2)
    assert set(result.outcomes.values()) == {"complete"}
    assert len(result.digests) == 1
    found, expected = (np.asarray(r.nodes["site-0"].state["w"]) for r in (result, plain))
    assert found == pytest.approx(expected, abs=1e-2)  # fixed point of 1/1000


def test_masked_sum_is_exact_when_one_survivor_is_lost(swarm, monkeypatch) -> None:
    options = {f"site-{i}": {"guard": ToyGuard(f"site-{i}", i + 1)} for i in range(5)}
    network_join = MemoryNetwork.join

    def join(self, site):
        inner = network_join(self, site)
        return LosesMasked(inner) if site == "site-4" else inner

    monkeypatch.setattr(MemoryNetwork, "join", join)
    result = swarm.run(5, rounds=1, min_sites=3, options=options)
    agreed = result.ledger.named("Agreed")
    survivors = [a for a in agreed if a["step"] == 3]
    assert len(survivors) == 1
    assert result.ledger.view.names(int.from_bytes(survivors[0]["digest"], "big")) == tuple(
        f"site-{i}" for i in range(4)
    )
    assert set(result.outcomes.values()) == {"partial (4/5 sites)"}
    # site i sends i + 1 with weight i + 1, site-4 is lost: (1 + 4 + 9 + 16) / 10
    assert np.asarray(result.nodes["site-0"].state["w"]).tolist() == [3.0] * 4
    assert len(result.digests) == 1


def test_restart_between_survivors_and_unmask_answers_once(swarm) -> None:
    options = {f"site-{i}": {"guard": ToyGuard(f"site-{i}", i + 1)} for i in range(5)}
    undisturbed = swarm.run(5, rounds=1, min_sites=3, options=options)
    for dies_at in range(3, 9):
        stores = {"site-1": swarm.MortalStore(dies_at, after=True)}
        result = swarm.run(5, rounds=1, min_sites=3, options=options, stores=stores, policy=Policy(linger_s=600.0))
        assert result.digests == undisturbed.digests
        posts = [p for p in result.ledger.named("Posted") if p["site"] == "site-1"]
        assert len({(p["attempt"], p["step"]) for p in posts}) == len(posts)


def test_no_other_attempt_is_served_once_a_share_was_given_away(play, swarm) -> None:
    game = swarm.in_exchange(play(4, rounds=1, min_sites=3, flags=2, recipe=MASKED))
    machine = game.machines["site-0"]
    machine.handle(ev.Stepped(1, 1, "unmask", swarm.sha("answer")))
    reopened = {"run": 1, "round": 1, "term": 1, "attempt": 2, "frozen": 15, "leader": "site-2", "threshold": 3}
    answer = machine.handle(ev.Recorded(game.kit.event("Failover", reopened)))
    later = [*answer, *machine.handle(ev.Tick(500.0))]
    assert not [action for action in later if isinstance(action, (do.RunStep, do.Offer, do.Propose))]


def test_masked_round_without_survivors_ends_the_run_after_three_attempts(play, swarm) -> None:
    game = swarm.in_exchange(play(5, rounds=1, min_sites=3, flags=2, recipe=MASKED))
    original = game.do
    game.do = lambda site, action: None if isinstance(action, do.RunStep) else original(site, action)
    game.pending = [(s, e) for s, e in game.pending if not isinstance(e, ev.Stepped)]
    for _ in range(30):
        game.beat(game.sites, 120, stage="exchange")
    assert [args["attempt"] for args in game.ledger.named("Failover")] == [2, 3]
    assert set(game.outcomes.values()) == {"failed (ledger, merge, attempts)"}


def test_committed_payload_is_offered_once_to_each_receiver_and_again_only_to_new_ones(play, swarm) -> None:
    game = play(4, rounds=1)
    game.round_open(1)
    offers = []
    original = game.do
    game.do = lambda site, action: (offers.append((site, action)), original(site, action))
    game.until_quiet()
    sent = [(site, to) for site, action in offers if isinstance(action, do.Offer) for to in action.to]
    assert len(sent) == len(set(sent)) == 4 * 3


def test_leader_signs_one_merge_a_term_though_a_site_goes_before_it_is_published(play, swarm) -> None:
    """Two signed merges of one term exclude their leader: a site that withdraws in time could have had it convicted."""
    game = swarm.in_exchange(play(6, flags=1))
    leader, offers, held = game.leader, [], []
    carry_out = game.do

    def watch(site, action):
        if isinstance(action, do.Offer) and action.step == "merge":
            offers.append((action.round, action.term, action.digest))
        carry_out(site, action)

    game.do = watch
    moving = True
    while moving:  # everything but the publication gets through
        held += [call for call in game.submissions if call[1].function == "publish"]
        game.submissions = [call for call in game.submissions if call[1].function != "publish"]
        moving = game.step()
    game.ledger.apply(next(site for site in game.sites if site != leader), "withdraw", 1, 1)
    game.submissions += held
    game.until_quiet()
    (published,) = game.ledger.named("Published")
    assert offers == [(1, published["term"], published["digest"])]
    assert swarm.finals(game) == [published["digest"]]


# --- the real guard through the same machine ---


class CountWork:
    """Toy work by integer sums: each site adds its own counts; the state is the total."""

    def __init__(self, site: str) -> None:
        self.site, self.kept = site, Parameters()

    def start(self):
        return Parameters({"total": np.zeros(50, np.int64), "n": np.zeros((), np.int64)})

    def train(self, round, state):
        digest = hashlib.shake_256(f"{self.site} {round}".encode()).digest(50 * 8)
        counts = np.frombuffer(digest, np.int64) >> 9  # up to 2^54
        return Update(site=self.site, parameters=Parameters({"counts": counts}), weight=1)

    def merge(self, state, updates):
        whole = updates if isinstance(updates, Aggregate) else weighted_sum(updates)
        return Parameters({"total": whole.total["counts"], "n": state["n"] + 1})

    def adopt(self, round, state, own):
        return {}

    def finished(self, state):
        return False

    def memory(self):
        return self.kept

    def restore(self, memory):
        self.kept = memory


def guard_of(site):
    calls = iter(range(1000))
    return MaskedGuard(site, entropy=lambda n: hashlib.shake_256(f"{site} {next(calls)}".encode()).digest(n))


def counting(kit, n_sites=5, *, masked=True, change=None, works=None, **more):
    options = {}
    for site in (f"site-{i}" for i in range(n_sites)):
        work = works[site] if works else CountWork(site)
        options[site] = {"work": work} | ({"guard": guard_of(site)} if masked else {})
        if change is not None and site in change:
            options[site]["guard"] = change[site](options[site]["guard"])
    return kit.run(n_sites, min_sites=3, options=options, **more)


def counts(sites, round=1):
    return sum(CountWork(site).train(round, None).parameters["counts"] for site in sites)


def test_masked_digest_of_integer_sums_is_the_plain_digest(swarm) -> None:
    hidden, plain = counting(swarm, rounds=3), counting(swarm, rounds=3, masked=False)
    assert set(hidden.outcomes.values()) == {"complete"}
    assert hidden.digests == plain.digests
    assert len(hidden.digests) == 1


class DiesAfterItsVector:
    """A store whose node is killed when it has sent its masked vector, and stays dead for many restarts."""

    def __init__(self, kit, *, lives_after=60) -> None:
        self.inner, self.kit, self.left, self.sent = kit.MortalStore(-1, after=True), kit, lives_after, False

    def add(self, fact):
        if self.sent and self.left > 0:
            self.left -= 1
            self.inner.dies_at, self.inner.writes, self.inner.after = 1, 0, False
        self.inner.add(fact)
        self.sent = self.sent or fact.step == "masked"

    def __getattr__(self, name):
        return getattr(self.inner, name)


@pytest.mark.parametrize("dead", ["site-0", "site-2", "site-4"])
def test_site_killed_after_its_vector_was_sent_is_in_the_sum_bit_for_bit(swarm, dead) -> None:
    stores = {dead: DiesAfterItsVector(swarm)}
    result = counting(swarm, rounds=1, stores=stores, policy=Policy(linger_s=60.0))
    plain = counting(swarm, rounds=1, masked=False)
    survivors = {result.ledger.view.names(int.from_bytes(a["digest"], "big")) for a in result.ledger.named("Agreed")}
    final = result.ledger.named("Final")[0]
    assert result.ledger.view.names(final["contributors"]) in survivors
    contributors = result.ledger.view.names(final["contributors"])
    alive = next(node for site, node in result.nodes.items() if site != dead)
    assert np.array_equal(alive.state["total"], counts(contributors))
    if dead in contributors:
        assert final["digest"] in plain.digests
    else:  # the leader itself was killed: the next attempt is made by those who are left
        assert len(contributors) == 4


def test_restart_at_any_write_gives_the_same_final_digest(swarm) -> None:
    undisturbed = counting(swarm, rounds=2)
    for dies_at in range(3, 16):
        stores = {"site-1": swarm.MortalStore(dies_at, after=dies_at % 2 == 0)}
        result = counting(swarm, rounds=2, stores=stores, policy=Policy(linger_s=600.0))
        assert result.digests == undisturbed.digests, dies_at
        assert set(result.outcomes.values()) == {"complete"}


class Changed:
    """A site whose guard sends something else in one step."""

    recipe = MASKED

    def __init__(self, inner, step, change) -> None:
        self.inner, self.at, self.change = inner, step, change

    def step(self, step, context, **given):
        arrays = self.inner.step(step, context, **given)
        return self.change(arrays) if step == self.at and context.round == 1 else arrays

    def __getattr__(self, name):
        return getattr(self.inner, name)


def test_wrong_share_does_not_stop_the_round_and_its_holder_is_named(swarm) -> None:
    def lie(arrays):
        shares = np.array(arrays["shares"])
        shares[:, 0] ^= 1
        return arrays | Parameters({"shares": shares})

    result = counting(swarm, rounds=2, change={"site-3": lambda guard: Changed(guard, "unmask", lie)})
    assert len(result.digests) == 1
    total = result.nodes["site-0"].state["total"]
    contributors = result.ledger.view.names(result.ledger.named("Final")[-1]["contributors"])
    assert np.array_equal(total, counts(contributors, round=2))


def test_bad_key_is_noticed_by_all_and_its_sender_voted_out(swarm) -> None:
    def spoil(arrays):
        return arrays | Parameters({"mask_key": np.zeros(32, np.uint8)})

    result = counting(swarm, rounds=1, change={"site-3": lambda guard: Changed(guard, "keys", spoil)})
    dropped = result.ledger.named("Dropped")
    assert [(a["site"], a["reason"]) for a in dropped[:1]] == [("site-3", 5)]  # dealing
    assert np.array_equal(result.nodes["site-0"].state["total"], counts(["site-0", "site-1", "site-2", "site-4"]))
    assert result.ledger.view.finals[0].contributors == ("site-0", "site-1", "site-2", "site-4")


class ShownCounts:
    """Counting in which every answer is public. refuse: whom it refuses, or the error it meets."""

    def __init__(self, site, refuse=None) -> None:
        self.inner, self.refused = CountWork(site), refuse

    def start(self):
        return showing(self.inner.start())

    def merge(self, state, updates):
        assert [one.site for one in updates.shown] == list(updates.contributors)
        return showing(self.inner.merge(state, updates))

    def refuse(self, state, shown):
        assert state.digest == self.start().digest
        for one in shown:
            assert one.parameters == CountWork(one.site).train(1, state).parameters
        if isinstance(self.refused, str) and self.refused in {one.site for one in shown}:
            raise PeerError("shows what cannot be", site=self.refused)
        if isinstance(self.refused, Exception):
            raise self.refused

    def __getattr__(self, name):
        return getattr(self.inner, name)


def shown_counts(swarm, **refuse):
    """One round of five; refuse: by site, whom it refuses, or the error it meets."""
    works = {f"site-{i}": ShownCounts(f"site-{i}", refuse.get(f"site_{i}")) for i in range(5)}
    return counting(swarm, rounds=1, works=works)


def test_who_shows_what_all_refuse_is_voted_out_before_the_sum_and_the_others_get_theirs(swarm) -> None:
    result = shown_counts(swarm, site_0="site-3", site_1="site-3", site_2="site-3", site_4="site-3")
    (dropped,) = result.ledger.named("Dropped")
    assert (dropped["site"], dropped["reason"]) == ("site-3", REASONS["unusable"])
    rest = ("site-0", "site-1", "site-2", "site-4")
    assert np.array_equal(result.nodes["site-0"].state["total"], counts(rest))
    assert [one.contributors for one in result.ledger.view.finals] == [rest]
    assert set(result.outcomes.values()) == {"partial (4/5 sites)"}


def test_who_shows_what_it_can_is_in_the_sum_and_one_site_alone_or_one_that_cannot_look_puts_nobody_out(swarm) -> None:
    assert set(shown_counts(swarm).outcomes.values()) == {"complete"}
    assert set(shown_counts(swarm, site_2=ZeroDivisionError(), site_4=TrainingFailed("x")).outcomes.values()) == {
        "complete"
    }
    accused = shown_counts(swarm, site_2="site-3")
    assert "site-3" not in {one["site"] for one in accused.ledger.named("Dropped")}
    assert "site-3" in accused.ledger.view.finals[0].contributors


def test_run_whose_sums_never_open_ends_after_three_rounds_and_accuses_nobody(swarm) -> None:
    class Garbage(Changed):
        def step(self, step, context, **given):
            arrays = self.inner.step(step, context, **given)
            return arrays | Parameters({"integers": np.asarray(arrays["integers"]) * 3}) if step == "masked" else arrays

    result = counting(swarm, rounds=2, change={"site-3": lambda guard: Garbage(guard, "", None)})
    assert [a["round"] for a in result.ledger.named("Void")] == [1, 2]
    assert result.ledger.named("Dropped") == result.ledger.named("Withdrawn") == []
    assert len({*result.outcomes.values()}) == 1
    assert "failed" in result.outcomes["site-0"]
    assert "share" in result.outcomes["site-0"]


def test_lying_holder_and_a_dead_site_together_cost_rounds_and_not_the_run(swarm) -> None:
    def says_nothing(arrays):
        return arrays | Parameters({"held": np.zeros(5, np.uint8)[: len(np.asarray(arrays["held"]))]})

    result = counting(
        swarm, rounds=1, change={"site-3": lambda guard: Changed(guard, "unmask", says_nothing)},
        stores={"site-4": DiesAfterItsVector(swarm)}, policy=Policy(linger_s=60.0),
    )  # fmt: skip
    final = result.ledger.named("Final")[-1]
    assert np.array_equal(
        result.nodes["site-0"].state["total"], counts(result.ledger.view.names(final["contributors"]), round=1)
    )
    assert "site-3" not in {a["site"] for a in result.ledger.named("Dropped")}


def test_round_with_a_secret_that_cannot_be_rebuilt_is_void_and_goes_on_without_its_dealer(swarm) -> None:
    def spoil(arrays):
        return arrays | Parameters({"self_digest": np.zeros(32, np.uint8)})

    result = counting(swarm, rounds=1, change={"site-3": lambda guard: Changed(guard, "keys", spoil)})
    assert "site-3" in {a["site"] for a in result.ledger.named("Dropped") + result.ledger.named("Withdrawn")}
    assert [(a["round"], a["reason"]) for a in result.ledger.named("Void")] == [(1, 6)]  # share
    final = result.ledger.named("Final")[-1]
    assert np.array_equal(
        result.nodes["site-0"].state["total"], counts(result.ledger.view.names(final["contributors"]), round=1)
    )


def test_an_update_made_again_after_the_committed_one_was_lost_never_leaves(swarm, play) -> None:
    """With noise in it, it would be a second release of the same patients' data, and only one was paid for."""
    game = swarm.in_exchange(play(3))

    def offers(site, digest):
        machine = RoundMachine(1, site, PLAIN, game.policy)
        for fact in game.facts[site]:
            machine.handle(
                ev.Remembered(replace(fact, digest=digest or fact.digest) if fact.kind == "trained" else fact)
            )
        for event in game.ledger.log:
            machine.handle(ev.Recorded(event))
        return [action.digest for action in machine.handle(ev.Resumed()) if isinstance(action, do.Offer)]

    assert offers("site-1", b"") != []
    assert offers("site-1", b"other noise".ljust(32)) == []
