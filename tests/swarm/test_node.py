"""The node end to end: several nodes, the contract's rules, memory transport, virtual time."""

import asyncio
import contextlib
import errno
import os
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortium.core.exact import weighted_sum
from cohortium.core.frames import pack
from cohortium.core.messages import Manifest, Need, Offer
from cohortium.core.parameters import Parameters
from cohortium.core.seams import LedgerEvent
from cohortium.core.update import Update
from cohortium.errors import LedgerForked, TrainingFailed, VerificationFailed
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.memory import MemoryLedger
from cohortium.ledger.rules import Founder
from cohortium.ledger.transactions import sign_call
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.bell import Bell
from cohortium.swarm.node import Proposal
from cohortium.swarm.notices import Progressed, Refused, RoundRecord, Troubled
from cohortium.swarm.reasons import REASONS
from cohortium.swarm.store import DiskStore, MemoryStore, StoreBroken
from cohortium.swarm.waiting import Policy
from cohortium.transport.memory import Link, MemoryNetwork


@pytest.fixture
def reference(swarm):
    return swarm.run()


def test_three_sites_reach_the_weighted_mean_by_hand(swarm) -> None:
    result = swarm.run(3, rounds=1)
    # site i sends i + 1 with weight i + 1: (1 + 4 + 9) / 6
    assert np.asarray(result.nodes["site-0"].state["w"]).tolist() == pytest.approx([14 / 6] * 4)
    assert set(result.outcomes.values()) == {"complete"}


@pytest.mark.parametrize("n_sites", [2, 3, 5])
@pytest.mark.parametrize("drawn", [False, True])
def test_all_nodes_end_with_the_same_state(swarm, n_sites: int, drawn: bool) -> None:
    result = swarm.run(n_sites, drawn=drawn)
    assert len(result.digests) == 1
    assert set(result.outcomes.values()) == {"complete"}
    assert not [notice for _, notice in result.notices if isinstance(notice, Refused)]


def test_drawn_attestation_and_all_give_the_same_model_with_fewer_payloads(swarm) -> None:
    every = swarm.run(9, rounds=2)
    drawn = swarm.run(9, rounds=2, drawn=True)
    assert drawn.digests == every.digests
    assert sum(drawn.network.sent_bytes.values()) < 0.8 * sum(every.network.sent_bytes.values())


def test_round_records_name_contributors_leader_and_measures(swarm, reference) -> None:
    records = [n for site, n in reference.notices if site == "site-1" and isinstance(n, RoundRecord)]
    assert [record.turn for record in records] == [1, 2, 3]
    assert records[0].contributors == ("site-0", "site-1", "site-2", "site-3")
    assert records[2].measures == {"n": 3.0}
    assert len({record.leader for record in records}) == 3, "the lead rotates"


def test_stopping_rule_ends_the_run_early_by_vote(swarm) -> None:
    works = {f"site-{i}": {"work": swarm.SumWork(f"site-{i}", i, stop_after=2)} for i in range(3)}
    result = swarm.run(3, rounds=9, options=works)
    assert set(result.outcomes.values()) == {"complete"}
    assert len(result.ledger.named("Final")) == 2


@given(
    seed=st.integers(0, 10**6),
    loss=st.floats(0, 0.3),
    duplicate=st.floats(0, 0.3),
    reorder=st.floats(0, 0.3),
    corrupt=st.floats(0, 0.2),
)
@settings(max_examples=12, deadline=None)
def test_a_bad_network_changes_nothing_but_the_time_it_takes(swarm, seed, loss, duplicate, reorder, corrupt) -> None:
    link = Link(delay_s=0.2, jitter_s=0.5, loss=loss, duplicate=duplicate, reorder=reorder, held_s=9.0, corrupt=corrupt)
    result = swarm.run(4, link=link, seed=seed, policy=Policy(linger_s=600.0))
    assert set(result.outcomes.values()) == {"complete"}
    assert result.digests == swarm.undisturbed(4)


@given(victim=st.integers(0, 3), dies_at=st.integers(1, 16), after=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_node_killed_at_any_write_ends_with_the_same_digest(swarm, victim: int, dies_at: int, after: bool) -> None:
    site = f"site-{victim}"
    stores = {site: swarm.MortalStore(dies_at, after=after)}
    result = swarm.run(4, stores=stores, link=Link(delay_s=0.1), policy=Policy(linger_s=600.0))
    assert set(result.outcomes.values()) == {"complete"}
    assert result.digests == swarm.undisturbed(4)
    assert all(node.has_final_merge for node in result.nodes.values())


def test_restart_gives_the_private_memory_back(swarm) -> None:
    work = swarm.SumWork("site-2", 2)
    stores = {"site-2": swarm.MortalStore(9, after=True)}
    swarm.run(4, stores=stores, options={"site-2": {"work": work}}, policy=Policy(linger_s=600.0))
    assert int(work.memory()["adopted"][0]) == 3


def test_payloads_larger_than_an_offer_are_pulled_in_chunks(swarm) -> None:
    class BigWork(swarm.SumWork):
        def start(self):
            return Parameters({"w": np.zeros(400_000), "n": np.zeros(1, np.int64)})

    works = {f"site-{i}": {"work": BigWork(f"site-{i}", i)} for i in range(3)}
    clean = swarm.run(3, rounds=1, options=works)
    lossy = swarm.run(3, rounds=1, options=works, link=Link(delay_s=0.05, loss=0.2, reorder=0.2, held_s=3.0))
    assert clean.digests == lossy.digests
    size, n = 3_200_000, 3
    wire = sum(clean.network.sent_bytes.values())
    assert wire <= 1.02 * n * (n - 1) * size, "N (N-1) M bytes in mode `all`, at most 2 % more"


def test_stranger_and_forger_are_refused_and_counted(swarm) -> None:
    async def shout(result) -> None:
        while not result.ledger.named("RoundOpened"):
            await asyncio.sleep(0.5)
        intruder = result.network.join("intruder")
        for number in range(20):
            await intruder.send("site-0", b"\x90" + bytes([number]))

    late = {"trainer": slow_trainer(swarm, "site-3", 3)}
    result = swarm.run(4, rounds=1, script=shout, options={"site-3": late})
    refused = [n for site, n in result.notices if site == "site-0" and isinstance(n, Refused)]
    assert len(refused) == 10, "after ten refusals the stream is cut"
    assert {notice.site for notice in refused} == {"intruder"}
    assert set(result.outcomes.values()) == {"complete"}


def slow_trainer(kit, site: str, index: int, seconds: float = 60.0):
    work = kit.SumWork(site, index)

    async def train(round, state):
        await asyncio.sleep(seconds)
        return work.train(round, state)

    return train


def test_trainer_port_replaces_the_works_own_training(swarm) -> None:
    calls = []

    async def train(round, state):
        calls.append(round)
        return Update(site="site-0", parameters=Parameters({"w": np.ones(4)}), weight=1)

    result = swarm.run(2, rounds=2, options={"site-0": {"trainer": train}})
    assert calls == [1, 2]
    assert set(result.outcomes.values()) == {"complete"}


def test_failed_training_is_told_once_retried_and_never_raised(swarm) -> None:
    tries = []

    async def train(round, state):
        tries.append(round)
        if len(tries) == 1:
            raise TrainingFailed("out of memory on the patient with id 17", code="memory")
        return swarm.SumWork("site-1", 1).train(round, state)

    result = swarm.run(3, rounds=1, options={"site-1": {"trainer": train}})
    assert set(result.outcomes.values()) == {"complete"}
    told = [(site, n) for site, n in result.notices if isinstance(n, Troubled)]
    assert {n.code for _, n in told} == {"memory"}
    assert {site for site, _ in told} == {"site-0", "site-1", "site-2"}
    assert "17" not in repr(told), "the text of a failure stays at the site"


def test_declined_consent_ends_a_run_that_is_too_small_with_the_first_cause(swarm) -> None:
    no = {"site-1": {"consent": lambda proposed: False}}
    result = swarm.run(2, options=no)
    assert set(result.outcomes.values()) == {"failed (site-1, approve, declined)"}


def test_site_that_declines_is_no_part_of_the_run(swarm) -> None:
    no = {"site-1": {"consent": lambda proposed: False}}
    result = swarm.run(4, options=no)
    assert set(result.outcomes.values()) == {"complete"}
    assert "site-1" not in result.ledger.view.joiners


def test_progress_of_peers_is_observed_while_one_trains(swarm) -> None:
    result = swarm.run(3, rounds=1, options={"site-2": {"trainer": slow_trainer(swarm, "site-2", 2)}})
    seen = {(n.site, n.stage) for site, n in result.notices if site == "site-0" and isinstance(n, Progressed)}
    assert ("site-2", "train") in seen


def test_cancelling_a_node_is_a_normal_end(swarm) -> None:
    async def main() -> str:
        ledger = swarm.RulesLedger(["a", "b"])
        network = MemoryNetwork(rng=np.random.default_rng(0))
        node = swarm.make_node(ledger, network, "a", proposal=Proposal(min_sites=2, n_rounds=1))
        running = asyncio.ensure_future(node.run())
        await asyncio.sleep(50)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return "clean" if len(asyncio.all_tasks()) == 1 else "tasks left"

    assert run_virtual(main()) == "clean"


def test_two_heads_at_one_height_stop_the_node_with_evidence(swarm) -> None:
    async def main() -> None:
        ledger = swarm.RulesLedger(["a", "b"])
        other = swarm.RulesLedger(["a", "b"])
        network = MemoryNetwork(rng=np.random.default_rng(0))

        class Forked:
            def __getattr__(self, name):
                return getattr(ledger, name)

            def head(self):
                return type(ledger.head())(ledger.height, b"\x01" * 32, bytes(32))

            def hash_at(self, height):
                return b"\x01" * 32 if height <= ledger.height else None

        bell = Bell()
        slow = slow_trainer(swarm, "b", 1, 600.0)
        a = swarm.make_node(ledger, network, "a", proposal=Proposal(min_sites=2, n_rounds=1), bell=bell)
        b = swarm.make_node(Forked(), network, "b", bell=bell, trainer=slow)
        assert other.height == 1
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(b.run())
            tasks.create_task(a.run())

    with pytest.raises(ExceptionGroup) as raised:
        run_virtual(main())
    forked = raised.value.exceptions[0]
    assert isinstance(forked, LedgerForked)
    assert len(forked.evidence) == 2


def test_site_whose_own_merge_differs_from_the_final_one_stops_taking_part(swarm) -> None:
    class Wrong(swarm.SumWork):
        def merge(self, state, updates):
            return Parameters({"w": np.ones(4), "n": np.asarray(state["n"]) + 1})

    with pytest.raises(ExceptionGroup) as raised:
        swarm.run(5, rounds=1, options={"site-2": {"work": Wrong("site-2", 2)}})
    assert isinstance(raised.value.exceptions[0], VerificationFailed)
    assert "differs from the one made here" in str(raised.value.exceptions[0])


def test_equivocating_leader_is_reported_and_excluded(swarm) -> None:
    async def lie(result) -> None:
        while not result.ledger.named("Published"):
            await asyncio.sleep(0.01)
        leader = result.nodes[result.ledger.named("Published")[0]["site"]]
        from cohortium.core.frames import pack
        from cohortium.core.messages import Manifest, Offer
        from cohortium.swarm.gate import MERGE_SLOT

        for value in (1.0, 2.0):
            packed = pack(Parameters({"w": [value]}))
            manifest = Manifest(
                step="merge", digest=packed.digest, header=packed.header, chunks=packed.chunk_digests,
                slot=leader._line.sign_slot((1, 1, 0, MERGE_SLOT), packed.digest),
            )  # fmt: skip
            others = [site for site in result.nodes if site != leader.site]
            await leader._line.send("offer", Offer(manifest=manifest), others, {"round": 1})

    slow = {f"site-{i}": {"trainer": slow_trainer(swarm, f"site-{i}", i)} for i in range(5)}
    result = swarm.run(5, rounds=2, script=lie, link=Link(delay_s=0.1), options=slow)
    told = result.ledger.named("Equivocated")
    assert len(told) == 1
    assert told[0]["site"] == result.ledger.named("Published")[0]["site"]
    liar = told[0]["site"]
    honest = [outcome for site, outcome in result.outcomes.items() if site != liar]
    assert honest == ["partial (4/5 sites)"] * 4
    assert [(gone.site, gone.reason) for gone in result.ledger.view.departures] == [(liar, "excluded")]


def test_late_update_is_carried_into_the_next_round_with_less_weight(swarm) -> None:
    slow = {f"site-{i}": {"trainer": slow_trainer(swarm, f"site-{i}", i, 10.0)} for i in range(4)}
    trained = []

    async def train(round, state):
        trained.append(round)
        await asyncio.sleep(150.0 if round == 2 else 10.0)
        return Update(site="site-3", parameters=Parameters({"w": np.full(4, 5.0)}), weight=100)

    slow["site-3"] = {"trainer": train}
    policy = Policy(wait="quorum", round_timeout_s=60.0, late="carry", linger_s=600.0)
    result = swarm.run(4, rounds=5, options=slow, policy=policy, link=Link(delay_s=0.1))
    weights = {args["round"]: args["weight"] for args in result.ledger.named("Committed") if args["site"] == "site-3"}
    closed_without = [args["round"] for args in result.ledger.named("Closed") if args["missing"]]
    assert closed_without[0] == 2
    carried = min(number for number in weights if number > 2)
    assert weights[1] == 100
    assert weights[carried] == int(100 / (1 + carried - 2) ** 0.5)
    assert trained.count(2) == 1
    assert set(result.outcomes.values()) == {"partial (3/4 sites)"}


def test_shared_results_arrive_and_missing_ones_are_named(swarm) -> None:
    share = {"share": dict}
    result = swarm.run(3, rounds=2, options={"site-0": share, "site-1": share})
    node = result.nodes["site-1"]
    assert node.results == {"site-0": {"n": 2.0}, "site-1": {"n": 2.0}}
    assert node.missing_results() == {"site-2": "missing: not received"}


def test_disk_store_serves_a_whole_run_and_its_restart(swarm, tmp_path) -> None:
    store = DiskStore(tmp_path)
    result = swarm.run(3, stores={"site-0": store})
    assert result.digests == swarm.undisturbed(3)
    kinds = [fact.kind for fact in store.facts(1)]
    assert kinds.count("trained") == kinds.count("adopted") == 3
    newest = next(fact for fact in reversed(store.facts(1)) if fact.kind == "adopted")
    assert store.get(newest.digest) is not None
    first = next(fact for fact in store.facts(1) if fact.kind == "trained")
    assert store.get(first.digest) is None, "payloads of old rounds are let go"
    store.close()


def lying(swarm, liar: str, n_sites: int, *, arrays=None, weight: int | None = None) -> dict:
    """Ports of honest sites that merge with `weighted_sum`, and of one whose updates are not what they should be."""

    class Work(swarm.SumWork):
        def train(self, round, state):
            update = super().train(round, state)
            if self.site != liar or round != 2:
                return update
            forged = object.__new__(Update)  # the constructor of an honest node would refuse it
            for name, value in {
                "site": self.site,
                "parameters": update.parameters if arrays is None else Parameters(arrays),
                "weight": update.weight,
                "memory": update.memory,
            }.items():
                object.__setattr__(forged, name, value)
            return forged

        def merge(self, state, updates):
            whole = weighted_sum(updates)
            mean = np.asarray(whole.total["w"]) / whole.weight
            return Parameters({"w": mean, "n": np.asarray(state["n"]) + 1})

    def sign(nonce, function, args):
        """A liar does not go by itself."""
        function, args = ("heartbeat", ()) if function == "withdraw" else (function, args)
        if function == "commit" and args[1] == 2 and weight is not None:
            args = (*args[:3], weight, *args[4:])
        return msgspec.msgpack.encode((liar, nonce, function, args))

    ports = {f"site-{i}": {"work": Work(f"site-{i}", i)} for i in range(n_sites)}
    ports[liar]["sign_call"] = sign
    return ports


@pytest.mark.parametrize("liar", ["site-0", "site-3"])
@pytest.mark.parametrize(
    "forged",
    [
        {"arrays": {"w": np.full(4, np.nan)}},
        {"arrays": {"w": np.array([0.0, -np.inf, 0.0, 0.0])}},
        {"arrays": {"w": np.full(4, 1.7e308)}, "weight": 1 << 29},
        {"weight": 1 << 40},
    ],
    ids=["nan", "inf", "overflow", "weight"],
)
def test_one_site_whose_update_cannot_be_merged_is_voted_out_and_stops_nobody(swarm, liar: str, forged: dict) -> None:
    """Once each of these ended every node of the swarm with an error."""
    result = swarm.run(5, rounds=3, options=lying(swarm, liar, 5, **forged))
    dropped = result.ledger.named("Dropped")
    assert [(args["site"], args["reason"], args["round"]) for args in dropped] == [(liar, REASONS["unusable"], 2)]
    assert len(result.ledger.named("Final")) == 3
    assert len(result.digests) == 1
    assert set(result.outcomes.values()) == {"partial (4/5 sites)"}


def test_site_that_commits_its_neighbours_digest_is_voted_out(swarm) -> None:
    """The patients behind a digest must not count twice; the digest is public, the payload reaches every merger."""
    result = None

    def sign(nonce, function, args):
        if function == "commit" and args[1] == 2:
            others = [said for said in ledgers[0].named("Committed") if said["round"] == 2]
            args = (*args[:2], others[0]["digest"], *args[3:])
        return msgspec.msgpack.encode(("site-3", nonce, function, args))

    ledgers = []

    async def script(running):
        ledgers.append(running.ledger)

    slow = {"site-3": {"sign_call": sign, "trainer": slow_trainer(swarm, "site-3", 3, 10.0)}}
    result = swarm.run(5, rounds=3, options=slow, script=script)
    commits = {said["site"]: said["digest"] for said in result.ledger.named("Committed") if said["round"] == 2}
    assert list(commits.values()).count(commits["site-3"]) == 2
    assert [args["site"] for args in result.ledger.named("Dropped")] == ["site-3"]
    second = [args["contributors"] for args in result.ledger.named("Final") if args["round"] == 2]
    thief = result.ledger.view.joiners.index("site-3")
    assert len(second) == 1
    assert not second[0] >> thief & 1


def test_real_clock_worker_threads_and_disk_give_the_same_model(swarm, tmp_path) -> None:
    async def main() -> set[bytes]:
        sites = ["site-0", "site-1", "site-2"]
        keys = swarm.RulesLedger(sites).keys
        founders = tuple(Founder(key.address, site, bytes(32), bytes(32)) for site, key in keys.items())
        genesis = Genesis(founders=founders, chain_id=7, time=1_800_000_000, engine="memory")
        ledger = MemoryLedger.found(genesis, clock=lambda: 1_800_000_000)
        ledger.keys, ledger.sites = keys, sites
        network, bell = MemoryNetwork(rng=np.random.default_rng(0)), Bell()

        def node(site: str):
            key = keys[site]
            return swarm.make_node(
                ledger, network, site, bell=bell, store=DiskStore(tmp_path / site), run_blocking=asyncio.to_thread,
                proposal=Proposal(min_sites=2, n_rounds=3) if site == "site-0" else None,
                next_nonce=lambda: ledger.nonce(key.address),
                sign_call=lambda nonce, function, args: sign_call(
                    key, chain_id=7, nonce=nonce, contract=genesis.contract, function=function, args=args
                ),
            )  # fmt: skip

        nodes = [node(site) for site in sites]
        async with asyncio.timeout(60):
            outcomes = await asyncio.gather(*(node.run() for node in nodes))
        assert {str(outcome) for outcome in outcomes} == {"complete"}
        for one in nodes:
            one._ports.store.close()
        return {one.state.digest for one in nodes}

    assert asyncio.run(main()) == swarm.undisturbed(3)


def test_a_node_that_lost_its_facts_still_says_what_nobody_has_heard(swarm) -> None:
    """Numbers rise across restarts, or peers take every word for an old one; they rise with the ledger, too."""
    ledger = swarm.RulesLedger(["a", "b"])
    ledger.apply("a", "propose", b"\x53" * 32, 2, 1, 60, 60, 0, 0)
    kept, numbers = MemoryStore(), []

    async def begin(store):
        node = swarm.make_node(ledger, None, "a", transport=None, store=store)
        await node._resume(1, list(ledger.events()))
        return node._line.sequence

    for store in (kept, kept, kept, MemoryStore(), MemoryStore()):
        ledger.apply("b", "heartbeat")
        numbers.append(run_virtual(begin(store)))
    assert all(later - earlier > 1 << 19 for earlier, later in pairwise(numbers))


def test_offers_for_rounds_far_away_are_refused_before_they_are_kept(swarm) -> None:
    async def script(running):
        await asyncio.sleep(1.0)
        liar, honest = running.nodes["site-2"], running.nodes["site-0"]
        packed = pack(Parameters({"w": np.zeros(4)}))
        manifest = Manifest(step="final", digest=packed.digest, header=packed.header, chunks=packed.chunk_digests)
        for round in rounds:
            if round == 5:  # nor is what it waits for kept for later
                honest._courier._news[packed.digest] = asyncio.Event()
            place = {"round": round, "term": 0, "attempt": 0}
            await liar._line.send("offer", Offer(manifest=manifest), ["site-0"], place)
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.0)
        kept.append(honest._courier.knows(packed.digest))

    kept, rounds = [], (4, 1 << 31, 5)
    slow = {f"site-{i}": {"trainer": slow_trainer(swarm, f"site-{i}", i, 10.0)} for i in range(3)}
    result = swarm.run(3, rounds=1, options=slow, script=script)
    said = [notice.why for site, notice in result.notices if site == "site-0" and isinstance(notice, Refused)]
    assert said == [f"message of 'site-2' for round {round}, here is round 1" for round in rounds]
    assert kept == [False]
    assert set(result.outcomes.values()) == {"complete"}


def test_run_on_other_terms_than_the_studys_is_none_of_ours(swarm) -> None:
    """Any member may propose the study's digest with numbers of its own: one round, two sites, a larger budget."""
    terms = Proposal(min_sites=3, n_rounds=2)
    ledger = swarm.RulesLedger(["site-0", "site-1", "site-2"])
    for flags, budget, rounds, least in ((0, 0, 1, 2), (0, 9, 2, 3), (1, 0, 2, 3), (0, 0, 1, 3)):
        ledger.apply("site-2", "propose", swarm.SPEC, least, rounds, 86_400, 120, budget, flags)
    ledger.apply("site-2", "propose", bytes(31) + b"\1", 3, 2, 86_400, 120, 0, 0)
    ledger.apply("site-1", "propose", swarm.SPEC, 3, 2, 86_400, 120, 0, 0)
    ledger.apply("site-2", "propose", swarm.SPEC, 3, 2, 86_400, 120, 0, 0)

    async def chosen(past):
        node = swarm.make_node(ledger, MemoryNetwork(rng=np.random.default_rng(0)), "site-0", terms=terms)
        node._propose_on_first_look = False
        await node._look_for_run(past)
        return node._view.run

    assert run_virtual(chosen(ledger.events())) == 6, "the first open run on these terms, whatever came after it"
    ended = LedgerEvent(99, 0, "Ended", {"run": 6, "state": 5, "reason": 9})
    assert run_virtual(chosen([*ledger.events(), ended])) == 7
    both = [*ledger.events(), ended, LedgerEvent(99, 1, "Ended", {"run": 7, "state": 4, "reason": 0})]
    assert run_virtual(chosen(both)) == 7
    assert run_virtual(chosen([event for event in ledger.events() if event.args.get("run", 0) < 6])) == 0


def test_timer_that_fires_after_its_node_has_stopped_starts_nothing(swarm) -> None:
    """Killed while it waited for an offer, a node asked for it two seconds later from a closed task group."""
    node = swarm.run(3, rounds=1).nodes["site-0"]

    async def main():
        work = node._beat()
        node._spawn(work)
        return work.cr_frame

    assert run_virtual(main()) is None, "closed, not left to be collected unawaited"


class SickStore(MemoryStore):
    """A store that cannot be written while `well` says no."""

    def __init__(self, well, number: int = errno.EROFS) -> None:
        super().__init__()
        self.well, self.number = well, number

    def _check(self) -> None:
        if not self.well():
            raise StoreBroken(OSError(self.number, os.strerror(self.number), "/srv/node"))

    def add(self, fact) -> None:
        self._check()
        super().add(fact)

    def put(self, payload) -> None:
        self._check()
        super().put(payload)


def slow_sites(swarm, n: int) -> dict:
    return {f"site-{i}": {"trainer": slow_trainer(swarm, f"site-{i}", i)} for i in range(n)}


def between(from_s: float, until_s: float):
    return lambda: not from_s < asyncio.get_running_loop().time() < until_s


def test_a_store_that_is_broken_for_a_while_costs_no_round(swarm) -> None:
    patient = Policy(linger_s=600.0, round_timeout_s=1e5)
    plain = swarm.run(4, rounds=3, options=slow_sites(swarm, 4), policy=patient)
    for from_s in (10.0, 61.0, 130.0):
        stores = {"site-1": SickStore(between(from_s, from_s + 20))}
        result = swarm.run(4, rounds=3, options=slow_sites(swarm, 4), stores=stores, policy=patient)
        assert set(result.outcomes.values()) == {"complete"}
        assert result.digests == plain.digests


@pytest.mark.parametrize(("number", "code"), [(errno.EROFS, "path_readonly"), (errno.ENOSPC, "disk")])
def test_a_store_that_stays_broken_is_told_and_the_site_dropped_by_name(swarm, number: int, code: str) -> None:
    stores = {"site-1": SickStore(between(50.0, 1e9), number)}
    result = swarm.run(4, rounds=3, options=slow_sites(swarm, 4), stores=stores)
    assert set(result.outcomes.values()) == {"partial (3/4 sites)"}, "its own node says so too"
    (dropped,) = result.ledger.named("Dropped")
    assert (dropped["site"], dropped["reason"]) == ("site-1", REASONS[code])
    told = {by for by, n in result.notices if isinstance(n, Troubled) and (n.site, n.code) == ("site-1", code)}
    assert told == {"site-0", "site-1", "site-2", "site-3"}
    assert result.ledger.named("Committed")[-1]["site"] != "site-1"


def test_a_site_whose_store_is_well_again_joins_and_contributes(swarm) -> None:
    stores = {"site-1": SickStore(between(70.0, 150.0), errno.ENOSPC)}
    result = swarm.run(4, rounds=8, options=slow_sites(swarm, 4), stores=stores, policy=Policy(linger_s=600.0))
    assert set(result.outcomes.values()) == {"partial (3/4 sites)"}
    assert [joined["site"] for joined in result.ledger.named("Joined")] == ["site-1"]
    last = result.ledger.named("Committed")[-4:]
    assert {commit["site"] for commit in last} == {"site-0", "site-1", "site-2", "site-3"}
    assert len(result.digests) == 1


def test_a_site_that_declined_is_given_no_merge_however_it_asks(swarm) -> None:
    """Not even the rows a federation shares, which lie open in the merge; whoever joins late is given it."""

    async def script(running):
        while not running.nodes or (newest := running.nodes["site-0"]._view.newest) is None:
            await asyncio.sleep(1.0)
        stranger, place = running.nodes["site-1"], {"round": newest.round, "term": 0, "attempt": 0}
        for site in ("site-0", "site-2"):
            await stranger._line.send("need", Need(digest=newest.digest), [site], place)
        await asyncio.sleep(5.0)
        kept.append(stranger._courier.knows(newest.digest) or newest.digest in stranger._courier.payloads)

    kept: list[bool] = []
    options = {f"site-{i}": {"trainer": slow_trainer(swarm, f"site-{i}", i, 10.0)} for i in range(4)}
    options["site-1"] = {"consent": lambda proposed: False}
    result = swarm.run(4, options=options, script=script)
    assert kept == [False]
    assert set(result.outcomes.values()) == {"complete"}
    first = result.nodes["site-0"].state.digest
    assert [node.state.digest == first for _, node in sorted(result.nodes.items())] == [True, False, True, True]


@pytest.mark.parametrize(("call", "args"), [("withdraw", (1, REASONS["left"])), ("leave", ())])
def test_a_site_that_approved_and_left_is_given_no_merge_until_it_is_back(swarm, call: str, args: tuple) -> None:
    """It asks by hand, with its own keys; its node does nothing of its own meanwhile."""

    async def script(running):
        while not running.nodes or len(running.nodes["site-0"]._view.finals) < 1:
            await asyncio.sleep(1.0)
        leaver, view = running.nodes["site-3"], running.nodes["site-0"]._view
        running.ledger.apply("site-3", call, *args)
        gone_at = len(view.finals)
        kept.append(await asked(running, leaver, view, gone_at + 1))
        if call == "withdraw":
            running.ledger.apply("site-3", "join", 1)
            kept.append(await asked(running, leaver, view, len(view.finals) + 1))

    async def asked(running, leaver, view, n_finals):
        """Whether the leaver has the next merge after it has asked two sites for it."""
        while len(view.finals) < n_finals:
            await asyncio.sleep(1.0)
        await asyncio.sleep(5.0)
        newest = view.newest
        place = {"round": newest.round, "term": 0, "attempt": 0}
        for site in ("site-0", "site-2"):
            await leaver._line.send("need", Need(digest=newest.digest), [site], place)
        await asyncio.sleep(5.0)
        return leaver._courier.knows(newest.digest) or newest.digest in leaver._courier.payloads

    kept: list[bool] = []
    options = {f"site-{i}": {"trainer": slow_trainer(swarm, f"site-{i}", i, 30.0)} for i in range(4)}
    result = swarm.run(4, rounds=6, options=options, script=script)
    assert kept == [False, True][: len(kept)]
    assert len(kept) == (2 if call == "withdraw" else 1)
    first = result.nodes["site-0"].state.digest
    assert (result.nodes["site-3"].state.digest == first) is (call == "withdraw")
