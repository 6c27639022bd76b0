"""The ledger's heads as this node has seen them, and what peers say of heights it has not reached.

Every envelope carries its sender's head, signed. Two hashes for one height mean two histories of the ledger, whoever
says them; a peer that is behind or ahead means nothing. What lies below the newest head and is not remembered here is
asked of the ledger (`line.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cohortium.core.messages import Envelope
from cohortium.core.seams import Head

__all__ = ["Heads"]

_KEPT = 256
_LONGEST = 4096


@dataclass
class Heads:
    """Hashes by height, and one signed word of a peer for each height that is still to come. newest: as seen here."""

    newest: tuple[int, bytes] = (0, bytes(32))
    _own: dict[int, bytes] = field(default_factory=dict)
    _claims: dict[int, Envelope] = field(default_factory=dict)

    def see(self, head: Head) -> None:
        """The ledger's head as it is here."""
        self.newest = (head.height, head.hash)
        self.remember(head.height, head.hash)

    def remember(self, height: int, digest: bytes) -> None:
        """The hash of any block of this node's ledger."""
        self._own[height] = digest
        if len(self._own) > _KEPT:
            del self._own[min(self._own)]

    def at(self, height: int) -> bytes | None:
        """The hash at a height as far as it is remembered."""
        return self._own.get(height)

    def is_ahead(self, height: int) -> bool:
        """Whether this node's ledger has not reached that height."""
        return height > self.newest[0]

    def claim(self, envelope: Envelope) -> Envelope | None:
        """Keep what a peer says of a height not reached; an earlier word of anybody that it contradicts.

        Long messages are passed over: a short one with the same head follows within a heartbeat.
        """
        if len(envelope.body) > _LONGEST:
            return None
        kept = self._claims.setdefault(envelope.head_height, envelope)
        if len(self._claims) > _KEPT:
            del self._claims[max(self._claims)]  # whoever claims absurd heights pushes out nobody else's
        return kept if kept.head_hash != envelope.head_hash else None

    def due(self) -> list[Envelope]:
        """The claims that the ledger has reached by now; each is given out once."""
        reached = sorted(height for height in self._claims if not self.is_ahead(height))
        return [self._claims.pop(height) for height in reached]
