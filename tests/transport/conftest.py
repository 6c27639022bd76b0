"""Networks for tests of transports: a consortium whose directory a test may change, over memory or real sockets."""

import asyncio
import contextlib
import dataclasses
import os
import time
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cohortium.core.exact import divide, weighted_sum
from cohortium.core.identity import LedgerKey
from cohortium.core.messages import BODIES
from cohortium.core.parameters import Parameters
from cohortium.core.update import Update
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.memory import MemoryLedger
from cohortium.ledger.rules import Founder
from cohortium.ledger.transactions import sign_call
from cohortium.swarm.bell import Bell
from cohortium.swarm.node import Charter, Node, Ports, Proposal
from cohortium.swarm.store import MemoryStore
from cohortium.swarm.waiting import Policy
from cohortium.transport.certificates import new_certificate, new_key
from cohortium.transport.directory import Contact
from cohortium.transport.grpc import GrpcTransport
from cohortium.transport.memory import MemoryNetwork
from cohortium.transport.pace import Pace
from cohortium.transport.sealing import seal_public

NOWHERE = "127.0.0.1:9"
"""A listening site knows that it has an address before it knows which."""

QUICK = Pace(connect_s=3.0, first_retry_s=0.05, last_retry_s=0.2, patience_s=0.5)


class Keys:
    """One site's keys; `valid_days` may be negative."""

    def __init__(self, site: str, *, valid_days: float = 30, now_s: float | None = None) -> None:
        self.site = site
        self.tls = new_key()
        begin_s = time.time() + min(0.0, valid_days - 1) * 86_400 if now_s is None else now_s
        self.certificate = new_certificate(site, self.tls, now_s=begin_s, days=max(1, int(valid_days)))
        self.seal = os.urandom(32)
        self.ledger = LedgerKey.new(os.urandom)

    @property
    def der(self) -> bytes:
        found = x509.load_pem_x509_certificate(self.certificate)
        return found.public_bytes(serialization.Encoding.DER)

    def contact(self, **said) -> Contact:
        return Contact(**{"name": self.site, "certificate": self.der, "seal": seal_public(self.seal), **said})


class Members:
    """A directory that a test changes; every transport of the world hears of it."""

    def __init__(self) -> None:
        self.known: dict[str, Contact] = {}
        self.keys: dict[str, Keys] = {}
        self.watchers: list[GrpcTransport] = []

    def contacts(self):
        return dict(self.known)

    def address_of(self, site: str) -> bytes:
        return self.keys[site].ledger.address

    def put(self, contact: Contact) -> None:
        self.known[contact.name] = contact
        self.tell()

    def remove(self, site: str) -> None:
        self.known.pop(site, None)
        self.tell()

    def tell(self) -> None:
        for watcher in self.watchers:
            watcher.members_changed()


class GrpcWorld:
    """Real sockets on this machine. A site in `listening` can be dialled, all others only dial out."""

    name = "grpc"

    def __init__(self) -> None:
        self.members = Members()
        self.transports: list[GrpcTransport] = []

    def enrol(self, site: str, *, keys: Keys | None = None, **said) -> Keys:
        """A member with fresh keys, not started."""
        self.members.keys[site] = keys = keys or Keys(site)
        self.members.put(keys.contact(**said))
        return keys

    def make(self, site: str, *, keys: Keys | None = None, listening: bool = False, **options) -> GrpcTransport:
        keys = keys or self.members.keys[site]
        return GrpcTransport(
            site,
            **{
                "directory": self.members,
                "tls_key": keys.tls,
                "certificate": keys.certificate,
                "seal_key": keys.seal,
                "sign": keys.ledger.sign,
                "address_of": self.members.address_of,
                "listen": "127.0.0.1:0" if listening else "",
                "pace": QUICK,
                **options,
            },
        )

    async def start(self, site: str, *, listening: bool = False, keys: Keys | None = None, **options) -> GrpcTransport:
        """A started transport; its address is known to all where it listens."""
        if site not in self.members.known and keys is None:
            self.enrol(site, endpoint=NOWHERE if listening else "")
        transport = self.make(site, listening=listening, keys=keys, **options)
        self.transports.append(transport)
        await transport.start()
        if listening and site in self.members.known:
            known = self.members.known[site]
            self.members.known[site] = dataclasses.replace(known, endpoint=f"127.0.0.1:{transport.port}")
        self.members.watchers.append(transport)
        self.members.tell()
        return transport

    async def join(self, site: str) -> GrpcTransport:
        """A transport that can be reached, connected to all others; a second time: a restart."""
        for old in [old for old in self.transports if old.site == site]:
            await old.close()
            self.transports.remove(old)
            self.members.watchers.remove(old)
        transport = await self.start(site, listening=True)
        for other in self.transports:
            if other is not transport:
                await until(lambda other=other: other.paths()[site] == "direct")
                await until(lambda other=other: transport.paths()[other.site] == "direct")
        return transport

    async def close(self) -> None:
        for transport in self.transports:
            await transport.close()


class MemoryWorld:
    """Queues in this process."""

    name = "memory"

    def __init__(self) -> None:
        self.network = MemoryNetwork(rng=np.random.default_rng(0))

    async def join(self, site: str):
        return self.network.join(site)

    async def close(self) -> None:
        """Nothing is open."""


def write(body) -> bytes:
    """A message's body with its kind before it."""
    kind = next(kind for kind, known in BODIES.items() if isinstance(body, known))
    return kind.encode().ljust(8) + msgspec.msgpack.encode(body)


def read(frame: bytes):
    """The body that `write` wrote."""
    return msgspec.msgpack.decode(frame[8:], type=BODIES[frame[:8].decode().strip()])


WORLDS = {"memory": MemoryWorld, "grpc": GrpcWorld}


async def until(condition, *, within_s: float = 10.0, what: str = "") -> None:
    """Wait for something that other threads bring about."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_s} s: {what or condition}")
        await asyncio.sleep(0.005)


async def heard(transport, n: int, *, within_s: float = 20.0) -> list[tuple[str, bytes]]:
    """The next n frames."""
    async with asyncio.timeout(within_s):
        return [await transport.receive() for _ in range(n)]


async def silent(transport, *, for_s: float = 0.3) -> bool:
    """Whether nothing comes."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            await transport.receive()
            return False
    return True


class MeanWork:
    """Toy work: every site adds its own number; the state is the exact weighted mean."""

    def __init__(self, site: str, number: float) -> None:
        self.site, self.number = site, number

    def start(self):
        return Parameters({"w": np.zeros(100_000, np.float32)})

    def train(self, round, state):
        moved = np.asarray(state["w"]) + np.float32(self.number * round)
        return Update(site=self.site, parameters=Parameters({"w": moved}), weight=10)

    def merge(self, state, updates):
        whole = weighted_sum(updates)
        return divide(whole.total, whole.weight, like=state)

    def adopt(self, round, state, own):
        return {}

    def finished(self, state):
        return False

    def memory(self):
        return Parameters()

    def restore(self, memory):
        """Nothing was kept."""


async def swarm_over(transports, *, rounds: int):
    """(outcomes, model digests, leaders of the rounds) of a whole run over these transports, with a signed ledger."""
    sites = sorted(transports)
    keys = {site: LedgerKey.from_bytes(bytes(31) + bytes([i])) for i, site in enumerate(sites, 1)}
    founders = tuple(Founder(keys[site].address, site, bytes(32), bytes(32)) for site in sites)
    genesis = Genesis(founders=founders, chain_id=7001, time=1_800_000_000, engine="memory")
    ledger, bell = MemoryLedger.found(genesis, clock=lambda: 1_800_000_000.0), Bell()
    nodes = {}
    for number, site in enumerate(sites):

        def sign(nonce, function, args, key=keys[site]):
            contract = genesis.contract
            return sign_call(key, chain_id=7001, nonce=nonce, contract=contract, function=function, args=args)

        proposal = Proposal(min_sites=2, n_rounds=rounds) if number == 0 else None
        nodes[site] = Node(
            site,
            Charter(
                consortium=genesis.consortium, contract=genesis.contract, chain_id=7001, study=b"\x53" * 32,
                proposal=proposal,
            ),
            Ports(
                ledger=ledger, transport=transports[site], store=MemoryStore(), work=MeanWork(site, number + 1.0),
                key=keys[site], sign_call=sign, next_nonce=lambda key=keys[site]: ledger.nonce(key.address),
                entropy=lambda n, *names: bytes(n), bell=bell,
            ),
            Policy(heartbeat_s=0.5, retry_s=1.0, linger_s=5.0),
        )  # fmt: skip
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*(node.run() for node in nodes.values()))
    leaders = [event.args["leader"] for event in ledger.events() if event.name == "RoundOpened"]
    return {str(outcome) for outcome in outcomes}, {node.state.digest for node in nodes.values()}, leaders


def play(world, script, *, within_s: float = 60.0):
    """Run `script(world)` to its end and close the world."""

    async def main():
        made = world()
        try:
            async with asyncio.timeout(within_s):
                return await script(made)
        finally:
            await made.close()

    return asyncio.run(main())


@pytest.fixture(scope="session")
def net():
    """What tests of transports build worlds from."""
    return SimpleNamespace(
        Keys=Keys,
        GrpcWorld=GrpcWorld,
        QUICK=QUICK,
        until=until,
        heard=heard,
        silent=silent,
        swarm_over=swarm_over,
        write=write,
        read=read,
        play=lambda script, **options: play(GrpcWorld, script, **options),
        play_memory=lambda script, **options: play(MemoryWorld, script, **options),
    )


@pytest.fixture(params=sorted(WORLDS))
def play_all(request):
    """Runs a script over each transport in turn."""
    return lambda script, **options: play(WORLDS[request.param], script, **options)
