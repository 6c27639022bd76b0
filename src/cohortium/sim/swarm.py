"""A whole swarm in this process: the real nodes, on a memory network, in virtual time, by one seed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cohortium.assembly import build_guard, quorum
from cohortium.core.identity import LedgerKey
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.seams import Budget, LedgerEvent, Work
from cohortium.core.study import Study
from cohortium.core.update import Update
from cohortium.errors import RunFailed, TrainingFailed, first_of
from cohortium.ledger import ENGINES
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.rules import Founder
from cohortium.ledger.transactions import sign_call
from cohortium.sim.bench import Bench
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.actions import Outcome
from cohortium.swarm.bell import Bell
from cohortium.swarm.election import is_drawn
from cohortium.swarm.node import Charter, Node, Ports, Proposal
from cohortium.swarm.notices import Notice, RoundRecord
from cohortium.swarm.program import SiteWork
from cohortium.swarm.store import DiskStore, MemoryStore, Store
from cohortium.swarm.waiting import Policy
from cohortium.transport.memory import MemoryNetwork

__all__ = ["Setting", "SwarmRun", "policy_of", "run_swarm"]

_GENESIS_TIME = 1_800_000_000  # a fixed beginning, so that runs repeat


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """Everything one simulated swarm is made of. home: where a run that can be resumed keeps its files.

    stages: filled with the stage of every round while the run goes on. budgets: makes the purse of a site from its
    name and the consortium's identity; promised_micro: epsilon the run stays within, in millionths.
    """

    study: Study
    works: Mapping[str, SiteWork]
    chance: Chance
    ledger: str = "memory"
    engine: str = "sequential"
    home: Path | None = None
    stages: dict[int, str] = field(default_factory=dict)
    observe: Callable[[Notice], None] = field(default=lambda notice: None)
    budgets: Callable[[str, bytes], Budget] | None = None
    promised_micro: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class SwarmRun:
    """What came of it. state: the last merge all adopted; memories: private arrays by site (they never left).

    bytes_sent: merge -> bytes of all sites together, from the beginning until it was first adopted.
    """

    outcome: Outcome
    study: bytes
    state: Parameters
    memories: Mapping[str, Parameters]
    ledger: Any
    events: tuple[LedgerEvent, ...]
    bytes_sent: Mapping[int, int]
    virtual_s: float


def policy_of(study: Study) -> Policy:
    """The study's waiting and attestation rules, as the machine takes them."""
    plan = study.swarm
    return Policy(
        round_timeout_s=study.strategy.round_timeout_s,
        answer_timeout_s=plan.answer_timeout_s,
        silence_s=plan.silence_s,
        max_round_s=plan.max_round_s,
        wait=plan.wait,
        late=plan.late,
        complete_share=plan.complete_share,
    )


def run_swarm(setting: Setting) -> SwarmRun:
    """Run the nodes to the end of the study's run. Raises RunFailed when it ends as `failed`."""
    swarm = _Swarm(setting)
    try:
        run = run_virtual(swarm.run())
    except BaseExceptionGroup as group:
        raise first_of(group) from None  # every node meets the same one when the fault is in what they all compute
    if run.outcome.status == "failed":
        run.ledger.close()
        failed = RunFailed(run.outcome.site, run.outcome.stage, run.outcome.reason)
        failed.hint = "; ".join(swarm.causes)
        raise failed
    return run


class _Overheard:
    """A site's work that also keeps why a merge failed: peers are told a code only, this process may know more."""

    def __init__(self, work: SiteWork, causes: dict[str, None]) -> None:
        self._work, self._causes = work, causes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)

    def merge(self, state: Parameters, updates: Sequence[Update]) -> Parameters:
        try:
            return self._work.merge(state, updates)
        except TrainingFailed as failed:
            self._causes |= dict.fromkeys(text for text in (str(failed), failed.hint) if text)
            raise


class _Swarm:
    """The nodes of one simulation and what they share: ledger, network, bell, bench."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.sites = sorted(setting.works)
        self.keys = {site: self._key(site) for site in self.sites}
        self.quorum = quorum(setting.study, len(self.sites))
        self.bench = Bench(setting.works, engine=setting.engine, quorum=self.quorum, stages=setting.stages)
        self.bell = Bell()
        self.stores: list[Store] = []
        self.merged = 0
        self.sent: dict[int, int] = {}  # bytes of all sites together until each merge was first adopted
        self.causes: dict[str, None] = {}

    async def run(self) -> SwarmRun:
        loop = asyncio.get_running_loop()
        ledger = self._open_ledger(loop.time)
        self.network = network = MemoryNetwork(rng=self.setting.chance.stream("network"))
        try:
            nodes = [
                Node(s, self._charter(ledger, s), self._ports(ledger, network, s), self._policy) for s in self.sites
            ]
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._watch())
                running = [tasks.create_task(node.run()) for node in nodes]
                for one in running:
                    await one
                watch.cancel()
            events = tuple(ledger.events(0))
        except BaseException:
            ledger.close()
            raise
        finally:
            for store in self.stores:
                store.close()
        return SwarmRun(
            outcome=running[0].result(),
            study=self.setting.study.digest,
            state=nodes[0].state,
            memories={site: work.memory() for site, work in self.setting.works.items()},
            ledger=ledger,
            events=events,
            bytes_sent=dict(self.sent),
            virtual_s=loop.time(),
        )

    async def _watch(self) -> None:
        """End a run that will never end: nothing was merged for as long as approvals and a round may take."""
        patience_s = self.setting.study.swarm.answer_timeout_s + self.setting.study.swarm.max_round_s
        seen = -1
        while seen < self.merged:
            seen = self.merged
            await asyncio.sleep(patience_s)
        raise RunFailed("ledger", "round", "standstill")

    def _observe(self, notice: Notice) -> None:
        if isinstance(notice, RoundRecord) and notice.turn > self.merged:
            self.merged = notice.turn
            self.sent[notice.turn] = sum(self.network.sent_bytes.values())
        self.setting.observe(notice)

    @property
    def _policy(self) -> Policy:
        return policy_of(self.setting.study)

    def _open_ledger(self, now: Callable[[], float]) -> Any:
        """A new chain, or the one an interrupted run left; its clock goes on from the newest block."""
        engine = ENGINES.resolve(self.setting.ledger)
        path = None if self.setting.home is None else self.setting.home / "chain.sqlite"
        if path is not None and path.exists() and self.setting.ledger != "memory":
            return engine.open(path, clock=lambda: _GENESIS_TIME + now())
        founders = tuple(
            Founder(key.address, site, self._digest("tls", site), self._digest("seal", site))
            for site, key in self.keys.items()
        )
        chain_id = 1 + int.from_bytes(self.setting.chance.secret(6, "chain"), "big")
        genesis = Genesis(founders=founders, chain_id=chain_id, time=_GENESIS_TIME, engine=self.setting.ledger)
        return engine.found(genesis, clock=lambda: _GENESIS_TIME + now(), path=path)

    def _charter(self, ledger: Any, site: str) -> Charter:
        study, work = self.setting.study, self.setting.works[site]
        proposal = Proposal(
            min_sites=self.quorum,
            n_rounds=work.program.max_rounds,
            answer_timeout_s=int(study.swarm.answer_timeout_s),
            budget=self.setting.promised_micro,
            drawn=is_drawn(study.swarm.attest, n_sites=len(self.sites), size_bytes=self._size_bytes(work)),
        )
        return Charter(
            consortium=ledger.genesis.consortium,
            contract=ledger.contract,
            chain_id=ledger.chain_id,
            study=study.digest,
            proposal=proposal if site == self.sites[0] else None,
            terms=proposal,
        )

    def _ports(self, ledger: Any, network: MemoryNetwork, site: str) -> Ports:
        key, chance = self.keys[site], self.setting.chance

        def sign(nonce: int, function: str, args: tuple[object, ...]) -> bytes:
            return sign_call(
                key, chain_id=ledger.chain_id, nonce=nonce, contract=ledger.contract, function=function, args=args
            )

        return Ports(
            ledger=ledger,
            transport=network.join(site),
            store=self._store(site),
            work=cast(Work, _Overheard(self.setting.works[site], self.causes)),
            key=key,
            sign_call=sign,
            next_nonce=lambda: ledger.nonce(key.address),
            entropy=lambda n, *names: chance.secret(n, "node", site, *names),
            trainer=self.bench.trainer(site),
            budget=None if self.setting.budgets is None else self.setting.budgets(site, ledger.genesis.consortium),
            guard=build_guard(self.setting.study, site, entropy=lambda n: chance.secret(n, "masks", site)),
            observe=self._observe,
            bell=self.bell,
        )

    def _size_bytes(self, work: SiteWork) -> int:
        """Bytes of the model, as one update carries it."""
        rng = self.setting.chance.stream("shape")
        return work.program.learner.initial(work.training.layout, rng=rng).size_bytes

    def _store(self, site: str) -> Store:
        home = self.setting.home
        self.stores.append(MemoryStore() if home is None else DiskStore(home / "nodes" / site))
        return self.stores[-1]

    def _key(self, site: str) -> LedgerKey:
        return LedgerKey.new(lambda n: self.setting.chance.secret(n, "ledger key", site))

    def _digest(self, what: str, site: str) -> bytes:
        return self.setting.chance.secret(32, what, site)
