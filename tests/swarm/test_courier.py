"""Payloads on the way: inline or in chunks, from any holder, only to whom they were offered."""

import asyncio

import numpy as np
import pytest

from cohortium.core import payload
from cohortium.core.frames import Limits, pack, parameters_of
from cohortium.core.messages import VERSION, Chunk, Envelope, Manifest, Need, Offer
from cohortium.core.parameters import Parameters
from cohortium.errors import FrameError
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.courier import Courier, layout_of

SMALL = Parameters({"w": np.arange(10.0)})
BIG = Parameters({"w": np.arange(400_000.0)})
PLACE = {"round": 3, "term": 0, "attempt": 0}


class Web:
    """Couriers that talk to each other directly; `spoil` may change or drop (None) what is said."""

    def __init__(self, *sites: str, spoil=lambda sender, kind, body: body) -> None:
        self.said, self.spoil, self.refused = [], spoil, []
        self.couriers = {
            site: Courier(self._speaker(site), limits=Limits(body_bytes=10 << 20), retry_s=5.0) for site in sites
        }

    def _speaker(self, sender):
        async def send(kind, body, receivers, place):
            for receiver in receivers:
                self.said.append((sender, receiver, kind))
                body = self.spoil(sender, kind, body)
                if body is not None:
                    await self._arrive(sender, receiver, body, place)

        return send

    async def _arrive(self, sender, receiver, body, place):
        courier = self.couriers[receiver]
        if isinstance(body, Offer):
            try:
                courier.take_offer(sender, place["round"], body)
            except FrameError as wrong:
                self.refused.append(str(wrong))
        elif isinstance(body, Chunk):
            try:
                courier.take_chunk(body)
            except FrameError:
                return
        elif isinstance(body, Need):
            envelope = Envelope(
                version=VERSION, consortium=bytes(32), run=1, round=place["round"], term=0, attempt=0, kind="need",
                sender=sender, receiver=receiver, sequence=1, head_height=0, head_hash=b"", body=b"",
            )  # fmt: skip
            await courier.answer(envelope, body)


async def no_word(kind, body, receivers, place) -> None:
    """Nobody is there."""


def manifest(packed, step="updates") -> Manifest:
    return Manifest(step=step, digest=packed.digest, header=packed.header, chunks=packed.chunk_digests)


async def fetch(web: Web, site: str, packed, holders, *, past=lambda: False, expected=None) -> tuple[bool, list]:
    refused = []
    async with asyncio.timeout(200):
        done = await web.couriers[site].fetch(
            packed.digest, holders=holders, place=PLACE, expected=expected,
            refuse=lambda who, why: refused.append((who, why)), is_past=past,
        )  # fmt: skip
    return done, refused


def test_small_payload_travels_in_its_offer() -> None:
    async def main():
        web, packed = Web("a", "b"), pack(SMALL)
        await web.couriers["a"].offer(manifest(packed), packed, to=["b"], place=PLACE)
        assert web.couriers["b"].at_hand(packed.digest, expected=None)
        assert [kind for _, _, kind in web.said] == ["offer"]
        return parameters_of(web.couriers["b"].payloads[packed.digest])[0]

    assert run_virtual(main()) == SMALL


@pytest.mark.parametrize("empty", [Parameters(), Parameters({"w": np.zeros(0)})])
def test_payload_without_a_body_is_complete_at_once(empty: Parameters) -> None:
    async def main():
        web, packed = Web("a", "b"), pack(empty)
        await web.couriers["a"].offer(manifest(packed), packed, to=["b"], place=PLACE)
        return web.couriers["b"].at_hand(packed.digest, expected=None)

    assert run_virtual(main())


def test_large_payload_is_pulled_in_one_window() -> None:
    async def main():
        web, packed = Web("a", "b"), pack(BIG)
        await web.couriers["a"].offer(manifest(packed), packed, to=["b"], place=PLACE)
        done, refused = await fetch(web, "b", packed, ("a",))
        assert done
        assert not refused
        return [kind for _, _, kind in web.said]

    assert run_virtual(main()) == ["offer", "need", *["chunk"] * len(pack(BIG).chunk_digests)]


def test_broken_stream_resumes_with_the_missing_chunks_only() -> None:
    lost = iter([False, True, True, False])

    def spoil(sender, kind, body):
        return None if kind == "chunk" and next(lost, False) else body

    async def main():
        web, packed = Web("a", "b", spoil=spoil), pack(BIG)
        await web.couriers["a"].offer(manifest(packed), packed, to=["b"], place=PLACE)
        assert (await fetch(web, "b", packed, ("a",)))[0]
        return [kind for _, _, kind in web.said].count("chunk")

    assert run_virtual(main()) == 4 + 2


def test_lost_offer_is_asked_for_and_a_silent_holder_passed_over() -> None:
    async def main():
        web, packed = Web("a", "b", "c"), pack(SMALL)
        await web.couriers["c"].offer(manifest(packed), packed, to=["b"], place=PLACE)
        web.couriers["b"]._offers.clear()
        done, _ = await fetch(web, "b", packed, ("a", "c"))
        return done, asyncio.get_running_loop().time()

    assert run_virtual(main()) == (True, 5.0)


def test_forged_promise_is_refused_and_another_holder_asked() -> None:
    def spoil(sender, kind, body):
        if sender == "a" and isinstance(body, Offer):
            return Offer(manifest=manifest(pack(BIG)).__class__(**{
                "step": "updates", "digest": body.manifest.digest, "header": pack(BIG).header,
                "chunks": pack(BIG).chunk_digests}))  # fmt: skip
        return body

    async def main():
        web, packed = Web("a", "b", "c", spoil=spoil), pack(SMALL)
        for holder in ("a", "c"):
            await web.couriers[holder].offer(manifest(packed), packed, to=[], place=PLACE)
            web.couriers[holder]._goods[packed.digest].to.add("b")
        return (await fetch(web, "b", packed, ("a", "c")))[0], web.refused

    done, refused = run_virtual(main())
    assert done
    assert refused == ["offer of 'a': its header and chunks do not hash to its digest"]


@pytest.mark.parametrize("arrays", [SMALL, BIG])
def test_nobody_can_stand_in_the_way_of_anothers_payload(arrays: Parameters) -> None:
    """The first offer of a digest is kept; a forged one would have hidden the true one behind it."""
    packed, other = pack(arrays), pack(Parameters({"v": np.arange(10.0) + 1}))
    courier = Courier(no_word, limits=Limits(), retry_s=5.0)
    true = manifest(packed)
    for forged in (
        Offer(manifest=Manifest(step="updates", digest=packed.digest, header=other.header, chunks=true.chunks)),
        Offer(manifest=Manifest(step="updates", digest=packed.digest, header=true.header, chunks=other.chunk_digests)),
        Offer(manifest=true, inline=bytes(other.body)),
    ):
        with pytest.raises(FrameError, match="of 'liar'"):
            courier.take_offer("liar", 3, forged)
    assert not courier.knows(packed.digest)
    courier.take_offer("a", 3, Offer(manifest=true))
    assert courier.knows(packed.digest)


def test_one_sender_fills_no_memory_with_offers() -> None:
    courier = Courier(no_word, limits=Limits(), retry_s=5.0)
    offers = [Offer(manifest=manifest(pack(Parameters({"w": np.full(3, float(i))})))) for i in range(17)]
    for offer in offers[:16]:
        courier.take_offer("liar", 3, offer)
        courier.take_offer("liar", 3, offer)
    with pytest.raises(FrameError, match="more than 16 payloads of 'liar' in round 3"):
        courier.take_offer("liar", 3, offers[16])
    courier.take_offer("a", 3, offers[16])
    courier.take_offer("liar", 4, offers[16])
    courier.forget_before(4, keep=())
    assert not courier.knows(offers[0].manifest.digest)
    courier.take_offer("liar", 3, offers[0])


def test_one_request_brings_no_more_than_a_window_of_chunks_each_once() -> None:
    """A request of 20 KB could otherwise have drawn 4 GB, many times at once."""

    async def main():
        release, sent = asyncio.Event(), []

        async def send(kind, body, receivers, place):
            sent.append((kind, body.index))
            await release.wait()

        courier, packed = Courier(send, limits=Limits(), retry_s=5.0), pack(Parameters({"w": np.zeros(40 << 17)}))
        courier.serve(packed, manifest(packed, "final"), place=PLACE)
        envelope = Envelope(
            version=VERSION, consortium=bytes(32), run=1, round=3, term=0, attempt=0, kind="need",
            sender="liar", receiver="a", sequence=1, head_height=0, head_hash=b"", body=b"",
        )  # fmt: skip
        greedy = Need(digest=packed.digest, chunks=(0,) * 2000 + tuple(range(2000)))
        asked = [asyncio.ensure_future(courier.answer(envelope, greedy)) for _ in range(50)]
        await asyncio.sleep(1)
        at_once = len(sent)
        release.set()
        await asyncio.gather(*asked)
        return at_once, sent

    at_once, sent = run_virtual(main())
    assert at_once == 8
    assert sorted(sent) == sorted([("chunk", index) for index in range(8)] * 8)


def test_a_sender_that_asks_for_ever_is_not_answered_for_ever() -> None:
    """A request has a hundred bytes, its answer eight megabytes and a line in the log of what left."""
    packed = pack(BIG)

    async def main():
        web = Web("a", "b", "c")
        await web.couriers["a"].offer(manifest(packed), packed, to=["b", "c"], place=PLACE)
        web.said.clear()
        for _ in range(2000):
            await web._arrive("b", "a", Need(digest=packed.digest, chunks=(0, 1, 2, 3)), PLACE)
        greedy = len(web.said)
        done, _ = await fetch(web, "c", packed, ("a",))
        web.couriers["a"].forget_before(4, keep=())
        return greedy, done, web.couriers["a"]._served

    greedy, done, served = run_virtual(main())
    assert greedy <= 32 * (len(packed.chunk_digests) + 1)
    assert done, "nobody else pays for it"
    assert not served


def test_update_of_another_layout_than_the_own_one_is_refused() -> None:
    async def main():
        web, packed = Web("a", "b"), pack(SMALL)
        await web.couriers["a"].offer(manifest(packed), packed, to=["b"], place=PLACE)
        other = payload.layout(Parameters({"w": np.zeros(11)}))
        with pytest.raises(FrameError, match=r"found w F64 \[10\], expected w F64 \[11\]"):
            web.couriers["b"].at_hand(packed.digest, expected=other)

    run_virtual(main())


def test_only_whom_it_was_offered_to_is_served_but_a_merge_is_for_all() -> None:
    async def main(step: str) -> bool:
        web, packed = Web("a", "b", "c"), pack(SMALL)
        await web.couriers["a"].offer(manifest(packed, step), packed, to=["b"], place=PLACE)
        tries = iter([False, True])
        return (await fetch(web, "c", packed, ("a",), past=lambda: next(tries)))[0] or web.couriers["c"].at_hand(
            packed.digest, expected=None
        )

    assert not run_virtual(main("updates"))
    assert run_virtual(main("merge"))


def test_step_is_served_by_name_where_its_digest_is_not_known_yet() -> None:
    async def main():
        web, packed = Web("a", "b"), pack(SMALL)
        await web.couriers["a"].offer(manifest(packed, "shares"), packed, to=["b"], place=PLACE)
        web.couriers["b"]._offers.clear()
        await web._arrive("b", "a", Need(digest=b"", step="shares"), PLACE)
        return web.couriers["b"].knows(packed.digest)

    assert run_virtual(main())


def test_fetch_of_a_past_round_ends_without_the_payload() -> None:
    async def main():
        web, packed = Web("a", "b"), pack(SMALL)
        rounds = iter([False, False, True])
        return await fetch(web, "b", packed, ("a",), past=lambda: next(rounds))

    assert run_virtual(main()) == (False, [])


def test_old_rounds_are_let_go_but_what_is_to_be_kept() -> None:
    async def main():
        web = Web("a")
        courier, old, kept, new = web.couriers["a"], pack(SMALL), pack(BIG), pack(Parameters({"x": [1.0]}))
        for packed, round in ((old, 1), (kept, 1), (new, 2)):
            courier.hold(packed, round=round)
        courier.forget_before(2, keep=[kept.digest])
        return set(courier.payloads) == {kept.digest, new.digest}

    assert run_virtual(main())


def test_inputs_of_a_final_merge_are_let_go_but_not_what_is_served_here() -> None:
    async def main():
        courier = Courier(no_word, limits=Limits(), retry_s=5.0)
        own, input_, later, kept = (pack(Parameters({"w": np.full(3, float(i))})) for i in range(4))
        for packed, round in ((own, 1), (input_, 1), (later, 2), (kept, 1)):
            courier.hold(packed, round=round)
        await courier.offer(manifest(own), own, to=["b"], place={"round": 1, "term": 0, "attempt": 0})
        courier.forget_inputs(1, keep=[kept.digest])
        return set(courier.payloads) == {own.digest, later.digest, kept.digest}

    assert run_virtual(main())


def test_layout_is_read_from_the_header() -> None:
    assert layout_of(pack(SMALL)) == [["w", "F64", [10]]]
