"""What digests stand for: training, merging, adopting, and all of it again after a restart."""

import numpy as np
import pytest

from cohortium.core.exact import weighted_sum
from cohortium.core.frames import Limits, pack, parameters_of
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.errors import TrainingFailed
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm import actions as do
from cohortium.swarm import events as ev
from cohortium.swarm.actions import Fact
from cohortium.swarm.courier import Courier
from cohortium.swarm.membership import Members
from cohortium.swarm.store import MemoryStore
from cohortium.swarm.view import Commit, RoundView, RunView
from cohortium.swarm.workshop import Workshop

SITES = ("a", "b")


async def silent(kind, body, receivers, place) -> None:
    return None


def workshop(kit, site: str = "a", store: MemoryStore | None = None) -> tuple[Workshop, Courier]:
    node = kit.make_node(kit.RulesLedger(SITES), None, site, transport=None, store=store)
    courier = Courier(silent, limits=Limits(), retry_s=1.0)
    return Workshop(site, node._charter, node._ports, courier), courier


def view(commits: dict[str, Commit]) -> RunView:
    round = RoundView(number=1, leader="a", commits=commits, frozen=SITES, attempt=1)
    return RunView(run=1, members=Members(), joiners=list(SITES), round=round)


def test_same_update_has_another_digest_in_every_round_and_its_context_says_why(swarm) -> None:
    async def main():
        shop, courier = workshop(swarm)
        update = Update(site="a", parameters=Parameters({"w": [1.0]}), weight=5)
        first, second = [await shop.pack_update(update, run=1, round=round) for round in (1, 2)]
        context = parameters_of(courier.payloads[first.digest])[1]
        return first, second, context

    first, second, context = run_virtual(main())
    assert first.digest != second.digest
    assert {key: context[key] for key in ("site", "run", "round", "study")} == {
        "site": "a", "run": 1, "round": 1, "study": (b"\x53" * 32).hex(),
    }  # fmt: skip
    assert len(bytes.fromhex(context["salt"])) == 16


def test_merge_is_the_works_own_on_updates_with_their_committed_weights(swarm) -> None:
    async def main():
        shop, courier = workshop(swarm)
        await shop.start()
        own = await shop.pack_update(await shop.train(1), run=1, round=1)
        other = pack(Parameters({"w": np.full(4, 9.0)}), {"site": "b", "run": 1, "round": 1})
        courier.hold(other, round=1)
        seen = view({"a": Commit(own.digest, own.weight), "b": Commit(other.digest, 3)})
        inputs = {"updates": {"a": own.digest, "b": other.digest}}
        made = await shop.merge(do.Merge(1, 0, b"", SITES, inputs), seen)
        stale = await shop.merge(do.Merge(1, 0, b"other base", SITES, inputs), seen)
        past = await shop.merge(do.Recompute(2, 0, b"", SITES, inputs), seen)
        return made, stale, past, parameters_of(courier.payloads[made.digest])

    made, stale, past, (arrays, context) = run_virtual(main())
    assert isinstance(made, ev.Merged)
    assert stale is past is None
    assert np.asarray(arrays["w"]).tolist() == [(1 * 1.0 + 3 * 9.0) / 4] * 4
    assert context == {}, "a merge's header names no site, term or salt"
    assert made.digest == arrays.digest


def test_killed_node_has_state_update_and_memory_again(swarm) -> None:
    store = MemoryStore()

    async def first_life():
        shop, courier = workshop(swarm, store=store)
        await shop.start()
        state = pack(Parameters({"w": np.full(4, 2.0), "n": np.array([1])}))
        courier.hold(state, round=1)
        adopted = await shop.adopt(do.Adopt(1, state.digest, b""), turn=1)
        trained = await shop.pack_update(await shop.train(2), run=1, round=2)
        facts = [
            Fact(kind="adopted", run=1, round=1, digest=adopted.digest, memory=adopted.memory),
            Fact(kind="trained", run=1, round=2, digest=trained.digest, memory=trained.memory, number=trained.weight),
            Fact(kind="consent", run=1, digest=b"c" * 32, data=b"n"),
        ]
        for fact in facts:
            await shop.persist(fact)
        return shop.state, trained

    async def second_life():
        shop, _ = workshop(swarm, store=store)
        assert all([await shop.recall(fact) for fact in store.facts(1)])
        carried = await shop.carry(do.Carry(4, 2, store.facts(1)[1].digest), run=1)
        return shop.state, shop.base, carried

    state, trained = run_virtual(first_life())
    again, base, carried = run_virtual(second_life())
    assert again == state
    assert base == state.digest
    assert carried.weight == max(1, int(trained.weight / 3**0.5))


def test_lost_payload_makes_its_fact_void(swarm) -> None:
    async def main():
        shop, _ = workshop(swarm)
        lost = await shop.recall(Fact(kind="adopted", run=1, round=1, digest=b"\1" * 32))
        carried = await shop.carry(do.Carry(2, 1, b"\1" * 32), run=1)
        return lost, carried

    lost, carried = run_virtual(main())
    assert not lost
    assert carried == ev.Failed("train", "lost", round=2)


def test_a_step_whose_payload_is_lost_was_made_all_the_same(swarm) -> None:
    """Made again it would get another salt: a second digest under one slot's signature, which excludes its signer."""

    async def main():
        store = MemoryStore()
        shop, courier = workshop(swarm, store=store)
        step = pack(Parameters({"y": [1]}))
        courier.hold(step, round=1)
        digest = shop._hold_secret(Parameters({"root": [7]}))
        fact = Fact(kind="stepped", run=1, round=1, attempt=1, step="unmask", digest=step.digest, memory=digest)
        await shop.persist(fact)
        store.let_go([step.digest])  # or its bytes no longer hash to its name
        again, _ = workshop(swarm, store=store)
        again._ports.guard = guard = Remembering()
        remembered = await again.recall(fact)
        own = await again.pack_update(Update(site="a", parameters=Parameters({"w": [1.0]}), weight=1), run=1, round=1)
        seen = view({"a": Commit(own.digest, 1)})
        return (
            remembered,
            guard.restored,
            await again.run_step(do.RunStep(1, 1, "more", {"unmask": {"a": step.digest}}), seen),
        )

    remembered, restored, next_step = run_virtual(main())
    assert remembered
    assert restored == [[7]], "what was promised is known"
    assert next_step == ev.Failed("exchange", "lost", round=1)


def test_payloads_of_old_rounds_leave_the_store_but_the_newest_merge_stays(swarm) -> None:
    store = MemoryStore()

    async def main():
        shop, courier = workshop(swarm, store=store)
        kept = []
        for round in (1, 2, 3):
            packed = pack(Parameters({"w": [float(round)]}))
            courier.hold(packed, round=round)
            await shop.persist(Fact(kind="adopted", run=1, round=round, digest=packed.digest))
            kept.append(packed.digest)
        await shop.forget_before(3, keep=(kept[0],))
        return [store.get(digest) is not None for digest in kept]

    assert run_virtual(main()) == [True, False, True]


def test_round_that_has_moved_on_computes_no_step(swarm) -> None:
    async def main():
        shop, _ = workshop(swarm)
        return await shop.run_step(do.RunStep(7, 1, "shares", {}), view({}))

    assert run_virtual(main()) is None


def merged_with(kit, *, context, arrays=(9.0,) * 4, weight=3, merge=None):
    """What comes of merging site a's update with this payload of site b."""

    async def main():
        shop, courier = workshop(kit)
        if merge is not None:
            shop._ports.work.merge = merge
        await shop.start()
        own = await shop.pack_update(await shop.train(1), run=1, round=1)
        other = pack(Parameters({"w": np.array(arrays)}), context)
        courier.hold(other, round=1)
        seen = view({"a": Commit(own.digest, own.weight), "b": Commit(other.digest, weight)})
        return await shop.merge(do.Merge(1, 0, b"", SITES, {"updates": {"a": own.digest, "b": other.digest}}), seen)

    return run_virtual(main())


def summed(state, updates):
    return weighted_sum(updates).total


@pytest.mark.parametrize(
    "context",
    [
        {"site": "a", "run": 1, "round": 1},
        {"site": "b", "run": 1, "round": 9},
        {"site": "b", "run": 2, "round": 1},
        {"site": "b", "run": 1},
        {},
    ],
)
def test_neighbours_or_earlier_payload_under_an_own_commit_is_no_input(swarm, context) -> None:
    """Every digest is public on the ledger: a site could commit its neighbour's and count those patients twice."""
    assert merged_with(swarm, context=context) == ev.Failed("merge", "unusable", round=1, site="b")


@pytest.mark.parametrize("weight", [0, (1 << 29) + 1, (1 << 256) - 1])
def test_committed_weight_beyond_the_cap_names_its_site_and_stops_nobody(swarm, weight) -> None:
    context = {"site": "b", "run": 1, "round": 1}
    assert merged_with(swarm, context=context, weight=weight) == ev.Failed("merge", "unusable", round=1, site="b")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite_names_its_site_and_stops_nobody(swarm, value) -> None:
    found = merged_with(swarm, context={"site": "b", "run": 1, "round": 1}, arrays=[1.0, value, 1.0, 1.0], merge=summed)
    assert found == ev.Failed("merge", "unusable", round=1, site="b")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError, OverflowError, ValueError, IndexError, MemoryError, TrainingFailed]
)
def test_totals_the_learner_cannot_use_are_an_answer_that_names_nobody(swarm, error) -> None:
    def breaks(state, updates):
        raise error("negative number of patients")

    found = merged_with(swarm, context={"site": "b", "run": 1, "round": 1}, merge=breaks)
    assert found == ev.Failed("merge", "error", round=1)


class Remembering:
    """A guard with one secret."""

    def __init__(self) -> None:
        self.restored, self.finished = [], []

    def restore(self, memory) -> None:
        self.restored.append(memory["root"].tolist())

    def finish(self, round) -> None:
        self.finished.append(round)


def test_what_a_guard_remembers_is_for_the_store_alone_and_ends_with_its_round(swarm) -> None:
    async def main():
        store = MemoryStore()
        shop, courier = workshop(swarm, store=store)
        step = pack(Parameters({"y": [1]}))
        courier.hold(step, round=3)
        digest = shop._hold_secret(Parameters({"root": [7]}))
        fact = Fact(kind="stepped", run=1, round=3, attempt=1, step="keys", digest=step.digest, memory=digest)
        await shop.persist(fact)
        assert digest not in courier.payloads  # nobody can ask for it
        lives = []
        for burnt in (False, True):
            again, _ = workshop(swarm, store=store)
            again._ports.guard = guard = Remembering()
            assert await again.recall(fact)
            lives.append(guard.restored)
            if not burnt:
                await again.finish(1, 3)
                assert guard.finished == [3]
        return lives

    assert run_virtual(main()) == [[[7]], []]
