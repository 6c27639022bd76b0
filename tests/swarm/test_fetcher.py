"""A moment of patience for the offer about to come; then asking."""

import asyncio
from types import SimpleNamespace

import numpy as np

from cohortium.core.exchange import MASKED
from cohortium.core.frames import Limits, pack
from cohortium.core.messages import Manifest, Need, Offer
from cohortium.core.parameters import Parameters
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.actions import Fetch
from cohortium.swarm.courier import Courier
from cohortium.swarm.fetcher import Fetcher
from cohortium.swarm.membership import Members
from cohortium.swarm.view import Commit, FinalMerge, RoundView, RunView

PACKED = pack(Parameters({"w": np.ones(3)}))
OFFER = Offer(
    manifest=Manifest(step="updates", digest=PACKED.digest, header=PACKED.header, chunks=PACKED.chunk_digests),
    inline=bytes(PACKED.body),
)


def wanted(step: str = "updates", holders: tuple[str, ...] = ("b",)) -> Fetch:
    return Fetch("b", 1, 0, step, PACKED.digest, holders)


def played(kit, script) -> tuple[list, list]:
    """What was asked for (with the time) and what was told to the machine."""
    asked, told = [], []

    async def main() -> None:
        loop, jobs = asyncio.get_running_loop(), []

        async def send(kind, body, receivers, place):
            asked.append((loop.time(), kind, body))

        view = RunView(run=1, members=Members(), round=RoundView(number=1, leader="a"))
        courier = Courier(send, limits=Limits(), retry_s=15.0)
        ports = kit.make_node(kit.RulesLedger(["a", "b"]), None, "a", transport=None)._ports
        fetcher = Fetcher(
            "a", ports, courier, view=lambda: view, post=told.append, spawn=lambda c: jobs.append(loop.create_task(c))
        )
        await script(fetcher, courier, view)
        for job in jobs:
            job.cancel()
        await asyncio.sleep(0)

    run_virtual(main())
    return asked, told


def test_offer_that_comes_in_time_costs_no_question(swarm) -> None:
    async def script(fetcher, courier, view):
        fetcher.fetch(wanted())
        fetcher.fetch(wanted())
        await asyncio.sleep(1.0)
        courier.take_offer("b", 1, OFFER)
        fetcher.offered(PACKED.digest)
        await asyncio.sleep(10.0)

    asked, told = played(swarm, script)
    assert asked == []
    assert [(event.site, event.digest) for event in told] == [("b", PACKED.digest)]


def test_after_two_seconds_the_holder_is_asked(swarm) -> None:
    async def script(fetcher, courier, view):
        fetcher.fetch(wanted())
        await asyncio.sleep(3.0)
        courier.take_offer("b", 1, OFFER)
        fetcher.offered(PACKED.digest)
        await asyncio.sleep(1.0)

    asked, told = played(swarm, script)
    assert asked == [(2.0, "need", Need(digest=PACKED.digest))]
    assert len(told) == 1


def test_merge_is_asked_for_at_once_and_given_up_when_a_newer_one_is_final(swarm) -> None:
    async def script(fetcher, courier, view):
        fetcher.fetch(wanted("merge"))
        await asyncio.sleep(0)
        view.finals.append(FinalMerge(2, bytes(32), ("b",), "b"))
        await asyncio.sleep(100.0)

    asked, told = played(swarm, script)
    assert [time for time, _, _ in asked] == [0.0]
    assert told == []


def test_update_of_a_past_round_is_given_up(swarm) -> None:
    async def script(fetcher, courier, view):
        fetcher.fetch(wanted())
        await asyncio.sleep(5.0)
        view.round = RoundView(number=2, leader="a")
        await asyncio.sleep(100.0)

    assert len(played(swarm, script)[0]) == 1


def test_nobody_to_ask_is_no_error(swarm) -> None:
    async def script(fetcher, courier, view):
        fetcher.fetch(wanted(holders=()))
        await asyncio.sleep(5.0)

    assert played(swarm, script) == ([], [])


def test_keys_shares_and_masked_vectors_cannot_be_larger_than_an_update_makes_them(swarm) -> None:
    """Their digests stand on no ledger, so a member could have every other keep gigabytes of what it calls its keys."""
    own = pack(Parameters({"w": np.ones(3, dtype=np.float32)}))
    large = pack(Parameters({"w": np.zeros(8 * len(own.body) + (1 << 20) + 1, dtype=np.uint8)}))
    manifest = Manifest(step="keys", digest=large.digest, header=large.header, chunks=large.chunk_digests)

    async def script(fetcher, courier, view):
        fetcher._ports.guard = SimpleNamespace(recipe=MASKED)
        courier.hold(own, round=1)
        view.round.commits["a"] = Commit(own.digest, 1)
        courier.take_offer("b", 1, Offer(manifest=manifest))
        fetcher.fetch(Fetch("b", 1, 1, "keys", large.digest, ("b",)))
        await asyncio.sleep(1.0)
        assert not courier._intakes

    asked, told = played(swarm, script)
    assert [body.chunks for _, _, body in asked] == [()], "no chunk of it is asked for"
    assert told == []
