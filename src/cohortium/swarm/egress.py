"""What left this site, byte for byte: every frame to a peer and every transaction to the ledger.

    log = EgressLog(write=file.write)      # at a hospital: one JSON line a frame, as it leaves
    log(sent)                              # given to a node as `Ports.egress`
    log.rows()                             # what left, by round and kind

A row's digest chains the digests of its frames, so that the page, the file and a recording of the wire can be compared.
Frames that carry a payload (`offer`, `chunk`) are logged with the payload's digest, the one the ledger holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from cohortium.core.messages import Body, Chunk, Need, Offer, StepNote

__all__ = ["LEDGER", "EgressLog", "EgressRow", "Sent", "sent_frame"]

LEDGER = "ledger"
"""Receiver and kind of a transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One frame that left. kind: of the message; what: the step of its payload, or the called function."""

    round: int
    kind: str
    what: str
    receiver: str
    n_bytes: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRow:
    """All frames of a kind in a round. digest: hex, of the chain of theirs."""

    round: int
    kind: str
    what: str
    receivers: tuple[str, ...]
    n_frames: int
    n_bytes: int
    digest: str


def sent_frame(body: Body, frame: bytes, *, kind: str, round: int, receiver: str) -> Sent:
    """The line for a frame to a peer."""
    what, digest = "", b""
    match body:
        case Offer():
            what, digest = body.manifest.step, body.manifest.digest
        case Chunk():
            digest = body.digest
        case Need() | StepNote():
            what = body.step
    digest = digest or hashlib.sha256(frame).digest()
    return Sent(round=round, kind=kind, what=what, receiver=receiver, n_bytes=len(frame), digest=digest)


@dataclass
class _Tally:
    receivers: set[str] = field(default_factory=set)
    n_frames: int = 0
    n_bytes: int = 0
    chain: bytes = bytes(32)


class EgressLog:
    """Adds up what a site sends. write: takes one line of JSON for each frame; None keeps the sums only."""

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        self._write = write
        self._tallies: dict[tuple[int, str, str], _Tally] = {}

    def __call__(self, sent: Sent) -> None:
        """Note a frame."""
        tally = self._tallies.setdefault((sent.round, sent.kind, sent.what), _Tally())
        tally.receivers.add(sent.receiver)
        tally.n_frames += 1
        tally.n_bytes += sent.n_bytes
        tally.chain = hashlib.sha256(tally.chain + sent.digest).digest()
        if self._write is not None:
            line = {
                "round": sent.round,
                "kind": sent.kind,
                "what": sent.what,
                "to": sent.receiver,
                "bytes": sent.n_bytes,
                "digest": sent.digest.hex(),
            }
            self._write(json.dumps(line, separators=(",", ":")) + "\n")

    def rows(self) -> tuple[EgressRow, ...]:
        """By round, kind and what, sorted."""
        return tuple(
            EgressRow(
                round=round,
                kind=kind,
                what=what,
                receivers=tuple(sorted(tally.receivers)),
                n_frames=tally.n_frames,
                n_bytes=tally.n_bytes,
                digest=tally.chain.hex(),
            )
            for (round, kind, what), tally in sorted(self._tallies.items())
        )
