"""What an envelope must pass before the machine hears of it, and two signed statements that convict a leader.

Refused are: another consortium, a receiver that is not me, a sender who is no active member or signs wrongly, a
sequence number seen before. Each refusal is counted; after ten in a row from one sender its stream is cut.
`Witness` remembers who signed what for which slot: two digests for one slot are proof for the contract.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from cohortium.core.identity import keccak
from cohortium.core.messages import Body, Envelope, body_of, check_signature, decode
from cohortium.errors import FrameError, PeerError, SignatureError
from cohortium.swarm.membership import Members

__all__ = ["CUT_AFTER", "MERGE_SLOT", "STEP_SLOT", "SURVIVORS_SLOT", "Gate", "Witness", "slot_digest"]

CUT_AFTER = 10
MERGE_SLOT, SURVIVORS_SLOT, STEP_SLOT = 1, 2, 2
"""Kinds of slots, as the contract's reference has them: a merge (by term); a survivor bitmap (by attempt and step);
the payload of step number n has kind STEP_SLOT + n (by attempt)."""

_WINDOW = 4096
_STATEMENTS = 64


@dataclass
class Gate:
    """The door of one node. recover(digest, signature) -> address. refused: by sender, since its last good word."""

    consortium: bytes
    me: str
    members: Members
    recover: Callable[[bytes, bytes], bytes]
    refused: Counter[str] = field(default_factory=Counter)
    total_refused: Counter[str] = field(default_factory=Counter)
    _newest: dict[str, int] = field(default_factory=dict)
    _seen: dict[str, set[int]] = field(default_factory=dict)

    def cut(self, sender: str) -> bool:
        """Whether nothing more is read from this sender."""
        return self.refused[sender] >= CUT_AFTER

    def open(self, sender: str, frame: bytes) -> tuple[Envelope, Body]:
        """The envelope and its body. Raises PeerError, and counts it, for anything that must not come in."""
        try:
            envelope = decode(frame)
            body = body_of(envelope)
            self._check(sender, envelope)
        except PeerError:
            self.refused[sender] += 1
            self.total_refused[sender] += 1
            raise
        self.refused[sender] = 0
        return envelope, body

    def _check(self, sender: str, envelope: Envelope) -> None:
        if envelope.sender != sender:
            raise SignatureError(f"message of {envelope.sender!r} came over the stream of {sender!r}")
        if envelope.consortium != self.consortium:
            raise SignatureError(f"message of {sender!r} belongs to another consortium")
        if envelope.receiver not in ("", self.me):
            raise FrameError(f"message of {sender!r} is meant for {envelope.receiver!r}")
        if not self.members.is_active(sender):
            raise SignatureError(f"{sender!r} is no active member")
        if envelope.kind == "chunk":
            if envelope.signature:  # nobody has checked it, so nothing may rest on it
                raise SignatureError(f"chunk of {sender!r} carries a signature")
            return  # covered by its manifest, and repeated on request
        check_signature(envelope, self.members.address_of[sender], self.recover)
        self._check_sequence(sender, envelope.sequence)

    def _check_sequence(self, sender: str, sequence: int) -> None:
        """Each number once; numbers further back than the window are old. Out of order within it is fine."""
        newest, seen = self._newest.get(sender, -1), self._seen.setdefault(sender, set())
        if sequence in seen or sequence <= newest - _WINDOW:
            raise FrameError(f"message {sequence} of {sender!r} came before")
        seen.add(sequence)
        if sequence > newest:
            self._newest[sender] = sequence
            if len(seen) > 2 * _WINDOW:
                self._seen[sender] = {number for number in seen if number > sequence - _WINDOW}


def slot_digest(*, contract: bytes, chain_id: int, run: int, round: int, term: int, kind: int, digest: bytes) -> bytes:
    """What is signed for a slot: keccak(abi(contract, chain id, run, round, term, kind, digest))."""
    numbers = b"".join(number.to_bytes(32, "big") for number in (chain_id, run, round, term, kind))
    return keccak(contract.rjust(32, b"\0") + numbers + digest)


@dataclass
class Witness:
    """Who signed what for which slot (run, round, term, kind)."""

    _said: dict[tuple[str, int, int, int, int], tuple[bytes, bytes]] = field(default_factory=dict)
    _slots: Counter[tuple[str, int]] = field(default_factory=Counter)

    def note(
        self, site: str, slot: tuple[int, int, int, int], digest: bytes, signature: bytes
    ) -> tuple[bytes, bytes, bytes, bytes] | None:
        """Remember a statement. Returns (h1, s1, h2, s2) if the site signed another digest for this slot before.

        Raises FrameError for one slot more than a site can have in a round: what is not remembered is not taken.
        """
        if (site, *slot) not in self._said:
            if self._slots[site, slot[1]] >= _STATEMENTS:
                raise FrameError(f"{site!r} signed for more than {_STATEMENTS} slots of round {slot[1]}")
            self._slots[site, slot[1]] += 1
        before = self._said.setdefault((site, *slot), (digest, signature))
        return None if before[0] == digest else (*before, digest, signature)

    def forget_before(self, round: int) -> None:
        """Let go of slots of rounds before this one."""
        for key in [key for key in self._said if key[2] < round]:
            del self._said[key]
        for place in [place for place in self._slots if place[1] < round]:
            del self._slots[place]
