"""Whether this node does its part: healthy is more than alive.

Healthy means: its certificate is the one on the ledger and valid, its ledger is read, a peer was heard within a minute,
and that peer has the same block at the same height. Everything else is said in one sentence, with what to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cohortium.core.seams import Head
from cohortium.errors import LedgerUnreachable
from cohortium.swarm.membership import Members

__all__ = ["FRESH_S", "Health"]

FRESH_S = 60.0
"""How long a peer's word counts."""

_OWN = {
    "unknown": "this site is no member yet; another member votes: cohortium node approve",
    "excluded": "this site was excluded from the consortium",
    "left": "this site has left the consortium",
    "other keys": "the ledger has other keys of this site than this home; run: cohortium node rotate, or restore keys/",
    "rotated": "new keys are on the ledger and not yet in use here; restart the node",
}


class _Network(Protocol):
    def paths(self) -> Mapping[str, str]: ...

    def traffic(self) -> Mapping[str, Any]: ...

    def refusals(self) -> Mapping[str, int]: ...

    @property
    def own_trouble(self) -> str: ...


class _Directory(Protocol):
    def own(self, staged: bytes | None) -> str: ...

    def without_card(self) -> tuple[str, ...]: ...


class _Ledger(Protocol):
    def head(self) -> Head: ...


@dataclass(slots=True)
class _Word:
    """A peer's newest head. same: whether this chain has the same block there, None where it is shorter."""

    at_s: float
    height: int
    same: bool | None


class Health:
    """What is known of network, ledger and peers. monotonic: seconds."""

    def __init__(
        self,
        *,
        network: _Network,
        directory: _Directory,
        ledger: _Ledger,
        members: Members,
        site: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._network, self._directory, self._ledger, self._members = network, directory, ledger, members
        self._site, self._monotonic = site, monotonic
        self._words: dict[str, _Word] = {}
        self._away = ""
        self._away_since: float | None = None

    def heard(self, peer: str, *, height: int, same: bool | None) -> None:
        """A peer told its head."""
        self._words[peer] = _Word(self._monotonic(), height, same)

    def ledger_read(self) -> None:
        """The ledger answers."""
        self._away, self._away_since = "", None

    def ledger_away(self, why: str) -> None:
        """The ledger does not answer."""
        self._away = why
        self._away_since = self._monotonic() if self._away_since is None else self._away_since

    def problems(self, *, staged: bytes | None, forked: str) -> list[str]:
        """Everything that keeps this node from doing its part; empty when it is healthy."""
        found = [f"the ledger was written twice: {forked}; the proof is in evidence/"] if forked else []
        own = self._directory.own(staged)
        if own != "active":
            found.append(_OWN.get(own, f"the ledger says of this site: {own}"))
        if trouble := self._network.own_trouble:
            found.append(trouble)
        now = self._monotonic()
        if self._away_since is not None and now - self._away_since > FRESH_S / 2:
            found.append(f"the ledger is away since {now - self._away_since:.0f} s: {self._away}")
        others = self._members.active - {self._site}
        fresh = {peer: word for peer, word in self._words.items() if now - word.at_s <= FRESH_S and peer in others}
        if others and not fresh:
            found.append(f"no other member was heard within {FRESH_S:.0f} s")
        elif others and not any(word.same is not False for word in fresh.values()):
            found.append(f"the chain here differs from that of {', '.join(sorted(fresh))}")
        if missing := self._directory.without_card():
            found.append(
                f"no card is known of {', '.join(missing)}, so they cannot be reached; approve their request file"
            )
        return found

    def document(self, *, staged: bytes | None, forked: str) -> dict[str, Any]:
        """For `status`: healthy, problems, ledger, peers."""
        problems, now = self.problems(staged=staged, forked=forked), self._monotonic()
        try:
            head = self._ledger.head()
            ledger: dict[str, Any] = {"height": head.height, "hash": head.hash.hex(), "trouble": self._away}
        except LedgerUnreachable as away:
            ledger = {"height": 0, "hash": "", "trouble": str(away)}
        traffic, paths = self._network.traffic(), self._network.paths()
        peers = {}
        for site in sorted(self._members.active - {self._site}):
            word, counted = self._words.get(site), traffic.get(site)
            peers[site] = {
                "path": paths.get(site, "none: no card"),
                "heard_s_ago": round(now - word.at_s, 1) if word else None,
                "height": word.height if word else None,
                "same_chain": word.same if word else None,
                "sent_bytes": counted.sent_bytes if counted else 0,
                "received_bytes": counted.received_bytes if counted else 0,
            }
        return {
            "healthy": not problems,
            "problems": problems,
            "ledger": ledger,
            "peers": peers,
            "refused": dict(self._network.refusals()),
        }
