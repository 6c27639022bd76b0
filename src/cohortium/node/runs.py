"""All runs of one node: each is tended from its proposal to its record, several at once, through every restart.

    looking      the study is fetched by its digest, the own table read, the site's rules asked
    waiting      for a person: `cohortium run approve RUN` or `decline RUN` (or `[consent] automatic`)
    taking part  one `swarm.Node` on the run's own lane; killed and started again, it goes on where it was
    recording    own figures, the others' as far as they come, ledger, model, page

What this site decides is on disk before anything is done for it. An error in one run stops that run here and nothing
else. Nothing of the machine's rules is in this file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from cohortium.assembly import build_guard
from cohortium.core.seams import LedgerEvent
from cohortium.core.study import Study
from cohortium.errors import (
    InvariantBroken,
    LedgerForked,
    LedgerRefused,
    LedgerUnreachable,
    PeerError,
    PolicyRefused,
    StudyError,
    TrainingFailed,
    UsageError,
    VerificationFailed,
)
from cohortium.node.failures import sentence_of
from cohortium.node.means import Crew, Means, Seat
from cohortium.node.policy import decide, facts_of, vetoed
from cohortium.node.run import Run
from cohortium.node.studies import TOPIC, Parcel
from cohortium.node.voting import cast
from cohortium.node.work import carried, deployable
from cohortium.swarm.actions import Outcome
from cohortium.swarm.node import Node
from cohortium.swarm.reasons import REASONS
from cohortium.swarm.view import RunState

__all__ = ["Runs"]

_TERMS = ("min_sites", "n_rounds", "answer_timeout_s", "leader_timeout_s", "budget", "flags")
_LEAD_S = 3.0
_ASK_S = 20.0
_READ_S = 30.0
_AGAIN_S = (1.0, 2.0, 5.0, 15.0, 60.0)
_LIVES = 4
_LONG_S = 3600.0
_PROPOSED_S = 30.0
_QUIET = ("phase", "once", "live", "state", "joiner")
"""Refusals that say: it is done already, or there is nothing to do any more."""


class Runs:
    """The runs of one node, by number. spawn: starts a task of the service."""

    def __init__(self, means: Means, *, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self.by_number: dict[int, Run] = {}
        self._means, self._spawn = means, spawn
        self._places = asyncio.Semaphore(means.settings.limits.max_parallel_runs)
        self._playing: dict[int, asyncio.Task[Outcome]] = {}
        self._tended: set[int] = set()
        self._read = asyncio.Event()

    # --- what the ledger says --------------------------------------------------------------------------------

    def follow(self, events: Iterable[LedgerEvent], *, replaying: bool) -> None:
        """Take in events in order; members were folded before."""
        for event in events:
            if event.name == "Proposed":
                self._open(event, replaying=replaying)
            elif (run := self.by_number.get(event.args.get("run"))) is not None:  # type: ignore[call-overload]
                run.apply(event)

    def begin(self) -> None:
        """Everything the ledger held has been told: tend every run, and from now on each one that comes."""
        for run in self.by_number.values():
            run.replaying = False
            self._tend_on(run)
        self._read.set()

    def _open(self, event: LedgerEvent, *, replaying: bool) -> None:
        means = self._means
        run = Run(
            event,
            site=means.site,
            members=means.members,
            folder=means.folder(int(str(event.args["run"]))),
            clock=means.clock,
            monotonic=asyncio.get_running_loop().time,
            sent_bytes=means.sent_bytes,
        )
        self.by_number[run.number] = run
        run.replaying = replaying
        run.say("proposed", site=run.proposer, study=run.spec.hex())
        if not replaying:
            self._tend_on(run)

    def _tend_on(self, run: Run) -> None:
        if run.number not in self._tended:
            self._tended.add(run.number)
            self._spawn(self._tend(run))

    # --- what a person says ----------------------------------------------------------------------------------

    def known(self, number: int) -> Run:
        """The run of this number. Raises UsageError that lists those there are."""
        if number not in self.by_number:
            held = ", ".join(str(one) for one in sorted(self.by_number)) or "none"
            raise UsageError(f"no run {number} on this ledger; runs: {held}")
        return self.by_number[number]

    async def _caught_up(self) -> None:
        """Wait until this node has read the ledger for the first time. Raises LedgerUnreachable."""
        try:
            async with asyncio.timeout(_READ_S):
                await self._read.wait()
        except TimeoutError:
            raise LedgerUnreachable(
                f"the ledger was not read within {_READ_S:g} s", hint="cohortium node status says what keeps it away"
            ) from None

    async def propose(self, parcel: Parcel) -> Run:
        """Put a study before all members. Raises StudyError, UsageError, LedgerRefused, LedgerUnreachable."""
        means = self._means
        await self._caught_up()
        study = means.library.add(parcel)
        if problems := deployable(study):
            raise StudyError(problems)
        members = tuple(sorted(means.members.active))
        crew = means.hire(study, 0, lambda: members, lambda fraction: None)
        try:
            terms = await self._terms(study, crew, members)
        finally:
            crew.close()
        receipt = await self.call("propose", study.digest, *terms)
        async with asyncio.timeout(_PROPOSED_S):
            while True:
                rings = means.bell.rings
                for run in self.by_number.values():
                    if run.height == receipt and run.spec == study.digest:
                        return run
                await means.bell.wait(rings, timeout_s=means.poll_s)

    async def approve(self, number: int) -> Run:
        """This site takes part: a person has read the study. Raises PolicyRefused where the site's own rules say no,
        UsageError where it cannot take part as it is."""
        run = self.known(number)
        if run.view.ended:
            raise UsageError(f"run {number} has ended: {run.sentence()}")
        if run.study is None:
            raise UsageError(f"the study of run {number} is not here yet: {run.blocked or 'it is being fetched'}")
        if reason := await self._examined(run, run.study):
            raise PolicyRefused(
                f"the rules of this site refuse run {number}: {reason}", hint="see [consent] in node.toml"
            )
        if run.blocked:
            raise UsageError(f"this site cannot take part in run {number}: {run.blocked}")
        self._decide(run, "approve", by="person")
        return run

    def decline(self, number: int) -> Run:
        """This site does not take part."""
        run = self.known(number)
        if run.is_live:
            raise UsageError(f"this site takes part in run {number} already; to leave it: cohortium run stop {number}")
        self._decide(run, "decline", by="person")
        return run

    async def stop(self, number: int) -> Run:
        """Leave a run; the others go on. `resume` comes back."""
        run = self.known(number)
        if run.view.ended:
            raise UsageError(f"run {number} has ended: {run.sentence()}")
        self._decide(run, "stop", by="person")
        await self._end_node(run)
        return run

    async def resume(self, number: int) -> Run:
        """Take part again, after a stop, a refusal or an error."""
        run = self.known(number)
        run.halted = ""
        await self.approve(number)
        self._tend_on(run)
        return run

    def _decide(self, run: Run, word: Any, *, by: Any, why: str = "") -> None:
        run.folder.decide(word, by=by, study=run.spec, why=why)
        run.say("decided", site=self._means.site, word=word, by=by, why=why)
        run.change()

    # --- tending ---------------------------------------------------------------------------------------------

    async def _tend(self, run: Run) -> None:
        """One run, until nothing is to be done for it."""
        try:
            while not self._is_over(run):
                await self._step(run)
            if not run.halted:
                run.here = "ended" if run.view.ended else run.here
        except LedgerForked as forked:
            run.halted = str(forked)
            self._means.forked(forked)
        except Exception as error:  # noqa: BLE001 - the outermost loop of a run: recorded and stopped
            run.halted = sentence_of(error)
            run.here = "halted"
            run.say("halted", site=self._means.site, why=run.halted)
            self._means.log("error", "run halted", run=run.number, why=run.halted, error=error)
        finally:
            self._tended.discard(run.number)

    def _is_over(self, run: Run) -> bool:
        if run.folder.ending() is not None or run.halted:
            return True
        decision = run.folder.decision()
        return run.view.ended and (decision is None or decision.word != "approve")

    async def _step(self, run: Run) -> None:
        decision = run.folder.decision()
        match decision.word if decision else "":
            case "approve":
                await self._take_part(run)
            case "decline":
                run.here = "declined"
                if run.view.state is RunState.APPROVING and self._means.site not in run.view.answered:
                    await self._insist("decline", run.number)
                await run.changed(timeout_s=_LONG_S)
            case "stop":
                run.here = "stopped"
                if run.is_live:
                    reason = "consent" if decision and decision.by == "policy" else "stopped"
                    await self._insist("withdraw", run.number, REASONS[reason])
                await run.changed(timeout_s=_LONG_S)
            case _:
                await self._consider(run)

    async def _consider(self, run: Run) -> None:
        """Fetch the study, ask the site's rules; then wait for a person unless they say yes by themselves."""
        run.here = "looking"
        study = await self._study(run)
        if study is None:
            return
        reason = await self._examined(run, study)
        if reason:
            self._decide(run, "decline", by="policy", why=reason)
            return
        if not run.blocked and self._means.settings.consent.automatic:
            self._decide(run, "approve", by="automatic")
            return
        run.here = "waiting"
        run.say("asks", site=self._means.site, blocked=run.blocked)
        while run.folder.decision() is None and not run.view.ended:
            await run.changed(timeout_s=_LONG_S)

    async def _study(self, run: Run) -> Study | None:
        """The study, from here or from a member who has it; None once the run is over."""
        means, tries = self._means, 0
        run.study = means.library.get(run.spec)
        while run.study is None and not run.view.ended:
            others = sorted(means.members.active - {means.site}, key=lambda site: (site != run.proposer, site))
            for peer in others:
                try:
                    run.study = await means.library.fetch(run.spec, peer, self._ask_study)
                    run.blocked = ""
                    break
                except (PeerError, StudyError, TimeoutError) as error:
                    run.blocked = f"no member sends the study: {error}"
            else:
                await run.changed(timeout_s=_AGAIN_S[min(tries, len(_AGAIN_S) - 1)])
                tries += 1
        return run.study

    async def _ask_study(self, peer: str, request: bytes) -> bytes:
        return await self._means.board.ask(peer, TOPIC, request, timeout_s=_ASK_S)

    async def _examined(self, run: Run, study: Study) -> str:
        """Why this site must decline, empty where nothing forbids it. In `run.blocked`: why it cannot take part yet.

        The rules are asked before a worker reads the study, because reading it runs the code it brings along.
        """
        means, members = self._means, run.members_then
        try:
            reason: str = await means.blocking(lambda: self._forbidden(run, study))
        except StudyError as error:
            return str(error)
        if reason:
            return reason
        crew = means.hire(study, run.number, lambda: members, lambda fraction: None)
        try:
            terms = await self._terms(study, crew, members)
            n_patients = await self._look_at_own_data(run, crew)
        except (StudyError, UsageError) as error:
            return str(error)
        finally:
            crew.close()
        said = tuple(run.terms[name] for name in _TERMS)
        if said != terms:
            return f"its proposal says other numbers ({_numbers(said)}) than the study means ({_numbers(terms)})"
        return self._forbidden(run, study, n_patients)

    def _forbidden(self, run: Run, study: Study, n_patients: int | None = None) -> str:
        """What the site's own rules have against it, empty for nothing."""
        plan = carried(study).privacy.dp
        promised = plan.epsilon if plan is not None else None
        n, by = len(run.members_then), run.proposer
        facts = facts_of(study, n_sites=n, cohort=n_patients, epsilon=promised, proposer=by)
        return vetoed(decide(study, facts, self._means.settings.consent))

    async def _terms(self, study: Study, crew: Crew, members: tuple[str, ...]) -> tuple[int, ...]:
        """What a proposal of the study says among these members, as the contract takes it. Raises UsageError."""
        means = self._means
        try:
            terms = await means.blocking(lambda: crew.look(n_sites=len(members)))
        except TrainingFailed as failed:
            raise UsageError(str(failed)) from None
        guard = await means.blocking(
            lambda: build_guard(carried(study), means.site, n_sites=len(members), entropy=os.urandom)
        )
        spoken: tuple[int, ...] = terms.spoken(masked=guard.recipe.masked)
        return spoken

    async def _look_at_own_data(self, run: Run, crew: Crew) -> int | None:
        """Read the own table as the study says; how many patients would take part, for the site's own rules."""
        run.blocked = ""
        try:
            await self._means.blocking(crew.prepare)
        except TrainingFailed as failed:
            run.blocked = str(failed)
            return None
        run.findings = {name: held for name, held in crew.findings.items() if name != "n_patients"}
        return int(crew.findings["n_patients"])

    # --- taking part -----------------------------------------------------------------------------------------

    async def _take_part(self, run: Run) -> None:
        study = await self._study(run)
        if study is None and not (study := self._means.library.get(run.spec)):
            raise InvariantBroken(f"the study of run {run.number} is lost, and no member sends it any more")
        reason = await self._means.blocking(lambda: self._forbidden(run, study))
        if reason:  # the site's rules may have changed while the node was down
            self._decide(run, "stop", by="policy", why=reason)
            return
        await self._out_without_memory(run)
        if recalled := await self._means.blocking(self._means.recall):
            self._means.log("warn", "own book of privacy spending was incomplete", rounds=recalled)
        run.here = "waiting for a free place"
        async with self._places:
            for life in range(_LIVES):
                decision = run.folder.decision()
                if decision is None or decision.word != "approve":
                    return
                try:
                    await self._play(run, study)
                    return
                except (LedgerForked, VerificationFailed, InvariantBroken):
                    raise
                except Exception as error:
                    if life == _LIVES - 1:
                        raise
                    self._means.log("error", "run begins again", run=run.number, why=sentence_of(error), error=error)
                    await asyncio.sleep(self._means.pace_of(study).rejoin_s)

    async def _out_without_memory(self, run: Run) -> None:
        """A site that takes part and remembers nothing of it has lost its facts: it goes out and comes back with the
        next round, so that it can never sign a second thing for a slot it signed for before."""
        facts = await self._means.blocking(lambda: self._means.store.facts(run.number))
        if run.is_live and not facts:
            self._means.log("warn", "own facts of a run are lost; out until its next round", run=run.number)
            await self._insist("withdraw", run.number, REASONS["lost"])

    async def _play(self, run: Run, study: Study) -> None:
        """One life of this site's node in the run, and its record when the run has ended."""
        seat = Seat(self._means, run, study)
        try:
            run.here, run.node, run.stages = "taking part", seat.node, seat.crew.stages
            loop = asyncio.get_running_loop()
            task = self._playing[run.number] = loop.create_task(seat.node.run())
            watch = loop.create_task(self._keep_out(run, study))
            try:
                outcome = await task
            except asyncio.CancelledError:
                if (me := asyncio.current_task()) is not None and me.cancelling():
                    raise
                return  # this site has left the run
            finally:
                watch.cancel()
                del self._playing[run.number]
                run.node = None
            run.here = "recording"
            ending = await self._means.record(run, seat, outcome)
            run.folder.close(ending)
            run.here = "ended"
            line = run.ended_line(ending)
            run.say(**{name: value for name, value in line.items() if name != "run"})
        finally:
            await seat.close()

    async def _keep_out(self, run: Run, study: Study) -> None:
        """Vote out of a training whom an audit's standing verdict leaves out: this site's word, one of many.

        Where a person here has to sign first, that is said once.
        """
        means, said, looked, asked = self._means, set[tuple[str, int]](), None, set[str]()
        while not run.view.ended:
            number = run.view.round.number if run.view.round is not None else 0
            seen = (run.view.state, number, frozenset(run.view.live))  # the whole chain is not read at every event
            new, looked = seen != looked, seen
            if new and seen[0] in (RunState.READYING, RunState.RUNNING) and means.site in run.view.live:
                for site, why in means.waiting(study).items():
                    if site in run.view.live - asked - {means.site}:
                        asked.add(site)
                        run.say("unsigned", site=site, why=why)
                        means.log("warn", "a verdict waits for a signature", run=run.number, site=site, why=why)
                for site in sorted(means.kept_out(study) & run.view.live - {means.site}):
                    if (site, number) in said:
                        continue
                    said.add((site, number))
                    try:
                        await self.call("vote_drop", run.number, site, REASONS["harm"])
                    except LedgerUnreachable:
                        said.discard((site, number))
                        looked = None  # once more, with the next beat
                    except LedgerRefused:  # it is out already
                        pass
            await run.changed(timeout_s=means.heartbeat_s)

    async def _end_node(self, run: Run) -> None:
        """Say goodbye in a run and stop taking part."""
        task, node = self._playing.get(run.number), run.node
        if task is None or node is None:
            return
        await node.step_down()
        task.cancel()

    async def halt(self, why: str) -> None:
        """Stop taking part in everything, for a reason that no restart mends."""
        for run in self.by_number.values():
            if run.folder.ending() is None and not run.view.ended:
                run.halted, run.here = why, "halted"
                run.change()
        for task in self._playing.values():
            task.cancel()

    async def step_down(self) -> None:
        """Before the process stops: pass every lead on, say goodbye everywhere."""
        led = [run for run in self.by_number.values() if run.node is not None]
        nodes: list[Node] = [run.node for run in led if run.node is not None]
        await asyncio.gather(*(node.step_down() for node in nodes))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LEAD_S):
                while any(run.leads for run in led):
                    await self._means.bell.wait(self._means.bell.rings, timeout_s=0.2)

    # --- the ledger ------------------------------------------------------------------------------------------

    async def call(self, function: str, *args: object) -> int:
        """One transaction of this site; the height of its block. Raises LedgerRefused, LedgerUnreachable."""
        means = self._means
        receipt = await means.blocking(lambda: cast(means.ledger, means.key, function, *args))
        means.bell.ring()
        return int(receipt.height)

    async def _insist(self, function: str, *args: object) -> None:
        """The same, for as long as it takes; a refusal that says it is done already is an answer."""
        tries = 0
        while True:
            try:
                await self.call(function, *args)
            except LedgerUnreachable:
                await asyncio.sleep(_AGAIN_S[min(tries, len(_AGAIN_S) - 1)])
                tries += 1
            except LedgerRefused as refused:
                if refused.reason not in _QUIET:
                    raise
                return
            else:
                return


def _numbers(terms: Iterable[object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(_TERMS, terms, strict=True))
