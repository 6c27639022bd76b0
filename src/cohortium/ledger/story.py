"""What a chain tells, folded from its events: of runs, who took part, what became final and how each ended; of privacy,
what was spent, what commitments say of it, and what audits found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cohortium.core.spending import Booked
from cohortium.ledger.blocks import Happening

__all__ = ["AuditSaid", "HarmSaid", "Merge", "PrivacySummary", "RunSummary", "Story"]

_STATES: Final = {4: "finished", 5: "failed"}


@dataclass(frozen=True, kw_only=True)
class Merge:
    """One final round: the digest all agreed on and whose updates are in it, sorted."""

    round: int
    digest: bytes
    contributors: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run. study: digest of the approved plan. state: `open`, `finished` or `failed`. seed: what the nonces of all

    came to, empty before the start.
    """

    run: int
    study: bytes
    proposer: str
    sites: tuple[str, ...]
    state: str
    reason: int
    merges: tuple[Merge, ...]
    seed: bytes = b""


@dataclass(frozen=True, kw_only=True)
class AuditSaid:
    """What a site found when it attacked a run's model. verdict: 1 pass, 2 fail, 3 inconclusive; digest: of it all."""

    run: int
    site: str
    tier: int
    verdict: int
    digest: bytes


@dataclass(frozen=True, kw_only=True)
class HarmSaid:
    """A verdict on one site's data that stands. verdict: 1 keep to 6 inconclusive; evidence: digest of the table.

    votes: who had said so, sorted, the subject never among them. appeal: its code, 0 while there is none.
    """

    run: int
    subject: str
    verdict: int
    evidence: bytes
    votes: tuple[str, ...]
    appeal: int = 0


@dataclass(frozen=True, kw_only=True)
class PrivacySummary:
    """Everything of privacy on a chain, oldest first. committed: (run, round, site) -> epsilon so far in millionths.

    promised: of each run, the epsilon it may not pass, in millionths. versions: (site, handle) of data versions.
    """

    booked: tuple[Booked, ...] = ()
    committed: Mapping[tuple[int, int, str], int] = field(default_factory=dict)
    promised: Mapping[int, int] = field(default_factory=dict)
    versions: tuple[tuple[str, str], ...] = ()
    audits: tuple[AuditSaid, ...] = ()


@dataclass
class Story:
    """The runs as of the last event told. commitments: (run, round, site) -> digest of what the site would send."""

    _runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    commitments: dict[tuple[int, int, str], bytes] = field(default_factory=dict)
    _booked: list[Booked] = field(default_factory=list)
    _committed: dict[tuple[int, int, str], int] = field(default_factory=dict)
    _promised: dict[int, int] = field(default_factory=dict)
    _versions: list[tuple[str, str]] = field(default_factory=list)
    _audits: list[AuditSaid] = field(default_factory=list)
    _votes: dict[tuple[Any, ...], set[str]] = field(default_factory=dict)
    _verdicts: dict[tuple[int, str], tuple[Any, ...]] = field(default_factory=dict)
    _appeals: dict[tuple[int, str], int] = field(default_factory=dict)

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
                    "seed": b"",
                }
            elif event.name == "Started":
                self._runs[args["run"]]["seed"] = args["seed"]
            elif event.name in ("Approved", "Joined"):
                self._runs[args["run"]]["joiners"][args["joiner"]] = args["site"]
            elif event.name == "Final":
                joiners = self._runs[args["run"]]["joiners"]
                inside = sorted(site for index, site in joiners.items() if args["contributors"] >> index & 1)
                merge = Merge(round=args["round"], digest=args["digest"], contributors=tuple(inside))
                self._runs[args["run"]]["merges"].append(merge)
            elif event.name == "Ended":
                self._runs[args["run"]].update(state=_STATES[args["state"]], reason=args["reason"])
            self._tell_privacy(event)
            self._tell_harm(event)

    def _tell_harm(self, event: Happening) -> None:
        args = event.args
        if event.name == "Appealed":
            self._appeals[args["run"], args["site"]] = args["code"]
        elif event.name in ("HarmRecorded", "HarmVerdict"):
            same = args["run"], args["round"], args["subject"], args["verdict"], args["evidence"]
            votes = self._votes.setdefault(same, set())
            if event.name == "HarmRecorded":
                votes.add(args["site"])
            else:
                self._verdicts[args["run"], args["subject"]] = same

    def harm(self) -> tuple[HarmSaid, ...]:
        """Verdicts on sites' data that stand, by run and site."""
        return tuple(
            HarmSaid(
                run=run,
                subject=subject,
                verdict=same[3],
                evidence=same[4],
                votes=tuple(sorted(self._votes[same])),
                appeal=self._appeals.get((run, subject), 0),
            )
            for (run, subject), same in sorted(self._verdicts.items())
        )

    def _tell_privacy(self, event: Happening) -> None:
        args = event.args
        match event.name:
            case "Proposed":
                self._promised[args["run"]] = args["budget"]
            case "DataChanged":
                self._versions.append((args["site"], args["dataset"].hex()))
            case "Spent":
                self._booked.append(
                    Booked(
                        run=args["run"],
                        round=args["round"],
                        site=args["site"],
                        dataset=args["dataset"].hex(),
                        record=args["record"],
                        eps_micro=args["eps_micro"],
                    )
                )
            case "Committed":
                self._committed[args["run"], args["round"], args["site"]] = args["eps_micro"]
                self.commitments[args["run"], args["round"], args["site"]] = bytes(args["digest"])
            case "Audited":
                self._audits.append(AuditSaid(**args))

    def privacy(self) -> PrivacySummary:
        """What was spent and audited."""
        return PrivacySummary(
            booked=tuple(self._booked),
            committed=dict(self._committed),
            promised=dict(self._promised),
            versions=tuple(self._versions),
            audits=tuple(self._audits),
        )

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
                seed=bytes(told["seed"]),
            )
            for run, told in sorted(self._runs.items())
        )
