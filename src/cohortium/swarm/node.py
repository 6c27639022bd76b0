"""One site's node for one run: the asyncio shell that executes a `RoundMachine`'s actions.

    node = Node("porto", charter, ports, policy)
    outcome = await node.run()          # Outcome: complete | partial | failed
    node.state                          # Parameters of the newest adopted merge

`Charter` says which consortium and which study; `Ports` holds everything that touches the world: ledger, transport,
store, work, key, chance. The same class runs in a simulation (blocking calls inline, virtual clock, memory ledger
and transport, one bell for all) and at a hospital. A node that is killed at any point and constructed again
with the same store goes on where it was.

    ports = Ports(
        ledger=ledger, transport=network.join("porto"), store=MemoryStore(), work=work, key=key,
        sign_call=lambda nonce, function, args: sign_call(key, chain_id=..., nonce=nonce, contract=...,
                                                          function=function, args=args),
        next_nonce=lambda: ledger.nonce(key.address), entropy=lambda n, *names: chance.secret(n, "porto", *names),
    )

Optional: trainer (a coroutine, e.g. one that trains many simulated sites at once), guard (masks), consent, prepare,
observe (progress and round records, `notices.py`), run_blocking (a worker thread at a hospital), bell.
What happens next is decided in the machine, how payloads travel in `courier.py`, who is listened to in `gate.py`.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from cohortium.core.exchange import Context, Guard, PlainGuard
from cohortium.core.frames import Limits, Packed, pack, parameters_of
from cohortium.core.identity import LedgerKey, keccak, recover, recover_message
from cohortium.core.messages import (
    VERSION,
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
    encode,
    sealed,
)
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Ledger, LedgerEvent, Transport, Work
from cohortium.core.update import Update
from cohortium.errors import (
    FrameError,
    LedgerForked,
    LedgerRefused,
    LedgerUnreachable,
    PeerError,
    SignatureError,
    TrainingFailed,
    VerificationFailed,
)
from cohortium.swarm import actions as do
from cohortium.swarm import events as ev
from cohortium.swarm.actions import Fact, Outcome
from cohortium.swarm.bell import Bell
from cohortium.swarm.courier import Courier, layout_of
from cohortium.swarm.gate import MERGE_SLOT, Gate, Witness, slot_digest
from cohortium.swarm.machine import FINAL_STEP, RoundMachine
from cohortium.swarm.membership import Members
from cohortium.swarm.notices import Notice, Progressed, Refused, RoundRecord, RunEnded, Troubled
from cohortium.swarm.store import Store
from cohortium.swarm.waiting import Policy

__all__ = ["Charter", "Node", "Ports", "Proposal", "in_line"]

T = TypeVar("T")

_NONE = Parameters()
_SEND_S = 30.0
_HEADS = 256
_OFFER_S = 2.0  # how long an offer is awaited before it is asked for


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What `propose` puts on the ledger beside the study's digest. budget: cumulative epsilon, millionths."""

    min_sites: int
    n_rounds: int
    answer_timeout_s: int = 86_400
    leader_timeout_s: int = 120
    budget: int = 0
    drawn: bool = False


@dataclass(frozen=True, kw_only=True)
class Charter:
    """Which consortium, which contract, which study. proposal: None unless this node proposes the run."""

    consortium: bytes
    contract: bytes
    chain_id: int
    study: bytes
    proposal: Proposal | None = None


async def in_line(work: Callable[[], T]) -> T:
    """`run_blocking` of a simulation: here and now."""
    return work()


def _unheard(notice: Notice) -> None:
    """Nobody observes."""


@dataclass(kw_only=True)
class Ports:
    """Everything a node touches. Each is handed in; a node opens nothing itself.

    entropy(n, *names): n secret bytes; names make them repeatable in a simulation. prepare: read data and check,
    before `ready`; raises TrainingFailed. share: what of the last merge's measures the peers may see (nothing).
    poll_s: how often to look at the ledger when the bell stays silent.
    """

    ledger: Ledger
    transport: Transport
    store: Store
    work: Work
    key: LedgerKey
    sign_call: Callable[[int, str, tuple[object, ...]], bytes]
    next_nonce: Callable[[], int]
    entropy: Callable[..., bytes]
    run_blocking: Callable[[Callable[[], Any]], Awaitable[Any]] = in_line
    trainer: Callable[[int, Parameters], Awaitable[Update]] | None = None
    guard: Guard = field(default_factory=PlainGuard)
    consent: Callable[[LedgerEvent], bool] = lambda proposed: True
    prepare: Callable[[], None] = lambda: None
    share: Callable[[Mapping[str, float]], Mapping[str, float]] = lambda measures: {}
    observe: Callable[[Notice], None] = _unheard
    bell: Bell = field(default_factory=Bell)
    limits: Limits = field(default_factory=Limits)
    poll_s: float = 1.0


class Node:
    """One site in one run. `run` returns the outcome; `state` is the newest adopted merge."""

    def __init__(self, site: str, charter: Charter, ports: Ports, policy: Policy | None = None) -> None:
        self.site = site
        self.state = _NONE
        self.outcome: Outcome | None = None
        self.fraction = 0.0  # of the running training; a trainer may set it
        self._charter = charter
        self._ports = ports
        self._policy = policy or Policy()
        self._members = Members()
        self._machine: RoundMachine | None = None
        self._gate = Gate(consortium=charter.consortium, me=site, members=self._members, recover=recover)
        self._witness = Witness()
        self._courier = Courier(self._send, limits=ports.limits, retry_s=self._policy.retry_s)
        self._inbox: deque[ev.Event] = deque()
        self._arrival = asyncio.Event()
        self._submissions: asyncio.Queue[do.Submit] = asyncio.Queue()
        self._sequence = 0
        self._height = 0
        self._head = (0, bytes(32))
        self._heads: dict[int, bytes] = {}
        self._base: tuple[bytes, Parameters] = (b"", _NONE)
        self._updates: dict[bytes, Update] = {}
        self._proposal: LedgerEvent | None = None
        self._fetching: set[bytes] = set()
        self._awaited: dict[bytes, do.Fetch] = {}
        self._stored: dict[int, set[bytes]] = {}
        self._done: set[str] = set()
        self._halted = ""
        self.results: dict[str, Mapping[str, float]] = {}  # measures that sites have shared, by site
        self._measures: Mapping[str, float] = {}
        self._training = asyncio.Lock()
        self._jobs: set[asyncio.Task[None]] = set()

    @property
    def has_final_merge(self) -> bool:
        """Whether `state` is the newest merge the ledger calls final; False where nobody could give it in time."""
        newest = self._machine.view.newest if self._machine else None
        return newest is None or self._base[0] == newest.digest

    def missing_results(self) -> dict[str, str]:
        """Why a site that approved has no shared result here: `missing: ...` by site; empty when all have come."""
        view = self._machine.view if self._machine else None
        if view is None:
            return {}
        left = {gone.site: gone.reason for gone in view.departures}
        return {site: f"missing: {left.get(site, 'not received')}" for site in view.joiners if site not in self.results}

    # --- life ------------------------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        """Take part until the run has ended and its last merge is adopted. Cancelling it is a normal end."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                background = [
                    tasks.create_task(task)
                    for task in (self._follow(), self._listen(), self._submit_all(), self._beat())
                ]
                outcome = await self._drive()
                await self._linger(outcome)
                for task in (*background, *self._jobs):
                    task.cancel()
        except BaseExceptionGroup as group:
            raise _first(group) from None
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
                machine = self._machine
                if machine is None:
                    continue
                for action in machine.handle(event):
                    await self._execute(action)
                if self.outcome is not None:
                    return self.outcome
            self._arrival.clear()
            await self._arrival.wait()

    def _post(self, event: ev.Event) -> None:
        self._inbox.append(event)
        self._arrival.set()

    async def _blocking(self, work: Callable[[], T]) -> T:
        result: T = await self._ports.run_blocking(work)
        return result

    async def _linger(self, outcome: Outcome) -> None:
        """Serve the last merge until every site of the run has it, or linger_s have passed."""
        if shared := dict(self._ports.share(self._measures)):
            self.results[self.site] = shared
            await self._broadcast("result", Result(measures=shared))
        await self._broadcast("bye", Bye(reason="done"))
        if not self.has_final_merge:
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

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # --- ledger ----------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Hand every ledger event to the machine, in order and once; start the machine when the run is known."""
        ports, past = self._ports, []
        proposed = False
        while True:
            rings = ports.bell.rings
            try:
                fresh = await self._blocking(lambda: list(ports.ledger.events(self._height + 1)))
            except LedgerUnreachable:
                fresh = []
            if fresh:
                self._height = max(event.height for event in fresh)
            if self._machine is None:
                past += fresh
                await self._find_run(past)
                if self._machine is None and not proposed:
                    proposed = self._propose()
            elif fresh:
                self._inbox.append(ev.Tick(self._now()))
                self._inbox.extend([ev.Recorded(event) for event in fresh])
                self._arrival.set()
            await ports.bell.wait(rings, timeout_s=ports.poll_s)

    async def _find_run(self, past: list[LedgerEvent]) -> None:
        for event in past:
            if event.name == "Proposed" and event.args["spec"] == self._charter.study:
                self._proposal = event
        if self._proposal is None:
            for event in past:
                self._note_member(event)
            return
        run = self._proposal.args["run"]
        assert isinstance(run, int)  # noqa: S101 - by the contract's interface
        await self._resume(run, past)

    def _note_member(self, event: LedgerEvent) -> None:
        """Before there is a run, members are folded here, so that peers are known."""
        if event.name == "MemberChanged":
            RoundMachine(0, self.site, self._ports.guard.recipe, self._policy, members=self._members).handle(
                ev.Recorded(event)
            )

    async def _resume(self, run: int, past: list[LedgerEvent]) -> None:
        """A machine for the run, told everything this node and the ledger remember."""
        machine = RoundMachine(run, self.site, self._ports.guard.recipe, self._policy, members=self._members)
        store = self._ports.store
        facts = await self._blocking(lambda: store.facts(run))
        lives = sum(fact.kind == "started" for fact in facts)
        self._sequence = lives << 32
        await self._blocking(lambda: store.add(Fact(kind="started", run=run)))
        machine.handle(ev.Tick(self._now()))
        for fact in facts:
            if await self._recall(fact):
                machine.handle(ev.Remembered(fact))
        for event in past:
            machine.handle(ev.Recorded(event))
        self._machine = machine
        if machine.adopted[0] == 0:
            self.state = await self._blocking(self._ports.work.start)
            self._base = (b"", self.state)
        self._post(ev.Resumed())

    async def _recall(self, fact: Fact) -> bool:
        """Bring back what a fact speaks of; False if its payload is lost, then the fact does not count."""
        store, work = self._ports.store, self._ports.work
        for digest in (fact.digest, fact.memory):
            if fact.kind in ("trained", "stepped", "merged", "adopted") and digest:
                packed = await self._blocking(lambda digest=digest: store.get(digest))  # type: ignore[misc]
                if packed is None:
                    return False
                self._courier.hold(packed, round=fact.round)
                self._stored.setdefault(fact.round, set()).add(digest)
        if fact.kind == "adopted":
            self.state = self._arrays(fact.digest)
            self._base = (fact.digest, self.state)
            memory = self._arrays(fact.memory) if fact.memory else _NONE
            await self._blocking(lambda: work.restore(memory))
        elif fact.kind == "trained":
            memory = self._arrays(fact.memory) if fact.memory else _NONE
            arrays = self._arrays(fact.digest)
            self._updates[fact.digest] = Update(site=self.site, parameters=arrays, weight=fact.number, memory=memory)
        elif fact.kind == "stepped" and fact.memory:
            self._ports.guard.restore(self._arrays(fact.memory))
        return True

    def _propose(self) -> bool:
        wanted = self._charter.proposal
        if wanted is None:
            return True
        flags = (1 if wanted.drawn else 0) | (2 if self._ports.guard.recipe.masked else 0)
        args = (
            self._charter.study, wanted.min_sites, wanted.n_rounds, wanted.answer_timeout_s, wanted.leader_timeout_s,
            wanted.budget, flags,
        )  # fmt: skip
        self._submissions.put_nowait(do.Submit("propose", args, (0, "propose")))
        return True

    async def _submit_all(self) -> None:
        """The one task that owns signing and the nonce."""
        nonce = await self._next_nonce()
        while True:
            action = await self._submissions.get()
            nonce = await self._submit(action, nonce)

    async def _next_nonce(self) -> int:
        """The nonce as the ledger has it, however long it takes to reach it."""
        while True:
            try:
                return await self._blocking(self._ports.next_nonce)
            except LedgerUnreachable:
                await asyncio.sleep(self._policy.retry_s)

    async def _submit(self, action: do.Submit, nonce: int) -> int:
        """Put one call on the ledger; returns the next nonce. A refusal is told to the machine, not raised."""
        ports = self._ports
        while True:
            raw = ports.sign_call(nonce, action.function, action.args)
            try:
                receipt = await self._blocking(lambda raw=raw: ports.ledger.submit(raw))  # type: ignore[misc]
            except LedgerRefused as refused:
                fresh = await self._next_nonce()
                if refused.reason == "nonce" and fresh != nonce:
                    nonce = fresh
                    continue
                self._post(ev.Denied(action.key, refused.reason))
                return fresh
            except LedgerUnreachable:
                await asyncio.sleep(self._policy.retry_s)
                nonce = await self._next_nonce()
                continue
            if not receipt.ok:
                self._post(ev.Denied(action.key, receipt.reason))
            ports.bell.ring()
            return nonce + 1

    # --- peers -----------------------------------------------------------------------------------------------

    def _peers(self) -> set[str]:
        """The other sites of the run that are still members, live or not."""
        joiners = self._machine.view.joiners if self._machine else []
        return {site for site in joiners if site != self.site and self._members.is_active(site)}

    async def _broadcast(self, kind: str, body: Body) -> None:
        await self._send(kind, body, sorted(self._peers()), {})

    async def _send(self, kind: str, body: Body, receivers: Sequence[str], place: Mapping[str, int]) -> None:
        """One signed envelope, handed to each receiver; named in it where there is only one."""
        if receivers:
            frame = self._frame(kind, body, receivers[0] if len(receivers) == 1 else "", place)
            for receiver in receivers:
                await self._hand_over(receiver, frame)

    async def _hand_over(self, peer: str, frame: bytes) -> None:
        try:
            async with asyncio.timeout(_SEND_S):
                await self._ports.transport.send(peer, frame)
        except TimeoutError:
            return  # delivery may fail; whoever needs it asks again

    def _frame(self, kind: str, body: Body, receiver: str, place: Mapping[str, int]) -> bytes:
        machine = self._machine
        round = machine.view.round.number if machine and machine.view.round else 0
        self._sequence += 1
        bare = Envelope(
            version=VERSION,
            consortium=self._charter.consortium,
            run=machine.view.run if machine else 0,
            round=place.get("round", round),
            term=place.get("term", 0),
            attempt=place.get("attempt", 0),
            kind=kind,  # type: ignore[arg-type]
            sender=self.site,
            receiver=receiver,
            sequence=self._sequence,
            head_height=self._head[0],
            head_hash=self._head[1],
            body=b"",
        )
        return encode(sealed(bare, body, self._ports.key.sign))

    async def _beat(self) -> None:
        """Every few seconds: a tick for the machine, a word for the peers."""
        while True:
            await asyncio.sleep(self._policy.heartbeat_s)
            self._post(ev.Tick(self._now()))
            machine = self._machine
            if machine is None or machine.view.ended or self.site not in machine.view.joiners:
                continue
            await self._look_at_head()
            if machine.trouble:
                await self._broadcast("trouble", Trouble(stage="train", code=machine.trouble))
            else:
                fraction = min(max(self.fraction, 0.0), 1.0)
                await self._broadcast("progress", Progress(stage=machine.stage, fraction=fraction))  # type: ignore[arg-type]

    async def _look_at_head(self) -> None:
        try:
            head = await self._blocking(self._ports.ledger.head)
        except LedgerUnreachable:
            return
        self._head = (head.height, head.hash)
        self._heads[head.height] = head.hash
        if len(self._heads) > _HEADS:
            del self._heads[min(self._heads)]

    async def _listen(self) -> None:
        while True:
            sender, frame = await self._ports.transport.receive()
            if self._gate.cut(sender):
                continue
            try:
                envelope, body = self._gate.open(sender, frame)
                await self._hear(envelope, body)
            except PeerError as wrong:
                self._ports.observe(Refused(site=sender, why=str(wrong)))

    async def _hear(self, envelope: Envelope, body: Body) -> None:
        machine = self._machine
        if machine is None or envelope.run != machine.view.run:
            return
        site = envelope.sender
        self._compare_heads(envelope)
        match body:
            case Offer():
                self._check_slot(envelope, body.manifest.step, body.manifest.digest, body.manifest.slot)
                self._courier.take_offer(envelope.round, body)
                if awaited := self._awaited.pop(body.manifest.digest, None):
                    self._fetching.discard(awaited.digest)
                    self._fetch(awaited)
                offered = ev.Offered(site, envelope.round, envelope.attempt, body.manifest.step, body.manifest.digest)
                self._post(offered)
            case Chunk():
                self._courier.take_chunk(body)
            case Need():
                self._spawn(self._courier.answer(envelope, body))
            case StepNote():
                self._check_slot(envelope, body.step, body.bitmap, body.slot)
                bitmap = int.from_bytes(body.bitmap, "big")
                self._post(ev.Proposed(site, envelope.round, envelope.attempt, body.step, bitmap))
            case _:
                self._note(envelope, body)
                self._post(ev.Arrived(site, body))

    def _compare_heads(self, envelope: Envelope) -> None:
        """Every envelope carries the ledger's head as its sender sees it: two hashes at one height stop the node."""
        mine = self._heads.get(envelope.head_height)
        if mine is not None and envelope.head_height and mine != envelope.head_hash:
            raise LedgerForked(
                f"block {envelope.head_height} of the ledger is {envelope.head_hash.hex()[:16]} for"
                f" {envelope.sender!r} and {mine.hex()[:16]} here",
                evidence=(encode(envelope), mine),
            )

    def _note(self, envelope: Envelope, body: Body) -> None:
        site, round = envelope.sender, envelope.round
        if isinstance(body, Progress):
            self._ports.observe(
                Progressed(site=site, round=round, stage=body.stage, fraction=body.fraction, eta_s=body.eta_s)
            )
        elif isinstance(body, Trouble):
            self._ports.observe(Troubled(site=site, round=round, stage=body.stage, code=body.code, where=body.where))
        elif isinstance(body, Result):
            self.results[site] = dict(body.measures)
        elif isinstance(body, Bye) and body.reason == "done":
            if self.outcome is not None and site not in self._done:
                self._spawn(self._send("bye", Bye(reason="done"), [site], {}))  # it may have missed mine
            self._done.add(site)

    def _slot(self, round: int, term: int, attempt: int, step: str) -> tuple[int, int, int, int] | None:
        """Run, round, term, kind of what must be signed for the contract; None for a committed payload."""
        run = self._machine.view.run if self._machine else 0
        if step == "merge":
            return run, round, term, MERGE_SLOT
        for known in self._ports.guard.recipe.steps:
            if known.name == step and known.payload != "committed":
                return run, round, term if known.payload == "survivors" else attempt, known.number
        return None

    def _slot_digest(self, slot: tuple[int, int, int, int], digest: bytes) -> bytes:
        run, round, term, kind = slot
        return slot_digest(
            contract=self._charter.contract, chain_id=self._charter.chain_id,
            run=run, round=round, term=term, kind=kind, digest=digest,
        )  # fmt: skip

    def _check_slot(self, envelope: Envelope, step: str, digest: bytes, signature: bytes) -> None:
        """What a peer says for a slot must be signed for the contract; two statements for one slot convict it."""
        slot = self._slot(envelope.round, envelope.term, envelope.attempt, step)
        if slot is None:
            return
        site = envelope.sender
        if recover_message(self._slot_digest(slot, digest), signature) != self._members.address_of[site]:
            raise SignatureError(f"offer of {site!r} is not signed for its slot")
        if proof := self._witness.note(site, slot, digest, signature):
            args = (*slot, proof[0], proof[1], proof[2], proof[3])
            self._submissions.put_nowait(do.Submit("report_equivocation", args, (slot[1], "report", site)))
            raise FrameError(f"{site!r} signed two digests for round {slot[1]}, step {step!r}")

    # --- actions ---------------------------------------------------------------------------------------------

    async def _execute(self, action: do.Action) -> None:
        match action:
            case do.Persist():
                await self._persist(action.fact)
            case do.Submit():
                self._submissions.put_nowait(action)
            case do.Consent():
                self._consent()
            case do.Prepare():
                self._spawn(self._prepare())
            case do.Train():
                self._spawn(self._train(action))
            case do.Carry():
                await self._carry(action)
            case do.RunStep():
                self._spawn(self._run_step(action))
            case do.Offer():
                await self._offer(action)
            case do.Propose():
                await self._propose_survivors(action)
            case do.Fetch():
                self._fetch(action)
            case do.Ask():
                place = {"round": action.round, "attempt": action.attempt}
                await self._send("need", Need(digest=b"", step=action.step), [action.site], place)
            case do.Merge() | do.Recompute():
                self._spawn(self._merge(action))
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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def _persist(self, fact: Fact) -> None:
        store = self._ports.store
        for digest in (fact.digest, fact.memory):
            packed = self._courier.payloads.get(digest)
            if packed is not None and digest not in self._stored.setdefault(fact.round, set()):
                self._stored[fact.round].add(digest)
                await self._blocking(lambda packed=packed: store.put(packed))  # type: ignore[misc]
        await self._blocking(lambda: store.add(fact))

    def _consent(self) -> None:
        if self._proposal is None or self._machine is None or not self._ports.consent(self._proposal):
            self._post(ev.Consented(False))
            return
        run = self._machine.view.run
        nonce = self._ports.entropy(32, "nonce", run)
        address = self._ports.key.address.rjust(32, b"\0")
        self._post(ev.Consented(True, keccak(run.to_bytes(32, "big") + address + nonce), nonce))

    async def _prepare(self) -> None:
        try:
            await self._blocking(self._ports.prepare)
        except TrainingFailed as failed:
            self._post(ev.Failed("load", failed.code))
        else:
            self._post(ev.Prepared())

    async def _train(self, action: do.Train) -> None:
        async with self._training:
            view = self._machine.view if self._machine else None
            if view is None or view.round is None or view.round.number != action.round:
                return  # overtaken while an earlier training was still running
            self.fraction = 0.0
            self._ports.observe(Progressed(site=self.site, round=action.round, stage="train"))
            try:
                update = await self._trained(action.turn, self.state)
            except TrainingFailed as failed:
                self._post(ev.Failed("train", failed.code, round=action.round))
                return
            self.fraction = 1.0
        await self._pack_update(update, action.round)

    async def _carry(self, action: do.Carry) -> None:
        """A late update once more, with less weight the older it is."""
        late = self._updates.get(action.digest)
        if late is None:
            self._post(ev.Failed("train", "lost", round=action.round))
            return
        weight = max(1, int(late.weight / math.sqrt(1 + action.round - action.late_round)))
        await self._pack_update(replace(late, weight=weight), action.round)

    async def _pack_update(self, update: Update, round: int) -> None:
        """Hash an update under its salted context, hold it, tell the machine."""
        run = self._machine.view.run if self._machine else 0
        context: dict[str, str | int] = {
            "site": self.site,
            "run": run,
            "round": round,
            "study": self._charter.study.hex(),
            "salt": self._ports.entropy(16, "salt", run, round).hex(),
        }
        packed = await self._blocking(lambda: pack(update.parameters, context))
        self._courier.hold(packed, round=round)
        memory = self._hold_memory(update.memory, round)
        self._updates[packed.digest] = update
        self._post(ev.Trained(round, packed.digest, update.weight, memory=memory))

    async def _trained(self, turn: int, state: Parameters) -> Update:
        ports = self._ports
        if ports.trainer is not None:
            return await ports.trainer(turn, state)
        return await self._blocking(lambda: ports.work.train(turn, state))

    def _hold_memory(self, memory: Parameters, round: int) -> bytes:
        if not len(memory):
            return b""
        packed = pack(memory)
        self._courier.hold(packed, round=round)
        return packed.digest

    # --- exchange --------------------------------------------------------------------------------------------

    def _context(self, round: int, attempt: int) -> Context:
        machine = self._machine
        if machine is None or machine.view.round is None:
            raise FrameError("no round is open")
        view, current = machine.view, machine.view.round
        assert current is not None  # noqa: S101 - checked above
        newest = view.newest
        return Context(
            consortium=self._charter.consortium,
            study=self._charter.study,
            run=view.run,
            round=round,
            attempt=attempt,
            base=newest.digest if newest else b"",
            frozen=current.frozen,
            weights={site: commit.weight for site, commit in current.commits.items()},
        )

    def _arrays(self, digest: bytes) -> Parameters:
        return parameters_of(self._courier.payloads[digest], limits=self._ports.limits)[0]

    def _gather(self, inputs: Mapping[str, Mapping[str, bytes]]) -> dict[str, dict[str, Parameters]]:
        """Arrays by step and sender; own payloads without reading them back."""
        return {
            step: {
                site: self._updates[digest].parameters if digest in self._updates else self._arrays(digest)
                for site, digest in held.items()
            }
            for step, held in inputs.items()
        }

    async def _run_step(self, action: do.RunStep) -> None:
        guard, context = self._ports.guard, self._context(action.round, action.attempt)
        trained = self._own_update(action.round)
        if trained is None:
            return
        received = self._gather(action.inputs)
        arrays = await self._blocking(lambda: guard.step(action.step, context, own=trained, received=received))
        salt = self._ports.entropy(16, "salt", context.run, action.round, action.attempt, action.step).hex()
        packed = pack(arrays, {"site": self.site, "run": context.run, "round": action.round, "salt": salt})
        self._courier.hold(packed, round=action.round)
        memory = self._hold_memory(guard.memory(), action.round)
        self._post(ev.Stepped(action.round, action.attempt, action.step, packed.digest, memory))

    def _own_update(self, round: int) -> Update | None:
        current = self._machine.view.round if self._machine else None
        commit = current.commits.get(self.site) if current and current.number == round else None
        return self._updates.get(commit.digest) if commit else None

    async def _offer(self, action: do.Offer) -> None:
        packed = self._courier.payloads.get(action.digest)
        if packed is None:
            self._post(ev.Failed("exchange", "lost", round=action.round))
            return
        slot = self._slot(action.round, action.term, action.attempt, action.step)
        manifest = Manifest(
            step=action.step,
            digest=packed.digest,
            header=packed.header,
            chunks=packed.chunk_digests,
            inputs_root=action.inputs_root,
            contributors=action.contributors,
            slot=b"" if slot is None else self._ports.key.sign_message(self._slot_digest(slot, packed.digest)),
        )
        place = {"round": action.round, "term": action.term, "attempt": action.attempt}
        await self._courier.offer(manifest, packed, to=action.to, place=place)

    async def _propose_survivors(self, action: do.Propose) -> None:
        bitmap = action.bitmap.to_bytes(32, "big")
        slot = self._slot(action.round, action.term, action.attempt, action.step)
        signature = b"" if slot is None else self._ports.key.sign_message(self._slot_digest(slot, bitmap))
        note = StepNote(step=action.step, bitmap=bitmap, slot=signature)
        place = {"round": action.round, "term": action.term, "attempt": action.attempt}
        await self._send("step", note, action.to, place)

    def _expected(self, action: do.Fetch) -> list[list[object]] | None:
        """The layout an update must have: that of the own one; a merge is held to its digest alone."""
        step = next((step for step in self._ports.guard.recipe.steps if step.name == action.step), None)
        if step is None or step.payload != "committed":
            return None
        current = self._machine.view.round if self._machine else None
        commit = current.commits.get(self.site) if current else None
        mine = self._courier.payloads.get(commit.digest) if commit else None
        return None if mine is None else layout_of(mine)

    def _fetch(self, action: do.Fetch) -> None:
        """At once where the offer carried the payload, else by a task that asks until it is here."""
        try:
            if self._courier.at_hand(action.digest, expected=self._expected(action)):
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

    def _ask_instead(self, digest: bytes) -> None:
        """No offer came in time: ask for it."""
        if awaited := self._awaited.pop(digest, None):
            self._spawn(self._fetch_until_here(awaited))

    async def _fetch_until_here(self, action: do.Fetch) -> None:
        try:
            complete = await self._courier.fetch(
                action.digest,
                holders=action.holders,
                place={"round": action.round, "attempt": action.attempt},
                expected=self._expected(action),
                refuse=lambda site, why: self._ports.observe(Refused(site=site, why=why)),
                is_past=lambda: self._is_past(action),
            )
            if complete:
                self._fetched(action)
        finally:
            self._fetching.discard(action.digest)

    def _is_past(self, action: do.Fetch) -> bool:
        """Whether nobody needs this payload any more."""
        view = self._machine.view if self._machine else None
        if view is None or view.round is None:
            return False
        if action.step == "merge":
            return view.newest is not None and view.newest.round > action.round
        return view.round.number > action.round

    def _fetched(self, action: do.Fetch) -> None:
        self._courier.note_round(action.digest, action.round)
        self._post(ev.Received(action.site, action.round, action.attempt, action.step, action.digest))

    async def _merge(self, action: do.Merge | do.Recompute) -> None:
        ports, state = self._ports, self.state
        if self._base[0] != action.base:
            return
        current = self._machine.view.round if self._machine else None
        if current is None or current.number != action.round:
            return
        context = self._context(action.round, action.attempt)
        received = self._gather(action.inputs)

        def merge() -> Packed:
            updates = ports.guard.open(context, survivors=action.contributors, received=received)
            return pack(ports.work.merge(state, updates))

        packed = await self._blocking(merge)
        self._courier.hold(packed, round=action.round)
        made = ev.Merged if isinstance(action, do.Merge) else ev.Recomputed
        self._post(made(action.round, action.attempt, packed.digest, action.contributors))

    async def _adopt(self, action: do.Adopt) -> None:
        """The final merge is the state; private memory advances only if the merge lists this site."""
        work, view = self._ports.work, self._machine.view if self._machine else None
        final = view.newest if view else None
        if view is None or final is None:
            return
        state = self._arrays(action.digest)
        own = self._updates.get(action.own) if action.own else None
        turn = len(view.finals)
        measures = await self._blocking(lambda: work.adopt(turn, state, own))
        self.state, self._base, self._measures = state, (action.digest, state), measures
        memory = self._hold_memory(work.memory(), action.round)
        finished = await self._blocking(lambda: work.finished(state))
        packed = self._courier.payloads[action.digest]
        manifest = Manifest(
            step=FINAL_STEP, digest=packed.digest, header=packed.header, chunks=packed.chunk_digests,
            contributors=final.contributors,
        )  # fmt: skip
        self._courier.serve(packed, manifest, place={"round": action.round, "term": 0, "attempt": 0})
        self._post(ev.Adopted(action.round, action.digest, finished, memory))
        self._ports.observe(
            RoundRecord(
                site=self.site,
                round=action.round,
                turn=turn,
                digest=action.digest,
                contributors=final.contributors,
                leader=final.leader,
                measures=measures,
                ended_s=self._now(),
            )
        )
        await self._forget(action.round - 1, keep=(action.digest, memory))

    async def _forget(self, round: int, *, keep: tuple[bytes, ...]) -> None:
        """Let go of what belongs to rounds before this one: in memory, and payloads in the store."""
        store = self._ports.store
        self._courier.forget_before(round, keep=keep)
        self._witness.forget_before(round)
        old = [number for number in self._stored if number < round]
        gone = set().union(*(self._stored.pop(number) for number in old)) - set(keep)
        gone -= set().union(*self._stored.values())
        if gone:
            await self._blocking(lambda: store.let_go(gone))
        for digest in gone & self._updates.keys():
            del self._updates[digest]

    async def _tell(self, action: do.Tell) -> None:
        current = self._machine.view.round if self._machine else None
        round = current.number if current else 0
        self._ports.observe(
            Troubled(site=self.site, round=round, stage=action.stage, code=action.code, where=action.where)
        )
        trouble = Trouble(stage=action.stage, code=action.code, where=action.where)  # type: ignore[arg-type]
        await self._broadcast("trouble", trouble)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first real error of a group; cancellations of its neighbours do not count."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            return _first(error)
        if not isinstance(error, asyncio.CancelledError):
            return error
    return group.exceptions[0]
