"""One run as one site sees it: what the ledger says, what this site decided, what was heard of the others.

Holds no rule of the protocol: the ledger's events are folded by `RunView`, what happens next is decided by the run's
`Node`. Everything shown by `status`, `run list` and `run watch` is taken from here; watchers hear every line once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cohortium.core.seams import LedgerEvent
from cohortium.core.study import Study
from cohortium.node.run_folder import Ending, RunFolder
from cohortium.swarm.actions import Outcome
from cohortium.swarm.ending import outcome_of
from cohortium.swarm.membership import Members
from cohortium.swarm.node import Node
from cohortium.swarm.notices import Notice, Progressed, RoundRecord, Troubled
from cohortium.swarm.view import Phase, RunState, RunView

__all__ = ["Run"]

_LINES = 4096
_WAITING = 1024

Line = dict[str, Any]


@dataclass(slots=True)
class _Heard:
    """The last word of a site. at_s: monotonic."""

    stage: str
    fraction: float
    at_s: float
    eta_s: float = 0.0
    trouble: str = ""


class Run:
    """One run at this site.

    terms: of its proposal. members_then: who belonged when it was proposed. blocked: why this site cannot take part as
    it is; findings: what was found in its own data. halted: why this site stopped taking part without wanting to.
    replaying: what is told happened before this process began, nobody knows when.
    """

    def __init__(
        self,
        proposed: LedgerEvent,
        *,
        site: str,
        members: Members,
        folder: RunFolder,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        sent_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        self.number = int(str(proposed.args["run"]))
        self.height = proposed.height
        self.spec = bytes(proposed.args["spec"])  # type: ignore[call-overload]
        self.proposer = str(proposed.args["site"])
        self.terms = proposed.args
        self.site = site
        self.members_then = tuple(sorted(members.active))
        self.folder = folder
        self.view = RunView(run=self.number, members=members)
        self.study: Study | None = None
        self.node: Node | None = None
        self.blocked = ""
        self.halted = ""
        self.replaying = False
        self.here = "looking"
        self.findings: Mapping[str, Any] = {}
        self.stages: Mapping[int, str] = {}
        self._approvals: list[str] = []
        self._heard: dict[str, _Heard] = {}
        self._clock, self._monotonic, self._sent_bytes = clock, monotonic, sent_bytes
        self._lines: deque[Line] = deque(maxlen=_LINES)
        self._rounds: dict[int, Line] = {}
        self._watchers: set[asyncio.Queue[Line]] = set()
        self._changed = asyncio.Event()
        self._began_s = self._round_s = clock()
        self._sent = 0
        self.apply(proposed)

    @property
    def joiners(self) -> tuple[str, ...]:
        """The sites the program is built for, sorted, the same at every node: those that approved in time.

        While they may still answer, all that may.
        """
        waiting = self.view.state in (RunState.NONE, RunState.APPROVING)
        return self.members_then if waiting else tuple(sorted(self._approvals))

    @property
    def is_live(self) -> bool:
        """Whether this site takes part as the ledger sees it, now or from the next round on."""
        return self.site in self.view.live or self.site in self.view.pending

    @property
    def leads(self) -> bool:
        """Whether others wait for this site to lead the round on."""
        round = self.view.round
        return not self.view.ended and round is not None and round.leader == self.site and round.phase > Phase.COLLECT

    # --- what happens ------------------------------------------------------------------------------------------

    def apply(self, event: LedgerEvent) -> None:
        """Take in an event of this run."""
        self.view.apply(event)
        name, args = event.name, event.args
        if name == "Approved":
            self._approvals.append(str(args["site"]))
        if name in ("Approved", "Declined", "Ready", "Joined"):
            self.say(name.lower(), site=args["site"])
        elif name == "Started":
            self._began_s = self._round_s = self._clock()
            self.say("started", sites=sorted(self.view.live), missing=list(self.view.names(int(str(args["missing"])))))
        elif name == "Closed" and args["missing"]:
            self.say("closed", round=args["round"], missing=list(self.view.names(int(str(args["missing"])))))
        elif name in ("Dropped", "Withdrawn", "Swept"):
            gone = self.view.departures[-1]
            self.say("left", site=gone.site, round=gone.round, stage=gone.stage, reason=gone.reason)
        elif name == "Final" and self.node is None:
            self._say_round(self.view.finals[-1].round, len(self.view.finals), {})
        elif name == "Ended":
            self.change()

    def hear(self, notice: Notice) -> None:
        """Take in what this site's node observed."""
        now = self._monotonic()
        match notice:
            case Progressed(site=site, stage=stage, fraction=fraction):
                self._heard[site] = _Heard(stage, fraction, now, notice.eta_s)
                self.say("progress", site=site, round=notice.round, stage=stage, fraction=fraction)
            case Troubled(site=site, stage=stage, code=code):
                known = self._heard.get(site)
                repeated = known is not None and known.trouble == code
                self._heard[site] = _Heard(stage, 0.0, now, trouble=code)
                if not repeated:
                    self.say("trouble", site=site, round=notice.round, stage=stage, code=code, where=notice.where)
            case RoundRecord():
                self._say_round(notice.round, notice.turn, notice.measures)

    def _say_round(self, number: int, turn: int, measures: Mapping[str, float]) -> None:
        final = next((one for one in self.view.finals if one.round == number), None)
        now, sent = self._clock(), self._sent_bytes()
        self.say(
            "round",
            round=number,
            turn=turn,
            of=self.view.n_rounds,
            contributors=list(final.contributors) if final else [],
            n_sites=len(self.view.joiners),
            leader=final.leader if final else "",
            digest=final.digest.hex() if final else "",
            stage=self.stages.get(turn, ""),
            measures=dict(measures),
            seconds=round(now - self._round_s, 3),
            bytes=sent - self._sent,
        )
        self._round_s, self._sent = now, sent

    @property
    def seconds(self) -> float:
        """Since the run has started, or this process knows of it."""
        return self._clock() - self._began_s

    def rounds(self) -> dict[int, Line]:
        """The lines of adopted merges in this process, by merge."""
        return self._rounds

    # --- watching ----------------------------------------------------------------------------------------------

    def say(self, event: str, **more: Any) -> None:
        """One line for everybody who watches. Progress is told, not kept."""
        at = None if self.replaying else round(self._clock(), 3)
        line = {"event": event, "run": self.number, "time": at, **more}
        if event != "progress":
            self._lines.append(line)
        if event == "round":  # kept apart: a peer that tells ever new troubles pushes none of them out
            self._rounds[more["turn"]] = line
        for watcher in [*self._watchers]:
            try:
                watcher.put_nowait(line)
            except asyncio.QueueFull:  # whoever cannot follow is cut off
                self._watchers.discard(watcher)

    def watch(self) -> tuple[tuple[Line, ...], asyncio.Queue[Line]]:
        """The lines so far, and a queue that gets those to come, until `unwatch`."""
        queue: asyncio.Queue[Line] = asyncio.Queue(_WAITING)
        self._watchers.add(queue)
        return tuple(self._lines), queue

    def unwatch(self, queue: asyncio.Queue[Line]) -> None:
        """Forget a watcher."""
        self._watchers.discard(queue)

    def is_watched(self, queue: asyncio.Queue[Line]) -> bool:
        """Whether the queue still gets lines."""
        return queue in self._watchers

    def change(self) -> None:
        """Wake whoever tends the run: a person has decided, or the ledger has ended it."""
        self._changed.set()

    async def changed(self, *, timeout_s: float) -> None:
        """Return after the next `change`, or when the time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return
        finally:
            self._changed.clear()

    # --- showing -----------------------------------------------------------------------------------------------

    def document(self) -> dict[str, Any]:
        """Everything that may be shown of the run, as JSON values."""
        view, decision, ending = self.view, self.folder.decision(), self.folder.ending()
        return {
            "run": self.number,
            "study": self.spec.hex(),
            "name": self.study.name if self.study else "",
            "proposer": self.proposer,
            "state": view.state.name.lower(),
            "here": self.here,
            "sentence": self.sentence(),
            "decision": decision.word if decision else "",
            "decided_by": decision.by if decision else "",
            "blocked": self.blocked,
            "halted": self.halted,
            "min_sites": view.least,
            "round": view.round.number if view.round else 0,
            "merges": len(view.finals),
            "n_rounds": view.n_rounds,
            "leader": view.round.leader if view.round else "",
            "phase": view.round.phase.name.lower() if view.round else "",
            "joiners": list(view.joiners),
            "live": sorted(view.live),
            "missing": self.missing(),
            "sites": {site: self._site(site) for site in sorted(view.members.active | set(view.joiners))},
            "digest": view.newest.digest.hex() if view.newest else "",
            "findings": dict(self.findings),
            "status": ending.status if ending else "",
            "exit_code": ending.exit_code if ending else None,
            "report": str(self.folder.report or ""),
        }

    @property
    def is_over_without_us(self) -> bool:
        """Whether the run has ended, and this site had no part in it that would have to be recorded."""
        decision = self.folder.decision()
        return self.view.ended and (decision is None or decision.word != "approve")

    def ended_line(self, ending: Ending | None) -> Line:
        """The last line of whoever watches. ending: as it was recorded here, None where it was not."""
        if ending is None:
            status = "failed" if self.halted or not self.view.ended else self._outcome.status
            ending = Ending(status=status, sentence=self.sentence())
        return {
            "event": "ended",
            "run": self.number,
            "status": ending.status,
            "sentence": ending.sentence,
            "exit_code": ending.exit_code,
            "missing": ending.missing,
            "report": str(self.folder.report or ""),
        }

    def missing(self) -> list[str]:
        """Whom the run waits for now."""
        view = self.view
        if view.state is RunState.APPROVING:
            return sorted(view.members.active - view.answered)
        if view.state is RunState.READYING:
            return sorted(view.live - view.ready)
        if view.state is RunState.RUNNING and view.round is not None and view.round.phase is Phase.COLLECT:
            return sorted(view.live - view.round.commits.keys())
        return []

    def sentence(self) -> str:
        """Where the run stands, in a few words."""
        view = self.view
        if self.halted:
            return f"stopped here: {self.halted}"
        if view.ended:
            return str(self._outcome)
        waits = ", ".join(self.missing())
        match view.state:
            case RunState.APPROVING:
                return f"waits for the answer of {waits}" if waits else "being approved"
            case RunState.READYING:
                return f"waits until ready: {waits}" if waits else "about to start"
        if paused := self._paused():
            return paused
        number = view.round.number if view.round else 0
        return f"round {number}/{view.n_rounds}" + (f", waits for {waits}" if waits else f", {self._phase}")

    @property
    def _phase(self) -> str:
        return self.view.round.phase.name.lower() if self.view.round else ""

    @property
    def _outcome(self) -> Outcome:
        return outcome_of(self.view, complete_share=self.study.swarm.complete_share if self.study else 1.0)

    def _paused(self) -> str:
        """`paused (2 of 7 reachable)` while a majority of the live sites is silent for this one."""
        if self.node is None or self.site not in self.view.live or self.study is None:
            return ""
        since = self._monotonic() - self.study.swarm.silence_s
        near = [s for s in self.view.live if s == self.site or (s in self._heard and self._heard[s].at_s >= since)]
        n_live = len(self.view.live)
        return f"paused ({len(near)} of {n_live} reachable)" if 2 * len(near) <= n_live else ""

    def _site(self, site: str) -> dict[str, Any]:
        view, heard = self.view, self._heard.get(site)
        return {
            "answered": site in view.answered,
            "joined": site in view.joiners,
            "ready": site in view.ready,
            "live": site in view.live,
            "pending": site in view.pending,
            "committed": view.round is not None and site in view.round.commits,
            "merges": sum(site in final.contributors for final in view.finals),
            "stage": heard.stage if heard else "",
            "fraction": heard.fraction if heard else 0.0,
            "heard_s_ago": round(self._monotonic() - heard.at_s, 3) if heard else None,
            "trouble": heard.trouble if heard else "",
            "left": [f"{gone.stage}, {gone.reason}" for gone in view.departures if gone.site == site],
        }
