"""Worlds for tests of the swarm: the contract's rules without an engine, toy work, nodes and driven machines.

`RulesLedger` takes calls unsigned, so that a test can drive machines event by event and say impossible things; the
signed way through a real engine is tested in tests/sim/test_faults.py.
"""

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from cohortium.core.identity import LedgerKey, keccak
from cohortium.core.parameters import Parameters
from cohortium.core.randomness import Chance
from cohortium.core.seams import Head, LedgerEvent, Receipt
from cohortium.core.update import Update
from cohortium.errors import LedgerRefused
from cohortium.ledger import rules
from cohortium.swarm.bell import Bell
from cohortium.swarm.membership import Members
from cohortium.swarm.node import Charter, Node, Ports
from cohortium.swarm.store import MemoryStore
from cohortium.swarm.view import RunView
from cohortium.swarm.waiting import Policy

SPEC = b"\x53" * 32
CONTRACT = bytes(19) + b"\x01"
CHAIN = 7


class RulesLedger:
    """The contract's rules with unsigned calls by site name. view: run 1, folded from all events."""

    def __init__(self, sites, *, clock=lambda: 0.0) -> None:
        self.sites = sorted(sites)
        self.keys = {site: LedgerKey.from_bytes(bytes(31) + bytes([i + 1])) for i, site in enumerate(self.sites)}
        self.clock, self.log, self.height, self.calls = clock, [], 0, []
        self.nonces = dict.fromkeys(self.sites, 0)
        self.view = RunView(run=1, members=Members())
        founders = [rules.Founder(key.address, site, bytes(32), bytes(32)) for site, key in self.keys.items()]
        self.rules, founding = rules.State.genesis(founders, chain_id=CHAIN, contract=CONTRACT, time=1)
        self._note(founding)

    def apply(self, site: str, function: str, *args) -> None:
        """One call; raises LedgerRefused."""
        call = rules.Call(self.keys[site].address, function, tuple(args), 1000 + int(self.clock()), self.height + 1)
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


def make_node(ledger, network, site, *, proposal=None, policy=None, store=None, work=None, bell=None, **ports):
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
        Charter(consortium=bytes(32), contract=CONTRACT, chain_id=CHAIN, study=SPEC, proposal=proposal),
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


@pytest.fixture(scope="session")
def swarm():
    """What tests of the swarm build worlds from."""
    return SimpleNamespace(
        RulesLedger=RulesLedger,
        SumWork=SumWork,
        make_node=make_node,
        commitment=commitment,
        SPEC=SPEC,
        CONTRACT=CONTRACT,
        CHAIN=CHAIN,
    )
