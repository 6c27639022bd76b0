"""The end that dials: one thread for each peer with an address, for as long as the peer is a member.

It dials with exactly one root of trust, the peer's own certificate, opens both streams, reads them until one ends, and
tries again with growing pauses. Where both sites could dial, the one earlier in the alphabet does; the other steps in
when that has not led to a connection for a while.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cohortium.errors import MissingExtra, PeerError
from cohortium.transport.certificates import Identity, peer_trouble, pem_of, server_name, trouble_of
from cohortium.transport.directory import Contact
from cohortium.transport.handshake import Greeting, read_greeting
from cohortium.transport.links import Link
from cohortium.transport.listening import METHODS, options
from cohortium.transport.pace import Pace
from cohortium.transport.streams import Streams
from cohortium.transport.wire import Stream

try:
    import grpc
except ModuleNotFoundError:
    raise MissingExtra("the transport between machines", extra="node") from None

__all__ = ["Dialer", "reason_of"]

_IDLE_S = 60.0
_CHANCE = random.SystemRandom()


class Dialer(threading.Thread):
    """Keeps one peer connected. why: what stood in the way of the last attempt, empty while connected."""

    def __init__(
        self,
        site: str,
        peer: str,
        *,
        streams: Streams,
        contacts: Callable[[], Mapping[str, Contact]],
        identity: Callable[[], Identity],
        greeting: Greeting,
        pace: Pace,
        proxy: str,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(name=f"{site} dials {peer}", daemon=True)
        self.why = ""
        self._site, self._peer, self._streams, self._contacts = site, peer, streams, contacts
        self._identity, self._greeting, self._pace = identity, greeting, pace
        self._proxy, self._clock = proxy, clock
        self._woken = threading.Event()
        self._stopped = False
        self._attempt: _Attempt | None = None

    def wake(self) -> None:
        """Look at once whether to dial."""
        self._woken.set()

    def stop(self) -> None:
        """End the connection and the thread."""
        self._stopped = True
        self._woken.set()
        if self._attempt is not None:
            self._attempt.cancel()

    def run(self) -> None:
        """Dial until stopped or until the peer is no member any more."""
        failures = 0
        while not self._stopped:
            contact = self._contacts().get(self._peer)
            if contact is None:
                return
            if self._streams.links.ready(self._peer):
                failures, self.why = 0, ""
                self._pause(_IDLE_S)
                continue
            self.why = self._obstacle(contact)
            if self.why or not contact.endpoint:
                self._pause(_IDLE_S)
                continue
            if not self._my_turn() and self._pause_until_ready(self._pace.patience_s):
                continue
            began = time.monotonic()
            self.why = self._dial(contact)
            failures = 1 if time.monotonic() - began > self._pace.last_retry_s else failures + 1
            self._woken.clear()  # the end of our own streams is no reason to hurry
            if not self._stopped and not self._streams.links.ready(self._peer):
                self._pause(self._pace.pause_s(failures, _CHANCE.random()))

    def _obstacle(self, contact: Contact) -> str:
        mine = self._contacts().get(self._site)
        now_s = self._clock()
        return trouble_of(self._identity(), mine, now_s=now_s) or peer_trouble(contact, now_s=now_s)

    def _my_turn(self) -> bool:
        mine = self._contacts().get(self._site)
        return mine is None or not mine.endpoint or self._site < self._peer

    def _pause(self, seconds: float) -> None:
        self._woken.wait(seconds)
        self._woken.clear()

    def _pause_until_ready(self, seconds: float) -> bool:
        """Wait for the peer to dial. True if it did, or this thread is to stop."""
        end = time.monotonic() + seconds
        while not self._stopped and not self._streams.links.ready(self._peer):
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._pause(left)
        return True

    def _dial(self, contact: Contact) -> str:
        attempt = self._attempt = _Attempt(self._streams, contact, self._greeting, connect_s=self._pace.connect_s)
        if self._stopped:
            return ""
        identity = self._identity()
        credentials = grpc.ssl_channel_credentials(
            root_certificates=pem_of(contact.certificate),
            private_key=identity.key,
            certificate_chain=identity.certificate,
        )
        channel = grpc.secure_channel(contact.endpoint, credentials, options=self._options())
        try:
            return attempt.live(channel)
        finally:
            self._attempt = None
            channel.close()

    def _options(self) -> list[tuple[str, int | str]]:
        through = [("grpc.http_proxy", self._proxy)] if self._proxy else [("grpc.enable_http_proxy", 0)]
        return [
            *options(self._pace),
            *through,
            ("grpc.ssl_target_name_override", server_name(self._peer)),
            ("grpc.use_local_subchannel_pool", 1),  # each attempt is a new connection
            ("grpc.enable_retries", 0),
        ]


class _Attempt:
    """One connection from dialling to its end."""

    def __init__(self, streams: Streams, contact: Contact, greeting: Greeting, *, connect_s: float) -> None:
        self._streams, self._contact, self._greeting, self._connect_s = streams, contact, greeting, connect_s
        self._lock = threading.Lock()
        self._calls: list[Any] = []
        self._whys: list[str] = []
        self._cancelled = False

    def live(self, channel: Any) -> str:
        """Open both streams and read them until one ends. Says why it ended."""
        readers = [
            threading.Thread(
                target=self._stream, args=(channel, method, stream), name=f"{self._contact.name} {stream}", daemon=True
            )
            for method, stream in METHODS.items()
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        return self._whys[0] if self._whys else ""

    def cancel(self) -> None:
        """End both streams."""
        with self._lock:
            self._cancelled = True
            calls = [*self._calls]
        for call in calls:
            call.cancel()

    def _stream(self, channel: Any, method: str, stream: Stream) -> None:
        feed = _Feed(self._streams)
        try:
            with self._lock:
                if self._cancelled:
                    return
                call = channel.stream_stream(method)(feed.messages(), metadata=self._greeting.metadata())
                self._calls.append(call)
            self._whys.append(self._talk(call, stream, feed))
        finally:
            feed.end()
            self.cancel()

    def _talk(self, call: Any, stream: Stream, feed: _Feed) -> str:
        watch = threading.Timer(self._connect_s, call.cancel)
        watch.daemon = True
        watch.start()
        try:
            metadata = call.initial_metadata()
        finally:
            watch.cancel()
        contact = self._contact
        try:
            greeting = read_greeting((pair.key, pair.value) for pair in metadata or ())
        except PeerError as wrong:
            return reason_of(call.code(), call.details(), contact, self._connect_s) if _failed(call) else str(wrong)
        link = Link(
            peer=contact.name,
            stream=stream,
            dialled=True,
            instance=greeting.instance,
            fingerprint=contact.fingerprint,
            cut=lambda why: self.cancel(),
            relays=greeting.relays,
        )
        if why := self._streams.begin(link):
            return why
        feed.begin(link)
        try:
            for message in call:
                self._streams.incoming(link, message)
        except grpc.RpcError:
            return reason_of(call.code(), call.details(), contact, self._connect_s)
        finally:
            self._streams.end(link)
        return f"{contact.name!r} ended the stream"


class _Feed:
    """What gRPC sends: nothing until the stream is in use, then its messages."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._known = threading.Event()
        self._link: Link | None = None

    def begin(self, link: Link) -> None:
        self._link = link
        self._known.set()

    def end(self) -> None:
        self._known.set()

    def messages(self) -> Iterator[bytes]:
        self._known.wait()
        if self._link is not None:
            yield from self._streams.outgoing(self._link)


def _failed(call: Any) -> bool:
    return bool(call.done() and call.code() is not grpc.StatusCode.OK)


def reason_of(code: Any, details: str | None, contact: Contact, connect_s: float) -> str:
    """One sentence about why a connection failed, from what gRPC says of it."""
    peer, where, said = contact.name, contact.endpoint, details or ""
    if code is grpc.StatusCode.CANCELLED:
        return f"the stream to {peer!r} was cut, or nothing answered at {where} within {connect_s:g} s"
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.ALREADY_EXISTS):
        return f"{peer!r} refuses: {said[:200]}"
    for sign, sentence in _SIGNS:
        if sign in said:
            return sentence.format(peer=peer, where=where)
    return f"{peer!r} at {where}: {said[:160] or getattr(code, 'name', 'unknown').lower()}"


_SIGNS = (
    ("CERTIFICATE_VERIFY_FAILED", "{where} shows another certificate than that of {peer!r} on the ledger: TLS is"
     " inspected on the way, the address is another's, or {peer!r} must run `cohortium node rotate`"),
    ("Connection refused", "nothing listens at {where}"),
    ("DNS resolution failed", "the name in {where} is not known to DNS"),
    ("HTTP proxy returned", "the proxy refuses to connect to {where}"),
    ("Socket closed", "{peer!r} closed the connection: it does not know our certificate (yet), or has stopped"),
    ("TSI_PROTOCOL_FAILURE", "the TLS handshake with {where} failed: no node of {peer!r} listens there"),
    ("timed out", "no answer from {where}"),
    ("Network is unreachable", "the network of {where} is not reachable from here"),
)  # fmt: skip
