"""Properties of the machine, driven event by event on the contract's own rules."""

import hashlib
import itertools
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cohortium.core
import cohortium.swarm
from cohortium.core.exchange import MASKED, PLAIN
from cohortium.core.messages import Bye, Progress, Trouble
from cohortium.core.seams import LedgerEvent
from cohortium.errors import LedgerRefused
from cohortium.swarm import actions as do
from cohortium.swarm import events as ev
from cohortium.swarm.machine import RoundMachine
from cohortium.swarm.view import _HANDLERS
from cohortium.swarm.waiting import Policy


def sha(*words: object) -> bytes:
    return hashlib.sha256(repr(words).encode()).digest()


class Play:
    """Several machines on one ledger; every message and answer waits in `pending` until it is delivered."""

    def __init__(self, kit, n_sites: int, *, rounds: int = 1, min_sites: int = 2, flags: int = 0, recipe=PLAIN) -> None:
        self.now = 0.0
        sites = [f"site-{i}" for i in range(n_sites)]
        self.ledger = kit.RulesLedger(sites, clock=lambda: self.now)
        self.kit = kit
        self.sites = sites
        self.policy = Policy(stagger_s=5.0)
        self.recipe = recipe
        self.machines = {site: RoundMachine(1, site, recipe, self.policy) for site in sites}
        self.pending: list[tuple[str, ev.Event]] = []
        self.facts: dict[str, list] = {site: [] for site in sites}
        self.refused: list[tuple[str, str, str]] = []
        self.adopted: dict[str, list[bytes]] = {site: [] for site in sites}
        self.outcomes: dict[str, str] = {}
        self.seen = dict.fromkeys(sites, 0)
        self.forger = ""
        self.mute: set[str] = set()
        self.asleep: set[str] = set()  # their training never ends
        self.submissions: list[tuple[str, do.Submit]] = []
        self.ledger.apply(sites[0], "propose", b"s" * 32, min_sites, rounds, 3600, 120, 0, flags)
        for site in sites:
            self.tell_ledger(site)
            self.give(site, ev.Resumed())

    def tell_ledger(self, site: str) -> None:
        fresh, self.seen[site] = self.ledger.log[self.seen[site] :], len(self.ledger.log)
        for event in fresh:
            self.give(site, ev.Recorded(event))

    def give(self, site: str, event: ev.Event) -> None:
        for action in self.machines[site].handle(event):
            self.do(site, action)

    def merge(self, action, site: str) -> bytes:
        return sha("forged" if site == self.forger else "merge", action.base, action.contributors, repr(action.inputs))

    def do(self, site: str, action: do.Action) -> None:
        later = self.pending.append
        match action:
            case do.Persist():
                self.facts[site].append(action.fact)
            case do.Consent():
                nonce, address = sha("nonce", site), self.ledger.keys[site].address
                later((site, ev.Consented(True, self.kit.commitment(1, address, nonce), nonce)))
            case do.Prepare():
                later((site, ev.Prepared()))
            case do.Train():
                if site not in self.asleep:
                    later((site, ev.Trained(action.round, sha(site, action.round, action.base), 10)))
            case do.Submit():
                self.submissions.append((site, action))
            case do.RunStep():
                later((site, ev.Stepped(action.round, action.attempt, action.step, sha(site, action))))
            case do.Offer():
                for to in action.to:
                    if site not in self.mute:
                        later((to, ev.Offered(site, action.round, action.attempt, action.step, action.digest)))
            case do.Propose():
                for to in action.to:
                    later((to, ev.Proposed(site, action.round, action.attempt, action.step, action.bitmap)))
            case do.Fetch():
                if action.site not in self.mute:
                    later((site, ev.Received(action.site, action.round, action.attempt, action.step, action.digest)))
            case do.Merge():
                later((site, ev.Merged(action.round, action.attempt, self.merge(action, site), action.contributors)))
            case do.Recompute():
                later(
                    (site, ev.Recomputed(action.round, action.attempt, self.merge(action, site), action.contributors))
                )
            case do.Adopt():
                self.adopted[site].append(action.digest)
                later((site, ev.Adopted(action.round, action.digest)))
            case do.Refuse():
                self.refused.append((site, action.site, action.why))
            case do.End():
                self.outcomes[site] = str(action.outcome)

    def submit_one(self, choose=lambda n: 0) -> None:
        site, action = self.submissions.pop(choose(len(self.submissions)))
        try:
            self.ledger.apply(site, action.function, *action.args)
        except LedgerRefused as refused:
            self.give(site, ev.Denied(action.key, refused.reason))

    def step(self, choose=lambda n: 0) -> bool:
        """Deliver one of everything that waits, chosen by `choose`; False when nothing waits."""
        behind = [site for site in self.sites if self.seen[site] < len(self.ledger.log)]
        kinds = [bool(self.pending), bool(self.submissions), bool(behind)]
        if not any(kinds):
            return False
        kind = choose(3)
        while not kinds[kind % 3]:
            kind += 1
        match kind % 3:
            case 0:
                site, event = self.pending.pop(choose(len(self.pending)))
                self.give(site, event)
            case 1:
                self.submit_one(choose)
            case 2:
                self.tell_ledger(behind[choose(len(behind))])
        return True

    def until_quiet(self, choose=lambda n: 0, limit: int = 50_000) -> None:
        for _ in range(limit):
            if not self.step(choose):
                return
        raise AssertionError("the swarm does not come to rest")

    def tick(self, seconds: float, choose=lambda n: 0) -> None:
        self.now += seconds
        for site in self.sites:
            self.give(site, ev.Tick(self.now))
        self.until_quiet(choose)

    def beat(self, sites, seconds: float, stage: str = "train") -> None:
        """Time passes; the named sites are heard of by everybody."""
        for _ in range(int(seconds // 15)):
            self.now += 15.0
            for to in self.sites:
                for site in sites:
                    if site != to:
                        self.give(to, ev.Arrived(site, Progress(stage=stage, fraction=(self.now % 97) / 97)))
                self.give(to, ev.Tick(self.now))
            self.until_quiet()

    def round_open(self, n: int) -> None:
        """Run to the opening of round n with every training held back."""
        while self.number < n and self.step():
            pass

    @property
    def number(self) -> int:
        return self.ledger.view.round.number if self.ledger.view.round else 0

    @property
    def phase(self) -> int:
        return self.ledger.view.round.phase if self.ledger.view.round else 0

    @property
    def leader(self) -> str:
        return self.ledger.view.round.leader


@pytest.fixture
def play(swarm):
    return lambda n_sites, **options: Play(swarm, n_sites, **options)


# --- any order ---------------------------------------------------------------------------------------------------


def finals(game: Play) -> list[bytes]:
    return [args["digest"] for args in game.ledger.named("Final")]


@given(n_sites=st.integers(2, 6), seed=st.integers(0, 10**9), drawn=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_order_of_arrival_gives_the_same_merges(swarm, n_sites: int, seed: int, drawn: bool) -> None:
    straight = Play(swarm, n_sites, rounds=2, flags=int(drawn))
    straight.until_quiet()
    shuffled = Play(swarm, n_sites, rounds=2, flags=int(drawn))
    # approvals come first and in order: who approves first is the first joiner, which is the ledger's word
    shuffled.round_open(1)
    rng = random.Random(seed)
    shuffled.until_quiet(lambda n: rng.randrange(max(n, 1)))
    shuffled.tick(30.0)
    assert len(finals(straight)) == 2
    assert finals(shuffled) == finals(straight)
    assert set(shuffled.outcomes.values()) == {"complete"}
    assert all(game_adopted[-1] == finals(straight)[-1] for game_adopted in shuffled.adopted.values())


def test_all_permutations_of_what_three_sites_receive_give_the_same_merge(play) -> None:
    digests = set()
    for order in itertools.permutations(range(6)):
        game = play(3, rounds=1)
        game.round_open(1)
        while game.phase == 1 and game.step():
            pass
        received = [(site, event) for site, event in game.pending if isinstance(event, (ev.Offered, ev.Received))]
        game.pending = [(s, e) for s, e in game.pending if (s, e) not in received]
        for site in game.sites:
            game.tell_ledger(site)
        received += [(s, e) for s, e in game.pending if isinstance(e, (ev.Offered, ev.Received))]
        game.pending = [(s, e) for s, e in game.pending if not isinstance(e, (ev.Offered, ev.Received))]
        for index in order:
            if index < len(received):
                game.give(*received[index])
        for left in received[6:]:
            game.give(*left)
        game.until_quiet()
        digests.update(finals(game))
    assert len(digests) == 1


def test_an_ordinary_round_costs_n_plus_1_plus_k_transactions(play) -> None:
    game = play(5, rounds=4)
    game.until_quiet()
    per_round = [call for call in game.ledger.calls if call[1] in ("commit", "publish", "attest")]
    assert len(per_round) == 4 * 9
    assert {call[1] for call in game.ledger.calls} == {"propose", "approve", "ready", "commit", "publish", "attest"}


# --- refusals ----------------------------------------------------------------------------------------------------


def in_exchange(play, n_sites: int = 4) -> Play:
    """A game whose first round has closed; site-0's machine knows it, payloads are still on the way."""
    game = play(n_sites, rounds=2)
    while game.phase != 2:
        assert game.step()
    for site in game.sites:
        game.tell_ledger(site)
    return game


def refusal(game: Play, event: ev.Event) -> str:
    game.refused.clear()
    game.give("site-0", event)
    assert len(game.refused) == 1, game.refused
    return game.refused[0][2]


def test_update_of_a_stranger_is_refused(play) -> None:
    game = in_exchange(play)
    assert refusal(game, ev.Offered("intruder", 1, 0, "updates", sha(1))) == "stranger to this run"


def test_payload_that_differs_from_the_commit_is_refused(play) -> None:
    game = in_exchange(play)
    assert "not the one committed" in refusal(game, ev.Offered("site-1", 1, 0, "updates", sha("other")))
    assert "not the one committed" in refusal(game, ev.Received("site-1", 1, 0, "updates", sha("other")))


def test_double_update_is_refused_before_and_after_the_commit(play) -> None:
    game = play(3, rounds=1)
    game.round_open(1)
    for site in game.sites:
        game.tell_ledger(site)
    game.give("site-0", ev.Offered("site-1", 1, 0, "updates", sha("a")))
    assert "two payloads" in refusal(game, ev.Offered("site-1", 1, 0, "updates", sha("b")))


def test_wrong_round_is_refused_and_the_next_two_are_kept(play) -> None:
    game = in_exchange(play)
    assert "round 4, here is round 1" in refusal(game, ev.Offered("site-1", 4, 0, "updates", sha(1)))
    game.refused.clear()
    game.give("site-0", ev.Offered("site-1", 2, 0, "updates", sha(1)))
    game.give("site-0", ev.Offered("site-1", 3, 0, "updates", sha(1)))
    assert not game.refused
    game.until_quiet()
    game.refused.clear()
    game.give("site-0", ev.Offered("site-1", 1, 0, "updates", sha(1)))
    assert not game.refused, "late by one round is late, not wrong"
    assert "round 0, here is round 2" in refusal(game, ev.Offered("site-1", 0, 0, "updates", sha(1)))


def test_unknown_step_is_refused(play) -> None:
    game = in_exchange(play)
    assert "unknown step" in refusal(game, ev.Offered("site-1", 1, 0, "shares", sha(1)))
    assert "no such proposal" in refusal(game, ev.Proposed("site-1", 1, 1, "survivors", 3))


def test_old_attempt_is_refused_in_a_masked_round(play) -> None:
    game = play(4, rounds=1, min_sites=3, flags=2, recipe=MASKED)
    while game.phase != 2:
        assert game.step()
    for site in game.sites:
        game.tell_ledger(site)
    assert "attempt 2, here is attempt 1" in refusal(game, ev.Offered("site-1", 1, 2, "shares", sha(1)))
    leader = game.leader
    other = next(site for site in game.sites if site not in (leader, "site-0"))
    assert "does not lead" in refusal(game, ev.Proposed(other, 1, 1, "survivors", 15))


def test_envelope_before_its_round_is_kept_and_used(play) -> None:
    game = play(3, rounds=1)
    early = [(f"site-{i}", sha(f"site-{i}", 1, b"")) for i in (1, 2)]
    while game.number < 1:
        game.step()
    machine = game.machines["site-0"]
    game.tell_ledger("site-0")
    for site, digest in early:
        game.give("site-0", ev.Offered(site, 1, 0, "updates", digest))
    game.until_quiet()
    assert machine.adopted[0] == 1
    assert not game.refused


# --- leaders -----------------------------------------------------------------------------------------------------


def test_forged_merge_is_disputed_and_its_leader_deposed(play) -> None:
    game = play(5, rounds=1)
    game.round_open(1)
    honest = play(5, rounds=1)
    honest.until_quiet()
    game.forger = game.leader
    game.until_quiet()
    assert [e.args["leader"] for e in game.ledger.log if e.name == "Failover"]
    assert finals(game) == finals(honest)
    evidence = [fact for facts in game.facts.values() for fact in facts if fact.kind == "evidence"]
    assert evidence
    assert game.adopted[game.forger] == []  # its own merge differs from the final one: it halts its part


def test_silent_leader_is_replaced_by_two_votes_after_the_timeout_and_inputs_are_kept(play) -> None:
    game = in_exchange(play, 5)
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
    assert finals(game)[:1] == [sha("merge", b"", tuple(game.sites), inputs_of(game))]
    assert dead.adopted == (0, b"")


def inputs_of(game: Play) -> str:
    return repr({"updates": {site: sha(site, 1, b"") for site in game.sites}})


def test_leader_that_stops_on_purpose_passes_the_lead_on_at_once(play) -> None:
    game = in_exchange(play)
    leader = game.leader
    game.give(leader, ev.StepDown())
    game.until_quiet()
    assert [e.args["term"] for e in game.ledger.log if e.name == "Failover"] == [1]
    assert finals(game)


def test_missing_quorum_publishes_nothing_and_voids_the_round(play) -> None:
    game = play(3, rounds=2, min_sites=3)
    while game.phase != 2:
        assert game.step()
    game.mute.add("site-2")
    game.ledger.apply("site-0", "vote_drop", 1, "site-2", 2)
    game.ledger.apply("site-1", "vote_drop", 1, "site-2", 2)
    game.until_quiet()
    assert not finals(game)
    game.beat(["site-0", "site-1"], 150, stage="exchange")
    told = [(e.name, e.args["round"]) for e in game.ledger.log if e.name in ("Void", "Published")]
    assert told[0] == ("Void", 1)
    assert ("Published", 1) not in told


# --- waiting -----------------------------------------------------------------------------------------------------


def with_one_missing(play, *, policy: Policy | None = None) -> Play:
    game = play(5, rounds=2)
    if policy:
        for machine in game.machines.values():
            machine._desk.policy = policy
    game.asleep.add("site-4")
    game.until_quiet()
    return game


def test_slow_site_that_shows_progress_is_waited_for(play) -> None:
    game = with_one_missing(play)
    game.beat(game.sites, 3600)
    assert game.phase == 1
    assert not game.ledger.named("Closed")


def test_silent_site_is_closed_out_by_majority_and_named(play) -> None:
    game = with_one_missing(play)
    game.beat(game.sites[:4], 590)
    assert game.number == 1
    game.beat(game.sites[:4], 60)
    closed = game.ledger.named("Closed")[0]
    assert game.ledger.view.names(closed["missing"]) == ("site-4",)


def test_silent_twice_is_dropped(play) -> None:
    game = with_one_missing(play)
    game.beat(game.sites[:4], 900)
    dropped = game.ledger.named("Dropped")
    assert [(d["site"], d["reason"]) for d in dropped] == [("site-4", 1)]


def test_goodbye_counts_as_silence(play) -> None:
    game = with_one_missing(play)
    game.beat(game.sites, 600)
    for site in game.sites[:4]:
        game.give(site, ev.Arrived("site-4", Bye(reason="stopping")))
    game.tick(1.0)
    assert game.ledger.named("Closed")


def test_trouble_told_twice_leads_to_a_drop_with_its_reason(play) -> None:
    game = with_one_missing(play)
    for _ in range(2):
        for site in game.sites[:4]:
            game.give(site, ev.Arrived("site-4", Trouble(stage="train", code="device")))
    game.until_quiet()
    dropped = game.ledger.named("Dropped")
    assert [(d["site"], d["reason"]) for d in dropped] == [("site-4", 3)]
    assert game.number > 1 or game.ledger.view.ended


def test_quorum_rule_closes_at_the_timeout_whoever_is_missing(play) -> None:
    game = with_one_missing(play, policy=Policy(wait="quorum", round_timeout_s=60.0))
    game.beat(game.sites, 75)
    assert game.ledger.named("Closed")


def test_late_training_of_a_closed_round_is_no_error_and_the_next_round_has_the_site(play) -> None:
    game = with_one_missing(play)
    game.beat(game.sites[:4], 700)
    game.asleep.clear()
    game.give("site-4", ev.Trained(1, sha("site-4", 1, b""), 10))
    base = finals(game)[0]
    game.give("site-4", ev.Trained(2, sha("site-4", 2, base), 10))
    game.until_quiet()
    assert not [r for r in game.refused if r[0] == "site-4"]
    assert set(game.outcomes.values()) == {"partial (4/5 sites)"}
    last = game.ledger.named("Final")[-1]
    assert game.ledger.view.names(last["contributors"]) == tuple(game.sites)


# --- restart and robustness --------------------------------------------------------------------------------------


@given(n_steps=st.integers(0, 130), victim=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_facts_and_ledger_events_rebuild_a_node_that_died_anywhere(swarm, n_steps: int, victim: int) -> None:
    straight = Play(swarm, 4, rounds=2)
    straight.until_quiet()
    game = Play(swarm, 4, rounds=2)
    for _ in range(n_steps):
        game.step()
    site = game.sites[victim]
    game.submissions = [(s, a) for s, a in game.submissions if s != site]
    reborn = RoundMachine(1, site, PLAIN, game.policy)
    for fact in game.facts[site]:
        reborn.handle(ev.Remembered(fact))
    for event in game.ledger.log[: game.seen[site]]:
        assert reborn.handle(ev.Recorded(event)) == ()
    before = game.machines[site]
    assert reborn.view == before.view
    assert reborn.adopted == before.adopted
    game.pending = [(s, e) for s, e in game.pending if s != site]
    game.machines[site] = reborn
    game.give(site, ev.Resumed())
    game.until_quiet()
    for _ in range(4):
        game.beat(game.sites, 120, stage="exchange")
    assert finals(game) == finals(straight)
    assert set(game.outcomes.values()) == {"complete"}


NAMES = st.sampled_from(["site-0", "site-1", "site-2", "intruder"])
SMALL = st.integers(0, 4)
DIGEST = st.sampled_from([sha(i) for i in range(3)])
STEPS = st.sampled_from(["updates", "shares", "masked", "survivors", "unmask", "merge", "nonsense"])
BITS = st.integers(0, 15)
ARGS = {
    **dict.fromkeys(["site", "leader"], NAMES),
    **dict.fromkeys(["live", "missing", "frozen", "contributors"], BITS),
    **dict.fromkeys(["digest", "inputs_root", "transcript", "spec", "commitment", "seed", "nonce"], DIGEST),
    **dict.fromkeys(["round", "term", "attempt", "step", "joiner", "weight", "eps_micro", "k", "threshold"], SMALL),
    **dict.fromkeys(["reason", "min_sites", "n_rounds"], SMALL),
    "run": st.just(1),
    "state": st.integers(4, 5),
    "status": st.integers(1, 3),
    "flags": st.integers(0, 3),
    "account": DIGEST.map(lambda digest: digest[:20]),
}
LEDGER = st.builds(
    lambda name, args: ev.Recorded(LedgerEvent(1, 0, name, args)),
    st.sampled_from([*_HANDLERS, "Voted", "Spent"]),
    st.fixed_dictionaries(ARGS),
)
BODIES = st.sampled_from([Progress(stage="train", fraction=0.5), Trouble(stage="train", code="device"), Bye()])
SITES_SEEN = st.lists(NAMES, max_size=3).map(tuple)
ANY = st.one_of(
    LEDGER,
    LEDGER,
    LEDGER,
    st.just(ev.Resumed()),
    st.builds(ev.Tick, st.floats(0, 1e6)),
    st.builds(ev.Consented, st.booleans(), DIGEST, DIGEST),
    st.just(ev.Prepared()),
    st.builds(ev.Trained, SMALL, DIGEST, SMALL),
    st.builds(ev.Stepped, SMALL, SMALL, STEPS, DIGEST),
    st.builds(ev.Arrived, NAMES, BODIES),
    st.builds(ev.Offered, NAMES, SMALL, SMALL, STEPS, DIGEST),
    st.builds(ev.Proposed, NAMES, SMALL, SMALL, STEPS, BITS),
    st.builds(ev.Received, NAMES, SMALL, SMALL, STEPS, DIGEST),
    st.builds(ev.Merged, SMALL, SMALL, DIGEST, SITES_SEEN),
    st.builds(ev.Recomputed, SMALL, SMALL, DIGEST, SITES_SEEN),
    st.builds(ev.Adopted, SMALL, DIGEST, st.booleans()),
    st.builds(ev.Failed, st.sampled_from(["train", "load", "merge", "exchange"]), st.just("device")),
    st.builds(ev.Denied, st.just((1, "commit")), st.sampled_from(["early", "phase", "stranger"])),
    st.just(ev.StepDown()),
)


@given(events=st.lists(ANY, max_size=60), recipe=st.sampled_from([PLAIN, MASKED]))
@settings(max_examples=400, deadline=None)
def test_no_sequence_of_events_raises(events: list[ev.Event], recipe) -> None:
    machine = RoundMachine(1, "site-0", recipe, Policy())
    machine.handle(ev.Resumed())
    for event in events:
        for action in machine.handle(event):
            assert isinstance(action, do.Action)
    assert isinstance(machine.stage, str)


def test_persist_comes_before_what_makes_it_visible(play) -> None:
    game = play(3, rounds=1)
    game.round_open(1)
    machine = game.machines["site-0"]
    game.tell_ledger("site-0")
    answer = machine.handle(ev.Trained(1, sha(1), 5))
    assert [type(action) for action in answer] == [do.Persist, do.Submit]
    assert answer[1].args == (1, 1, sha(1), 5, 0)


def test_pure_files_import_no_input_or_output() -> None:
    core, swarm = Path(cohortium.core.__file__).parent, Path(cohortium.swarm.__file__).parent
    impure = {"node.py", "store.py", "courier.py", "bell.py", "program.py"}
    pure = [path for path in swarm.glob("*.py") if path.name not in impure]
    pure += [core / "messages.py", core / "exchange.py", core / "frames.py"]
    assert len(pure) > 15
    for path in pure:
        imports = re.findall(r"^\s*(?:import|from)\s+(\w+)", path.read_text(), flags=re.MULTILINE)
        assert not {"asyncio", "socket", "ssl", "time", "sqlite3", "threading", "os"} & set(imports), path.name


def test_one_site_is_one_machine_away_from_every_other(play) -> None:
    game = play(2, rounds=1)
    game.until_quiet()
    assert set(game.outcomes.values()) == {"complete"}
    assert len(finals(game)) == 1
