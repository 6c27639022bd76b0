"""Making a scenario happen to a swarm of real nodes in virtual time: through their ports, never inside them.

    mishaps = Mishaps(scenario, Ground(...))
    ports = mishaps.ports(site, ports)          # the same ports with this site's faults in between
    await mishaps.live(site, make_node)         # all lives of its node
    mishaps.fates(nodes)                        # what happens to the world by itself

The toy swarm of `playing.py` and a study's own swarm (`swarm.py`) go through the same hands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from cohortium.core.identity import LedgerKey
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Ledger, Transport, Work
from cohortium.core.update import Update
from cohortium.errors import TrainingFailed
from cohortium.ledger.transactions import sign_call
from cohortium.sim.entries import foreign_entries, invalid_entries
from cohortium.sim.faults import (
    Arrives,
    Crash,
    Cut,
    Exclusion,
    Failing,
    Foreign,
    ForgedMerge,
    ForkedView,
    LeaderCut,
    LeaderSteps,
    Noise,
    NoResult,
    NotReady,
    Scenario,
    Shunned,
    Slow,
    TwoFaced,
    Unwritable,
    Withheld,
)
from cohortium.sim.faulty_ports import (
    WRONG_CERTIFICATE,
    CutLedger,
    ForgingWork,
    FragileStore,
    Killed,
    LyingTransport,
    MuteTransport,
    ReadOnlyStore,
    ShunnedTransport,
)
from cohortium.sim.replicas import MemoryLog
from cohortium.swarm.actions import Outcome
from cohortium.swarm.bell import Bell
from cohortium.swarm.node import Node, Ports
from cohortium.swarm.store import Store
from cohortium.transport.memory import MemoryNetwork

__all__ = ["Ground", "Mishaps"]

F = TypeVar("F")

Trainer = Callable[[int, Parameters], Awaitable[Update]]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What a simulated swarm shares: one ledger, one network, one bell, and the keys of all; log: of its replicas."""

    ledger: Any
    network: MemoryNetwork
    bell: Bell
    keys: Mapping[str, LedgerKey]
    log: MemoryLog | None = None


@dataclass
class Mishaps:
    """One playing of a scenario. killed: sites whose node has been killed."""

    scenario: Scenario
    ground: Ground
    killed: set[str] = field(default_factory=set)

    def first(self, kind: type[F], site: str) -> F | None:
        """The fault of this kind that concerns a site."""
        return next((one for one in self.scenario.faults if isinstance(one, kind) and one.site == site), None)  # type: ignore[attr-defined]

    # --- ports -----------------------------------------------------------------------------------------------

    def ports(self, site: str, ports: Ports) -> Ports:
        """What this site's node touches, with what goes wrong for it in between."""
        forging = self.first(ForgedMerge, site) is not None
        return replace(
            ports,
            ledger=self._ledger(site, ports.ledger),
            transport=self._transport(site, ports),
            store=self._store(site, ports.store),
            work=cast(Work, ForgingWork(ports.work)) if forging else ports.work,
            trainer=self._trainer(site, ports),
            prepare=self._prepare(site, ports.prepare),
            share=(lambda measures: {}) if self.first(NoResult, site) is not None else ports.share,
        )

    def _ledger(self, site: str, ledger: Ledger) -> Ledger:
        forked = self.first(ForkedView, site)
        return cast(
            Ledger,
            CutLedger(
                ledger,
                site=site,
                reachable=lambda: self._has_majority(site),
                forked=lambda: forked is not None and _now() >= forked.from_s,
            ),
        )

    def _has_majority(self, site: str) -> bool:
        """Whether the site reaches more than half of all: only there the ledger goes on."""
        sites = self.scenario.sites
        return 2 * sum(self.ground.network.reachable(site, other) for other in sites) > len(sites)

    def _transport(self, site: str, ports: Ports) -> Transport:
        transport = ports.transport
        if any(isinstance(one, Shunned) for one in self.scenario.faults):
            transport = ShunnedTransport(transport, site=site, shunned=self._shunned, observe=ports.observe)
        slow, withheld = self.first(Slow, site), self.first(Withheld, site)
        if withheld is not None or (slow is not None and not slow.heartbeats):
            transport = MuteTransport(transport, slow=slow, withheld=withheld)
        if self.first(TwoFaced, site) is not None:
            contract, chain_id = self.ground.ledger.contract, self.ground.ledger.chain_id
            transport = LyingTransport(transport, key=ports.key, contract=contract, chain_id=chain_id)
        return transport

    def _shunned(self) -> set[str]:
        shunned = [one for one in self.scenario.faults if isinstance(one, Shunned)]
        return {one.site for one in shunned if one.from_s <= _now() < one.until_s}

    def _store(self, site: str, store: Store) -> Store:
        if (fault := self.first(Unwritable, site)) is not None:
            store = cast(Store, ReadOnlyStore(store, fault, now=_now))
        if (crash := self.first(Crash, site)) is not None:
            store = cast(Store, FragileStore(store, crash, site=site, killed=self.killed))
        return store

    def _trainer(self, site: str, ports: Ports) -> Trainer:
        """A training that takes the scenario's time, and fails where it says so."""
        slow, failing, inner, work = self.first(Slow, site), self.first(Failing, site), ports.trainer, ports.work

        async def train(turn: int, state: Parameters) -> Update:
            await asyncio.sleep(slow.for_s if slow is not None and slow.round == turn else self.scenario.train_s)
            if failing is not None and turn >= failing.round and _now() < failing.back_s:
                raise TrainingFailed(f"injected: {failing}", code=failing.code)
            return work.train(turn, state) if inner is None else await inner(turn, state)

        return train

    def _prepare(self, site: str, inner: Callable[[], None]) -> Callable[[], None]:
        failing, late = self.first(Failing, site), self.first(NotReady, site)

        def prepare() -> None:
            if failing is not None and _now() < failing.back_s and self._opened(failing.round):
                raise TrainingFailed(f"injected: {failing}", stage="load", code=failing.code)
            if site in self._shunned():
                raise TrainingFailed(WRONG_CERTIFICATE, stage="connect", code="certificate")
            if late is not None and _now() < late.for_s:
                raise TrainingFailed(f"injected: {late}", stage="load", code=late.code)
            inner()

        return prepare

    def _opened(self, round: int) -> bool:
        opened = [event for event in self.ground.ledger.events() if event.name == "RoundOpened"]
        return any(int(str(event.args["round"])) >= round for event in opened)

    # --- lives and fates -------------------------------------------------------------------------------------

    async def live(self, site: str, make: Callable[[], Node]) -> Outcome | None:
        """All lives of one site's node, made anew for each; None if it was killed for good."""
        if (arrives := self.first(Arrives, site)) is not None:
            await asyncio.sleep(arrives.at_s)
        while True:
            try:
                return await make().run()
            except Killed:
                crash = self.first(Crash, site)
                if crash is None or crash.back_after_s is None:
                    return None
                await asyncio.sleep(crash.back_after_s)

    def fates(self, nodes: Mapping[str, Node]) -> list[Coroutine[Any, Any, None]]:
        """What faults do to the world by themselves; the others are met where ports are used."""
        return [self._fate(fault, nodes) for fault in self.scenario.faults]

    async def _fate(self, fault: object, nodes: Mapping[str, Node]) -> None:
        match fault:
            case Cut():
                await asyncio.sleep(fault.from_s)
                await self._cut(fault.groups, fault.until_s - fault.from_s)
            case LeaderCut():
                leader = await self._leader_at_closing(fault.round)
                await self._cut(((leader,),), fault.for_s)
            case LeaderSteps():
                await nodes[await self._leader_at_closing(fault.round)].step_down()
            case Exclusion():
                await asyncio.sleep(fault.at_s)
                self._exclude(fault.site)
            case Noise():
                await asyncio.sleep(fault.at_s)
                self._write(invalid_entries(self.ground.ledger, self.ground.keys))
            case Foreign():
                await asyncio.sleep(fault.at_s)
                self._write(foreign_entries(self.ground.ledger, self.ground.keys))

    def _write(self, entries: list[bytes]) -> None:
        if self.ground.log is not None:
            for entry in entries:
                self.ground.log.put(entry)
            self.ground.bell.ring()

    async def _cut(self, groups: tuple[tuple[str, ...], ...], for_s: float) -> None:
        self.ground.network.partition(*groups)
        await asyncio.sleep(for_s)
        self.ground.network.heal()

    async def _leader_at_closing(self, round: int) -> str:
        bell = self.ground.bell
        while True:
            rings = bell.rings
            for event in self.ground.ledger.events():
                if event.name == "Closed" and event.args["round"] == round:
                    return str(event.args["leader"])
            await bell.wait(rings, timeout_s=60.0)

    def _exclude(self, site: str) -> None:
        ledger = self.ground.ledger
        for other, key in self.ground.keys.items():
            if other != site:
                nonce = ledger.nonce(key.address)
                where = {"chain_id": ledger.chain_id, "contract": ledger.contract}
                ledger.submit(sign_call(key, nonce=nonce, function="vote_exclude", args=(site,), **where))
        self.ground.bell.ring()


def _now() -> float:
    return asyncio.get_running_loop().time()
