"""A whole swarm in this process: the real nodes, on a memory network, in virtual time, by one seed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from cohortium.assembly import build_guard, quorum
from cohortium.core.exchange import Guard
from cohortium.core.identity import LedgerKey
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.seams import Budget, LedgerEvent, Work
from cohortium.core.study import Study
from cohortium.core.update import Aggregate, Update
from cohortium.errors import RunFailed, TrainingFailed, UsageError, first_of
from cohortium.ledger import ENGINES, SERVED
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.rules import Founder
from cohortium.ledger.transactions import sign_call
from cohortium.privacy.dp.accounting import micro
from cohortium.sim.attribution import Told, attributions
from cohortium.sim.bench import Bench
from cohortium.sim.faults import Scenario
from cohortium.sim.mishaps import Ground, Mishaps
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm.actions import Outcome
from cohortium.swarm.bell import Bell
from cohortium.swarm.egress import Sent
from cohortium.swarm.election import is_drawn
from cohortium.swarm.membership import Members
from cohortium.swarm.node import Charter, Node, Ports, Proposal
from cohortium.swarm.notices import Notice, Refused, RoundRecord, Troubled
from cohortium.swarm.ports import Audited, Judged
from cohortium.swarm.program import Program, SiteWork
from cohortium.swarm.store import DiskStore, MemoryStore, Store
from cohortium.swarm.view import Departure, RunState, RunView
from cohortium.swarm.waiting import Policy
from cohortium.transport.memory import Link, MemoryNetwork

__all__ = ["Setting", "SwarmRun", "check_ledger", "policy_of", "run_swarm", "terms_of"]

_PAUSE_S = 3600.0
_GENESIS_TIME = 1_800_000_000  # a fixed beginning, so that runs repeat


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting:
    """Everything one simulated swarm is made of. home: where a run that can be resumed keeps its files.

    stages: filled with the stage of every round while the run goes on. scenario: what goes wrong, at these sites.
    budgets: makes the purse of a site from its name and the consortium's identity; promised_micro: epsilon the run
    stays within, in millionths; egress: told of what leaves a site; audit: a site's attacks on the last state;
    judge: what the last state says of sites' data; hear: told of the state and the updates of each merge a node makes.
    """

    study: Study
    works: Mapping[str, SiteWork]
    chance: Chance
    ledger: str = "memory"
    engine: str = "sequential"
    home: Path | None = None
    stages: dict[int, str] = field(default_factory=dict)
    scenario: Scenario | None = None
    observe: Callable[[Notice], None] = field(default=lambda notice: None)
    budgets: Callable[[str, bytes], Budget | None] = lambda site, consortium: None
    promised_micro: int = 0
    egress: Mapping[str, Callable[[Sent], None]] = field(default_factory=dict)
    audit: Callable[[str, SiteWork, Parameters], Sequence[Audited]] = lambda site, work, state: ()
    judge: Callable[[Parameters], Sequence[Judged]] = lambda state: ()
    hear: Callable[[Parameters, Sequence[Update] | Aggregate], None] = lambda state, updates: None


@dataclass(frozen=True, kw_only=True, eq=False)
class SwarmRun:
    """What came of it. state: the last merge all adopted; memories: private arrays by site (they never left).

    bytes_sent: merge -> bytes of all sites together, from the beginning until it was first adopted. told: troubles, and
    how soon all knew. missing: by site, whose shared results it never got, where results were shared.
    """

    outcome: Outcome
    study: bytes
    state: Parameters
    memories: Mapping[str, Parameters]
    ledger: Any
    events: tuple[LedgerEvent, ...]
    bytes_sent: Mapping[int, int]
    virtual_s: float
    told: tuple[Told, ...] = ()
    missing: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def check_ledger(name: str) -> None:
    """Raises UsageError unless a simulation can run on this engine."""
    available = [one for one in ENGINES if one not in SERVED]
    if name in SERVED:
        takes = " or ".join(available)
        raise UsageError(f"ledger {name!r} needs servers of its own, for nodes; a simulation takes {takes}")
    if name not in available:
        raise UsageError(f"unknown ledger {name!r}; available: {', '.join(available)}")


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


def terms_of(study: Study, program: Program, *, n_sites: int) -> Proposal:
    """What a proposal of the study among so many sites says, whoever makes it."""
    layout = program.prepared_layout(Parameters(), 0)
    first = program.learner.initial(layout, rng=program.chance.stream("shape"))
    return Proposal(
        min_sites=quorum(study, n_sites),
        n_rounds=program.max_rounds,
        answer_timeout_s=int(study.swarm.answer_timeout_s),
        budget=0 if program.privacy is None else micro(program.privacy.epsilon),
        drawn=is_drawn(study.swarm.attest, n_sites=n_sites, size_bytes=first.size_bytes),
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


def _paused(ledger: Any) -> Departure | None:
    """Who left first, if too few sites are left for a round."""
    view = RunView(run=1, members=Members())
    for event in ledger.events(0):
        view.apply(event)
    short = view.state is RunState.RUNNING and len(view.live | view.pending) < view.least
    return view.departures[0] if short and view.departures else None


class _Overheard:
    """A site's work that also keeps why a merge failed: peers are told a code only, this process may know more.

    hear: told of every merge before it is made.
    """

    def __init__(
        self,
        work: SiteWork,
        causes: dict[str, None],
        hear: Callable[[Parameters, Sequence[Update] | Aggregate], None],
    ) -> None:
        self._work, self._causes, self._hear = work, causes, hear

    def __getattr__(self, name: str) -> Any:
        return getattr(self._work, name)

    def merge(self, state: Parameters, updates: Sequence[Update] | Aggregate) -> Parameters:
        self._hear(state, updates)
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
        self.bench = Bench(
            setting.works, engine=setting.engine, quorum=self.quorum, stages=setting.stages, check=self._check
        )
        self.bell = Bell()
        self.stores: list[Store] = []
        self.kept: dict[str, MemoryStore] = {}
        self.merged = 0
        self.sent: dict[int, int] = {}  # bytes of all sites together until each merge was first adopted
        self.causes: dict[str, None] = {}
        self.notices: list[tuple[float, str, Notice]] = []
        self.nodes: dict[str, Node] = {}
        self.blank = {site: work.memory() for site, work in setting.works.items()}

    async def run(self) -> SwarmRun:
        loop = asyncio.get_running_loop()
        ledger = self._open_ledger(loop.time)
        scenario = self.setting.scenario
        link = Link() if scenario is None else scenario.link
        self.network = MemoryNetwork(rng=self.setting.chance.stream("network"), link=link)
        ground = Ground(ledger=ledger, network=self.network, bell=self.bell, keys=self.keys)
        mishaps = None if scenario is None else Mishaps(scenario, ground)
        try:
            outcomes = await self._play(ledger, mishaps)
            events = tuple(ledger.events(0))
        except BaseException:
            ledger.close()
            raise
        finally:
            for store in self.stores:
                store.close()
        ended = [self.nodes[site] for site in outcomes]
        return SwarmRun(
            outcome=next(iter(outcomes.values())),
            study=self.setting.study.digest,
            state=next((node for node in ended if node.has_final_merge), ended[0]).state,
            memories={site: work.memory() for site, work in self.setting.works.items()},
            ledger=ledger,
            events=events,
            bytes_sent=dict(self.sent),
            virtual_s=loop.time(),
            told=attributions(self.notices, self.sites),
            missing={} if scenario is None else {site: self.nodes[site].missing_results() for site in outcomes},
        )

    async def _play(self, ledger: Any, mishaps: Mishaps | None) -> dict[str, Outcome]:
        """All nodes to their end; the outcome by site, without those that were killed for good."""
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._watch(ledger))
            fates = [] if mishaps is None else [tasks.create_task(one) for one in mishaps.fates(self.nodes)]
            lives = {site: tasks.create_task(self._live(ledger, site, mishaps)) for site in self.sites}
            outcomes = {site: await life for site, life in lives.items()}
            for task in (watch, *fates):
                task.cancel()
        return {site: outcome for site, outcome in outcomes.items() if outcome is not None}

    async def _live(self, ledger: Any, site: str, mishaps: Mishaps | None) -> Outcome | None:
        def make() -> Node:
            ports = self._ports(ledger, site)
            whole = ports if mishaps is None else mishaps.ports(site, ports)
            self.nodes[site] = Node(site, self._charter(ledger, site), whole, self._policy)
            return self.nodes[site]

        return await (make().run() if mishaps is None else mishaps.live(site, make))

    def _guard(self, site: str) -> Guard:
        secret = self.setting.chance.secret
        return build_guard(
            self.setting.study, site, n_sites=len(self.sites), entropy=lambda n: secret(n, "masks", site)
        )

    def _check(self, update: Update) -> None:
        self._guard(update.site).check(update)

    async def _watch(self, ledger: Any) -> None:
        """End a run that will never end: nothing was merged for as long as approvals and a round may take.

        Sooner where too few sites are left for a round: at hospitals somebody would see to it, here nobody does.
        """
        patience_s = self.setting.study.swarm.answer_timeout_s + self.setting.study.swarm.max_round_s
        pause_s = _PAUSE_S if self.setting.scenario is None else _PAUSE_S * 6
        merged, waited_s = self.merged, 0.0
        while waited_s < patience_s:
            await asyncio.sleep(pause_s)
            waited_s = 0.0 if self.merged > merged else waited_s + pause_s
            merged = self.merged
            if waited_s and (lost := _paused(ledger)):
                raise RunFailed(lost.site, lost.stage, lost.reason)
        raise RunFailed("ledger", "round", "standstill")

    def _observe(self, site: str, notice: Notice) -> None:
        if isinstance(notice, Troubled | Refused):
            self.notices.append((asyncio.get_running_loop().time(), site, notice))
        if isinstance(notice, RoundRecord) and notice.turn > self.merged:
            self.merged = notice.turn
            self.sent[notice.turn] = sum(self.network.sent_bytes.values())
        self.setting.observe(notice)

    @property
    def _policy(self) -> Policy:
        own, scenario = policy_of(self.setting.study), self.setting.scenario
        return own if scenario is None else scenario.rules(own)

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
        terms = terms_of(study, work.program, n_sites=len(self.sites))
        timeout_s = int(self._policy.answer_timeout_s)
        proposal = replace(terms, answer_timeout_s=timeout_s, budget=self.setting.promised_micro)
        return Charter(
            consortium=ledger.genesis.consortium,
            contract=ledger.contract,
            chain_id=ledger.chain_id,
            study=study.digest,
            proposal=proposal if site == self.sites[0] else None,
            terms=proposal,
        )

    def _ports(self, ledger: Any, site: str) -> Ports:
        key, chance = self.keys[site], self.setting.chance
        self.setting.works[site].restore(self.blank[site])  # a node that is started again is a new process

        def sign(nonce: int, function: str, args: tuple[object, ...]) -> bytes:
            return sign_call(
                key, chain_id=ledger.chain_id, nonce=nonce, contract=ledger.contract, function=function, args=args
            )

        return Ports(
            ledger=ledger,
            transport=self.network.join(site),
            store=self._store(site),
            work=cast(Work, _Overheard(self.setting.works[site], self.causes, self.setting.hear)),
            key=key,
            sign_call=sign,
            next_nonce=lambda: ledger.nonce(key.address),
            entropy=lambda n, *names: chance.secret(n, "node", site, *names),
            trainer=self.bench.trainer(site),
            budget=self.setting.budgets(site, ledger.genesis.consortium),
            audit=lambda state: self.setting.audit(site, self.setting.works[site], state),
            judge=self.setting.judge,
            egress=self.setting.egress.get(site, lambda sent: None),
            guard=self._guard(site),
            share=(lambda measures: {}) if self.setting.scenario is None else dict,
            observe=lambda notice: self._observe(site, notice),
            bell=self.bell,
        )

    def _store(self, site: str) -> Store:
        """The site's store; one in memory outlives its node, one on disk is opened anew."""
        if self.setting.home is not None:
            self.stores.append(DiskStore(self.setting.home / "nodes" / site))
            return self.stores[-1]
        return self.kept.setdefault(site, MemoryStore())

    def _key(self, site: str) -> LedgerKey:
        return LedgerKey.new(lambda n: self.setting.chance.secret(n, "ledger key", site))

    def _digest(self, what: str, site: str) -> bytes:
        return self.setting.chance.secret(32, what, site)
