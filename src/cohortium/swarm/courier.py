"""Payloads between nodes: offer, serve, fetch. Everything that arrives is hashed before the machine hears of it.

Small payloads travel inside their offer; large ones are pulled chunk by chunk from any holder, resumed where a
stream broke, and asked for again until they are complete or the round has moved on. Only what was offered is
served, and only to those it was offered to; a merge is served to every site of the run that asks.

An offer is kept only if its promise hashes to its digest, so that nobody can stand in the way of another's payload,
and only so many are kept of one sender in one round.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cohortium.core.frames import Intake, Limits, Packed, digest_of, read_header
from cohortium.core.messages import Body, Chunk, Envelope, Manifest, Need, Offer
from cohortium.errors import FrameError

__all__ = ["INLINE_BYTES", "Courier", "layout_of"]

INLINE_BYTES = 48 << 10
"""Largest payload that travels inside its offer."""

_WINDOW = 8
"""Chunks asked for, and given, at once."""

_OFFERS = 16
"""Offers kept of one sender in one round; an honest one makes at most one for each step and attempt, and merges."""

_ANSWERS = 8
"""Answers to one sender on the way at once."""

_TIMES = 32
"""How often a whole payload is given to one sender; what a bad line loses is asked for again, but not for ever."""

Send = Callable[[str, Body, Sequence[str], Mapping[str, int]], Awaitable[None]]
"""(kind, body, receivers, {round, term, attempt}) -> sent, as one envelope for all of them."""


@dataclass
class _Goods:
    packed: Packed
    offer: Offer
    place: Mapping[str, int]
    to: set[str] | None  # None: whoever asks


class Courier:
    """One node's payloads on the way. `payloads` holds what is here, by digest.

    limits: what this site accepts. retry_s: how long a request is waited for before another holder is asked.
    """

    def __init__(self, send: Send, *, limits: Limits, retry_s: float) -> None:
        self.payloads: dict[bytes, Packed] = {}
        self._send = send
        self._limits = limits
        self._retry_s = retry_s
        self._goods: dict[bytes, _Goods] = {}
        self._slots: dict[tuple[int, int, str], bytes] = {}
        self._offers: dict[bytes, Offer] = {}
        self._intakes: dict[bytes, Intake] = {}
        self._news: dict[bytes, asyncio.Event] = {}
        self._rounds: dict[bytes, int] = {}
        self._heard: dict[tuple[str, int], set[bytes]] = {}
        self._answering: Counter[str] = Counter()
        self._served: Counter[tuple[bytes, str]] = Counter()

    # --- giving ----------------------------------------------------------------------------------------------

    async def offer(self, manifest: Manifest, packed: Packed, *, to: Iterable[str], place: Mapping[str, int]) -> None:
        """Offer a payload to these sites and serve it to them from now on; `merge` to whoever asks."""
        receivers = list(to)
        inline = bytes(packed.body) if len(packed.body) <= INLINE_BYTES else None
        offer = Offer(manifest=manifest, inline=inline)
        goods = self._goods.get(manifest.digest)
        if goods is None:
            served = None if manifest.step == "merge" else set(receivers)
            self._goods[manifest.digest] = goods = _Goods(packed, offer, dict(place), served)
        elif goods.to is not None:
            goods.to.update(receivers)
        goods.offer, goods.place = offer, dict(place)
        self._slots[place["round"], place["attempt"], manifest.step] = manifest.digest
        self._rounds[manifest.digest] = place["round"]
        await self._send("offer", offer, receivers, place)

    def serve(self, packed: Packed, manifest: Manifest, *, place: Mapping[str, int]) -> None:
        """Serve a merge to whoever asks for it."""
        inline = bytes(packed.body) if len(packed.body) <= INLINE_BYTES else None
        self._goods[packed.digest] = _Goods(packed, Offer(manifest=manifest, inline=inline), dict(place), None)
        self._rounds[packed.digest] = place["round"]

    async def answer(self, envelope: Envelope, need: Need) -> None:
        """Give what a peer asks for, if it was offered to it."""
        digest = need.digest or self._slots.get((envelope.round, envelope.attempt, need.step), b"")
        goods = self._goods.get(digest)
        if goods is None or (goods.to is not None and envelope.sender not in goods.to):
            return
        if self._answering[envelope.sender] >= _ANSWERS:
            return  # whoever asks faster than it listens asks again
        place, wanted = (digest, envelope.sender), min(len(set(need.chunks)) or 1, _WINDOW)
        if self._served[place] + wanted > _TIMES * (len(goods.packed.chunk_digests) + 1):
            return  # a word of a hundred bytes must not be answered with megabytes as often as anybody likes
        self._served[place] += wanted
        self._answering[envelope.sender] += 1
        try:
            await self._give(goods, need, envelope.sender)
        finally:
            self._answering[envelope.sender] -= 1

    async def _give(self, goods: _Goods, need: Need, to: str) -> None:
        if not need.chunks:
            await self._send("offer", goods.offer, [to], goods.place)
        for index in sorted(set(need.chunks))[:_WINDOW]:
            if index < len(goods.packed.chunk_digests):
                chunk = Chunk(digest=goods.packed.digest, index=index, data=goods.packed.chunk(index))
                await self._send("chunk", chunk, [to], goods.place)

    # --- taking ----------------------------------------------------------------------------------------------

    def wants(self, digest: bytes) -> bool:
        """Whether this payload is being fetched."""
        return digest in self._news

    def take_offer(self, sender: str, round: int, offer: Offer) -> None:
        """Keep an offer; it is opened when the machine asks for it. FrameError if it does not keep its promise."""
        manifest, digest = offer.manifest, offer.manifest.digest
        if digest_of(manifest.header, manifest.chunks) != digest:
            raise FrameError(f"offer of {sender!r}: its header and chunks do not hash to its digest")
        if offer.inline and (hashlib.sha256(offer.inline).digest(),) != manifest.chunks:
            raise FrameError(f"offer of {sender!r}: the body in it is not the promised one")
        heard = self._heard.setdefault((sender, round), set())
        if digest not in heard and len(heard) >= _OFFERS:
            raise FrameError(f"more than {_OFFERS} payloads of {sender!r} in round {round}")
        heard.add(digest)
        if digest not in self.payloads:
            self._offers.setdefault(digest, offer)
            self._rounds.setdefault(digest, round)
            if news := self._news.get(digest):
                news.set()

    def take_chunk(self, chunk: Chunk) -> None:
        """Add a chunk to the payload it belongs to. FrameError if it is not the promised one."""
        intake = self._intakes.get(chunk.digest)
        if intake is not None and intake.add(chunk.index, chunk.data):
            self._news[chunk.digest].set()

    def at_hand(self, digest: bytes, *, expected: list[list[object]] | None, most_bytes: int | None = None) -> bool:
        """Whether the payload is here, or was just made complete from an offer that carries it. FrameError."""
        if digest in self.payloads:
            return True
        offer = self._offers.get(digest)
        if offer is None or offer.inline is None:
            return False
        intake = self._open(digest, offer, expected, most_bytes)
        if offer.inline or not intake.complete:
            intake.add(0, offer.inline)
        return self._keep(digest, intake)

    def knows(self, digest: bytes) -> bool:
        """Whether an offer of this payload is here."""
        return digest in self._offers

    async def fetch(
        self,
        digest: bytes,
        *,
        holders: tuple[str, ...],
        place: Mapping[str, int],
        expected: list[list[object]] | None,
        refuse: Callable[[str, str], None],
        is_past: Callable[[], bool],
        most_bytes: int | None = None,
    ) -> bool:
        """True once the payload is complete here; asks the holders in turn. False when nobody needs it any more.

        most_bytes: of its body, where less than this site accepts at all.
        """
        news = self._news.setdefault(digest, asyncio.Event())
        asked: frozenset[int] | None = None  # chunks asked for and not yet waited for in vain
        turn = 0
        while not is_past():
            news.clear()
            intake = None
            try:
                if self.at_hand(digest, expected=expected, most_bytes=most_bytes):
                    return True
                intake = self._intakes.get(digest) or self._opened(digest, expected, most_bytes)
                if intake is not None and self._keep(digest, intake):
                    return True
            except FrameError as wrong:
                refuse(holders[turn % len(holders)], str(wrong))
                self._offers.pop(digest, None)
                self._intakes.pop(digest, None)
                intake, asked, turn = None, None, turn + 1
            missing = () if intake is None else intake.missing()
            if asked is None or (missing and asked.isdisjoint(missing)):
                asked = frozenset(missing[:_WINDOW])
                need = Need(digest=digest, chunks=missing[:_WINDOW])
                await self._send("need", need, [holders[turn % len(holders)]], place)
            try:
                async with asyncio.timeout(self._retry_s):
                    await news.wait()
            except TimeoutError:
                asked, turn = None, turn + 1
        return False

    def _opened(self, digest: bytes, expected: list[list[object]] | None, most_bytes: int | None) -> Intake | None:
        offer = self._offers.get(digest)
        return None if offer is None else self._open(digest, offer, expected, most_bytes)

    def _open(self, digest: bytes, offer: Offer, expected: list[list[object]] | None, most_bytes: int | None) -> Intake:
        manifest, limits = offer.manifest, self._limits
        if most_bytes is not None:
            limits = replace(limits, body_bytes=min(limits.body_bytes, most_bytes))
        intake = Intake(digest, manifest.header, manifest.chunks, limits=limits, expected=expected)
        self._intakes[digest] = intake
        self._news.setdefault(digest, asyncio.Event())
        return intake

    def _keep(self, digest: bytes, intake: Intake) -> bool:
        if not intake.complete:
            return False
        self.payloads[digest] = intake.packed()
        self._intakes.pop(digest, None)
        self._offers.pop(digest, None)
        return True

    # --- forgetting ------------------------------------------------------------------------------------------

    def hold(self, packed: Packed, *, round: int) -> None:
        """Keep a payload made here."""
        self.payloads[packed.digest] = packed
        self._rounds[packed.digest] = max(round, self._rounds.get(packed.digest, 0))

    def note_round(self, digest: bytes, round: int) -> None:
        """Say to which round a payload belongs."""
        self._rounds[digest] = max(round, self._rounds.get(digest, 0))

    def forget_inputs(self, round: int, *, keep: Iterable[bytes]) -> None:
        """Let go of what others sent for rounds up to this one: their merge is final, and nobody is served it here."""
        kept = {*keep, *self._goods}
        for digest in [d for d, number in self._rounds.items() if number <= round and d not in kept]:
            self.payloads.pop(digest, None)

    def forget_before(self, round: int, *, keep: Iterable[bytes]) -> None:
        """Let go of payloads of rounds before this one."""
        kept = set(keep)
        for digest in [d for d, number in self._rounds.items() if number < round and d not in kept]:
            for table in (self._rounds, self.payloads, self._goods, self._offers, self._intakes, self._news):
                table.pop(digest, None)
        for slot in [slot for slot in self._slots if slot[0] < round]:
            del self._slots[slot]
        for served in [served for served in self._served if served[0] not in self._goods]:
            del self._served[served]
        for place in [place for place in self._heard if place[1] < round]:
            del self._heard[place]


def layout_of(packed: Packed) -> list[list[object]]:
    """Names, dtypes and shapes of a payload."""
    return read_header(packed.header).layout
