"""A node's line to its peers: envelopes out, signed and numbered; envelopes in, checked; heads compared.

Every envelope carries the ledger's head as its sender sees it: two hashes at one height mean two histories, and stop
the node, with both signed words as evidence. What a leader says for a slot carries a second signature that the
contract can check; two of them for one slot are returned as proof. What messages mean is the node's and the machine's
business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from cohortium.core.frames import Packed
from cohortium.core.identity import recover, recover_message
from cohortium.core.messages import VERSION, Body, Bye, Envelope, Manifest, StepNote, encode, sealed
from cohortium.errors import LedgerForked, LedgerUnreachable, PeerError, SignatureError
from cohortium.swarm.actions import Offer, Propose
from cohortium.swarm.egress import sent_frame
from cohortium.swarm.gate import MERGE_SLOT, STEP_SLOT, SURVIVORS_SLOT, Gate, Witness, slot_digest
from cohortium.swarm.heads import Heads
from cohortium.swarm.membership import Members
from cohortium.swarm.notices import Refused
from cohortium.swarm.ports import Charter, Ports

__all__ = ["Line", "Slot", "place_of"]

Slot = tuple[int, int, int, int]
"""Run, round, term (or what stands for it), kind."""

_SEND_S = 30.0
"""How long a peer that reads slowly is waited for; one that did not read in that time is not waited for again."""

_BEHIND_S = 0.1


class Line:
    """One node's mouth and ears. run, round: what envelopes say unless told otherwise. sequence: of the last sent."""

    def __init__(self, site: str, charter: Charter, ports: Ports, members: Members) -> None:
        self.run = 0
        self.round = 0
        self.sequence = 0
        self.witness = Witness()
        self._site, self._charter, self._ports, self._members = site, charter, ports, members
        self._gate = Gate(consortium=charter.consortium, me=site, members=members, recover=recover)
        self.heads = Heads()
        self._behind: set[tuple[str, str]] = set()

    def begin(self, run: int, *, height: int, lives: int) -> None:
        """Speak in this run, in numbers above all it ever used: where the facts of earlier lives are lost, the ledger
        has grown since, for a site without its facts left the run on it and came back."""
        self.run = run
        self.sequence = max(self.sequence, (height << 32) + (lives << 20))

    # --- out -------------------------------------------------------------------------------------------------

    async def send(self, kind: str, body: Body, receivers: Sequence[str], place: Mapping[str, int]) -> None:
        """One signed envelope, handed to each receiver; named in it where there is only one."""
        if not receivers:
            return
        frame = self._frame(kind, body, receivers[0] if len(receivers) == 1 else "", place)
        sent = sent_frame(body, frame, kind=kind, round=place.get("round", self.round), receiver="")
        for receiver in receivers:
            self._ports.egress(replace(sent, receiver=receiver))
            await self._hand(receiver, kind, frame)

    async def _hand(self, receiver: str, kind: str, frame: bytes) -> None:
        """Delivery may fail, whoever needs it asks again; so a peer that stops reading costs its patience once."""
        place = (receiver, kind)
        try:
            async with asyncio.timeout(_BEHIND_S if place in self._behind else _SEND_S):
                await self._ports.transport.send(receiver, frame)
        except TimeoutError:
            self._behind.add(place)
        else:
            self._behind.discard(place)

    def _frame(
        self,
        kind: str,
        body: Body,
        receiver: str,
        place: Mapping[str, int],
        *,
        head: tuple[int, bytes] | None = None,
    ) -> bytes:
        """head: to speak of another one than the newest."""
        self.sequence += 1
        height, digest = self.heads.newest if head is None else head
        bare = Envelope(
            version=VERSION,
            consortium=self._charter.consortium,
            run=self.run,
            round=place.get("round", self.round),
            term=place.get("term", 0),
            attempt=place.get("attempt", 0),
            kind=kind,  # type: ignore[arg-type]
            sender=self._site,
            receiver=receiver,
            sequence=self.sequence,
            head_height=height,
            head_hash=digest,
            body=memoryview(b""),
        )
        return encode(sealed(bare, body, self._ports.key.sign))

    # --- in --------------------------------------------------------------------------------------------------

    async def hear(self) -> tuple[Envelope, Body]:
        """The next message that passes the gate and belongs to this run; others are refused, counted and observed."""
        while True:
            sender, frame = await self._ports.transport.receive()
            if not self.run or self._gate.cut(sender):
                continue
            try:
                envelope, body = self._gate.open(sender, frame)
            except PeerError as wrong:
                self._ports.observe(Refused(site=sender, why=str(wrong)))
                continue
            if envelope.run == self.run:
                await self._compare_head(envelope)
                return envelope, body

    async def look(self) -> None:
        """Take the ledger's head as it is here, and compare what peers said of heights it has reached.

        Raises LedgerUnreachable, LedgerForked.
        """
        self.heads.see(await self._ports.blocking(self._ports.ledger.head))
        for envelope in self.heads.due():
            await self._compare_head(envelope)

    async def _compare_head(self, envelope: Envelope) -> None:
        """Raise LedgerForked, with both signed words, when a peer has another block where this node has one.

        Whoever is behind or ahead has none there; a word about a height to come is kept until it is reached.
        """
        height, theirs = envelope.head_height, envelope.head_hash
        if not envelope.signature or not height:
            return
        if self.heads.is_ahead(height):
            other = self.heads.claim(envelope)
            if other is not None:
                self._forked(envelope, other.head_hash, f"for {other.sender!r}", encode(other))
            return
        mine = self.heads.at(height) or await self._hash_at(height)
        if mine is not None and mine != theirs:
            self._forked(envelope, mine, "here", self._frame("bye", Bye(reason="forked"), "", {}, head=(height, mine)))

    async def _hash_at(self, height: int) -> bytes | None:
        try:
            found = await self._ports.blocking(lambda: self._ports.ledger.hash_at(height))
        except LedgerUnreachable:
            return None
        if found is not None:
            self.heads.remember(height, found)
        return found

    def _forked(self, envelope: Envelope, digest: bytes, whose: str, statement: bytes) -> NoReturn:
        raise LedgerForked(
            f"block {envelope.head_height} of the ledger is {envelope.head_hash.hex()[:16]} for"
            f" {envelope.sender!r} and {digest.hex()[:16]} {whose}",
            evidence=(encode(envelope), statement),
        )

    # --- slots -----------------------------------------------------------------------------------------------

    def slot(self, *, round: int, term: int, attempt: int, step: str) -> Slot | None:
        """What must be signed for the contract; None for a payload whose commit already binds its sender."""
        if step == "merge":
            return self.run, round, term, MERGE_SLOT
        for known in self._ports.guard.recipe.steps:
            if known.name == step and known.payload == "survivors":
                return self.run, round, (attempt << 32) + known.number, SURVIVORS_SLOT
            if known.name == step and known.payload == "computed":
                return self.run, round, attempt, STEP_SLOT + known.number
        return None

    def promise(self, action: Offer, packed: Packed) -> Manifest:
        """What this node says of a payload it offers, signed where the contract must be able to check it."""
        slot = self.slot(round=action.round, term=action.term, attempt=action.attempt, step=action.step)
        return Manifest(
            step=action.step,
            digest=packed.digest,
            header=packed.header,
            chunks=packed.chunk_digests,
            inputs_root=action.inputs_root,
            contributors=action.contributors,
            slot=self.sign_slot(slot, packed.digest),
        )

    def note_of(self, action: Propose) -> StepNote:
        """The survivors this node proposes, signed for their slot."""
        bitmap = action.bitmap.to_bytes(32, "big")
        slot = self.slot(round=action.round, term=action.term, attempt=action.attempt, step=action.step)
        return StepNote(step=action.step, bitmap=bitmap, slot=self.sign_slot(slot, bitmap))

    def sign_slot(self, slot: Slot | None, digest: bytes) -> bytes:
        """This node's signature for a slot, empty where none is due."""
        return b"" if slot is None else self._ports.key.sign_message(self._digest(slot, digest))

    def check_slot(
        self, envelope: Envelope, step: str, digest: bytes, signature: bytes
    ) -> tuple[Slot, tuple[bytes, bytes, bytes, bytes]] | None:
        """Raise SignatureError unless the sender signed for the slot; proof if it signed another digest before."""
        slot = self.slot(round=envelope.round, term=envelope.term, attempt=envelope.attempt, step=step)
        if slot is None:
            return None
        site = envelope.sender
        if recover_message(self._digest(slot, digest), signature) != self._members.address_of[site]:
            raise SignatureError(f"offer of {site!r} is not signed for its slot")
        proof = self.witness.note(site, slot, digest, signature)
        return None if proof is None else (slot, proof)

    def _digest(self, slot: Slot, digest: bytes) -> bytes:
        run, round, term, kind = slot
        contract, chain_id = self._charter.contract, self._charter.chain_id
        return slot_digest(
            contract=contract, chain_id=chain_id, run=run, round=round, term=term, kind=kind, digest=digest
        )


def place_of(action: Offer | Propose) -> Mapping[str, int]:
    """Where an envelope belongs that carries out this action."""
    return {"round": action.round, "term": action.term, "attempt": action.attempt}
