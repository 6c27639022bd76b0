"""Ports that go wrong: what a node touches, with the faults of one site in between. Nodes know nothing of it.

`mishaps.py` decides which site gets which; the real things are inside and do all the work.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cohortium.core.frames import pack
from cohortium.core.identity import LedgerKey
from cohortium.core.messages import Envelope, Manifest, Offer, body_of, decode, encode, sealed
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Head, Ledger, LedgerEvent, Receipt, Transport, Work
from cohortium.core.update import Aggregate, Update
from cohortium.errors import CohortiumError, FrameError, LedgerUnreachable
from cohortium.sim.attribution import REFUSED_HANDSHAKE
from cohortium.sim.faults import Crash, Slow, Unwritable, Withheld
from cohortium.swarm.actions import Fact
from cohortium.swarm.gate import MERGE_SLOT, slot_digest
from cohortium.swarm.notices import Notice, Refused
from cohortium.swarm.store import Store, StoreBroken

__all__ = [
    "WRONG_CERTIFICATE",
    "CutLedger",
    "ForgingWork",
    "FragileStore",
    "Killed",
    "LyingTransport",
    "MuteTransport",
    "ReadOnlyStore",
    "ShunnedTransport",
]

Now = Callable[[], float]

WRONG_CERTIFICATE = "the certificate is not the one on the ledger"


class Killed(CohortiumError):
    """The node was killed by its scenario."""


class CutLedger:
    """The shared ledger as one site sees it: not reachable with a minority, another hash where it is forked.

    reachable: whether the site is with a majority now. forked: whether it sees another history now.
    """

    def __init__(self, ledger: Ledger, *, site: str, reachable: Callable[[], bool], forked: Callable[[], bool]) -> None:
        self._ledger, self._site, self._reachable, self._forked = ledger, site, reachable, forked

    def _reach(self) -> Ledger:
        if not self._reachable():
            raise LedgerUnreachable(f"{self._site} is cut off with a minority")
        return self._ledger

    def submit(self, signed: bytes) -> Receipt:
        """Put a transaction into a block."""
        return self._reach().submit(signed)

    def call(self, function: str, args: tuple[object, ...] = ()) -> tuple[object, ...]:
        """Read."""
        return self._reach().call(function, args)

    def events(self, from_height: int = 0) -> list[LedgerEvent]:
        """All events from that height on."""
        return list(self._reach().events(from_height))

    def head(self) -> Head:
        """The newest block."""
        head = self._reach().head()
        return replace(head, hash=bytes(32)) if self._forked() else head

    def hash_at(self, height: int) -> bytes | None:
        """The hash of the block at a height."""
        digest = self._reach().hash_at(height)
        return bytes(32) if self._forked() and digest is not None else digest

    def export(self, path: Path) -> None:
        """Write all of it."""
        self._ledger.export(path)


class MuteTransport:
    """A transport that swallows a site's heartbeats, or the payload it should give."""

    def __init__(self, inner: Transport, *, slow: Slow | None, withheld: Withheld | None) -> None:
        self._inner, self._slow, self._withheld = inner, slow, withheld

    async def send(self, peer: str, frame: bytes) -> None:
        """Send what is not swallowed."""
        if not self._swallowed(frame):
            await self._inner.send(peer, frame)

    def _swallowed(self, frame: bytes) -> bool:
        envelope = _opened(frame)
        if envelope is None:
            return False
        kind, round = envelope.kind, envelope.round
        if self._withheld is not None and kind in ("offer", "chunk") and round == self._withheld.round:
            return True
        slow = self._slow
        return slow is not None and not slow.heartbeats and kind == "progress" and round == slow.round

    async def receive(self) -> tuple[str, bytes]:
        """The next frame."""
        return await self._inner.receive()

    async def close(self) -> None:
        """Take no further frame."""
        await self._inner.close()


class LyingTransport:
    """A leader's transport that sends a second merge, properly signed, after every merge it offers."""

    def __init__(self, inner: Transport, *, key: LedgerKey, contract: bytes, chain_id: int) -> None:
        self._inner, self._key, self._contract, self._chain_id = inner, key, contract, chain_id

    async def send(self, peer: str, frame: bytes) -> None:
        """Send the frame, and the lie beside it."""
        await self._inner.send(peer, frame)
        if lie := self._lie(frame):
            await self._inner.send(peer, lie)

    def _lie(self, frame: bytes) -> bytes:
        """Another merge for the slot in which this frame offers one; empty for other frames."""
        envelope = _opened(frame)
        body = None if envelope is None else body_of(envelope)
        if envelope is None or not isinstance(body, Offer) or body.manifest.step != "merge":
            return b""
        other = pack(Parameters({"w": np.full(2, float(envelope.round))}))
        slot = slot_digest(
            contract=self._contract,
            chain_id=self._chain_id,
            run=envelope.run,
            round=envelope.round,
            term=envelope.term,
            kind=MERGE_SLOT,
            digest=other.digest,
        )
        manifest = Manifest(
            step="merge",
            digest=other.digest,
            header=other.header,
            chunks=other.chunk_digests,
            slot=self._key.sign_message(slot),
        )
        bare = msgspec.structs.replace(envelope, sequence=envelope.sequence + (1 << 31))
        return encode(sealed(bare, Offer(manifest=manifest), self._key.sign))

    async def receive(self) -> tuple[str, bytes]:
        """The next frame."""
        return await self._inner.receive()

    async def close(self) -> None:
        """Take no further frame."""
        await self._inner.close()


class ShunnedTransport:
    """A transport that refuses frames to and from sites whose certificate is not the one on the ledger.

    shunned: the sites that are refused now, among them this one if its own is the wrong one.
    """

    def __init__(
        self, inner: Transport, *, site: str, shunned: Callable[[], set[str]], observe: Callable[[Notice], None]
    ) -> None:
        self._inner, self._site, self._shunned, self._observe = inner, site, shunned, observe
        self._refused: set[str] = set()

    async def send(self, peer: str, frame: bytes) -> None:
        """Send, unless the handshake would fail: that is said once."""
        if not {self._site, peer} & self._shunned():
            self._refused.discard(peer)
            await self._inner.send(peer, frame)
        elif peer not in self._refused:
            self._refused.add(peer)
            own = self._site in self._shunned()
            why = f"refused our handshake: {WRONG_CERTIFICATE}" if own else f"{REFUSED_HANDSHAKE}: {WRONG_CERTIFICATE}"
            self._observe(Refused(site=peer, why=why))

    async def receive(self) -> tuple[str, bytes]:
        """The next frame."""
        return await self._inner.receive()

    async def close(self) -> None:
        """Take no further frame."""
        await self._inner.close()


class FragileStore:
    """A store whose node dies just before it writes the fact of its `Crash`, once."""

    def __init__(self, inner: Store, crash: Crash, *, site: str, killed: set[str]) -> None:
        self._inner, self._crash, self._site, self._killed = inner, crash, site, killed

    def add(self, fact: Fact) -> None:
        """Keep a fact, or die."""
        crash = self._crash
        hit = (fact.kind, fact.round) == (crash.fact, crash.round) and crash.step in ("", fact.step)
        if hit and self._site not in self._killed:
            self._killed.add(self._site)
            raise Killed(f"{self._site} killed before it wrote {crash.fact}")
        self._inner.add(fact)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class ReadOnlyStore:
    """A store that cannot be written for a while."""

    def __init__(self, inner: Store, fault: Unwritable, *, now: Now) -> None:
        self._inner, self._fault, self._now = inner, fault, now

    def _check(self) -> None:
        if self._fault.from_s <= self._now() < self._fault.until_s:
            number = self._fault.number
            raise StoreBroken(OSError(number or errno.EROFS, os.strerror(number), "node.sqlite"))

    def add(self, fact: Fact) -> None:
        """Keep a fact. Raises StoreBroken."""
        self._check()
        self._inner.add(fact)

    def put(self, payload: Any) -> None:
        """Keep a payload. Raises StoreBroken."""
        self._check()
        self._inner.put(payload)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class ForgingWork:
    """Work whose merges are wrong by one in their first array of numbers."""

    def __init__(self, inner: Work) -> None:
        self._inner = inner

    def merge(self, state: Parameters, updates: Sequence[Update] | Aggregate) -> Parameters:
        """A forged merge."""
        true = self._inner.merge(state, updates)
        forged = dict(true.items())
        name = next(name for name, array in true.items() if np.issubdtype(array.dtype, np.floating))
        forged[name] = np.asarray(true[name]) + 1
        return Parameters(forged)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _opened(frame: bytes) -> Envelope | None:
    try:
        return decode(frame)
    except FrameError:
        return None
