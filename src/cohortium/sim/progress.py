"""What the nodes tell during a run, gathered into one line and one record a round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cohortium.swarm.notices import Notice, RoundRecord

__all__ = ["MergedRound", "Progress"]

_SHOWN = ("auroc", "c_index", "accuracy", "rmse")
_NAMES = {"auroc": "AUROC", "c_index": "C-index", "accuracy": "accuracy", "rmse": "RMSE"}


@dataclass(kw_only=True)
class MergedRound:
    """One merge as the nodes saw it. per_site: each site's measures on its own held-out rows."""

    round: int
    turn: int
    digest: bytes
    leader: str
    contributors: tuple[str, ...]
    per_site: dict[str, Mapping[str, float]] = field(default_factory=dict)


class Progress:
    """Listens to all nodes; a round's line is said when every site has adopted it, or when the next one begins.

    stages: which stage each round belongs to, filled while the run goes on.
    """

    def __init__(
        self, *, sites: Sequence[str], max_rounds: int, stages: Mapping[int, str], say: Callable[[str], None]
    ) -> None:
        self.sites = tuple(sites)
        self.stages = stages
        self.rounds: list[MergedRound] = []
        self.seconds: list[float] = []
        self._max = max_rounds
        self._say = say
        self._said = 0
        self._began = self._last = time.monotonic()

    def hear(self, notice: Notice) -> None:
        """Take one notice of any node."""
        if not isinstance(notice, RoundRecord):
            return
        known = next((one for one in reversed(self.rounds) if one.turn == notice.turn), None)
        if known is None:
            self._say_all()
            known = MergedRound(
                round=notice.round,
                turn=notice.turn,
                digest=notice.digest,
                leader=notice.leader,
                contributors=notice.contributors,
            )
            self.rounds.append(known)
            now = time.monotonic()
            self.seconds.append(now - self._last)
            self._last = now
        known.per_site[notice.site] = notice.measures
        if len(known.per_site) == len(self.sites):
            self._say_all()

    def close(self) -> None:
        """Say what has not been said yet."""
        self._say_all()

    def merged(self, one: MergedRound) -> dict[str, float | None]:
        """Plain mean over sites of every measure of one round."""
        names = sorted({name for values in one.per_site.values() for name in values})
        found: dict[str, float | None] = {}
        for name in names:
            values = [held[name] for _, held in sorted(one.per_site.items()) if name in held]
            found[name] = sum(values) / len(values) if values else None
        return found

    def _say_all(self) -> None:
        while self._said < len(self.rounds):
            self._say(self._line(self._said))
            self._said += 1

    def _line(self, at: int) -> str:
        one = self.rounds[at]
        parts = [f"round {one.turn:>3}/{self._max}", f"{len(one.contributors)}/{len(self.sites)} sites"]
        stage = self.stages.get(one.turn, "model")
        parts += [f"prepares: {stage}"] if stage != "model" else []
        measures = self.merged(one)
        parts += [f"{_NAMES[name]} {measures[name]:.3f}" for name in _SHOWN[:2] if measures.get(name) is not None]
        parts += [f"{self.seconds[at]:.1f} s", f"leader {one.leader}"]
        left = (time.monotonic() - self._began) / (at + 1) * (self._max - one.turn)
        if left >= 2:
            parts.append(f"ETA {left:.0f} s at most")
        return "  ".join(parts)
