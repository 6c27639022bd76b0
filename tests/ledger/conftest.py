"""Five hospitals that founded a consortium, and engines to put their calls on. The clock is one that a test sets."""

import importlib.util
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from cohortium.core.identity import LedgerKey, keccak
from cohortium.errors import LedgerRefused
from cohortium.ledger import ENGINES
from cohortium.ledger.abi import encode
from cohortium.ledger.etcd import EtcdClient, EtcdLog
from cohortium.ledger.evm_rpc import EvmRpcLedger
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.hosted import HostedLedger, LedgerHost
from cohortium.ledger.local import LocalLedger
from cohortium.ledger.replica import Replica
from cohortium.ledger.replicated import ReplicatedLedger
from cohortium.ledger.rules import Founder
from cohortium.ledger.transactions import open_transaction, sign_call


def beside(name: str):
    """A module of this folder that is no test."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


etcd = beside("etcd_cluster")
anvil = beside("anvil_node")

SITES = ("bonn", "graz", "lund", "oslo", "porto")
START = 1_800_000_000
CHAIN_ID = 7001
NEW_KEY = LedgerKey.from_bytes(b"\x09" * 32)


def key_of(site: str) -> LedgerKey:
    return LedgerKey.from_bytes(keccak(site.encode()))


def founder(site: str) -> Founder:
    return Founder(key_of(site).address, site, keccak(b"tls" + site.encode()), keccak(b"seal" + site.encode()))


def genesis_of(engine: str, sites: tuple[str, ...] = SITES) -> Genesis:
    return Genesis(founders=tuple(founder(site) for site in sites), chain_id=CHAIN_ID, time=START, engine=engine)


def nonce_of(site: str) -> bytes:
    return keccak(b"nonce" + site.encode())


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Consortium:
    """An engine together with its sites' keys."""

    ledger: object
    clock: Clock
    path: Path | None = None
    genesis: Genesis | None = None
    raws: list[bytes] = field(default_factory=list)

    def sign(self, site: str, function: str, *args: object, **changed: object) -> bytes:
        key = key_of(site)
        given = {
            "chain_id": self.ledger.chain_id,
            "nonce": self.ledger.nonce(key.address),
            "contract": self.ledger.contract,
            "function": function,
            "args": args,
        }
        return sign_call(key, **{**given, **changed})

    def put(self, site: str, function: str, *args: object):
        raw = self.sign(site, function, *args)
        self.raws.append(raw)
        return self.ledger.submit(raw)

    def start(self, sites: tuple[str, ...] = SITES, *, n_rounds: int = 3) -> int:
        """Propose a run and bring it to its first round; its number."""
        before = self.ledger.call("n_runs")[0]
        assert self.put(sites[0], "propose", keccak(b"study"), 2, n_rounds, 3600, 60, 0, 0).ok
        run = before + 1
        for site in sites:
            sealed = keccak(encode(["uint256", "address", "bytes32"], [run, key_of(site).address, nonce_of(site)]))
            assert self.put(site, "approve", run, sealed).ok
        for site in sites:
            assert self.put(site, "ready", run, nonce_of(site)).ok
        return run

    def play(self, run: int, round: int, sites: tuple[str, ...] = SITES) -> bytes:
        """One round in which everybody does as agreed; the digest that became final."""
        for site in sites:
            assert self.put(site, "commit", run, round, keccak(site.encode()), 10, 0).ok
        closed = [event.args for event in self.ledger.events() if event.name == "Closed"][-1]
        merged = keccak(b"merge" + bytes([run, round]))
        root = keccak(b"inputs")
        assert self.put(closed["leader"], "publish", run, round, merged, root, closed["frozen"], bytes(32)).ok
        for site in [s for s in sites if s != closed["leader"]][: (len(sites) - 1) // 2 + 1]:
            assert self.put(site, "attest", run, round, 0, merged).ok
        return merged

    def last_seen(self, site: str) -> int:
        """Block time of a site's latest sign of life."""
        (member,) = self.ledger.call("members", (SITES.index(site),))
        return member[-1]

    def names(self, from_height: int = 0) -> list[str]:
        return [event.name for event in self.ledger.events(from_height)]


FOUNDED: dict[bytes, bytes] = {}


def replica_of(genesis: Genesis, path: Path) -> Replica:
    """A replica at its founding. Deploying the contract takes most of a short test, so it is done once and copied."""
    if genesis.consortium not in FOUNDED:
        Replica.found(path, genesis).close()
        FOUNDED[genesis.consortium] = path.read_bytes()
    path.write_bytes(FOUNDED[genesis.consortium])
    return Replica.open(path)


class Seats:
    """One ledger a site, as in a deployment: each transaction goes in by its sender's own, all else is bonn's."""

    def __init__(
        self, open_for: Callable[[LedgerKey, str], object], *, before: Callable[[], None] = lambda: None
    ) -> None:
        self._open_for, self._before = open_for, before
        self._keys = {key.address: (key, name) for key, name in ((key_of(s), s) for s in SITES)}
        self._keys[NEW_KEY.address] = (NEW_KEY, "new")
        self.seats: dict[bytes, object] = {}
        self._opening = threading.Lock()
        self.at(b"")

    def at(self, address: bytes) -> object:
        """The ledger of the site with this key; bonn's for a key of nobody."""
        address = address if address in self._keys else key_of("bonn").address
        with self._opening:
            if address not in self.seats:
                self.seats[address] = self._open_for(*self._keys[address])
            return self.seats[address]

    def submit(self, raw: bytes):
        try:
            sender = open_transaction(raw, chain_id=self.chain_id).sender
        except LedgerRefused:
            sender = b""
        self._before()
        return self.at(sender).submit(raw)

    def head(self):
        self.sync()
        return self.at(b"").head()

    def close(self) -> None:
        for ledger in self.seats.values():
            ledger.close()

    def __getattr__(self, name: str):
        return getattr(self.at(b""), name)


def hosted(genesis: Genesis, clock: Clock, path: Path) -> Seats:
    """Engine `local` with a host at lund, where oslo and porto submit too; bonn and graz follow it."""
    host = LocalLedger(replica_of(genesis, path / "host.sqlite"), clock=clock)
    answer = LedgerHost(host, key=key_of("lund")).answer
    seats = Seats(
        lambda key, name: HostedLedger(replica_of(genesis, path / f"{name}.sqlite"), clock=clock, key=key, ask=answer)
    )
    seats.seats.update(dict.fromkeys([key_of(site).address for site in ("lund", "oslo", "porto")], host))
    return seats


def replicated(genesis: Genesis, clock: Clock, path: Path, cluster: etcd.Cluster) -> Seats:
    """Five sites on one etcd cluster; the log has a name of its own, because each test founds the same consortium."""

    def seat(key: LedgerKey, name: str) -> ReplicatedLedger:
        log = EtcdLog(EtcdClient(cluster.endpoints, tls=cluster.tls), name=keccak(str(path).encode()).hex()[:32])
        return ReplicatedLedger(replica_of(genesis, path / f"{name}.sqlite"), log=log, clock=clock, key=key)

    return Seats(seat)


def outside(genesis: Genesis, clock: Clock, path: Path, node: anvil.Node) -> Seats:
    """Five sites on one Ethereum node, whose block times follow the test's clock."""
    node.begin()
    node.next_time(clock())

    def seat(key: LedgerKey, name: str) -> EvmRpcLedger:
        return EvmRpcLedger.found(genesis, clock=clock, path=path / f"{name}.sqlite", endpoints=[node.url])

    return Seats(seat, before=lambda: node.next_time(clock()))


@pytest.fixture(scope="session", name="anvil")
def anvil_module():
    """How this folder starts Ethereum nodes."""
    return anvil


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """A real Ethereum node; who uses it begins with `node.begin()`."""
    if reason := anvil.why_not():
        pytest.skip(reason)
    with anvil.anvil(tmp_path_factory.mktemp("anvil")) as running:
        yield running


@pytest.fixture(scope="session", name="etcd")
def etcd_module():
    """How this folder makes clusters and certificates."""
    return etcd


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A real etcd cluster of three members for all tests that do not harm it."""
    if reason := etcd.why_not():
        pytest.skip(reason)
    with etcd.etcd_cluster(tmp_path_factory.mktemp("etcd")) as running:
        yield running


def found(engine: str, path: Path, sites: tuple[str, ...] = SITES, *, request=None) -> Consortium:
    """A consortium on an engine by name; `hosted` is `local` as its followers see it. request: to ask for a cluster."""
    clock = Clock()
    file = path / f"{engine}.sqlite"
    genesis = genesis_of("local" if engine == "hosted" else engine, sites)
    if engine == "hosted":
        return Consortium(hosted(genesis, clock, path), clock, file, genesis)
    if engine == "replicated":
        return Consortium(replicated(genesis, clock, path, request.getfixturevalue("cluster")), clock, file, genesis)
    if engine == "local":
        return Consortium(LocalLedger(replica_of(genesis, file), clock=clock), clock, file, genesis)
    if engine == "evm-rpc":
        return Consortium(outside(genesis, clock, path, request.getfixturevalue("node")), clock, file, genesis)
    return Consortium(ENGINES.resolve(engine).found(genesis, clock=clock, path=file), clock, file, genesis)


OTHERS = ["local", "hosted", "replicated", "evm-rpc"]


@pytest.fixture(params=["memory", *OTHERS])
def consortium(request, tmp_path):
    """One consortium on each engine."""
    made = found(request.param, tmp_path, request=request)
    yield made
    made.ledger.close()


@pytest.fixture
def local(tmp_path):
    """One consortium on the embedded EVM."""
    made = found("local", tmp_path)
    yield made
    made.ledger.close()


@pytest.fixture(params=OTHERS)
def both(request, tmp_path):
    """The same consortium on `memory` and on each other engine."""
    made = [found(engine, tmp_path, request=request) for engine in ("memory", request.param)]
    yield made
    for one in made:
        one.ledger.close()


@pytest.fixture(scope="session")
def hospitals():
    """How the tests of this folder name, key and found sites."""
    return SimpleNamespace(
        sites=SITES,
        start=START,
        replica_of=replica_of,
        chain_id=CHAIN_ID,
        key_of=key_of,
        founder=founder,
        genesis_of=genesis_of,
        found=found,
    )
