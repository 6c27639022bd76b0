"""Worlds for tests of the swarm: the contract's rules without an engine, toy work, nodes and driven machines.

`RulesLedger` takes calls unsigned, so that a test can drive machines event by event and say impossible things; the
signed way through a real engine is tested in tests/sim/test_scenarios.py.
"""

import asyncio
import hashlib
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from cohortium.core.exchange import PLAIN
from cohortium.core.identity import LedgerKey, keccak
from cohortium.core.messages import Progress
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.seams import Head, LedgerEvent, Receipt
from cohortium.core.update import Update
from cohortium.errors import CohortiumError, LedgerRefused
from cohortium.ledger import rules
from cohortium.sim.virtual_clock import run_virtual
from cohortium.swarm import actions as do
from cohortium.swarm import events as ev
from cohortium.swarm.bell import Bell
from cohortium.swarm.machine import RoundMachine
from cohortium.swarm.membership import Members
from cohortium.swarm.node import Charter, Node, Ports, Proposal
from cohortium.swarm.store import MemoryStore
from cohortium.swarm.view import RunView
from cohortium.swarm.waiting import Policy
from cohortium.transport.memory import Link, MemoryNetwork

SPEC = b"\x53" * 32
CONTRACT = bytes(19) + b"\x01"
CHAIN = 7


class RulesLedger:
    """The contract's rules with unsigned calls by site name. view: run 1, folded from all events."""

    def __init__(self, sites, *, clock=lambda: 0.0) -> None:
        self.sites = sorted(sites)
        self.keys = {site: LedgerKey.from_bytes(bytes(31) + bytes([i + 1])) for i, site in enumerate(self.sites)}
        self.clock, self.log, self.height, self.calls, self.tried = clock, [], 0, [], []
        self.nonces = dict.fromkeys(self.sites, 0)
        self.view = RunView(run=1, members=Members())
        founders = [rules.Founder(key.address, site, bytes(32), bytes(32)) for site, key in self.keys.items()]
        self.rules, founding = rules.genesis(founders, chain_id=CHAIN, contract=CONTRACT, time=1)
        self._note(founding)

    def apply(self, site: str, function: str, *args) -> None:
        """One call; raises LedgerRefused."""
        call = rules.Call(self.keys[site].address, function, tuple(args), 1000 + int(self.clock()), self.height + 1)
        self.tried.append((site, function, args))
        events = rules.apply(self.rules, call)
        self.calls.append((site, function, args))
        self._note(events)

    def _note(self, events) -> None:
        self.height += 1
        for index, event in enumerate(events):
            self.log.append(LedgerEvent(self.height, index, event.name, event.args))
            self.view.apply(self.log[-1])

    def submit(self, signed: bytes) -> Receipt:
        site, nonce, function, args = msgspec.msgpack.decode(signed, type=tuple[str, int, str, list])
        if nonce != self.nonces[site]:
            raise LedgerRefused("nonce")
        self.nonces[site] += 1
        try:
            self.apply(site, function, *args)
        except LedgerRefused as refused:
            return Receipt(self.height, False, refused.reason)
        return Receipt(self.height, True)

    def call(self, function, args=()):
        return rules.read(self.rules, function, args)

    def events(self, from_height=0):
        return [event for event in self.log if event.height >= from_height]

    def head(self) -> Head:
        return Head(self.height, bytes(32), bytes(32))

    def export(self, path):
        raise NotImplementedError

    def named(self, name: str) -> list:
        """Arguments of all events of this name."""
        return [event.args for event in self.log if event.name == name]


class SumWork:
    """Toy work: every site adds its own vector; the state is the running weighted mean."""

    def __init__(self, site: str, index: int, *, stop_after: int | None = None) -> None:
        self.site, self.index, self.stop_after = site, index, stop_after
        self.kept = Parameters({"adopted": np.zeros(1, np.int64)})
        self.seen = []

    def start(self):
        return Parameters({"w": np.zeros(4), "n": np.zeros(1, np.int64)})

    def train(self, round, state):
        assert int(state["n"][0]) == round - 1
        w = np.asarray(state["w"]) + (self.index + 1) * round
        kept = Parameters({"adopted": np.array([round], np.int64)})
        return Update(site=self.site, parameters=Parameters({"w": w}), weight=self.index + 1, memory=kept)

    def merge(self, state, updates):
        total = sum(u.weight * np.asarray(u.parameters["w"]) for u in updates)
        return Parameters({"w": total / sum(u.weight for u in updates), "n": np.asarray(state["n"]) + 1})

    def adopt(self, round, state, own):
        self.seen.append((round, state.digest, own is not None))
        if own is not None:
            self.kept = own.memory
        return {"n": float(state["n"][0])}

    def finished(self, state):
        return self.stop_after is not None and int(state["n"][0]) >= self.stop_after

    def memory(self):
        return self.kept

    def restore(self, memory):
        self.kept = memory


def make_node(
    ledger, network, site, *, proposal=None, terms=None, policy=None, store=None, work=None, bell=None, **ports
):
    chance = Chance(7, secrets_from_system=False)
    options = {
        "transport": network.join(site) if network is not None else None,
        "entropy": lambda n, *names: chance.secret(n, site, *names),
        "sign_call": lambda nonce, function, args: msgspec.msgpack.encode((site, nonce, function, args)),
        "next_nonce": lambda: ledger.nonces[site],
        **ports,
    }
    return Node(
        site,
        Charter(consortium=bytes(32), contract=CONTRACT, chain_id=CHAIN, study=SPEC, proposal=proposal, terms=terms),
        Ports(
            ledger=ledger,
            store=store or MemoryStore(),
            work=work or SumWork(site, ledger.sites.index(site)),
            key=ledger.keys[site],
            bell=bell or Bell(),
            poll_s=60.0,
            **options,
        ),
        policy or Policy(),
    )


def commitment(run: int, address: bytes, nonce: bytes) -> bytes:
    return keccak(run.to_bytes(32, "big") + address.rjust(32, b"\0") + nonce)


def sha(*words: object) -> bytes:
    return hashlib.sha256(repr(words).encode()).digest()


class Play:
    """Several machines on one ledger; every message and answer waits in `pending` until it is delivered."""

    def __init__(self, kit, n_sites: int, *, rounds: int = 1, min_sites: int = 2, flags: int = 0, recipe=PLAIN) -> None:
        self.now = 0.0
        sites = [f"site-{i}" for i in range(n_sites)]
        self.ledger = kit.RulesLedger(sites, clock=lambda: self.now)
        self.kit = kit
        self.sites = sites
        self.policy = Policy(stagger_s=5.0)
        self.recipe = recipe
        self.machines = {site: RoundMachine(1, site, recipe, self.policy) for site in sites}
        self.pending: list[tuple[str, ev.Event]] = []
        self.facts: dict[str, list] = {site: [] for site in sites}
        self.refused: list[tuple[str, str, str]] = []
        self.adopted: dict[str, list[bytes]] = {site: [] for site in sites}
        self.outcomes: dict[str, str] = {}
        self.seen = dict.fromkeys(sites, 0)
        self.forger = ""
        self.mute: set[str] = set()
        self.asleep: set[str] = set()  # their training never ends
        self.submissions: list[tuple[str, do.Submit]] = []
        self.ledger.apply(sites[0], "propose", b"s" * 32, min_sites, rounds, 3600, 120, 0, flags)
        for site in sites:
            self.tell_ledger(site)
            self.give(site, ev.Resumed())

    def tell_ledger(self, site: str) -> None:
        fresh, self.seen[site] = self.ledger.log[self.seen[site] :], len(self.ledger.log)
        for event in fresh:
            self.give(site, ev.Recorded(event))

    def give(self, site: str, event: ev.Event) -> None:
        for action in self.machines[site].handle(event):
            self.do(site, action)

    def merge(self, action, site: str) -> bytes:
        return sha("forged" if site == self.forger else "merge", action.base, action.contributors, repr(action.inputs))

    def do(self, site: str, action: do.Action) -> None:
        later = self.pending.append
        match action:
            case do.Persist():
                self.facts[site].append(action.fact)
            case do.Consent():
                nonce, address = sha("nonce", site), self.ledger.keys[site].address
                later((site, ev.Consented(True, self.kit.commitment(1, address, nonce), nonce)))
            case do.Prepare():
                later((site, ev.Prepared()))
            case do.Train():
                if site not in self.asleep:
                    later((site, ev.Trained(action.round, sha(site, action.round, action.base), 10)))
            case do.Submit():
                self.submissions.append((site, action))
            case do.RunStep():
                later((site, ev.Stepped(action.round, action.attempt, action.step, sha(site, action))))
            case do.Offer():
                for to in action.to:
                    if site not in self.mute:
                        later((to, ev.Offered(site, action.round, action.attempt, action.step, action.digest)))
            case do.Propose():
                for to in action.to:
                    later((to, ev.Proposed(site, action.round, action.attempt, action.step, action.bitmap)))
            case do.Fetch():
                if action.site not in self.mute:
                    later((site, ev.Received(action.site, action.round, action.attempt, action.step, action.digest)))
            case do.Merge():
                later((site, ev.Merged(action.round, action.attempt, self.merge(action, site), action.contributors)))
            case do.Recompute():
                later(
                    (site, ev.Recomputed(action.round, action.attempt, self.merge(action, site), action.contributors))
                )
            case do.Adopt():
                self.adopted[site].append(action.digest)
                later((site, ev.Adopted(action.round, action.digest)))
            case do.Refuse():
                self.refused.append((site, action.site, action.why))
            case do.End():
                self.outcomes[site] = str(action.outcome)

    def submit_one(self, choose=lambda n: 0) -> None:
        site, action = self.submissions.pop(choose(len(self.submissions)))
        try:
            self.ledger.apply(site, action.function, *action.args)
        except LedgerRefused as refused:
            self.give(site, ev.Denied(action.key, refused.reason))

    def step(self, choose=lambda n: 0) -> bool:
        """Deliver one of everything that waits, chosen by `choose`; False when nothing waits."""
        behind = [site for site in self.sites if self.seen[site] < len(self.ledger.log)]
        kinds = [bool(self.pending), bool(self.submissions), bool(behind)]
        if not any(kinds):
            return False
        kind = choose(3)
        while not kinds[kind % 3]:
            kind += 1
        match kind % 3:
            case 0:
                site, event = self.pending.pop(choose(len(self.pending)))
                self.give(site, event)
            case 1:
                self.submit_one(choose)
            case 2:
                self.tell_ledger(behind[choose(len(behind))])
        return True

    def until_quiet(self, choose=lambda n: 0, limit: int = 50_000) -> None:
        for _ in range(limit):
            if not self.step(choose):
                return
        raise AssertionError("the swarm does not come to rest")

    def tick(self, seconds: float, choose=lambda n: 0) -> None:
        self.now += seconds
        for site in self.sites:
            self.give(site, ev.Tick(self.now))
        self.until_quiet(choose)

    def beat(self, sites, seconds: float, stage: str = "train") -> None:
        """Time passes; the named sites are heard of by everybody."""
        for _ in range(int(seconds // 15)):
            self.now += 15.0
            for to in self.sites:
                for site in sites:
                    if site != to:
                        self.give(to, ev.Arrived(site, Progress(stage=stage, fraction=(self.now % 97) / 97)))
                self.give(to, ev.Tick(self.now))
            self.until_quiet()

    def round_open(self, n: int) -> None:
        """Run to the opening of round n with every training held back."""
        while self.number < n and self.step():
            pass

    @property
    def number(self) -> int:
        return self.ledger.view.round.number if self.ledger.view.round else 0

    @property
    def phase(self) -> int:
        return self.ledger.view.round.phase if self.ledger.view.round else 0

    @property
    def leader(self) -> str:
        return self.ledger.view.round.leader


def finals(game: Play) -> list[bytes]:
    return [args["digest"] for args in game.ledger.named("Final")]


class Killed(CohortiumError):
    """Kill -9, as far as a process can do it to itself."""


class MortalStore(MemoryStore):
    """A store whose node dies just before or just after the n-th write."""

    def __init__(self, dies_at: int, *, after: bool) -> None:
        super().__init__()
        self.writes, self.dies_at, self.after = 0, dies_at, after

    def add(self, fact):
        self.writes += 1
        if self.writes == self.dies_at and not self.after:
            raise Killed("killed")
        super().add(fact)
        if self.writes == self.dies_at and self.after:
            raise Killed("killed")


@dataclass
class Result:
    outcomes: dict = field(default_factory=dict)
    nodes: dict = field(default_factory=dict)
    notices: list = field(default_factory=list)
    ledger: object = None
    network: object = None
    ended_s: float = 0.0

    @property
    def digests(self):
        return {node.state.digest for node in self.nodes.values()}


def swarm_of(
    kit, n_sites=4, *, rounds=3, min_sites=2, link=None, policy=None, stores=None, seed=0, drawn=False, options=None,
    script=None,
) -> Result:  # fmt: skip
    """Run a whole swarm; options: site -> further ports. A node killed by its store is started again after 20 s."""
    result = Result()

    async def live(site, index, bell):
        while True:
            proposal = Proposal(min_sites=min_sites, n_rounds=rounds, drawn=drawn) if index == 0 else None
            extra = {"observe": lambda notice: result.notices.append((site, notice)), **((options or {}).get(site, {}))}
            node = kit.make_node(
                result.ledger, result.network, site, proposal=proposal, bell=bell, policy=policy,
                store=(stores or {}).get(site), **extra,
            )  # fmt: skip
            result.nodes[site] = node
            try:
                result.outcomes[site] = str(await node.run())
                return
            except Killed:
                await asyncio.sleep(20.0)

    async def main():
        loop = asyncio.get_running_loop()
        sites = [f"site-{i}" for i in range(n_sites)]
        result.ledger = kit.RulesLedger(sites, clock=loop.time)
        result.network = MemoryNetwork(rng=np.random.default_rng(seed), link=link or Link())
        bell = Bell()
        async with asyncio.timeout(100_000), asyncio.TaskGroup() as tasks:
            for index, site in enumerate(sites):
                tasks.create_task(live(site, index, bell))
            if script is not None:
                tasks.create_task(script(result))
        result.ended_s = loop.time()

    run_virtual(main())
    return result


def in_exchange(game: Play) -> Play:
    """A game whose first round has closed at every site; payloads are still on the way."""
    while game.phase != 2:
        assert game.step()
    for site in game.sites:
        game.tell_ledger(site)
    return game


@pytest.fixture(scope="session")
def play(swarm):
    return lambda n_sites, **options: Play(swarm, n_sites, **options)


@pytest.fixture(scope="session")
def swarm():
    """What tests of the swarm build worlds from."""
    swarm_kit = SimpleNamespace(
        RulesLedger=RulesLedger,
        SumWork=SumWork,
        make_node=make_node,
        commitment=commitment,
        Play=Play,
        sha=sha,
        finals=finals,
        in_exchange=in_exchange,
        MortalStore=MortalStore,
        run=lambda *args, **options: swarm_of(swarm_kit, *args, **options),
        undisturbed=cache(lambda n_sites: swarm_of(swarm_kit, n_sites).digests),
        SPEC=SPEC,
        CONTRACT=CONTRACT,
        CHAIN=CHAIN,
        event=lambda name, args: LedgerEvent(9999, 0, name, args),
    )
    return swarm_kit
