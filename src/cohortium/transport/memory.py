"""Frames between nodes of one process, with every fault a real network has, from one seeded generator.

A `MemoryNetwork` holds the queues; `join(site)` gives that site's `Transport`. Delay, jitter, loss,
duplication, reordering, corruption and bandwidth come from a `Link`, which may differ by pair; `partition`
cuts the network in groups. Time is the running loop's, so under a virtual clock nothing waits. Queues are
bounded: a frame that finds its receiver's queue full is lost and counted, as on any real path.
Checking what arrives is the receiver's business.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

__all__ = ["Link", "MemoryNetwork", "MemoryTransport"]


@dataclass(frozen=True, kw_only=True)
class Link:
    """How one direction between two sites behaves. Chances are per frame, 0 to 1.

    delay_s: time on the way; jitter_s: up to that much more, drawn evenly; reorder: chance of being held
    back by a further `held_s`; bytes_per_s: None = no limit.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    held_s: float = 1.0
    corrupt: float = 0.0
    bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder", "corrupt"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, got {getattr(self, name)}")
        for name in ("delay_s", "jitter_s", "held_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.bytes_per_s is not None and self.bytes_per_s <= 0:
            raise ValueError(f"bytes_per_s must be positive, got {self.bytes_per_s}")

    @property
    def perfect(self) -> bool:
        """Whether frames arrive at once, whole and in order."""
        return self == _PERFECT


_PERFECT = Link()
_NEXT_S = 1e-6


class MemoryNetwork:
    """All queues of one simulated network.

    sent_bytes, received_bytes: by (sender, receiver). lost: frames lost to loss, partition or a full queue.
    """

    def __init__(
        self,
        *,
        rng: np.random.Generator,
        link: Link = _PERFECT,
        queue_frames: int = 65_536,
        queue_bytes: int = 256 << 20,
    ) -> None:
        self.sent_bytes: Counter[tuple[str, str]] = Counter()
        self.received_bytes: Counter[tuple[str, str]] = Counter()
        self.lost: Counter[tuple[str, str]] = Counter()
        self._rng = rng
        self._link = link
        self._links: dict[tuple[str, str], Link] = {}
        self._queue_frames = queue_frames
        self._queue_bytes = queue_bytes
        self._transports: dict[str, MemoryTransport] = {}
        self._busy_until: dict[tuple[str, str], float] = {}
        self._last_at: dict[tuple[str, str], float] = {}
        self._group: dict[str, int] = {}

    def join(self, site: str) -> MemoryTransport:
        """The transport of `site`; a second call gives a fresh one and cuts the first off (a restart)."""
        if site in self._transports:
            self._transports[site].cut()
        self._transports[site] = transport = MemoryTransport(self, site)
        return transport

    def set_link(self, link: Link, *, sender: str, receiver: str) -> None:
        """From now on frames of this direction behave like `link`."""
        self._links[sender, receiver] = link

    def set_all_links(self, link: Link) -> None:
        """From now on every direction behaves like `link`."""
        self._links.clear()
        self._link = link

    def partition(self, *groups: Iterable[str]) -> None:
        """Only sites of one group hear each other; sites not named form a group of their own."""
        self._group = {site: number for number, group in enumerate(groups, start=1) for site in group}

    def heal(self) -> None:
        """End the partition."""
        self._group = {}

    def reachable(self, sender: str, receiver: str) -> bool:
        """Whether no partition lies between the two."""
        return self._group.get(sender, 0) == self._group.get(receiver, 0)

    def carry(self, sender: str, receiver: str, frame: bytes) -> None:
        """Put one frame on the way; what becomes of it is chance and the link's business."""
        pair = (sender, receiver)
        self.sent_bytes[pair] += len(frame)
        link = self._links.get(pair, self._link)
        if link.perfect:
            self._deliver(pair, frame)
            return
        if self._happens(link.loss):
            self.lost[pair] += 1
            return
        for _ in range(2 if self._happens(link.duplicate) else 1):
            self._send_once(pair, frame, link)

    def _send_once(self, pair: tuple[str, str], frame: bytes, link: Link) -> None:
        loop = asyncio.get_running_loop()
        delay = link.delay_s + (link.jitter_s * float(self._rng.random()) if link.jitter_s else 0.0)
        held = self._happens(link.reorder)
        if held:
            delay += link.held_s
        if link.bytes_per_s is not None:
            start = max(loop.time(), self._busy_until.get(pair, 0.0))
            self._busy_until[pair] = start + len(frame) / link.bytes_per_s
            delay += self._busy_until[pair] - loop.time()
        if frame and self._happens(link.corrupt):
            spoilt = bytearray(frame)
            spoilt[int(self._rng.integers(len(frame)))] ^= 1 << int(self._rng.integers(8))
            frame = bytes(spoilt)
        at = loop.time() + delay
        if not link.jitter_s and not held:  # first in, first out: timers of one instant fire in no promised order
            at = self._last_at[pair] = max(at, self._last_at.get(pair, 0.0) + _NEXT_S)
        loop.call_at(at, self._deliver, pair, frame)

    def _deliver(self, pair: tuple[str, str], frame: bytes) -> None:
        receiver = self._transports.get(pair[1])
        if receiver is None or not self.reachable(*pair) or not receiver.accept(pair[0], frame):
            self.lost[pair] += 1
            return
        self.received_bytes[pair] += len(frame)

    def _happens(self, chance: float) -> bool:
        return chance > 0 and float(self._rng.random()) < chance

    def room(self, site: str) -> bool:
        """Whether the queue of `site` is less than half full."""
        receiver = self._transports.get(site)
        return receiver is None or receiver.filling(self._queue_frames, self._queue_bytes) < 0.5

    def full(self, transport: MemoryTransport) -> bool:
        """Whether the transport's queue can take no more."""
        return transport.filling(self._queue_frames, self._queue_bytes) >= 1.0


class MemoryTransport:
    """One site's end of a `MemoryNetwork` (a `core.seams.Transport`)."""

    def __init__(self, network: MemoryNetwork, site: str) -> None:
        self.site = site
        self._network = network
        self._queue: deque[tuple[str, bytes]] = deque()
        self._held_bytes = 0
        self._arrival = asyncio.Event()
        self._closed = False

    async def send(self, peer: str, frame: bytes) -> None:
        """Put a frame on its way to `peer`; yields when the peer is behind with reading."""
        if self._closed:
            return
        self._network.carry(self.site, peer, frame)
        if not self._network.room(peer):
            await asyncio.sleep(0)

    async def receive(self) -> tuple[str, bytes]:
        """The next frame and who sent it; waits until there is one (the caller sets the deadline)."""
        while not self._queue:
            self._arrival.clear()
            await self._arrival.wait()
        sender, frame = self._queue.popleft()
        self._held_bytes -= len(frame)
        return sender, frame

    async def close(self) -> None:
        """Take no further frame."""
        self.cut()

    def cut(self) -> None:
        """Close at once; frames on the way are lost."""
        self._closed = True
        self._queue.clear()
        self._held_bytes = 0

    def accept(self, sender: str, frame: bytes) -> bool:
        """Queue a frame that came in. False when closed or full."""
        if self._closed or self._network.full(self):
            return False
        self._queue.append((sender, frame))
        self._held_bytes += len(frame)
        self._arrival.set()
        return True

    def filling(self, frames: int, size_bytes: int) -> float:
        """How full the queue is, 0 to 1 and above."""
        return max(len(self._queue) / frames, self._held_bytes / size_bytes)
