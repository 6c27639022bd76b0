"""What a chain tells about its runs, folded from the events: who took part, what became final, how each ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from cohortium.ledger.blocks import Happening

__all__ = ["Merge", "RunSummary", "Story"]

_STATES: Final = {4: "finished", 5: "failed"}


@dataclass(frozen=True, kw_only=True)
class Merge:
    """One final round: the digest all agreed on and whose updates are in it, sorted."""

    round: int
    digest: bytes
    contributors: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run. study: digest of the approved plan. state: `open`, `finished` or `failed`."""

    run: int
    study: bytes
    proposer: str
    sites: tuple[str, ...]
    state: str
    reason: int
    merges: tuple[Merge, ...]


@dataclass
class Story:
    """The runs as of the last event told."""

    _runs: dict[int, dict[str, Any]] = field(default_factory=dict)

    def tell(self, events: Iterable[Happening]) -> None:
        """Follow what happened; events that say nothing about these facts are passed over."""
        for event in events:
            args = event.args
            if event.name == "Proposed":
                self._runs[args["run"]] = {
                    "study": args["spec"],
                    "proposer": args["site"],
                    "joiners": {},
                    "merges": [],
                    "state": "open",
                    "reason": 0,
                }
            elif event.name in ("Approved", "Joined"):
                self._runs[args["run"]]["joiners"][args["joiner"]] = args["site"]
            elif event.name == "Final":
                joiners = self._runs[args["run"]]["joiners"]
                inside = sorted(site for index, site in joiners.items() if args["contributors"] >> index & 1)
                merge = Merge(round=args["round"], digest=args["digest"], contributors=tuple(inside))
                self._runs[args["run"]]["merges"].append(merge)
            elif event.name == "Ended":
                self._runs[args["run"]].update(state=_STATES[args["state"]], reason=args["reason"])

    def summaries(self) -> tuple[RunSummary, ...]:
        """All runs ever proposed, in order."""
        return tuple(
            RunSummary(
                run=run,
                study=told["study"],
                proposer=told["proposer"],
                sites=tuple(sorted(told["joiners"].values())),
                state=told["state"],
                reason=told["reason"],
                merges=tuple(told["merges"]),
            )
            for run, told in sorted(self._runs.items())
        )
