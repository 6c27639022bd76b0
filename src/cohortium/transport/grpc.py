"""Frames between hospitals: gRPC over mutual TLS 1.3, pinned certificates, one outbound port.

    transport = GrpcTransport("porto", directory=directory, tls_key=..., certificate=..., seal_key=...,
                              sign=key.sign, address_of=..., listen="0.0.0.0:443")
    await transport.start()

Two streams for each pair of sites, one for small messages and one for large, opened by whoever can dial and used in
both directions, so a site without any inbound port takes part fully. Where neither can dial, frames go sealed through
a member that forwards. Delivery may fail and order holds within a stream; whoever needs a frame asks again.

gRPC's blocking API runs in threads (`listening.py`, `dialing.py`); this class is the event loop's side of it. A process
must not be forked once it has started: gRPC's threads do not survive that; start workers by `spawn`.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from cohortium.core.identity import check_site_name
from cohortium.errors import UsageError
from cohortium.transport.certificates import Identity, trouble_of
from cohortium.transport.dialing import Dialer
from cohortium.transport.directory import Contact, Directory
from cohortium.transport.handshake import INSTANCE_BYTES, Greeting
from cohortium.transport.listening import Listener
from cohortium.transport.pace import Pace
from cohortium.transport.relay import Waiting
from cohortium.transport.sealing import Opener, Sealer
from cohortium.transport.streams import Streams
from cohortium.transport.traffic import Doorbook, Traffic
from cohortium.transport.wire import Forward, message_of, read_message, stream_of, word

__all__ = ["GrpcTransport", "Pace"]


class GrpcTransport:
    """One site's end of the network (a `core.seams.Transport`).

    directory: the active members. tls_key, certificate: PEM. seal_key: X25519, private (32 bytes). sign: the ledger
    key's signature over a 32-byte digest; address_of: a site's ledger address. listen: "host:port" (port 0: any free
    one), empty to dial out only. relays: preferred forwarders, first choice first; relay_for_others: forward for
    members that cannot reach each other. proxy: "http://[user:password@]host:port" to dial through (HTTP CONNECT).
    """

    def __init__(
        self,
        site: str,
        *,
        directory: Directory,
        tls_key: bytes,
        certificate: bytes,
        seal_key: bytes,
        sign: Callable[[bytes], bytes],
        address_of: Callable[[str], bytes],
        listen: str = "",
        relays: Sequence[str] = (),
        relay_for_others: bool = False,
        proxy: str = "",
        pace: Pace | None = None,
        waiting: Waiting | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.site = check_site_name(site)
        self.port = 0
        self.identity = Identity(site=site, key=tls_key, certificate=certificate)
        self._directory, self._listen, self._preferred = directory, listen, tuple(relays)
        self._proxy, self._pace, self._clock = proxy, pace or Pace(), clock
        self._greeting = Greeting(instance=os.urandom(INSTANCE_BYTES), relays=relay_for_others)
        self._address_of = address_of
        self._sealer = Sealer(site, sign=sign)
        self._opener = Opener(site, seal_key, address_of=address_of)
        self._waiting = waiting or Waiting()
        self._doorbook = Doorbook(time.monotonic)
        self._dialers: dict[str, Dialer] = {}
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._streams: Streams | None = None
        self._closed = False
        self._sending_held = False

    # --- life

    async def start(self) -> None:
        """Bind and begin to dial; reconnects for ever. UsageError where the address cannot be bound."""
        self._loop = asyncio.get_running_loop()
        self._streams = Streams(
            self.site,
            loop=self._loop,
            contacts=self._directory.contacts,
            opener=lambda: self._opener,
            relays=self._greeting.relays,
            waiting=self._waiting,
            changed=self._changed,
        )
        if self._listen:
            self._listener = Listener(
                self.site,
                streams=self._streams,
                contacts=self._directory.contacts,
                identity=lambda: self.identity,
                greeting=self._greeting,
                doorbook=self._doorbook,
                pace=self._pace,
            )
            self.port = self._listener.start(self._listen)
        self.members_changed()

    async def close(self) -> None:
        """Cut every stream and take no further frame."""
        self._closed = True
        if self._streams is None:
            return
        with self._lock:
            dialers = [*self._dialers.values()]
        for dialer in dialers:
            dialer.stop()
        if self._listener is not None:
            self._listener.stop_listening()
        self._streams.close()
        await asyncio.to_thread(self._join, dialers)

    def _join(self, dialers: Sequence[Dialer]) -> None:
        if self._listener is not None:
            self._listener.join()
        for dialer in dialers:
            dialer.join(timeout=self._pace.connect_s)

    # --- frames

    async def send(self, peer: str, frame: bytes) -> None:
        """Put a frame on its way to `peer`; waits while the peer's stream is behind.

        With no path a small frame waits half a minute for one; a large one is lost and counted.
        """
        if self._closed or self._streams is None:
            return
        message = message_of(frame)
        stream = stream_of(message)
        if self._streams.links.live(peer, stream) is not None:
            sent = await self._streams.outbox(peer, stream).put(message)
        elif relay := self._relay_for(peer):
            sent = await self._send_through(relay, peer, frame)
        else:
            known = stream == "control" and peer in self._directory.contacts()
            sent = known and self._streams.outbox(peer, stream).hold(message)
        if not sent:
            self._streams.tally.add(peer, lost=1)

    async def _send_through(self, relay: str, peer: str, frame: bytes) -> bool:
        contact = self._directory.contacts().get(peer)
        if contact is None or self._streams is None:
            return False
        message = word(Forward(peer, self._sealer.seal(contact, frame)))
        return await self._streams.outbox(relay, stream_of(message)).put(message)

    def _relay_for(self, peer: str) -> str:
        contact = self._directory.contacts().get(peer)
        if contact is None or self._streams is None:
            return ""
        return self._streams.routes.via(peer, preferred=(*contact.relays, *self._preferred))

    async def receive(self) -> tuple[str, bytes]:
        """The next frame and who sent it; waits until there is one (the caller sets the deadline)."""
        if self._streams is None:
            raise UsageError("transport was not started; call start() first")
        return await self._streams.inbox.receive()

    # --- members

    def members_changed(self) -> None:
        """Read the directory again: dial new members, cut who is none any more. From any thread, at any time."""
        if self._streams is None or self._closed:
            return
        self._streams.cut_strangers()
        for peer, contact in self._directory.contacts().items():
            if peer != self.site and contact.endpoint:
                self._dialer(peer, self._streams).wake()

    def rekey(self, *, tls_key: bytes, certificate: bytes, seal_key: bytes) -> None:
        """Use new keys from now on; every stream is opened anew under them."""
        self.identity = Identity(site=self.site, key=tls_key, certificate=certificate)
        self._opener = Opener(self.site, seal_key, address_of=self._address_of)
        if self._streams is not None:
            self._streams.cut_all("own keys have changed")
            self.members_changed()

    def _dialer(self, peer: str, streams: Streams) -> Dialer:
        with self._lock:
            dialer = self._dialers.get(peer)
            if dialer is None or not dialer.is_alive():
                dialer = self._dialers[peer] = Dialer(
                    self.site,
                    peer,
                    streams=streams,
                    contacts=self._directory.contacts,
                    identity=lambda: self.identity,
                    greeting=self._greeting,
                    pace=self._pace,
                    proxy=self._proxy,
                    clock=self._clock,
                )
                dialer.start()
            return dialer

    def _changed(self, peer: str) -> None:
        """A stream began or ended, or a route was heard: wake its dialer, and send on what waited for a path."""
        with self._lock:
            dialer = self._dialers.get(peer)
            waits, self._sending_held = self._sending_held, True
        if dialer is not None:
            dialer.wake()
        if not self._closed and not waits:  # a relay may say new routes faster than the loop can follow
            asyncio.run_coroutine_threadsafe(self._send_held(), self._loop)

    async def _send_held(self) -> None:
        """Send small frames that waited for a path through a relay that has come."""
        self._sending_held = False  # what changes from here on is looked at once more
        for peer in [*self._directory.contacts()]:
            if self._streams is None or self._closed or not self._relay_for(peer):
                continue
            for message in self._streams.outbox(peer, "control").take_held():
                frame = read_message(message)
                if isinstance(frame, bytes):
                    await self.send(peer, frame)

    # --- what can be seen

    @property
    def own_trouble(self) -> str:
        """Why peers will not talk to this site, as far as its own certificate shows; empty where nothing does."""
        return trouble_of(self.identity, self._directory.contacts().get(self.site), now_s=self._clock())

    def paths(self) -> Mapping[str, str]:
        """How each member is reached now: `direct`, `relay <site>` or `none: <reason>`."""
        contacts = self._directory.contacts()
        return {peer: self._path(contact) for peer, contact in sorted(contacts.items()) if peer != self.site}

    def _path(self, contact: Contact) -> str:
        if self._streams is None:
            return "none: not started"
        if self._streams.links.ready(contact.name):
            return "direct"
        if relay := self._relay_for(contact.name):
            return f"relay {relay}"
        dialer = self._dialers.get(contact.name)
        if trouble := self.own_trouble:
            return f"none: {trouble}"
        if dialer is not None and dialer.why:
            return f"none: {dialer.why}"
        if not contact.endpoint and not self._listen:
            return "none: neither site can be dialled, and no relay reaches it"
        return "none: connecting" if contact.endpoint else "none: it dials out only and has not dialled yet"

    def traffic(self) -> Mapping[str, Traffic]:
        """Bytes and messages with each peer, and what was forwarded for it."""
        return {} if self._streams is None else self._streams.tally.read()

    def refusals(self) -> Mapping[str, int]:
        """Who was turned away at the door, by reason."""
        return self._doorbook.read()

    def secured(self) -> Mapping[str, str]:
        """The key exchange of each direct hop that was dialled by the peer, e.g. X25519MLKEM768."""
        links = () if self._streams is None else self._streams.links.all()
        return {link.peer: link.secured for link in links if link.secured}
