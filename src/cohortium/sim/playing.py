"""Playing a scenario: real nodes, machine, contract rules and memory network in virtual time, with toy work.

Each site adds its own vector, so that hours at a hospital cost milliseconds here. What goes wrong is written in
`faults.py`; `mishaps.py` makes it go wrong through the ports of the nodes, never inside them.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cohortium.core.exact import weighted_sum
from cohortium.core.exchange import Guard, PlainGuard
from cohortium.core.identity import LedgerKey
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.seams import LedgerEvent
from cohortium.core.update import Aggregate, Update
from cohortium.errors import CohortiumError
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.memory import MemoryLedger
from cohortium.ledger.rules import Founder
from cohortium.ledger.transactions import sign_call
from cohortium.sim.attribution import Told, attributions
from cohortium.sim.faults import Scenario, WrongClock
from cohortium.sim.mishaps import Ground, Mishaps
from cohortium.sim.replicas import Replicas
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.actions import Outcome
from cohortium.swarm.bell import Bell
from cohortium.swarm.node import Charter, Node, Ports, Proposal
from cohortium.swarm.notices import Notice, Refused, RoundRecord, Troubled
from cohortium.swarm.store import DiskStore, MemoryStore, Store
from cohortium.transport.memory import MemoryNetwork

__all__ = ["Report", "play"]

_CHAIN = 7001


@dataclass(kw_only=True)
class Report:
    """What came of it. outcomes: by site that reached the end; errors: of nodes that stopped.

    missing: by site, whose shared results it never got. heads, skipped: of the sites' replicas, where each has one."""

    scenario: Scenario
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    errors: dict[str, CohortiumError] = field(default_factory=dict)
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    states: dict[str, bytes] = field(default_factory=dict)
    heads: dict[str, bytes] = field(default_factory=dict)
    skipped: dict[str, dict[str, int]] = field(default_factory=dict)
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

    @property
    def told(self) -> tuple[Told, ...]:
        """Each trouble, and how soon all other sites knew of it."""
        return attributions(self.notices, self.scenario.sites)

    def __str__(self) -> str:
        lines = [f"scenario {self.scenario.name}, seed {self.scenario.seed}, ended after {self.ended_s:.0f} s"]
        lines += [f"  block {e.height}: {e.name} {_short(e.args)}" for e in self.events]
        lines += [f"  {at:9.1f} s  {site}: {notice}" for at, site, notice in self.notices]
        lines += [f"  {site}: {outcome}" for site, outcome in sorted(self.outcomes.items())]
        return "\n".join([*lines, *(f"  {site}: {error!r}" for site, error in sorted(self.errors.items()))])


def _short(args: Mapping[str, object]) -> str:
    shown = {k: v.hex()[:8] if isinstance(v, bytes) else v for k, v in args.items() if k != "run"}
    return " ".join(f"{key}={value}" for key, value in shown.items())


class _VectorWork:
    """Each site adds its own vector; the state is the running weighted mean and the number of merges."""

    def __init__(self, site: str, index: int, *, size: int) -> None:
        self.site, self.index, self.size = site, index, size
        self._memory = Parameters({"merges": np.zeros(1, np.int64)})

    def start(self) -> Parameters:
        return Parameters({"w": np.zeros(self.size), "merges": np.zeros(1, np.int64)})

    def train(self, round: int, state: Parameters) -> Update:
        vector = np.asarray(state["w"], np.float64) + (self.index + 1) * round
        return Update(site=self.site, parameters=Parameters({"w": vector}), weight=10 + self.index)

    def merge(self, state: Parameters, updates: Sequence[Update] | Aggregate) -> Parameters:
        whole = updates if isinstance(updates, Aggregate) else weighted_sum(updates)
        mean = np.divide(whole.total["w"], float(whole.weight))
        return Parameters({"w": mean, "merges": np.asarray(state["merges"]) + 1})

    def refuse(self, state: Parameters, shown: Sequence[Update]) -> None:
        """Nothing is shown."""

    def adopt(self, round: int, state: Parameters, own: Update | None) -> Mapping[str, float]:
        self._memory = Parameters({"merges": np.asarray(state["merges"])})
        return {"mean": float(np.asarray(state["w"])[0])}

    def finished(self, state: Parameters) -> bool:
        return False

    def memory(self) -> Parameters:
        return self._memory

    def restore(self, memory: Parameters) -> None:
        self._memory = memory


class _World:
    """One playing of a scenario. folder: for stores on disk."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.report = Report(scenario=scenario)
        self.chance = Chance(scenario.seed, secrets_from_system=False)
        self.loop = asyncio.get_running_loop()
        self.keys = {
            site: LedgerKey.new(lambda n, site=site: self.chance.secret(n, "key", site))  # type: ignore[misc]
            for site in scenario.sites
        }
        founders = tuple(Founder(key.address, site, bytes(32), bytes(32)) for site, key in self.keys.items())
        engine = "replicated" if scenario.replicated else "memory"
        self.genesis = Genesis(founders=founders, chain_id=_CHAIN, time=1_800_000_000, engine=engine)
        self.replicas = Replicas(self.genesis, self.keys, clock=self._clock_of) if scenario.replicated else None
        memory = MemoryLedger.found(self.genesis, clock=self._block_clock)
        self.ledger: Any = memory if self.replicas is None else self.replicas.at(scenario.sites[0])
        self.network = MemoryNetwork(rng=self.chance.stream("network"), link=scenario.link)
        self.bell = Bell()
        self.stores = {site: MemoryStore() for site in scenario.sites}
        self.folder = folder
        self.nodes: dict[str, Node] = {}
        log = None if self.replicas is None else self.replicas.log
        ground = Ground(ledger=self.ledger, network=self.network, bell=self.bell, keys=self.keys, log=log)
        self.mishaps = Mishaps(scenario, ground)

    def _block_clock(self) -> float:
        return 1_800_000_000 + self.loop.time()

    def _clock_of(self, site: str) -> float:
        off = self.mishaps.first(WrongClock, site)
        return self._block_clock() + (0.0 if off is None else off.by_s)

    async def play(self) -> Report:
        async with asyncio.TaskGroup() as tasks:
            lives = [tasks.create_task(self._live(site)) for site in self.scenario.sites]
            fates = [tasks.create_task(fate) for fate in self.mishaps.fates(self.nodes)]
            await asyncio.wait(lives, timeout=self.scenario.within_s)
            for task in (*lives, *fates):
                task.cancel()
        self.report.events = list(self.ledger.events())
        self.report.ended_s = self.loop.time()
        self.report.bytes_sent = sum(self.network.sent_bytes.values())
        if self.replicas is not None:
            for site in self.scenario.sites:
                self.replicas.at(site).sync()
                self.report.heads[site] = self.replicas.at(site).head().hash
                self.report.skipped[site] = dict(self.replicas.at(site).skipped)
            self.replicas.close()
        return self.report

    async def _live(self, site: str) -> None:
        try:
            outcome = await self.mishaps.live(site, lambda: self._node(site))
        except CohortiumError as error:
            self.report.errors[site] = error
            return
        if outcome is not None:
            node = self.nodes[site]
            self.report.outcomes[site] = outcome
            self.report.states[site] = node.state.digest
            self.report.missing[site] = node.missing_results()

    def _node(self, site: str) -> Node:
        """A new node of the site; what an earlier one wrote is in its store."""
        scenario, key = self.scenario, self.keys[site]
        ledger = self.ledger if self.replicas is None else self.replicas.at(site)
        index = scenario.sites.index(site)
        proposal = None
        if index == 0:
            proposal = Proposal(
                min_sites=scenario.min_sites,
                n_rounds=scenario.rounds,
                answer_timeout_s=int(scenario.policy.answer_timeout_s),
                leader_timeout_s=int(scenario.policy.leader_timeout_s),
                drawn=scenario.drawn,
            )

        def sign(nonce: int, function: str, args: tuple[object, ...]) -> bytes:
            contract = self.genesis.contract
            return sign_call(key, chain_id=_CHAIN, nonce=nonce, contract=contract, function=function, args=args)

        ports = Ports(
            ledger=ledger,
            transport=self.network.join(site),
            store=self._store(site),
            work=_VectorWork(site, index, size=scenario.size),
            key=key,
            sign_call=sign,
            next_nonce=lambda: ledger.nonce(key.address),
            entropy=lambda n, *names: self.chance.secret(n, site, *names),
            guard=self._guard(site),
            share=dict,
            observe=lambda notice: self.report.notices.append((self.loop.time(), site, notice)),
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
        self.nodes[site] = Node(site, charter, self.mishaps.ports(site, ports), scenario.policy)
        return self.nodes[site]

    def _store(self, site: str) -> Store:
        return DiskStore(self.folder / site) if self.scenario.disk else self.stores[site]

    def _guard(self, site: str) -> Guard:
        if not self.scenario.masked:
            return PlainGuard()
        from cohortium.privacy.secagg.guard import MaskedGuard  # loads the ciphers

        return MaskedGuard(site, entropy=lambda n: self.chance.secret(n, "masks", site))


def play(scenario: Scenario) -> Report:
    """Play a scenario to its end, in virtual time."""

    async def main(folder: Path) -> Report:
        return await _World(scenario, folder).play()

    with tempfile.TemporaryDirectory(prefix="cohortium-") as folder:
        return run_virtual(main(Path(folder)))
