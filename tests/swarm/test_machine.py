"""Properties of the machine, driven event by event on the contract's own rules."""

import itertools
import random
import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import cohortium.core
import cohortium.swarm
from cohortium.core.exchange import MASKED, PLAIN
from cohortium.core.messages import Bye, Progress, Trouble
from cohortium.core.seams import LedgerEvent
from cohortium.swarm import actions as do
from cohortium.swarm import events as ev
from cohortium.swarm.machine import RoundMachine
from cohortium.swarm.reasons import REASONS
from cohortium.swarm.view import _HANDLERS
from cohortium.swarm.waiting import Policy

# --- any order ---------------------------------------------------------------------------------------------------


@given(n_sites=st.integers(2, 6), seed=st.integers(0, 10**9), drawn=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_order_of_arrival_gives_the_same_merges(swarm, n_sites: int, seed: int, drawn: bool) -> None:
    straight = swarm.Play(swarm, n_sites, rounds=2, flags=int(drawn))
    straight.until_quiet()
    shuffled = swarm.Play(swarm, n_sites, rounds=2, flags=int(drawn))
    # approvals come first and in order: who approves first is the first joiner, which is the ledger's word
    shuffled.round_open(1)
    rng = random.Random(seed)
    shuffled.until_quiet(lambda n: rng.randrange(max(n, 1)))
    shuffled.tick(30.0)
    assert len(swarm.finals(straight)) == 2
    assert swarm.finals(shuffled) == swarm.finals(straight)
    assert set(shuffled.outcomes.values()) == {"complete"}
    assert all(game_adopted[-1] == swarm.finals(straight)[-1] for game_adopted in shuffled.adopted.values())


def test_all_permutations_of_what_three_sites_receive_give_the_same_merge(play, swarm) -> None:
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
        digests.update(swarm.finals(game))
    assert len(digests) == 1


def test_an_ordinary_round_costs_n_plus_1_plus_k_transactions(play, swarm) -> None:
    game = play(5, rounds=4)
    game.until_quiet()
    per_round = [call for call in game.ledger.calls if call[1] in ("commit", "publish", "attest")]
    assert len(per_round) == 4 * 9
    assert {call[1] for call in game.ledger.calls} == {"propose", "approve", "ready", "commit", "publish", "attest"}


# --- refusals ----------------------------------------------------------------------------------------------------


def refusal(game, event: ev.Event) -> str:
    game.refused.clear()
    game.give("site-0", event)
    assert len(game.refused) == 1, game.refused
    return game.refused[0][2]


def test_update_of_a_stranger_is_refused(play, swarm) -> None:
    game = swarm.in_exchange(play(4, rounds=2))
    assert refusal(game, ev.Offered("intruder", 1, 0, "updates", swarm.sha(1))) == "stranger to this run"


def test_payload_that_differs_from_the_commit_is_refused(play, swarm) -> None:
    game = swarm.in_exchange(play(4, rounds=2))
    assert "not the one committed" in refusal(game, ev.Offered("site-1", 1, 0, "updates", swarm.sha("other")))
    assert "not the one committed" in refusal(game, ev.Received("site-1", 1, 0, "updates", swarm.sha("other")))


def test_double_update_is_refused_before_and_after_the_commit(play, swarm) -> None:
    game = play(3, rounds=1)
    game.round_open(1)
    for site in game.sites:
        game.tell_ledger(site)
    game.give("site-0", ev.Offered("site-1", 1, 0, "updates", swarm.sha("a")))
    assert "two payloads" in refusal(game, ev.Offered("site-1", 1, 0, "updates", swarm.sha("b")))


def test_wrong_round_is_refused_and_the_next_two_are_kept(play, swarm) -> None:
    game = swarm.in_exchange(play(4, rounds=2))
    assert "round 4, here is round 1" in refusal(game, ev.Offered("site-1", 4, 0, "updates", swarm.sha(1)))
    game.refused.clear()
    game.give("site-0", ev.Offered("site-1", 2, 0, "updates", swarm.sha(1)))
    game.give("site-0", ev.Offered("site-1", 3, 0, "updates", swarm.sha(1)))
    assert not game.refused
    game.until_quiet()
    game.refused.clear()
    game.give("site-0", ev.Offered("site-1", 1, 0, "updates", swarm.sha(1)))
    assert not game.refused, "late by one round is late, not wrong"
    assert "round 0, here is round 2" in refusal(game, ev.Offered("site-1", 0, 0, "updates", swarm.sha(1)))


def test_unknown_step_is_refused(play, swarm) -> None:
    game = swarm.in_exchange(play(4, rounds=2))
    assert "unknown step" in refusal(game, ev.Offered("site-1", 1, 0, "shares", swarm.sha(1)))
    assert "no such proposal" in refusal(game, ev.Proposed("site-1", 1, 1, "survivors", 3))


def test_old_attempt_is_refused_in_a_masked_round(play, swarm) -> None:
    game = play(4, rounds=1, min_sites=3, flags=2, recipe=MASKED)
    while game.phase != 2:
        assert game.step()
    for site in game.sites:
        game.tell_ledger(site)
    assert "attempt 2, here is attempt 1" in refusal(game, ev.Offered("site-1", 1, 2, "shares", swarm.sha(1)))
    leader = game.leader
    other = next(site for site in game.sites if site not in (leader, "site-0"))
    assert "does not lead" in refusal(game, ev.Proposed(other, 1, 1, "survivors", 15))


def test_attempts_that_no_step_has_are_refused(play, swarm) -> None:
    """Kept, each of 2^32 numbers would be another entry in the memory."""
    game = swarm.in_exchange(play(3))
    for round in (1, 2):
        (said,) = game.machines["site-0"].handle(ev.Offered("site-1", round, 7, "updates", bytes(32)))
        assert said == do.Refuse("site-1", "step 'updates' has no attempt 7")


def test_envelope_before_its_round_is_kept_and_used(play, swarm) -> None:
    game = play(3, rounds=1)
    early = [(f"site-{i}", swarm.sha(f"site-{i}", 1, b"")) for i in (1, 2)]
    while game.number < 1:
        game.step()
    machine = game.machines["site-0"]
    game.tell_ledger("site-0")
    for site, digest in early:
        game.give("site-0", ev.Offered(site, 1, 0, "updates", digest))
    game.until_quiet()
    assert machine.adopted[0] == 1
    assert not game.refused


# --- restart and robustness --------------------------------------------------------------------------------------


@given(n_steps=st.integers(0, 130), victim=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_facts_and_ledger_events_rebuild_a_node_that_died_anywhere(swarm, n_steps: int, victim: int) -> None:
    straight = swarm.Play(swarm, 4, rounds=2)
    straight.until_quiet()
    game = swarm.Play(swarm, 4, rounds=2)
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
    assert swarm.finals(game) == swarm.finals(straight)
    assert set(game.outcomes.values()) == {"complete"}


NAMES = st.sampled_from(["site-0", "site-1", "site-2", "intruder"])
SMALL = st.integers(0, 4)
DIGEST = st.sampled_from([bytes([i]) * 32 for i in range(3)])
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


def test_persist_comes_before_what_makes_it_visible(play, swarm) -> None:
    game = play(3, rounds=1)
    game.round_open(1)
    machine = game.machines["site-0"]
    game.tell_ledger("site-0")
    answer = machine.handle(ev.Trained(1, swarm.sha(1), 5))
    assert [type(action) for action in answer] == [do.Persist, do.Submit]
    assert answer[1].args == (1, 1, swarm.sha(1), 5, 0)


def test_merge_that_cannot_be_made_is_laid_to_the_site_named_or_ends_the_run(play, swarm) -> None:
    """No trouble of one's own is told: two of them would have the honest sites vote each other out."""
    for blamed, expected in (
        ("site-2", ("vote_drop", (1, "site-2", REASONS["unusable"]))),
        ("site-0", ("withdraw", (1, REASONS["unusable"]))),
        ("", ("vote_end", (1, 5, REASONS["error"]))),
    ):
        game = swarm.in_exchange(play(4))
        failed = ev.Failed("merge", "error", round=1, site=blamed)
        actions = game.machines["site-0"].handle(failed)
        submitted = [(a.function, a.args) for a in actions if isinstance(a, do.Submit)]
        assert expected in submitted
        assert any(isinstance(a, do.Tell) for a in actions) == (not blamed)
        again = game.machines["site-0"].handle(failed)
        assert expected not in [(a.function, a.args) for a in again if isinstance(a, do.Submit)]
        past = game.machines["site-1"].handle(ev.Failed("merge", "error", round=0, site="site-2"))
        assert not [a for a in past if isinstance(a, do.Submit) and a.function == "vote_drop"]


def test_pure_files_import_no_input_or_output() -> None:
    core, swarm = Path(cohortium.core.__file__).parent, Path(cohortium.swarm.__file__).parent
    shell = {"node", "ports", "clerk", "line", "courier", "fetcher", "workshop", "training"}
    shell |= {"book", "bell", "store", "vault"}
    impure = {f"{name}.py" for name in (*shell, "program")}
    pure = [path for path in swarm.glob("*.py") if path.name not in impure]
    pure += [core / "messages.py", core / "exchange.py", core / "frames.py"]
    assert len(pure) > 15
    for path in pure:
        imports = re.findall(r"^\s*(?:import|from)\s+(\w+)", path.read_text(), flags=re.MULTILINE)
        assert not {"asyncio", "socket", "ssl", "time", "sqlite3", "threading", "os"} & set(imports), path.name


def test_one_site_is_one_machine_away_from_every_other(play, swarm) -> None:
    game = play(2, rounds=1)
    game.until_quiet()
    assert set(game.outcomes.values()) == {"complete"}
    assert len(swarm.finals(game)) == 1
