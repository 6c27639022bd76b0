"""What the runs of a node are given: everything they touch (`Means`), and one node's seat in one run (`Seat`).

Nothing is opened here; `service.py` opens all of it, tests hand in memory.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from cohortium.assembly import build_guard
from cohortium.core.exchange import Context, Guard, Received, Recipe
from cohortium.core.frames import Limits
from cohortium.core.identity import LedgerKey
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Budget, Work
from cohortium.core.study import Study
from cohortium.core.update import Aggregate, Update
from cohortium.errors import LedgerForked, TrainingFailed
from cohortium.ledger.opening import NodeLedger
from cohortium.ledger.transactions import sign_call
from cohortium.node.chronicle import Chronicle, PeerBell
from cohortium.node.run import Run
from cohortium.node.run_folder import Ending, RunFolder
from cohortium.node.settings import NodeSettings
from cohortium.node.standings import left_out, standings_of, unsigned, what_to_sign, worth_saying
from cohortium.node.studies import Library
from cohortium.node.work import audits, carried
from cohortium.sim.swarm import policy_of
from cohortium.swarm.actions import Outcome
from cohortium.swarm.membership import Members
from cohortium.swarm.node import Charter, Node, Ports
from cohortium.swarm.notices import Notice, RoundRecord
from cohortium.swarm.ports import Audited, Judged, Proposal
from cohortium.swarm.store import Store
from cohortium.swarm.waiting import Policy
from cohortium.transport.switchboard import Switchboard

__all__ = ["Crew", "Hire", "LateGuard", "Means", "Seat", "pace"]


class Crew(Work, Protocol):
    """A run's work at this site, as the node needs it: a `foreman.Foreman`, or the same in this process."""

    @property
    def findings(self) -> Mapping[str, Any]: ...

    @property
    def stages(self) -> Mapping[int, str]: ...

    def look(self, *, n_sites: int) -> Proposal: ...

    def prepare(self) -> None: ...

    @property
    def budget(self) -> Budget: ...

    def audit(self, state: Parameters) -> Sequence[Audited]: ...

    def judge(self, state: Parameters) -> Sequence[Judged]: ...

    def record(self, state: Parameters, *, model: Path, ledger: Path) -> tuple[str, str]: ...

    def close(self) -> None: ...


class Hire(Protocol):
    """Makes the crew of a run. joiners: known once approvals are closed. told: hears the fraction of a training."""

    def __call__(
        self, study: Study, number: int, joiners: Callable[[], tuple[str, ...]], told: Callable[[float], None]
    ) -> Crew: ...


def pace(policy: Policy, *, heartbeat_s: float) -> Policy:
    """The study's waiting rules at a node that speaks every `heartbeat_s`; what is tried again follows that beat."""
    return replace(
        policy,
        heartbeat_s=heartbeat_s,
        retry_s=min(policy.retry_s, max(heartbeat_s, 1.0)),
        rejoin_s=min(policy.rejoin_s, 4 * heartbeat_s),
        stagger_s=min(policy.stagger_s, heartbeat_s),
        linger_s=min(policy.linger_s, 4 * heartbeat_s),
    )


@dataclass(kw_only=True)
class Means:
    """Everything the runs of a node touch. members: folded by the service.

    record: writes what an ended run leaves. forked: told when two histories of the ledger were signed. work: what is
    put around a run's work (a lab's faults; nothing in a hospital). figures_s: how long others' figures are awaited.
    recall: puts back into the site's book what only the ledger remembers of its spending; how many rounds that were.
    """

    site: str
    settings: NodeSettings
    ledger: NodeLedger
    chronicle: Chronicle
    board: Switchboard
    bell: PeerBell
    members: Members
    store: Store
    library: Library
    key: LedgerKey
    hire: Hire
    folder: Callable[[int], RunFolder]
    record: Callable[[Run, Seat, Outcome], Awaitable[Ending]]
    forked: Callable[[LedgerForked], None]
    blocking: Callable[[Callable[[], Any]], Awaitable[Any]]
    log: Callable[..., None]
    clock: Callable[[], float]
    sent_bytes: Callable[[], int] = lambda: 0
    recall: Callable[[], int] = lambda: 0
    work: Callable[[Work], Work] = lambda work: work
    heartbeat_s: float = 15.0
    poll_s: float = 2.0
    figures_s: float = 300.0

    def pace_of(self, study: Study) -> Policy:
        """The study's waiting rules at this node."""
        return pace(policy_of(study), heartbeat_s=self.heartbeat_s)

    def kept_out(self, study: Study) -> frozenset[str]:
        """The sites that take no part in this training: a verdict of an audit stands against their data."""
        if audits(study):
            return frozenset()
        return left_out(standings_of(self.chronicle.events()), lambda run: self.folder(run).path)

    def waiting(self, study: Study) -> dict[str, str]:
        """The sites that would be kept out, had a person here signed it: what is asked for, in a sentence."""
        if audits(study):
            return {}
        standings = standings_of(self.chronicle.events())
        found = unsigned(standings, lambda run: self.folder(run).path)
        return {s: what_to_sign(s, run=standings[s].run, verdict=standings[s].word) for s in sorted(found)}


class LateGuard:
    """A guard for sites that are known only once approvals are closed; its recipe is known before, and stays.

    make: the guard for so many sites. expected: how many may answer. joined: how many did. Whether updates are masked
    was agreed for those that may answer; where too few did, the masked guard refuses, and nobody's update lies open.
    """

    def __init__(self, make: Callable[[int], Guard], *, expected: int, joined: Callable[[], int]) -> None:
        self._expected = make(expected)
        self.recipe: Recipe = self._expected.recipe
        self._make, self._joined = make, joined

    @cached_property
    def _guard(self) -> Guard:
        made = self._make(self._joined())
        return made if made.recipe == self.recipe else self._expected

    def check(self, update: Update) -> None:
        """As the guard does."""
        self._guard.check(update)

    def step(self, step: str, context: Context, *, own: Update, received: Received) -> Parameters:
        """As the guard does."""
        return self._guard.step(step, context, own=own, received=received)

    def open(self, context: Context, *, survivors: Sequence[str], received: Received) -> tuple[Update, ...] | Aggregate:
        """As the guard does."""
        return self._guard.open(context, survivors=survivors, received=received)

    def memory(self) -> Parameters:
        """As the guard does."""
        return self._guard.memory()

    def restore(self, memory: Parameters) -> None:
        """As the guard does."""
        self._guard.restore(memory)

    def finish(self, round: int) -> None:
        """As the guard does."""
        self._guard.finish(round)


class Seat:
    """One site's node in one run, with its crew, its guard and its lane. said: its verdicts, where it was an audit."""

    def __init__(self, means: Means, run: Run, study: Study) -> None:
        self.study, self._events = study, means.chronicle.events
        self.said: Sequence[Judged] = ()
        self.crew = means.hire(study, run.number, lambda: run.joiners, self._told)
        self.egress = run.folder.egress()
        self._lane = means.board.lane(f"run/{study.digest.hex()}/{run.number}")
        ledger, key = means.ledger, means.key

        def sign(nonce: int, function: str, args: tuple[object, ...]) -> bytes:
            return sign_call(
                key, chain_id=ledger.chain_id, nonce=nonce, contract=ledger.contract, function=function, args=args
            )

        work = means.work(self.crew)
        self._means, self._run, self._ready = means, run, getattr(work, "prepare", self.crew.prepare)
        charter = Charter(
            consortium=ledger.genesis.consortium,
            contract=ledger.contract,
            chain_id=ledger.chain_id,
            study=study.digest,
            run=run.number,
        )
        ports = Ports(
            ledger=means.chronicle,
            transport=self._lane,
            store=means.store,
            work=work,
            key=key,
            sign_call=sign,
            next_nonce=lambda: ledger.nonce(key.address),
            entropy=lambda n, *names: os.urandom(n),
            run_blocking=means.blocking,
            guard=LateGuard(
                lambda n: build_guard(carried(study), means.site, n_sites=n, entropy=os.urandom),
                expected=len(run.members_then),
                joined=lambda: len(run.joiners),
            ),
            prepare=self._prepare,
            budget=self.crew.budget if carried(study).privacy.dp is not None else None,
            audit=self.crew.audit,
            judge=self._judge,
            egress=self.egress,
            observe=self._hear,
            bell=means.bell,
            limits=Limits(body_bytes=means.settings.limits.max_update_mb << 20),
            poll_s=means.poll_s,
        )
        self.node = Node(means.site, charter, ports, means.pace_of(study))

    def _prepare(self) -> None:
        """Read the own data, unless a verdict stands against them; once they are mended, the node comes back itself.

        Where people sign first, the others' have: it does not stand in its own way before it was voted out.
        """
        me = self._means.site
        voted_out = any((gone.site, gone.reason) == (me, "harm") for gone in self._run.view.departures)
        if me in self._means.kept_out(self.study) or (voted_out and me in self._means.waiting(self.study)):
            sentence = (
                "an audit's verdict stands against this site's data; appeal, or mend them and announce the new ones"
            )
            raise TrainingFailed(sentence, stage="load", code="harm")
        self._ready()

    def _judge(self, state: Parameters) -> Sequence[Judged]:
        """What this site votes for when an audit has ended."""
        self.said = worth_saying(self.crew.judge(state), self._events()) if audits(self.study) else ()
        return self.said

    def _hear(self, notice: Notice) -> None:
        """Tell the run; after a merge also what the gate has found in it, here and nowhere else."""
        run, known = self._run, list(self._run.findings.get("checks", ()))
        if isinstance(notice, RoundRecord):
            fresh = [one for one in self.crew.findings.get("checks", ()) if one not in known]
            run.findings = {**run.findings, "checks": [*known, *fresh]}
            for one in fresh:
                self._means.log("warn", f"{one['id']}: {one['found']}", run=run.number)
        run.hear(notice)

    def _told(self, fraction: float) -> None:
        self.node.training.fraction = fraction

    async def close(self) -> None:
        """Let go of the lane and end the crew."""
        self.crew.close()
        await self._lane.close()
