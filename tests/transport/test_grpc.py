"""Real sockets and real TLS: who comes in, who does not, and what happens when that changes."""

import asyncio
import dataclasses
import os
import socket
import ssl
import threading
import time

import grpc
import pytest

from cohortium.errors import FrameError, UsageError
from cohortium.transport import TRANSPORTS
from cohortium.transport.certificates import Identity, pem_of
from cohortium.transport.grpc import GrpcTransport
from cohortium.transport.handshake import Greeting
from cohortium.transport.relay import Waiting
from cohortium.transport.switchboard import MAX_PARCEL_BYTES
from cohortium.transport.traffic import UNFINISHED
from cohortium.transport.wire import CONTROL_BYTES, MAX_MESSAGE_BYTES


def test_registry_resolves_grpc() -> None:
    assert TRANSPORTS.resolve("grpc") is GrpcTransport


def channel_of(world, keys, transport, *, root: str) -> grpc.Channel:
    """A bare gRPC client with these keys, as a peer could write it."""
    credentials = grpc.ssl_channel_credentials(pem_of(world.members.keys[root].der), keys.tls, keys.certificate)
    options = [
        ("grpc.ssl_target_name_override", f"{root}.cohortium"),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", -1),
    ]
    return grpc.secure_channel(f"127.0.0.1:{transport.port}", credentials, options=options)


def call(channel, messages=(), *, greeting=None, method="/cohortium.v1/control", timeout=5.0):
    """(code, details) of one call that sends these messages and reads to the end."""
    metadata = (greeting or Greeting(instance=os.urandom(8))).metadata()

    def talk():
        yield from messages
        time.sleep(timeout)

    try:
        list(channel.stream_stream(method)(talk(), metadata=metadata, timeout=timeout))
    except grpc.RpcError as refused:
        return refused.code(), refused.details()
    return None, ""


# --- who comes in


def test_a_relay_that_keeps_saying_new_routes_fills_no_queue(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        before = len(asyncio.all_tasks())
        for _ in range(5000):
            hub._changed("evil")
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) <= before + 1

    net.play(script)


def test_a_site_that_only_dials_out_takes_part_fully(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        out = await world.start("out")
        await net.until(lambda: out.paths() == {"hub": "direct"} and hub.paths() == {"out": "direct"})
        assert out.port == 0
        for size in (5, 500_000):
            await hub.send("out", bytes(size))
            await out.send("hub", bytes(size))
            assert await net.heard(out, 1) == [("hub", bytes(size))]
            assert await net.heard(hub, 1) == [("out", bytes(size))]

    net.play(script)


def test_a_stranger_is_refused_in_the_handshake_and_counted(net, monkeypatch):
    monkeypatch.setattr("cohortium.transport.traffic._HANDSHAKE_S", 0.2)

    async def script(world):
        hub = await world.start("hub", listening=True)
        channel = channel_of(world, net.Keys("hub"), hub, root="hub")
        code, _ = await asyncio.to_thread(call, channel)
        channel.close()
        assert code is grpc.StatusCode.UNAVAILABLE  # no call was ever made
        await net.until(lambda: set(hub.refusals()) == {UNFINISHED})

    net.play(script)


def test_an_ended_certificate_is_refused_in_the_handshake(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        keys = world.enrol("late", keys=net.Keys("late", valid_days=-3))
        channel = channel_of(world, keys, hub, root="hub")
        code, _ = await asyncio.to_thread(call, channel)
        channel.close()
        assert code is grpc.StatusCode.UNAVAILABLE

    net.play(script)


def test_both_ends_say_that_a_certificate_has_ended(net):
    async def script(world):
        late = net.Keys("late", valid_days=-3)
        world.enrol("late", keys=late, endpoint="127.0.0.1:9")
        hub = await world.start("hub", listening=True)
        there = await world.start("late", keys=late)
        await net.until(lambda: "own certificate ended on" in there.paths()["hub"])
        assert "run `cohortium node rotate`" in there.own_trouble
        await net.until(lambda: "the certificate of 'late' ended" in hub.paths()["late"])

    net.play(script)


def test_a_certificate_that_is_not_the_ledgers_is_said_before_anybody_is_dialled(net):
    async def script(world):
        await world.start("hub", listening=True)
        world.enrol("porto")
        there = await world.start("porto", keys=net.Keys("porto"))
        await net.until(lambda: "is not the one on the ledger" in there.paths()["hub"])

    net.play(script)


def test_who_is_no_member_says_so(net):
    async def script(world):
        await world.start("hub", listening=True)
        there = await world.start("porto", keys=net.Keys("porto"))
        await net.until(lambda: "no active member" in there.own_trouble)
        assert "no active member" in there.paths()["hub"]

    net.play(script)


def test_a_member_admitted_later_talks_without_any_restart(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        await world.start("old")
        await net.until(lambda: hub.paths()["old"] == "direct")
        new = await world.start("new")
        await net.until(lambda: new.paths().get("hub") == "direct" and hub.paths().get("new") == "direct")
        await new.send("hub", b"hello")
        assert await net.heard(hub, 1) == [("new", b"hello")]
        assert hub.paths()["old"] == "direct"

    net.play(script)


def test_an_expelled_member_is_cut_in_mid_stream_and_refused_at_its_next_call(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        bad = await world.start("bad")
        good = await world.start("good")
        await net.until(lambda: hub.paths() == {"bad": "direct", "good": "direct"})
        await bad.send("hub", b"still in")
        assert await net.heard(hub, 1) == [("bad", b"still in")]
        world.members.watchers.remove(bad)  # it does not know yet
        keys = world.members.keys["bad"]
        world.members.remove("bad")
        await net.until(lambda: bad.paths().get("hub", "none") != "direct")
        await bad.send("hub", b"ghost")
        assert await net.silent(hub)
        channel = channel_of(world, keys, hub, root="hub")
        code, _ = await asyncio.to_thread(call, channel)
        channel.close()
        assert code is grpc.StatusCode.UNAVAILABLE
        await good.send("hub", b"fine")
        assert await net.heard(hub, 1) == [("good", b"fine")]

    net.play(script)


def test_a_call_over_a_connection_older_than_the_exclusion_is_refused_by_fingerprint(net):
    """The handshake was passed as a member; only the check in every call can tell."""

    async def script(world):
        hub = await world.start("hub", listening=True)
        keys = world.enrol("bad")
        channel = channel_of(world, keys, hub, root="hub")
        ready = grpc.channel_ready_future(channel)
        await asyncio.to_thread(ready.result, 5)
        world.members.remove("bad")
        code, details = await asyncio.to_thread(call, channel)
        channel.close()
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert details.endswith("is of no active member")
        assert [why for why in hub.refusals() if why.endswith("is of no active member")]

    net.play(script)


def test_another_version_of_the_protocol_is_refused_with_a_sentence(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        channel = channel_of(world, world.enrol("porto"), hub, root="hub")
        future = dataclasses.replace(Greeting(instance=bytes(8)), version=2)
        answers = [await asyncio.to_thread(call, channel, greeting=future)]
        answers.append(await asyncio.to_thread(call, channel, method="/cohortium.v2/control"))
        channel.close()
        assert answers[0] == (grpc.StatusCode.UNAUTHENTICATED, "protocol version '2' is not 1")
        assert answers[1][0] is grpc.StatusCode.UNIMPLEMENTED

    net.play(script)


def http2_call(sock: ssl.SSLSocket, *, within_s: float = 5.0) -> bytes:
    """The bytes a gRPC server answers to one call, made by hand: TLS 1.2 is something no gRPC client offers alone."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    def header(name: bytes, value: bytes) -> bytes:
        return b"\x10" + bytes([len(name)]) + name + bytes([len(value)]) + value

    fields = [
        (b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/cohortium.v1/control"),
        (b":authority", b"hub.cohortium"), (b"te", b"trailers"), (b"content-type", b"application/grpc"),
        (b"cohortium-version", b"1"), (b"cohortium-instance-bin", b"AAAAAAAAAAA"),
    ]  # fmt: skip
    block = b"".join(header(name, value) for name, value in fields)
    sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, block))
    got = b""
    sock.settimeout(within_s)
    while b"TLSv1.2 is not TLSv1.3" not in got and len(got) < 1 << 16:
        more = sock.recv(4096)
        if not more:
            break
        got += more
    return got


def test_a_client_of_tls_1_2_is_refused_and_counted(net, tmp_path):
    async def script(world):
        hub = await world.start("hub", listening=True)
        keys = world.enrol("old")
        for name, text in (("key", keys.tls), ("crt", keys.certificate)):
            (tmp_path / name).write_bytes(text)
        context = ssl.create_default_context(cadata=world.members.keys["hub"].certificate.decode())
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
        context.set_alpn_protocols(["h2"])

        def old_client():
            with (
                socket.create_connection(("127.0.0.1", hub.port), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname="hub.cohortium") as sock,
            ):
                assert sock.version() == "TLSv1.2"
                http2_call(sock)

        await asyncio.to_thread(old_client)
        await net.until(lambda: hub.refusals().get("TLSv1.2 is not TLSv1.3") == 1)
        assert hub.paths()["old"].startswith("none")

    net.play(script)


def test_the_same_client_speaking_tls_1_3_is_taken(net, tmp_path):
    """The test above would pass for many reasons; this one differs from it in the version only."""

    async def script(world):
        hub = await world.start("hub", listening=True)
        keys = world.enrol("old")
        for name, text in (("key", keys.tls), ("crt", keys.certificate)):
            (tmp_path / name).write_bytes(text)
        context = ssl.create_default_context(cadata=world.members.keys["hub"].certificate.decode())
        context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
        context.set_alpn_protocols(["h2"])

        def client():
            with (
                socket.create_connection(("127.0.0.1", hub.port), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname="hub.cohortium") as sock,
            ):
                assert sock.version() == "TLSv1.3"
                try:
                    http2_call(sock, within_s=0.5)
                except TimeoutError:
                    return hub._streams.links.live("old", "control") is not None

        assert await asyncio.to_thread(client)
        assert hub.refusals() == {}

    net.play(script)


def test_the_hop_is_secured_against_quantum_computers_where_both_can(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        await world.start("out")
        await net.until(lambda: hub.paths() == {"out": "direct"})
        assert hub.secured() == {"out": "X25519MLKEM768"}

    net.play(script)


def test_two_processes_with_one_sites_keys_are_noticed_and_the_newer_one_stays(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        first = await world.start("twin")
        await net.until(lambda: hub.paths() == {"twin": "direct"})
        second = await world.start("twin")
        await net.until(lambda: any("two processes hold its keys" in why for why in hub.refusals()))
        await net.until(lambda: "two processes hold its keys" in first.paths()["hub"])
        await second.send("hub", b"newer")
        assert await net.heard(hub, 1) == [("twin", b"newer")]

    net.play(script)


# --- what comes in


@pytest.mark.parametrize(
    ("method", "size"), [("/cohortium.v1/bulk", MAX_MESSAGE_BYTES + 1), ("/cohortium.v1/bulk", 40 << 20)]
)
def test_a_message_beyond_the_limit_ends_the_stream(net, method, size):
    async def script(world):
        hub = await world.start("hub", listening=True)
        channel = channel_of(world, world.enrol("porto"), hub, root="hub")
        code, _ = await asyncio.to_thread(call, channel, [bytes(size)], method=method)
        channel.close()
        assert code is not None
        assert await net.silent(hub)

    net.play(script)


def test_ten_wrong_messages_cut_the_stream_and_nine_do_not(net):
    too_long = b"x" * (CONTROL_BYTES + 1)

    async def script(world, wrong):
        hub = await world.start("hub", listening=True)
        channel = channel_of(world, world.enrol("porto"), hub, root="hub")
        answer = asyncio.create_task(asyncio.to_thread(call, channel, [*wrong, b"good"], timeout=1.0))
        came = not await net.silent(hub, for_s=0.7)
        code, _ = await answer
        channel.close()
        assert hub.traffic()["porto"].refused == len(wrong)
        return came, code

    junk = [b"\0junk", too_long]
    assert net.play(lambda world: script(world, junk * 4 + junk[:1])) == (True, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert net.play(lambda world: script(world, junk * 5)) == (False, grpc.StatusCode.CANCELLED)


def test_a_frame_longer_than_any_parcel_is_not_sent(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        with pytest.raises(FrameError, match="at most"):
            await hub.send("porto", bytes(MAX_PARCEL_BYTES + 1))

    net.play(script)


def test_a_slow_reader_stops_the_sender_and_loses_nothing(net):
    """Back-pressure from end to end: what is in flight stays small, however much is sent."""

    async def script(world):
        hub = await world.start("hub", listening=True)
        out = await world.start("out")
        await net.until(lambda: hub.paths() == {"out": "direct"})
        sent = 0

        async def flood():
            nonlocal sent
            for i in range(100):
                await hub.send("out", i.to_bytes(2, "big") + bytes(1 << 20))
                sent += 1

        flooding = asyncio.ensure_future(flood())
        still, before = 0, -1
        while still < 10:  # nobody reads: wait until the count stands still
            await asyncio.sleep(0.02)
            still, before = still + 1 if sent == before and sent else 0, sent
        assert 0 < sent < 30  # two frames here, two there, the window of 4 MiB, and what the kernel holds
        got = await net.heard(out, 100)
        await flooding
        assert [int.from_bytes(frame[:2], "big") for _, frame in got] == list(range(100))

    net.play(script)


def test_a_flood_of_one_peer_does_not_hold_up_another(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        loud, quiet = await world.start("loud"), await world.start("quiet")
        await net.until(lambda: hub.paths() == {"loud": "direct", "quiet": "direct"})
        flooding = asyncio.ensure_future(_flood(loud, "hub"))
        await asyncio.sleep(0.2)
        await quiet.send("hub", b"psst")
        async with asyncio.timeout(5):
            while (await hub.receive())[0] != "quiet":
                pass
        flooding.cancel()

    net.play(script)


async def _flood(end, peer):
    while True:
        await end.send(peer, bytes(1000))


def test_a_small_frame_waits_for_a_path_and_a_large_one_is_lost(net):
    async def script(world):
        world.enrol("hub", endpoint="127.0.0.1:9")
        out = await world.start("out")
        await out.send("hub", b"early")
        await out.send("hub", bytes(100_000))
        assert out.traffic()["hub"].lost == 1
        hub = await world.start("hub", listening=True)
        assert await net.heard(hub, 1) == [("out", b"early")]
        assert await net.silent(hub)

    net.play(script)


def test_bytes_are_counted_by_peer_and_direction(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        out = await world.start("out")
        await net.until(lambda: hub.paths() == {"out": "direct"} and out.paths() == {"hub": "direct"})
        await hub.send("out", b"x" * 1000)
        await hub.send("out", b"x" * 100_000)
        await net.heard(out, 2)
        here, there = hub.traffic()["out"], out.traffic()["hub"]
        assert (here.sent, here.sent_bytes, here.received) == (2, 101_000, 0)
        assert (there.received, there.received_bytes, there.sent) == (2, 101_000, 0)

    net.play(script)


# --- life


def test_who_receives_before_starting_is_told_so(net):
    async def script(world):
        world.enrol("porto")
        with pytest.raises(UsageError, match="not started"):
            await world.make("porto").receive()

    net.play(script)


def test_a_taken_port_is_said_with_a_hint(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        world.enrol("porto")
        other = world.make("porto", listen=f"127.0.0.1:{hub.port}")
        with pytest.raises(UsageError, match=f"cannot listen at '127.0.0.1:{hub.port}'") as refused:
            await other.start()
        assert "another process has the port" in refused.value.hint
        await other.close()

    net.play(script)


def test_a_key_of_another_certificate_is_refused_at_once(net):
    keys, other = net.Keys("porto"), net.Keys("porto")
    with pytest.raises(UsageError, match="does not belong to its TLS key"):
        Identity(site="porto", key=other.tls, certificate=keys.certificate)


def test_new_keys_are_used_from_now_on_and_old_ones_refused(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        out = await world.start("out")
        await net.until(lambda: hub.paths() == {"out": "direct"})
        old, new = world.members.keys["out"], net.Keys("out")
        new.ledger = old.ledger
        world.members.keys["out"] = new
        world.members.put(new.contact())
        await net.until(lambda: "is not the one on the ledger" in out.paths()["hub"])
        out.rekey(tls_key=new.tls, certificate=new.certificate, seal_key=new.seal)
        await net.until(lambda: hub.paths() == {"out": "direct"} and out.paths() == {"hub": "direct"})
        await out.send("hub", b"rotated")
        assert await net.heard(hub, 1) == [("out", b"rotated")]
        channel = channel_of(world, old, hub, root="hub")
        assert (await asyncio.to_thread(call, channel))[0] is grpc.StatusCode.UNAVAILABLE
        channel.close()

    net.play(script)


def test_the_listening_sides_new_certificate_is_taken_too(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        out = await world.start("out")
        await net.until(lambda: out.paths() == {"hub": "direct"})
        new = net.Keys("hub")
        new.ledger = world.members.keys["hub"].ledger
        world.members.keys["hub"] = new
        hub.rekey(tls_key=new.tls, certificate=new.certificate, seal_key=new.seal)
        world.members.put(new.contact(endpoint=f"127.0.0.1:{hub.port}"))
        await net.until(lambda: out.paths() == {"hub": "direct"} and hub.paths() == {"out": "direct"})
        await hub.send("out", b"rotated")
        assert await net.heard(out, 1) == [("hub", b"rotated")]

    net.play(script)


def test_the_other_site_dials_where_the_first_cannot(net):
    """`a` is to dial, but has a wrong address for `b`."""

    async def script(world):
        a = await world.start("a", listening=True)
        world.enrol("b", endpoint="127.0.0.1:9")
        b = world.make("b", listen="127.0.0.1:0")
        world.transports.append(b)
        await b.start()
        await net.until(lambda: a.paths() == {"b": "direct"} and b.paths() == {"a": "direct"})
        await a.send("b", b"hello")
        assert await net.heard(b, 1) == [("a", b"hello")]

    net.play(script)


def test_nothing_listening_is_said_as_the_reason(net):
    async def script(world):
        world.enrol("hub", endpoint="127.0.0.1:9")
        out = await world.start("out")
        await net.until(lambda: out.paths() == {"hub": "none: nothing listens at 127.0.0.1:9"})
        world.enrol("shy")
        assert out.paths()["shy"] == "none: neither site can be dialled, and no relay reaches it"

    net.play(script)


def test_an_address_that_is_anothers_is_said_as_the_reason(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        world.enrol("other", endpoint=f"127.0.0.1:{hub.port}")
        out = await world.start("out")
        await net.until(lambda: "shows another certificate than that of 'other'" in out.paths()["other"])
        assert "TLS is inspected on the way" in out.paths()["other"]

    net.play(script)


def test_closing_leaves_no_thread_behind(net):
    async def script(world):
        for site in ("a", "b", "c"):
            await world.start(site, listening=True)
        await net.until(lambda: all(set(t.paths().values()) == {"direct"} for t in world.transports))

    before = {thread.name for thread in threading.enumerate()}
    net.play(script)
    end = time.monotonic() + 5
    while left := {t.name for t in threading.enumerate() if t.name[:2] in ("a ", "b ", "c ")} - before:
        assert time.monotonic() < end, left
        time.sleep(0.02)


# --- relay


class RecordingRelay(GrpcTransport):
    """A relay that keeps every byte it can see."""

    def record(self) -> list[bytes]:
        seen: list[bytes] = []
        incoming = self._streams.incoming

        def listen(link, message):
            seen.append(message)
            incoming(link, message)

        self._streams.incoming = listen
        return seen


def test_a_relay_carries_what_it_cannot_read(net):
    secret = b"the weights of porto " * 4000
    small = b"lane run/3f2a of porto"

    async def script(world):
        world.enrol("hub", endpoint="127.0.0.1:9")
        keys = world.members.keys["hub"]
        hub = RecordingRelay(
            "hub", directory=world.members, tls_key=keys.tls, certificate=keys.certificate, seal_key=keys.seal,
            sign=keys.ledger.sign, address_of=world.members.address_of, listen="127.0.0.1:0", relay_for_others=True,
            pace=net.QUICK,
        )  # fmt: skip
        world.transports.append(hub)
        await hub.start()
        seen = hub.record()
        world.members.watchers.append(hub)
        world.members.put(keys.contact(endpoint=f"127.0.0.1:{hub.port}"))
        a, b = await world.start("a"), await world.start("b")
        await net.until(lambda: a.paths()["b"] == b.paths()["a"] == "relay hub")
        for frame in (secret, small):
            await a.send("b", frame)
            assert await net.heard(b, 1) == [("a", frame)]
            await b.send("a", frame)
            assert await net.heard(a, 1) == [("b", frame)]
        assert hub.traffic()["a"].carried_bytes >= len(secret) + len(small)
        assert await net.silent(hub)
        await a.send("hub", b"this is for you " * 10)
        await net.heard(hub, 1)
        return b"".join(seen)

    captured = net.play(script)
    assert len(captured) > 2 * len(secret)
    assert b"this is for you" in captured  # the search would have found it
    for piece in (secret[:21], small[:8], b"porto", b"run/3f2a"):
        assert piece not in captured


def test_direct_is_preferred_to_relay_and_relay_to_nothing(net):
    async def script(world):
        hub = await world.start("hub", listening=True, relay_for_others=True)
        a = await world.start("a")
        b = await world.start("b", listening=True)
        await net.until(lambda: a.paths() == {"b": "direct", "hub": "direct"} and b.paths()["hub"] == "direct")
        known = world.members.known["b"]
        await b.close()
        world.members.watchers.remove(b)
        world.transports.remove(b)
        world.members.put(dataclasses.replace(known, endpoint=""))
        again = await world.start("b")
        await net.until(lambda: a.paths()["b"] == again.paths()["a"] == "relay hub")
        await hub.close()
        await net.until(lambda: a.paths()["b"] == "none: neither site can be dialled, and no relay reaches it")

    net.play(script)


def test_the_receivers_own_choice_of_relay_comes_first(net):
    async def script(world):
        for site in ("hub-1", "hub-2", "hub-3"):
            await world.start(site, listening=True, relay_for_others=True)
        world.enrol("a")
        world.enrol("b", relays=("hub-2",))
        a, b = await world.start("a", relays=("hub-3",)), await world.start("b")
        await net.until(lambda: a.paths()["b"] == "relay hub-2" and b.paths()["a"].startswith("relay"))
        await a.send("b", b"x")
        assert await net.heard(b, 1) == [("a", b"x")]

    net.play(script)


def test_who_does_not_forward_forwards_nothing(net):
    async def script(world):
        hub = await world.start("hub", listening=True)
        a, b = await world.start("a"), await world.start("b")
        await net.until(lambda: hub.paths() == {"a": "direct", "b": "direct"})
        await a.send("b", b"x")
        assert await net.silent(b)
        assert a.paths()["b"] == "none: neither site can be dialled, and no relay reaches it"

    net.play(script)


def test_small_frames_that_waited_for_a_path_take_the_relay_that_comes(net):
    async def script(world):
        world.enrol("b")
        a = await world.start("a")
        await a.send("b", b"early")
        await world.start("hub", listening=True, relay_for_others=True)
        b = await world.start("b")
        assert await net.heard(b, 1) == [("a", b"early")]

    net.play(script)


def test_a_relay_holds_only_so_much_for_a_pair(net):
    """The receiver stops reading: the relay's memory fills to the limit, the rest is lost and counted."""

    async def script(world):
        waiting = Waiting(pair_bytes=4 << 20)
        hub = await world.start("hub", listening=True, relay_for_others=True, waiting=waiting)
        a, b = await world.start("a"), await world.start("b")
        await net.until(lambda: a.paths()["b"] == b.paths()["a"] == "relay hub")
        most = 0
        for _ in range(40):
            await a.send("b", bytes(1 << 20))
            most = max(most, waiting.total)
        await net.until(lambda: hub.traffic()["a"].lost > 0)
        assert most <= 4 << 20
        async with asyncio.timeout(20):
            got = 0
            while got + hub.traffic()["a"].lost < 40:
                await b.receive()
                got += 1
        await net.until(lambda: waiting.total == 0)

    net.play(script)


# --- whole runs


def test_sites_without_any_inbound_port_take_part_fully_and_lead(net):
    """Two of three only dial out and reach each other through the third; each leads; the model is that of memory."""

    async def over_grpc(world):
        transports = {"hub": await world.start("hub", listening=True, relay_for_others=True)}
        for site in ("east", "west"):
            transports[site] = await world.start(site)
        for site, other in (("east", "west"), ("west", "east")):
            await net.until(lambda site=site, other=other: transports[site].paths()[other] == "relay hub")
        result = await net.swarm_over(transports, rounds=3)
        assert transports["east"].paths() == {"hub": "direct", "west": "relay hub"}
        assert transports["hub"].traffic()["east"].carried_bytes > 3 * 400_000
        return result

    async def over_memory(world):
        return await net.swarm_over({site: await world.join(site) for site in ("hub", "east", "west")}, rounds=3)

    outcomes, digests, leaders = net.play(over_grpc)
    assert outcomes == {"complete"}
    assert set(leaders) >= {"hub", "east", "west"}
    assert net.play_memory(over_memory)[:2] == (outcomes, digests)


# --- proxies


class Proxy:
    """An HTTP CONNECT proxy on this machine; asked: the targets it was asked for."""

    def __init__(self, *, allows: bool) -> None:
        self.asked: list[str] = []
        self.allows = allows
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *failure) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        target = head.split()[1].decode()
        self.asked.append(target)
        if not self.allows:
            client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            client.close()
            return
        host, _, port = target.partition(":")
        far = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for source, sink in ((client, far), (far, client)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                end.close()


def test_dialling_through_a_proxy_keeps_the_pin(net):
    proxy = Proxy(allows=True)

    async def script(world):
        hub = await world.start("hub", listening=True)
        out = await world.start("out", proxy=f"http://127.0.0.1:{proxy.port}")
        await net.until(lambda: out.paths() == {"hub": "direct"} and hub.paths() == {"out": "direct"})
        await out.send("hub", b"through")
        assert await net.heard(hub, 1) == [("out", b"through")]
        assert set(proxy.asked) == {f"127.0.0.1:{hub.port}"}

    with proxy:
        net.play(script)


def test_a_proxy_that_refuses_is_said_as_the_reason(net):
    proxy = Proxy(allows=False)

    async def script(world):
        hub = await world.start("hub", listening=True)
        out = await world.start("out", proxy=f"http://127.0.0.1:{proxy.port}")
        await net.until(lambda: "the proxy refuses to connect" in out.paths()["hub"], what=str(hub.port))

    with proxy:
        net.play(script)


def test_no_proxy_of_the_environment_is_used(net, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")

    async def script(world):
        await world.start("hub", listening=True)
        out = await world.start("out")
        await net.until(lambda: out.paths() == {"hub": "direct"})

    net.play(script)
