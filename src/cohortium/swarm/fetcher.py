"""Getting the payloads the machine asks for: from an offer that carries them, from one about to come, or by asking.

A sender offers its payload by itself when a round closes, so a moment of patience saves two signed messages for each
pair of sites. Whatever is complete has been hashed by `courier.py`; an update must have the layout of the own one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from cohortium.core.frames import Packed
from cohortium.errors import FrameError
from cohortium.swarm.actions import Fetch
from cohortium.swarm.courier import Courier, layout_of
from cohortium.swarm.events import Received
from cohortium.swarm.notices import Refused
from cohortium.swarm.ports import Ports
from cohortium.swarm.view import RunView

__all__ = ["Fetcher"]

_OFFER_S = 2.0
"""How long an offer is awaited before it is asked for."""

_KEYS_BYTES = 1 << 20


class Fetcher:
    """Pending fetches of one node. spawn: starts a task of the node; post: tells the machine."""

    def __init__(
        self,
        site: str,
        ports: Ports,
        courier: Courier,
        *,
        view: Callable[[], RunView],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        post: Callable[[Received], None],
    ) -> None:
        self._site, self._ports, self._courier = site, ports, courier
        self._view, self._spawn, self._post = view, spawn, post
        self._fetching: set[bytes] = set()
        self._awaited: dict[bytes, Fetch] = {}

    def fetch(self, action: Fetch) -> None:
        """At once where the offer carried the payload, else by a task that asks until it is here."""
        try:
            expected, most_bytes = self._expected(action), self._most_bytes(action)
            if self._courier.at_hand(action.digest, expected=expected, most_bytes=most_bytes):
                self._fetched(action)
                return
        except FrameError as wrong:
            self._ports.observe(Refused(site=action.site, why=str(wrong)))
        if action.digest in self._fetching or not action.holders:
            return
        self._fetching.add(action.digest)
        if action.step == "merge" or self._courier.knows(action.digest):
            self._spawn(self._fetch_until_here(action))
        else:  # its sender is about to offer it
            self._awaited[action.digest] = action
            asyncio.get_running_loop().call_later(_OFFER_S, self._ask_instead, action.digest)

    def offered(self, digest: bytes) -> None:
        """An offer of this payload has come: take it, if it was waited for."""
        if awaited := self._awaited.pop(digest, None):
            self._fetching.discard(digest)
            self.fetch(awaited)

    def _ask_instead(self, digest: bytes) -> None:
        """No offer came in time: ask for it."""
        if awaited := self._awaited.pop(digest, None):
            self._spawn(self._fetch_until_here(awaited))

    async def _fetch_until_here(self, action: Fetch) -> None:
        try:
            complete = await self._courier.fetch(
                action.digest,
                holders=action.holders,
                place={"round": action.round, "attempt": action.attempt},
                expected=self._expected(action),
                most_bytes=self._most_bytes(action),
                refuse=lambda site, why: self._ports.observe(Refused(site=site, why=why)),
                is_past=lambda: self._is_past(action),
            )
            if complete:
                self._fetched(action)
        finally:
            self._fetching.discard(action.digest)

    def _expected(self, action: Fetch) -> list[list[object]] | None:
        """The layout an update must have: that of the own one; a merge is held to its digest alone."""
        mine = self._own_update(action, "committed")
        return None if mine is None else layout_of(mine)

    def _most_bytes(self, action: Fetch) -> int | None:
        """The size of what a guard computes: keys and shares are small, a masked vector is eight bytes for each value.

        None for what is held to a layout or to a digest on the ledger.
        """
        mine = self._own_update(action, "computed")
        return None if mine is None else 8 * len(mine.body) + _KEYS_BYTES

    def _own_update(self, action: Fetch, payload: str) -> Packed | None:
        """The own update of the round, if the action is about a step of such payloads."""
        step = next((step for step in self._ports.guard.recipe.steps if step.name == action.step), None)
        current = self._view().round
        if step is None or step.payload != payload or current is None or current.number != action.round:
            return None
        commit = current.commits.get(self._site)
        return self._courier.payloads.get(commit.digest) if commit else None

    def _is_past(self, action: Fetch) -> bool:
        """Whether nobody needs this payload any more."""
        current, newest = self._view().round, self._view().newest
        if action.step == "merge":
            return newest is not None and newest.round > action.round
        return current is not None and current.number > action.round

    def _fetched(self, action: Fetch) -> None:
        self._courier.note_round(action.digest, action.round)
        self._post(Received(action.site, action.round, action.attempt, action.step, action.digest))
