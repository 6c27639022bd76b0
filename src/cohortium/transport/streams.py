"""Between the streams and the node: which message goes where, whoever opened the stream.

Both ends of gRPC, the one that listens and the one that dials, hand their streams to `Streams`: it takes a stream into
use or says why not, feeds it, and reads what comes. A frame goes to the inbox; a frame for somebody else is forwarded;
a frame that was forwarded is opened. Refusals are counted; after ten in a row the stream is cut. Used from threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping

from cohortium.errors import FrameError, PeerError
from cohortium.transport.boxes import BULK_FRAMES, CONTROL_FRAMES, Inbox, Outbox
from cohortium.transport.directory import Contact
from cohortium.transport.links import Link, Links
from cohortium.transport.relay import Routes, Waiting
from cohortium.transport.sealing import Opener
from cohortium.transport.traffic import Tally
from cohortium.transport.wire import (
    CONTROL_BYTES,
    Forward,
    Forwarded,
    Reach,
    Stream,
    Word,
    read_message,
    stream_of,
    word,
)

__all__ = ["CUT_AFTER", "Streams"]

CUT_AFTER = 10
"""Refusals in a row after which a stream is cut."""


class Streams:
    """All streams of one site. changed(peer): told, from any thread, that a stream began or ended or a route was heard.

    relays: whether this site forwards for others; contacts(): the members as they are now.
    """

    def __init__(
        self,
        site: str,
        *,
        loop: asyncio.AbstractEventLoop,
        contacts: Callable[[], Mapping[str, Contact]],
        opener: Callable[[], Opener],
        relays: bool,
        waiting: Waiting,
        changed: Callable[[str], None],
    ) -> None:
        self.links = Links(site)
        self.routes = Routes()
        self.inbox = Inbox(loop)
        self.tally = Tally()
        self._loop, self._contacts, self._opener, self._changed = loop, contacts, opener, changed
        self._relays, self._waiting = relays, waiting
        self._closed = False
        self._told: tuple[str, ...] = ()
        self._telling = threading.Lock()
        self._lock = threading.Lock()
        self._outboxes: dict[tuple[str, Stream], Outbox] = {}

    def outbox(self, peer: str, stream: Stream) -> Outbox:
        """What waits for a stream of this peer."""
        with self._lock:
            if (peer, stream) not in self._outboxes:
                room = BULK_FRAMES if stream == "bulk" else CONTROL_FRAMES
                self._outboxes[peer, stream] = Outbox(self._loop, room=room)
            return self._outboxes[peer, stream]

    # --- life of a stream

    def begin(self, link: Link) -> str:
        """Take a stream into use. Says why not, or nothing."""
        why, before = self.links.attach(link)
        if why:
            return why
        if self._closed or link.peer not in self._contacts():
            self.links.detach(link)
            return "closing" if self._closed else f"{link.peer!r} is no active member"
        if before is not None:
            before.cut("a newer stream took its place")
        self.outbox(link.peer, link.stream).attach(link)
        if self.links.live(link.peer, link.stream) is not link:  # ended meanwhile by another thread
            self.outbox(link.peer, link.stream).detach(link)
            return "cut while it began"
        self._tell_reach()
        self._changed(link.peer)
        return ""

    def end(self, link: Link) -> None:
        """The stream is over; a second call changes nothing."""
        in_use = self.links.detach(link)
        self.outbox(link.peer, link.stream).detach(link)
        if in_use:
            self.routes.lost(link.peer)
            self._tell_reach()
            self._changed(link.peer)

    def cut_strangers(self) -> None:
        """End the streams of everybody who is no active member any more, or has another certificate."""
        contacts = self._contacts()
        for link in self.links.all():
            contact = contacts.get(link.peer)
            if contact is None or contact.fingerprint != link.fingerprint:
                self._cut(link, "no active member by this certificate any more")
        with self._lock:
            for place in [place for place in self._outboxes if place[0] not in contacts]:
                del self._outboxes[place]

    def cut_all(self, why: str) -> None:
        """End every stream; they may be opened anew."""
        for link in self.links.all():
            self._cut(link, why)

    def close(self) -> None:
        """End every stream and take no further one."""
        self._closed = True
        self.cut_all("closing")
        self.inbox.close()

    def _cut(self, link: Link, why: str) -> None:
        link.cut(why)
        self.end(link)

    def outgoing(self, link: Link) -> Iterator[bytes]:
        """The messages for this stream, one by one, until it ends."""
        outbox = self.outbox(link.peer, link.stream)
        while (message := outbox.next_for(link)) is not None:
            self.tally.add(link.peer, sent_bytes=len(message), sent=1)
            yield message

    # --- what comes in

    def incoming(self, link: Link, message: bytes) -> None:
        """Take one message. Cuts the stream of a peer that keeps breaking the rules."""
        self.tally.add(link.peer, received_bytes=len(message), received=1)
        try:
            if link.stream == "control" and len(message) > CONTROL_BYTES:
                raise FrameError(f"control message of {len(message)} bytes; at most {CONTROL_BYTES} are accepted")
            said = read_message(message)
        except PeerError as wrong:
            self.tally.add(link.peer, refused=1)
            link.wrong += 1
            if link.wrong >= CUT_AFTER:
                link.cut(str(wrong))
            return
        link.wrong = 0
        if isinstance(said, bytes):
            self.inbox.put(link.peer, link.stream, said)
        else:
            self._hear(link, said)

    def _hear(self, link: Link, said: Word) -> None:
        match said:
            case Forward():
                self._forward(link, said)
            case Forwarded():
                self._open(link, said)
            case Reach() if link.relays:
                if self.routes.heard(link.peer, said.sites):
                    self._changed(link.peer)
            case Reach():
                self.tally.add(link.peer, refused=1)

    def _forward(self, link: Link, said: Forward) -> None:
        """Pass a sealed frame on, if this site forwards and the receiver is here."""
        size = len(said.sealed)
        message = word(Forwarded(link.peer, said.sealed))
        done = self._waiting.take(link.peer, said.receiver, size) if self._relays else None
        if done is None or said.receiver == link.peer or said.receiver not in self._contacts():
            self.tally.add(link.peer, lost=1)
            if done is not None:
                done()
        elif self.outbox(said.receiver, stream_of(message)).forward(message, done):
            self.tally.add(link.peer, carried_bytes=size)
        else:
            done()
            self.tally.add(link.peer, lost=1)

    def _open(self, link: Link, said: Forwarded) -> None:
        """Take a sealed frame that a relay brought. A forged one cuts no stream: the relay cannot tell."""
        try:
            if said.sender not in self._contacts():
                raise PeerError(f"{said.sender!r} is no active member")
            frame = self._opener().open(said.sender, said.sealed)
        except PeerError:
            self.tally.add(link.peer, refused=1)
            return
        self.inbox.put(said.sender, link.stream, frame)

    # --- relaying

    def _tell_reach(self) -> None:
        """Tell every peer whom this relay reaches."""
        if not self._relays:
            return
        with self._telling:
            peers = self.links.peers()
            if peers == self._told:
                return
            self._told = peers
            for peer in peers:
                self.outbox(peer, "control").say(word(Reach(tuple(other for other in peers if other != peer))))
