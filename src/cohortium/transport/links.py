"""Which stream to a peer is the one in use: at most one control and one bulk stream for each pair of sites.

Two sites may dial each other at the same moment; then both keep the stream that the site earlier in the alphabet
dialled. A process that starts anew is another instance of its site: its streams replace those of the one before. An
instance that was replaced and comes back while its successor still talks proves two processes with one site's keys;
it is refused. Pure but for its lock.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from cohortium.transport.wire import STREAMS, Stream

__all__ = ["Link", "Links"]

_RETIRED = 16


@dataclass(eq=False, kw_only=True)
class Link:
    """One stream. instance: of the peer's process; dialled: by us; cut(why): ends it; relays: the peer forwards.

    secured: the key exchange of its TLS session, where that is known here.
    """

    peer: str
    stream: Stream
    dialled: bool
    instance: bytes
    fingerprint: bytes
    cut: Callable[[str], None]
    relays: bool = False
    secured: str = ""
    wrong: int = 0


class Links:
    """All streams of one site. May be used from any thread."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._lock = threading.Lock()
        self._live: dict[tuple[str, Stream], Link] = {}
        self._retired: dict[str, deque[bytes]] = defaultdict(lambda: deque(maxlen=_RETIRED))

    def attach(self, link: Link) -> tuple[str, Link | None]:
        """Take a stream into use: ("", the one it replaces), or (why not, None)."""
        place = (link.peer, link.stream)
        with self._lock:
            before = self._live.get(place)
            if before is not None and before.instance != link.instance:
                if link.instance in self._retired[link.peer]:
                    return f"another node speaks for {link.peer!r}: two processes hold its keys; stop one of them", None
                self._retired[link.peer].append(before.instance)
            elif before is not None and before.dialled != link.dialled and before.dialled == self._dials(link.peer):
                return f"{self._me!r} and {link.peer!r} are connected already", None
            self._live[place] = link
            return "", before

    def _dials(self, peer: str) -> bool:
        """Whether this site's own dialling counts where both dialled."""
        return self._me < peer

    def detach(self, link: Link) -> bool:
        """The stream has ended. False where it was no longer in use."""
        place = (link.peer, link.stream)
        with self._lock:
            if self._live.get(place) is not link:
                return False
            del self._live[place]
            return True

    def live(self, peer: str, stream: Stream) -> Link | None:
        """The stream in use."""
        return self._live.get((peer, stream))

    def ready(self, peer: str) -> bool:
        """Whether both streams to this peer stand."""
        return all((peer, stream) in self._live for stream in STREAMS)

    def peers(self) -> tuple[str, ...]:
        """All peers with both streams, sorted."""
        with self._lock:
            names = {peer for peer, _ in self._live}
        return tuple(sorted(name for name in names if self.ready(name)))

    def all(self) -> tuple[Link, ...]:
        """Every stream in use."""
        with self._lock:
            return tuple(self._live.values())
