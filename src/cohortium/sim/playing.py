"""Playing a fault scenario: real nodes, machine, contract rules and memory network in virtual time, with toy work.

Each site adds its own vector, so that hours at a hospital cost milliseconds here. What goes wrong is written in
`faults.py`; this module makes it go wrong through the ports of the nodes, never inside them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from cohortium.core.exact import weighted_sum
from cohortium.core.frames import pack
from cohortium.core.identity import LedgerKey
from cohortium.core.messages import Manifest, Offer, body_of, decode, encode, sealed
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.seams import Head, LedgerEvent, Receipt
from cohortium.core.update import Aggregate, Update
from cohortium.errors import CohortiumError, FrameError, LedgerUnreachable, TrainingFailed
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.memory import MemoryLedger
from cohortium.ledger.rules import Founder
from cohortium.ledger.transactions import sign_call
from cohortium.sim.faults import (
    Arrives,
    Crash,
    Cut,
    DeviceLost,
    Exclusion,
    Fault,
    ForgedMerge,
    ForkedView,
    LeaderCut,
    LeaderSteps,
    NoResult,
    NotReady,
    Scenario,
    Slow,
    TwoFaced,
    Withheld,
)
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.actions import Outcome
from cohortium.swarm.bell import Bell
from cohortium.swarm.gate import MERGE_SLOT, slot_digest
from cohortium.swarm.node import Charter, Node, Ports, Proposal
from cohortium.swarm.notices import Notice, Refused, RoundRecord, Troubled
from cohortium.swarm.store import MemoryStore
from cohortium.transport.memory import MemoryNetwork, MemoryTransport

__all__ = ["Report", "play"]

_CHAIN = 7001


@dataclass(kw_only=True)
class Report:
    """What came of it. outcomes: by site that reached the end; errors: of nodes that stopped.

    missing: by site, whose shared results it never got."""

    scenario: Scenario
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    errors: dict[str, CohortiumError] = field(default_factory=dict)
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    states: dict[str, bytes] = field(default_factory=dict)
    notices: list[tuple[float, str, Notice]] = field(default_factory=list)
    events: list[LedgerEvent] = field(default_factory=list)
    ended_s: float = 0.0
    bytes_sent: int = 0

    def named(self, name: str) -> list[Mapping[str, Any]]:
        """Arguments of all ledger events of this name."""
        return [event.args for event in self.events if event.name == name]

    def contributors(self, round: int) -> set[str]:
        """Who is in the final merge of a round."""
        return next(
            (set(n.contributors) for _, _, n in self.notices if isinstance(n, RoundRecord) and n.round == round), set()
        )

    def refusals(self, by: str) -> list[Refused]:
        """What one node refused."""
        return [notice for _, site, notice in self.notices if site == by and isinstance(notice, Refused)]

    def troubles(self, by: str) -> list[tuple[float, Troubled]]:
        """What one node heard of troubles, and when."""
        return [(at, n) for at, site, n in self.notices if site == by and isinstance(n, Troubled)]

    def __str__(self) -> str:
        lines = [f"scenario {self.scenario.name}, seed {self.scenario.seed}, ended after {self.ended_s:.0f} s"]
        lines += [f"  block {e.height}: {e.name} {_short(e.args)}" for e in self.events]
        lines += [f"  {at:9.1f} s  {site}: {notice}" for at, site, notice in self.notices]
        lines += [f"  {site}: {outcome}" for site, outcome in sorted(self.outcomes.items())]
        return "\n".join([*lines, *(f"  {site}: {error!r}" for site, error in sorted(self.errors.items()))])


def _short(args: Mapping[str, object]) -> str:
    shown = {k: v.hex()[:8] if isinstance(v, bytes) else v for k, v in args.items() if k != "run"}
    return " ".join(f"{key}={value}" for key, value in shown.items())


class _Killed(CohortiumError):
    """The node was killed by its scenario."""


class _VectorWork:
    """Each site adds its own vector; the state is the running weighted mean and the number of merges."""

    def __init__(self, site: str, index: int, *, size: int, forge: bool) -> None:
        self.site, self.index, self.size, self.forge = site, index, size, forge
        self._memory = Parameters({"merges": np.zeros(1, np.int64)})

    def start(self) -> Parameters:
        return Parameters({"w": np.zeros(self.size), "merges": np.zeros(1, np.int64)})

    def train(self, round: int, state: Parameters) -> Update:
        vector = np.asarray(state["w"], np.float64) + (self.index + 1) * round
        return Update(site=self.site, parameters=Parameters({"w": vector}), weight=10 + self.index)

    def merge(self, state: Parameters, updates: Sequence[Update] | Aggregate) -> Parameters:
        whole = updates if isinstance(updates, Aggregate) else weighted_sum(updates)
        mean = np.divide(whole.total["w"], float(whole.weight))
        return Parameters({"w": mean + 1 if self.forge else mean, "merges": np.asarray(state["merges"]) + 1})

    def adopt(self, round: int, state: Parameters, own: Update | None) -> Mapping[str, float]:
        self._memory = Parameters({"merges": np.asarray(state["merges"])})
        return {"mean": float(np.asarray(state["w"])[0])}

    def finished(self, state: Parameters) -> bool:
        return False

    def memory(self) -> Parameters:
        return self._memory

    def restore(self, memory: Parameters) -> None:
        self._memory = memory


class _SiteLedger:
    """The shared ledger as one site sees it: unreachable with a minority, another hash when forked."""

    def __init__(self, world: _World, site: str) -> None:
        self._world, self._site = world, site

    def _reach(self) -> Any:
        if not self._world.has_majority(self._site):
            raise LedgerUnreachable(f"{self._site} is cut off with a minority")
        return self._world.ledger

    def submit(self, signed: bytes) -> Receipt:
        receipt: Receipt = self._reach().submit(signed)
        return receipt

    def call(self, function: str, args: tuple[object, ...] = ()) -> tuple[object, ...]:
        return tuple(self._reach().call(function, args))

    def events(self, from_height: int = 0) -> list[LedgerEvent]:
        return list(self._reach().events(from_height))

    def nonce(self, address: bytes) -> int:
        return int(self._reach().nonce(address))

    def head(self) -> Head:
        head: Head = self._reach().head()
        forked = self._world.first(ForkedView, self._site)
        if forked is not None and self._world.now() >= forked.from_s:
            return replace(head, hash=bytes(32))
        return head

    def export(self, path: Any) -> None:
        self._world.ledger.export(path)


class _FaultyTransport:
    """A site's transport that swallows what its fault says, or lies beside it."""

    def __init__(self, world: _World, site: str, inner: MemoryTransport) -> None:
        self._world, self._site, self._inner = world, site, inner

    async def send(self, peer: str, frame: bytes) -> None:
        if not self._swallowed(frame):
            await self._inner.send(peer, frame)
            if self._world.first(TwoFaced, self._site) is not None and (lie := self._lie(frame)):
                await self._inner.send(peer, lie)

    def _lie(self, frame: bytes) -> bytes:
        """Another merge for the slot in which this frame offers one, properly signed; empty for other frames."""
        envelope = decode(frame)
        body = body_of(envelope)
        if not isinstance(body, Offer) or body.manifest.step != "merge":
            return b""
        key, other = self._world.keys[self._site], pack(Parameters({"w": np.full(2, float(envelope.round))}))
        slot = slot_digest(
            contract=self._world.genesis.contract,
            chain_id=_CHAIN,
            run=envelope.run,
            round=envelope.round,
            term=envelope.term,
            kind=MERGE_SLOT,
            digest=other.digest,
        )
        manifest = Manifest(
            step="merge",
            digest=other.digest,
            header=other.header,
            chunks=other.chunk_digests,
            slot=key.sign_message(slot),
        )
        bare = msgspec.structs.replace(envelope, sequence=envelope.sequence + (1 << 31))
        return encode(sealed(bare, Offer(manifest=manifest), key.sign))

    def _swallowed(self, frame: bytes) -> bool:
        withheld = self._world.first(Withheld, self._site)
        slow = self._world.first(Slow, self._site)
        try:
            envelope = decode(frame)
        except FrameError:
            return False
        if withheld is not None and envelope.kind in ("offer", "chunk") and envelope.round == withheld.round:
            return True
        mute = slow is not None and not slow.heartbeats and envelope.kind == "progress"
        return mute and slow is not None and envelope.round == slow.round

    async def receive(self) -> tuple[str, bytes]:
        return await self._inner.receive()

    async def close(self) -> None:
        await self._inner.close()


class _World:
    """One playing of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.report = Report(scenario=scenario)
        self.chance = Chance(scenario.seed, secrets_from_system=False)
        self.loop = asyncio.get_running_loop()
        self.keys = {
            site: LedgerKey.new(lambda n, site=site: self.chance.secret(n, "key", site))  # type: ignore[misc]
            for site in scenario.sites
        }
        founders = tuple(Founder(key.address, site, bytes(32), bytes(32)) for site, key in self.keys.items())
        self.genesis = Genesis(founders=founders, chain_id=_CHAIN, time=1_800_000_000, engine="memory")
        self.ledger = MemoryLedger.found(self.genesis, clock=self._block_clock)
        self.network = MemoryNetwork(rng=self.chance.stream("network"), link=scenario.link)
        self.bell = Bell()
        self.stores = {site: MemoryStore() for site in scenario.sites}
        self.killed: set[str] = set()
        self.nodes: dict[str, Node] = {}

    def now(self) -> float:
        return self.loop.time()

    def _block_clock(self) -> float:
        return 1_800_000_000 + self.loop.time()

    def first(self, kind: type[Any], site: str) -> Any:
        """The fault of this kind that concerns a site."""
        return next((f for f in self.scenario.faults if isinstance(f, kind) and f.site == site), None)

    def has_majority(self, site: str) -> bool:
        """Whether the site reaches more than half of all: only there the ledger goes on."""
        return 2 * sum(self.network.reachable(site, other) for other in self.scenario.sites) > len(self.scenario.sites)

    async def play(self) -> Report:
        async with asyncio.TaskGroup() as tasks:
            lives = [tasks.create_task(self._live(site)) for site in self.scenario.sites]
            fates = [tasks.create_task(self._fate(fault)) for fault in self.scenario.faults]
            await asyncio.wait(lives, timeout=self.scenario.within_s)
            for task in (*lives, *fates):
                task.cancel()
        self.report.events = list(self.ledger.events())
        self.report.ended_s = self.now()
        self.report.bytes_sent = sum(self.network.sent_bytes.values())
        return self.report

    async def _fate(self, fault: Fault) -> None:
        """What a fault does to the world by itself; the others are looked up by the parts they concern."""
        match fault:
            case Cut():
                await asyncio.sleep(fault.from_s)
                await self._cut(fault.groups, fault.until_s - fault.from_s)
            case LeaderCut():
                leader = await self._leader_at_closing(fault.round)
                await self._cut(((leader,),), fault.for_s)
            case LeaderSteps():
                leader = await self._leader_at_closing(fault.round)
                await self.nodes[leader].step_down()
            case Exclusion():
                await asyncio.sleep(fault.at_s)
                self._exclude(fault.site)

    async def _cut(self, groups: tuple[tuple[str, ...], ...], for_s: float) -> None:
        self.network.partition(*groups)
        await asyncio.sleep(for_s)
        self.network.heal()

    async def _leader_at_closing(self, round: int) -> str:
        while True:
            rings = self.bell.rings
            for event in self.ledger.events():
                if event.name == "Closed" and event.args["round"] == round:
                    return str(event.args["leader"])
            await self.bell.wait(rings, timeout_s=60.0)

    def _exclude(self, site: str) -> None:
        for other, key in self.keys.items():
            if other != site:
                self.ledger.submit(self._signed(key, self.ledger.nonce(key.address), "vote_exclude", (site,)))
        self.bell.ring()

    def _signed(self, key: LedgerKey, nonce: int, function: str, args: tuple[object, ...]) -> bytes:
        contract = self.genesis.contract
        return sign_call(key, chain_id=_CHAIN, nonce=nonce, contract=contract, function=function, args=args)

    async def _live(self, site: str) -> None:
        """All lives of one site's node."""
        if (arrives := self.first(Arrives, site)) is not None:
            await asyncio.sleep(arrives.at_s)
        while True:
            self.nodes[site] = node = self._node(site)
            try:
                self.report.outcomes[site] = await node.run()
                self.report.states[site] = node.state.digest
                self.report.missing[site] = node.missing_results()
                return
            except _Killed:
                crash = self.first(Crash, site)
                if crash is None or crash.back_after_s is None:
                    return
                await asyncio.sleep(crash.back_after_s)
            except CohortiumError as error:
                self.report.errors[site] = error
                return

    def _node(self, site: str) -> Node:
        scenario, key, ledger = self.scenario, self.keys[site], _SiteLedger(self, site)
        index = scenario.sites.index(site)
        work = _VectorWork(site, index, size=scenario.size, forge=self.first(ForgedMerge, site) is not None)
        proposal = None
        if index == 0:
            proposal = Proposal(
                min_sites=scenario.min_sites,
                n_rounds=scenario.rounds,
                answer_timeout_s=int(scenario.policy.answer_timeout_s),
                leader_timeout_s=int(scenario.policy.leader_timeout_s),
                drawn=scenario.drawn,
            )
        ports = Ports(
            ledger=ledger,
            transport=_FaultyTransport(self, site, self.network.join(site)),
            store=_FragileStore(self, site),
            work=work,
            key=key,
            sign_call=lambda nonce, function, args: self._signed(key, nonce, function, args),
            next_nonce=lambda: ledger.nonce(key.address),
            entropy=lambda n, *names: self.chance.secret(n, site, *names),
            trainer=lambda turn, state: self._train(site, work, turn, state),
            prepare=lambda: self._prepare(site),
            share=lambda measures: {} if self.first(NoResult, site) is not None else dict(measures),
            observe=lambda notice: self.report.notices.append((self.now(), site, notice)),
            bell=self.bell,
            poll_s=60.0,
        )
        charter = Charter(
            consortium=self.genesis.consortium,
            contract=self.genesis.contract,
            chain_id=_CHAIN,
            study=b"\x53" * 32,
            proposal=proposal,
        )
        return Node(site, charter, ports, scenario.policy)

    async def _train(self, site: str, work: _VectorWork, turn: int, state: Parameters) -> Update:
        slow, lost = self.first(Slow, site), self.first(DeviceLost, site)
        await asyncio.sleep(slow.for_s if slow is not None and slow.round == turn else self.scenario.train_s)
        if lost is not None and turn >= lost.round and self.now() < lost.back_s:
            raise TrainingFailed("the accelerator is gone", code="device")
        return work.train(turn, state)

    def _prepare(self, site: str) -> None:
        lost, late = self.first(DeviceLost, site), self.first(NotReady, site)
        if lost is not None and self.now() < lost.back_s and self._training_began(lost):
            raise TrainingFailed("no accelerator", stage="load", code="device")
        if late is not None and self.now() < late.for_s:
            raise TrainingFailed("still reading", stage="load", code="data")

    def _training_began(self, lost: DeviceLost) -> bool:
        return any(
            event.name == "RoundOpened" and int(str(event.args["round"])) >= lost.round
            for event in self.ledger.events()
        )


class _FragileStore:
    """A site's store; the node dies just before a fact is written when its `Crash` says so."""

    def __init__(self, world: _World, site: str) -> None:
        self._world, self._site, self._inner = world, site, world.stores[site]

    def add(self, fact: Any) -> None:
        crash, world = self._world.first(Crash, self._site), self._world
        if (
            crash is not None
            and (fact.kind, fact.round) == (crash.fact, crash.round)
            and self._site not in world.killed
        ):
            world.killed.add(self._site)
            raise _Killed(f"{self._site} killed before it wrote {crash.fact}")
        self._inner.add(fact)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def play(scenario: Scenario) -> Report:
    """Play a scenario to its end, in virtual time."""

    async def main() -> Report:
        return await _World(scenario).play()

    return run_virtual(main())
