"""One site's node for one run: the asyncio shell that executes a `RoundMachine`'s actions.

    node = Node("porto", charter, ports, policy)
    outcome = await node.run()          # Outcome: complete | partial | failed
    node.state                          # Parameters of the newest adopted merge

`Charter` says which consortium and which study; `Ports` holds everything that touches the world (both in `ports.py`).
The same class runs in a simulation (blocking calls in line, virtual clock, one bell for all) and at a hospital. Killed
at any point and constructed again with the same store, it goes on where it was. The machine decides what happens next;
`line.py` speaks and listens, `courier.py` carries, `clerk.py` signs, `workshop.py` computes, `training.py` trains.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from cohortium.core.identity import keccak
from cohortium.core.messages import (
    Body,
    Bye,
    Chunk,
    Envelope,
    Manifest,
    Need,
    Offer,
    Progress,
    Result,
    StepNote,
    Trouble,
)
from cohortium.core.parameters import Parameters
from cohortium.core.seams import LedgerEvent
from cohortium.errors import FrameError, LedgerUnreachable, PeerError, TrainingFailed, VerificationFailed, first_of
from cohortium.swarm import actions as do
from cohortium.swarm import events as ev
from cohortium.swarm.actions import Fact, Outcome
from cohortium.swarm.clerk import Clerk
from cohortium.swarm.courier import Courier
from cohortium.swarm.ending import outcome_of
from cohortium.swarm.fetcher import Fetcher
from cohortium.swarm.line import Line, place_of
from cohortium.swarm.machine import AHEAD, FINAL_STEP, RoundMachine
from cohortium.swarm.membership import Members
from cohortium.swarm.notices import Refused, RoundRecord, RunEnded, Troubled, notice_of
from cohortium.swarm.ports import Charter, Ports, Proposal, in_line
from cohortium.swarm.store import StoreBroken
from cohortium.swarm.training import Training
from cohortium.swarm.view import RoundView, RunView
from cohortium.swarm.waiting import Policy
from cohortium.swarm.workshop import Workshop

__all__ = ["Charter", "Node", "Ports", "Proposal", "in_line"]


@dataclass(frozen=True)
class _Mended:
    """The store can be written again."""


class Node:
    """One site in one run. `run` returns the outcome; `state` is the newest adopted merge.

    results: measures of the last merge that sites have shared, by site. training: what trains, and how far it is.
    """

    def __init__(self, site: str, charter: Charter, ports: Ports, policy: Policy | None = None) -> None:
        self.site = site
        self.outcome: Outcome | None = None
        self.results: dict[str, Mapping[str, float]] = {}
        self._charter, self._ports, self._policy = charter, ports, policy or Policy()
        self._members = Members()
        self._machine = RoundMachine(0, site, ports.guard.recipe, self._policy, members=self._members)
        self._line = Line(site, charter, ports, self._members)
        self._courier = Courier(self._line.send, limits=ports.limits, retry_s=self._policy.retry_s)
        self._clerk = Clerk(ports, retry_s=self._policy.retry_s, denied=self._post)
        self._workshop = Workshop(site, charter, ports, self._courier, lot=lambda: self._view.seed)
        self._fetcher = Fetcher(site, ports, self._courier, view=lambda: self._view, spawn=self._spawn, post=self._post)
        self.training = Training(
            site,
            ports,
            self._workshop,
            view=lambda: self._view,
            submit=self._clerk.submit,
            late_is_lost=ports.guard.recipe.masked or self._policy.late == "discard",
        )
        self._inbox: deque[ev.Event | _Mended] = deque()
        self._arrival = asyncio.Event()
        self._proposal: LedgerEvent | None = None
        self._done: set[str] = set()
        self._halted = ""
        self._ailing: do.Tell | None = None
        self._told: LedgerEvent | None = None
        self._jobs: set[asyncio.Task[None]] = set()

    @property
    def state(self) -> Parameters:
        """The arrays of the newest adopted merge; before the first, those all sites start from."""
        return self._workshop.state

    @property
    def has_final_merge(self) -> bool:
        """Whether `state` is the newest merge the ledger calls final; False where nobody could give it in time."""
        newest = self._view.newest
        return newest is None or self._workshop.base == newest.digest

    def missing_results(self) -> dict[str, str]:
        """Why a site that approved has no shared result here: `missing: ...` by site; empty when all have come."""
        left = {gone.site: gone.reason for gone in self._view.departures}
        absent = [site for site in self._view.joiners if site not in self.results]
        return {site: f"missing: {left.get(site, 'not received')}" for site in absent}

    # --- life ------------------------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        """Take part until the run has ended and its last merge is adopted. Cancelling it is a normal end.

        Raises VerificationFailed when this site computed something else than the others agreed on, LedgerForked when
        two histories of the ledger were signed.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                for task in (self._follow(), self._listen(), self._clerk.run(), self._beat()):
                    self._spawn(task)
                outcome = await self._drive()
                await self._linger(outcome)
                for job in self._jobs:
                    job.cancel()
        except BaseExceptionGroup as group:
            raise first_of(group) from None
        if self._halted:
            raise VerificationFailed(f"site {self.site!r} stopped taking part: {self._halted}")
        return outcome

    async def step_down(self) -> None:
        """Before a planned stop: pass the lead on, say goodbye."""
        self._post(ev.StepDown())
        await self._broadcast("bye", Bye(reason="stopping"))

    async def _drive(self) -> Outcome:
        """Feed the machine, execute its answers in order, until it says that the run is over."""
        while True:
            while self._inbox:
                event = self._inbox.popleft()
                try:
                    if isinstance(event, _Mended):
                        await self._begin_again()
                        continue
                    self._told = event.event if isinstance(event, ev.Recorded) else self._told
                    for action in self._machine.handle(event):
                        if not self._ailing:
                            await self._execute(action)
                except StoreBroken as broken:
                    self._ailing = do.Tell(self._machine.stage, broken.code)
                    self._spawn(self._ail(self._ailing))
                if self._ailing and self._view.ended:
                    self.outcome = outcome_of(self._view, complete_share=self._policy.complete_share)
                if self.outcome is not None:
                    return self.outcome
            self._arrival.clear()
            await self._arrival.wait()

    async def _ail(self, told: do.Tell) -> None:
        """Say why nothing is done that could be forgotten, and try the store until it can be written again."""
        await self._tell(told)
        while True:
            await asyncio.sleep(self._policy.rejoin_s)
            with contextlib.suppress(StoreBroken):
                await self._ports.blocking(lambda: self._ports.store.add(Fact(kind="started", run=self._view.run)))
                self._post(_Mended())
                return

    async def _begin_again(self) -> None:
        """What a restart does, in the same process: a machine that knows what the store and the ledger know."""
        last = self._told
        try:
            read = await self._ports.blocking(lambda: list(self._ports.ledger.events(0)))
        except LedgerUnreachable:
            self._spawn(self._ail(do.Tell("ledger", "error")))
            return
        past = [one for one in read if last is None or (one.height, one.index) <= (last.height, last.index)]
        await self._resume(self._view.run, past)
        self._ailing = None

    async def _linger(self, outcome: Outcome) -> None:
        """Serve the last merge until every site of the run has it, or linger_s have passed."""
        if await self.training.close(self._view.run):
            await self._clerk.drain(timeout_s=self._policy.retry_s)
        if shared := dict(self._ports.share(self._workshop.measures)):
            self.results[self.site] = shared
            await self._broadcast("result", Result(measures=shared))
        await self._broadcast("bye", Bye(reason="done"))
        if self._view.takes_part(self.site) and not self.has_final_merge:
            self._ports.observe(Troubled(site=self.site, round=outcome.rounds, stage="adopt", code="unreachable"))
        self._ports.observe(RunEnded(site=self.site, outcome=outcome))
        deadline = self._now() + self._policy.linger_s
        while self._peers() - self._done and (left := deadline - self._now()) > 0:
            self._arrival.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrival.wait()
            except TimeoutError:
                return

    def _post(self, event: ev.Event | _Mended) -> None:
        self._inbox.append(event)
        self._arrival.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            task = self._tasks.create_task(work)
        except RuntimeError:  # a timer of a node that has stopped
            work.close()
            return
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def _view(self) -> RunView:
        return self._machine.view

    # --- ledger ----------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Hand every ledger event to the machine, in order and once; start the machine when the run is known."""
        ports, past = self._ports, list[LedgerEvent]()
        newest = (0, -1)  # height and index of the last event taken; its block is read again, in case it was not whole
        self._propose_on_first_look = self._charter.proposal is not None
        while True:
            rings = ports.bell.rings
            try:
                read = await ports.blocking(lambda: list(ports.ledger.events(newest[0])))  # noqa: B023
            except LedgerUnreachable:
                read = None
            fresh = [event for event in read or () if (event.height, event.index) > newest]
            if fresh:
                newest = (fresh[-1].height, fresh[-1].index)
            if read is not None and not self._view.run:
                past += fresh
                await self._look_for_run(past)
            elif fresh:
                self._inbox.append(ev.Tick(self._now()))
                self._inbox.extend([ev.Recorded(event) for event in fresh])
                self._arrival.set()
            if fresh:
                await self._look()
            await ports.bell.wait(rings, timeout_s=ports.poll_s)

    async def _look_for_run(self, past: list[LedgerEvent]) -> None:
        """Start with the first open run of this study, else its newest; propose one if that is this node's part.

        Whoever proposes the study again meanwhile cannot draw away the nodes that start anew.
        """
        ended = {event.args["run"] for event in past if event.name == "Ended"}
        masked = self._ports.guard.recipe.masked
        if runs := [one for one in past if one.name == "Proposed" and self._charter.is_ours(one, masked=masked)]:
            self._proposal = next((one for one in runs if one.args["run"] not in ended), runs[-1])
        if self._proposal is not None:
            await self._resume(int(str(self._proposal.args["run"])), past)
        elif self._propose_on_first_look:
            self._propose_on_first_look = False
            self._propose()

    def _propose(self) -> None:
        if self._charter.proposal is not None:
            spoken = self._charter.proposal.spoken(masked=self._ports.guard.recipe.masked)
            self._clerk.submit(do.Submit("propose", (self._charter.study, *spoken), (0, "propose")))

    async def _resume(self, run: int, past: list[LedgerEvent]) -> None:
        """A machine for the run, told everything this node and the ledger remember."""
        machine = RoundMachine(run, self.site, self._ports.guard.recipe, self._policy, members=self._members)
        store = self._ports.store
        facts = await self._ports.blocking(lambda: store.facts(run))
        lives = sum(fact.kind == "started" for fact in facts)
        await self._ports.blocking(lambda: store.add(Fact(kind="started", run=run)))
        machine.handle(ev.Tick(self._now()))
        for fact in facts:
            if await self._workshop.recall(fact):
                machine.handle(ev.Remembered(fact))
        for event in past:
            machine.handle(ev.Recorded(event))
            self._told = event
        if machine.adopted[0] == 0:
            await self._workshop.start()
        self._machine = machine
        self._line.begin(run, height=past[-1].height if past else 0, lives=lives)
        self._post(ev.Resumed())

    # --- peers -----------------------------------------------------------------------------------------------

    def _peers(self) -> set[str]:
        """The other sites that take part in the run, live or not."""
        return {site for site in self._view.joiners if site != self.site and self._view.takes_part(site)}

    async def _broadcast(self, kind: str, body: Body) -> None:
        self._line.round = self._view.round.number if self._view.round else 0
        await self._line.send(kind, body, sorted(self._peers()), {})

    async def _beat(self) -> None:
        """Every few seconds: a tick for the machine, a word for the peers."""
        while True:
            await asyncio.sleep(self._policy.beat_s)
            self._post(ev.Tick(self._now()))
            if self._view.ended or not self._view.takes_part(self.site):
                continue
            await self._look()
            if told := self._ailing or self._machine.trouble:
                await self._broadcast("trouble", Trouble(stage=told.stage, code=told.code, where=told.where))
            else:
                fraction = min(max(self.training.fraction, 0.0), 1.0)
                await self._broadcast("progress", Progress(stage=self._machine.stage, fraction=fraction))

    async def _look(self) -> None:
        """Take the ledger's head along in what is said from now on."""
        with contextlib.suppress(LedgerUnreachable):  # then peers hear the last head that was seen
            await self._line.look()

    async def _listen(self) -> None:
        while True:
            envelope, body = await self._line.hear()
            try:
                self._hear(envelope, body)
            except PeerError as wrong:
                self._ports.observe(Refused(site=envelope.sender, why=str(wrong)))

    def _hear(self, envelope: Envelope, body: Body) -> None:
        site = envelope.sender
        match body:
            case Offer():
                self._check_place(envelope, body.manifest.digest)
                self._check_slot(envelope, body.manifest.step, body.manifest.digest, body.manifest.slot)
                self._courier.take_offer(site, envelope.round, body)
                self._fetcher.offered(body.manifest.digest)
                self._post(ev.Offered(site, envelope.round, envelope.attempt, body.manifest.step, body.manifest.digest))
            case Chunk():
                self._courier.take_chunk(body)
            case Need():
                if self._view.takes_part(site):  # who has not approved the study, or has left, is given nothing
                    self._spawn(self._courier.answer(envelope, body))
            case StepNote():
                self._check_place(envelope)
                self._check_slot(envelope, body.step, body.bitmap, body.slot)
                bitmap = int.from_bytes(body.bitmap, "big")
                self._post(ev.Proposed(site, envelope.round, envelope.attempt, body.step, bitmap))
            case _:
                self._note(envelope, body)
                self._post(ev.Arrived(site, body))

    def _note(self, envelope: Envelope, body: Body) -> None:
        site, round, observe = envelope.sender, envelope.round, self._ports.observe
        match body:
            case Progress() | Trouble():
                observe(notice_of(site, round, body))
            case Result():
                self.results[site] = dict(body.measures)
            case Bye(reason="done"):
                if self.outcome is not None and site not in self._done:  # it may have missed mine
                    self._spawn(self._line.send("bye", Bye(reason="done"), [site], {}))
                self._done.add(site)

    def _check_place(self, envelope: Envelope, digest: bytes = b"") -> None:
        """Refuse what belongs to a round far away, so that nobody fills the memory with promises for later."""
        here = self._view.round.number if self._view.round else 0
        if envelope.round > here + AHEAD or (envelope.round < here - 1 and not self._courier.wants(digest)):
            raise FrameError(f"message of {envelope.sender!r} for round {envelope.round}, here is round {here}")

    def _check_slot(self, envelope: Envelope, step: str, digest: bytes, signature: bytes) -> None:
        """Two statements for one slot convict their sender."""
        if convicted := self._line.check_slot(envelope, step, digest, signature):
            slot, proof = convicted
            key = (slot[1], "report_equivocation", envelope.sender)
            self._clerk.submit(do.Submit("report_equivocation", (*slot, *proof), key))
            raise FrameError(f"{envelope.sender!r} signed two digests for round {slot[1]}, step {step!r}")

    # --- actions ---------------------------------------------------------------------------------------------

    async def _execute(self, action: do.Action) -> None:
        match action:
            case do.Persist():
                await self._workshop.persist(action.fact)
            case do.Submit():
                self._clerk.submit(action)
            case do.Consent():
                self._spawn(self._consent())
            case do.Prepare():
                self._spawn(self._prepare())
            case do.Train():
                self._spawn(self._train(action))
            case do.Carry():
                self._post(await self._workshop.carry(action, run=self._view.run))
            case do.RunStep() | do.Merge() | do.Recompute():
                self._spawn(self._compute(action))
            case do.Offer():
                await self._offer(action)
            case do.Propose():
                await self._propose_survivors(action)
            case do.Fetch():
                self._fetcher.fetch(action)
            case do.Ask():
                place = {"round": action.round, "attempt": action.attempt}
                await self._line.send("need", Need(digest=b"", step=action.step), [action.site], place)
            case do.Adopt():
                await self._adopt(action)
            case do.Tell():
                await self._tell(action)
            case do.Refuse():
                self._ports.observe(Refused(site=action.site, why=action.why))
            case do.Wake():
                delay = max(0.0, action.at_s - self._now())
                asyncio.get_running_loop().call_later(delay, lambda: self._post(ev.Tick(self._now())))
            case do.Halt():
                self._halted = action.reason
            case do.End():
                self.outcome = action.outcome
                await self._workshop.finish(self._view.run, self._view.round.number if self._view.round else 0)

    async def _consent(self) -> None:
        run, asked = self._view.run, self._proposal
        if asked is None or not self._ports.consent(asked) or not await self.training.consent(run):
            self._post(ev.Consented(False))
            return
        nonce = self._ports.entropy(32, "nonce", run)
        address = self._ports.key.address.rjust(32, b"\0")
        self._post(ev.Consented(True, keccak(run.to_bytes(32, "big") + address + nonce), nonce))

    async def _prepare(self) -> None:
        try:
            await self._ports.blocking(self._ports.prepare)
            if self._machine.adopted[0] == 0:  # once more: what the first state is may depend on who has joined
                await self._workshop.start()
        except TrainingFailed as failed:
            self._post(ev.Failed("connect" if failed.stage == "connect" else "load", failed.code))
        else:
            self._post(ev.Prepared())

    async def _train(self, action: do.Train) -> None:
        if (made := await self.training.run(action)) is not None:
            self._post(made)

    async def _compute(self, action: do.RunStep | do.Merge | do.Recompute) -> None:
        step = isinstance(action, do.RunStep)
        made = await (self._workshop.run_step if step else self._workshop.merge)(action, self._view)  # type: ignore[arg-type]
        if made is not None:
            self._post(made)

    def _round(self, number: int) -> RoundView | None:
        """The round that is running, if it has this number."""
        return self._view.round if self._view.round is not None and self._view.round.number == number else None

    # --- payloads --------------------------------------------------------------------------------------------

    async def _offer(self, action: do.Offer) -> None:
        packed = self._courier.payloads.get(action.digest)
        if packed is None:
            self._post(ev.Failed("exchange", "lost", round=action.round))
            return
        manifest = self._line.promise(action, packed)
        await self._courier.offer(manifest, packed, to=action.to, place=place_of(action))

    async def _propose_survivors(self, action: do.Propose) -> None:
        await self._line.send("step", self._line.note_of(action), action.to, place_of(action))

    async def _adopt(self, action: do.Adopt) -> None:
        """Take a final merge as the state, serve it to whoever asks, tell the observer."""
        final, turn = self._view.newest, len(self._view.finals)
        if final is None:
            return
        adopted = await self._workshop.adopt(action, turn=turn)
        packed = self._courier.payloads[action.digest]
        header, chunks = packed.header, packed.chunk_digests
        manifest = Manifest(step=FINAL_STEP, digest=packed.digest, header=header, chunks=chunks)
        self._courier.serve(packed, manifest, place={"round": action.round, "term": 0, "attempt": 0})
        self._post(adopted)
        record = RoundRecord(
            site=self.site,
            round=action.round,
            turn=turn,
            digest=action.digest,
            contributors=final.contributors,
            leader=final.leader,
            measures=self._workshop.measures,
            ended_s=self._now(),
        )
        self._ports.observe(record)
        await self._workshop.finish(self._view.run, action.round)
        self._line.witness.forget_before(action.round - 1)
        await self._workshop.forget_before(action.round - 1, keep=(action.digest, adopted.memory))

    async def _tell(self, action: do.Tell) -> None:
        body = Trouble(stage=action.stage, code=action.code, where=action.where)
        self._ports.observe(notice_of(self.site, self._view.round.number if self._view.round else 0, body))
        await self._broadcast("trouble", body)
