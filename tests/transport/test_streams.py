"""Which message goes where; refusals counted; forwarding within its rights. Without gRPC."""

import asyncio

import pytest

from cohortium.core.identity import LedgerKey
from cohortium.transport.directory import Contact
from cohortium.transport.links import Link
from cohortium.transport.relay import Waiting
from cohortium.transport.sealing import Opener, Sealer, seal_public
from cohortium.transport.streams import CUT_AFTER, Streams
from cohortium.transport.traffic import Traffic
from cohortium.transport.wire import CONTROL_BYTES, Forward, Forwarded, Reach, read_message, word

SITES = ("a", "b", "hub")
LEDGER = {site: LedgerKey.from_bytes(bytes(31) + bytes([i])) for i, site in enumerate(SITES, 1)}
SEAL = {site: bytes([i]) * 32 for i, site in enumerate(SITES, 1)}
CONTACTS = {site: Contact(name=site, certificate=site.encode(), seal=seal_public(SEAL[site])) for site in SITES}


class Bench:
    """The streams of one site, and what happened to them."""

    def __init__(self, site: str = "hub", *, relays: bool = True, waiting: Waiting | None = None) -> None:
        self.contacts, self.cuts, self.changed = dict(CONTACTS), [], []
        self.opener = Opener(site, SEAL[site], address_of=lambda name: LEDGER[name].address)
        self.streams = Streams(
            site, loop=asyncio.get_running_loop(), contacts=lambda: self.contacts, opener=lambda: self.opener,
            relays=relays, waiting=waiting or Waiting(), changed=self.changed.append,
        )  # fmt: skip

    def link(self, peer: str, stream="control", *, relays: bool = False) -> Link:
        link = Link(
            peer=peer, stream=stream, dialled=False, instance=b"i", fingerprint=CONTACTS[peer].fingerprint,
            cut=lambda why: self.cuts.append((peer, why)), relays=relays,
        )  # fmt: skip
        assert self.streams.begin(link) == ""
        return link

    def next(self, link: Link) -> object:
        return read_message(self.streams.outbox(link.peer, link.stream).next_for(link))

    async def received(self) -> tuple[str, bytes]:
        async with asyncio.timeout(1):
            return await self.streams.inbox.receive()

    def traffic(self, peer: str) -> Traffic:
        return self.streams.tally.read()[peer]


def run(script):
    return asyncio.run(script())


def test_a_frame_goes_to_the_inbox_and_is_counted() -> None:
    async def script():
        bench = Bench()
        bench.streams.incoming(bench.link("a"), b"frame")
        assert await bench.received() == ("a", b"frame")
        assert bench.traffic("a") == Traffic(received_bytes=5, received=1)

    run(script)


@pytest.mark.parametrize("message", [b"\0junk", b"x" * (CONTROL_BYTES + 1)])
def test_wrong_messages_are_refused_and_cut_the_stream_after_ten_in_a_row(message: bytes) -> None:
    async def script():
        bench = Bench()
        link = bench.link("a")
        for _ in range(CUT_AFTER - 1):
            bench.streams.incoming(link, message)
        bench.streams.incoming(link, b"good")
        for _ in range(CUT_AFTER - 1):
            bench.streams.incoming(link, message)
        assert bench.cuts == []
        bench.streams.incoming(link, message)
        assert [peer for peer, _ in bench.cuts] == ["a"]
        assert bench.traffic("a").refused == 2 * CUT_AFTER - 1

    run(script)


def test_a_sealed_frame_is_passed_on_with_its_true_sender() -> None:
    async def script():
        bench = Bench()
        a, b = bench.link("a"), bench.link("b")
        bench.streams.incoming(a, word(Forward("b", b"sealed")))
        assert bench.next(b) == Forwarded("a", b"sealed")
        assert bench.traffic("a").carried_bytes == 6

    run(script)


@pytest.mark.parametrize("to", ["a", "nobody", "b"])
def test_what_cannot_be_passed_on_is_lost_and_its_room_given_back(to: str) -> None:
    async def script():
        waiting = Waiting()
        bench = Bench(waiting=waiting)
        bench.streams.incoming(bench.link("a"), word(Forward(to, b"sealed")))
        assert bench.traffic("a").lost == 1
        assert waiting.total == 0

    run(script)


def test_a_site_that_does_not_forward_passes_nothing_on() -> None:
    async def script():
        bench = Bench(relays=False)
        a, b = bench.link("a"), bench.link("b")
        bench.streams.incoming(a, word(Forward("b", b"sealed")))
        bench.streams.end(b)
        assert bench.traffic("a").lost == 1

    run(script)


def test_a_forwarded_frame_is_opened_and_a_forged_one_counted_without_cutting_the_relay() -> None:
    async def script():
        bench = Bench("b")
        hub = bench.link("hub", relays=True)
        sealed = Sealer("a", sign=LEDGER["a"].sign).seal(CONTACTS["b"], b"secret")
        bench.streams.incoming(hub, word(Forwarded("a", sealed)))
        assert await bench.received() == ("a", b"secret")
        for forged in (sealed, bytes(200), sealed[:-1], b""):
            for sender in ("a", "hub", "stranger"):
                bench.streams.incoming(hub, word(Forwarded(sender, forged)))
        assert bench.traffic("hub").refused == 12
        assert bench.cuts == []

    run(script)


def test_routes_are_believed_only_of_those_who_forward() -> None:
    async def script():
        bench = Bench("a", relays=False)
        bench.streams.incoming(bench.link("hub"), word(Reach(("b",))))
        assert bench.streams.routes.via("b", preferred=()) == ""
        hub = bench.link("hub", relays=True)
        bench.streams.incoming(hub, word(Reach(("b",))))
        assert bench.streams.routes.via("b", preferred=()) == "hub"
        told = len(bench.changed)
        bench.streams.incoming(hub, word(Reach(("b",))))
        assert len(bench.changed) == told, "said again, it is no news"
        bench.streams.end(hub)
        assert bench.streams.routes.via("b", preferred=()) == ""

    run(script)


def test_a_relay_tells_each_peer_whom_else_it_reaches() -> None:
    async def script():
        bench = Bench()
        links = {(peer, stream): bench.link(peer, stream) for peer in ("a", "b") for stream in ("control", "bulk")}
        said = [bench.next(links["a", "control"]) for _ in range(2)]
        assert said == [Reach(()), Reach(("b",))]
        assert bench.next(links["b", "control"]) == Reach(("a",))
        bench.streams.end(links["b", "bulk"])
        assert bench.next(links["a", "control"]) == Reach(())

    run(script)


def test_streams_of_who_is_no_member_any_more_are_cut() -> None:
    async def script():
        bench = Bench()
        for peer in ("a", "b"):
            bench.link(peer)
        del bench.contacts["a"]
        bench.contacts["b"] = Contact(name="b", certificate=b"rotated", seal=bytes(32))
        bench.streams.cut_strangers()
        assert sorted(peer for peer, _ in bench.cuts) == ["a", "b"]
        assert bench.streams.links.all() == ()

    run(script)


def test_no_stream_begins_for_a_stranger_or_after_the_end() -> None:
    async def script():
        bench = Bench()
        link = Link(
            peer="stranger", stream="control", dialled=False, instance=b"i", fingerprint=bytes(32), cut=lambda why: None
        )
        assert bench.streams.begin(link) == "'stranger' is no active member"
        bench.streams.close()
        link.peer = "a"
        assert bench.streams.begin(link) == "closing"
        assert bench.streams.links.all() == ()

    run(script)
