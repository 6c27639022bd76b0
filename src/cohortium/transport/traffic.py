"""What went over the streams, by peer, and who was turned away, by reason. Thread-safe counters, nothing else."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["UNFINISHED", "Doorbook", "Tally", "Traffic"]

UNFINISHED: Final = "the handshake was not finished: a stranger, an ended certificate, or no TLS client"
_HANDSHAKE_S = 10.0
_REASONS = 64
_CONNECTIONS = 4096


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Messages to and from one peer, as handed to gRPC (TLS adds about 0.2 %).

    sent_bytes, received_bytes, sent, received: with this peer, what was forwarded through or for it too. carried_bytes:
    what this site forwarded to others for it. lost: frames for it that found no path or no room. refused: messages of
    it that were none.
    """

    sent_bytes: int = 0
    received_bytes: int = 0
    sent: int = 0
    received: int = 0
    carried_bytes: int = 0
    lost: int = 0
    refused: int = 0


class Tally:
    """Counts by peer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {}

    def add(self, peer: str, **counts: int) -> None:
        """Add to the counts of one peer; names are those of `Traffic`."""
        with self._lock:
            self._counts.setdefault(peer, Counter()).update(counts)

    def read(self) -> dict[str, Traffic]:
        """All counts so far."""
        with self._lock:
            return {peer: Traffic(**counts) for peer, counts in sorted(self._counts.items())}


class Doorbook:
    """Who was refused, by reason. gRPC does not say why a TLS handshake failed, only that a connection began.

    So a connection that made no call within ten seconds counts as one refused in its handshake.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: Counter[str] = Counter()
        self._begun: deque[float] = deque(maxlen=_CONNECTIONS)
        self._known: dict[str, None] = {}

    def begun(self) -> None:
        """A connection has come in."""
        with self._lock:
            self._settle()
            self._begun.append(self._clock())

    def called(self, connection: str) -> None:
        """A call came over this connection, so its handshake was finished."""
        with self._lock:
            if connection not in self._known:
                self._known[connection] = None
                if len(self._known) > _CONNECTIONS:
                    del self._known[next(iter(self._known))]
                if self._begun:
                    self._begun.popleft()

    def refuse(self, reason: str) -> None:
        """Somebody was turned away."""
        with self._lock:
            known = reason in self._refused or len(self._refused) < _REASONS
            self._refused[reason if known else "other"] += 1

    def read(self) -> Mapping[str, int]:
        """Refusals by reason."""
        with self._lock:
            self._settle()
            return dict(self._refused)

    def _settle(self) -> None:
        while self._begun and self._begun[0] < self._clock() - _HANDSHAKE_S:
            self._begun.popleft()
            self._refused[UNFINISHED] += 1
