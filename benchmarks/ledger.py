"""CPU time per transaction of each ledger engine, as a ratio to a bare loop that signs and recovers.

    python -m benchmarks ledger [rounds]

Five sites run a study of `rounds` rounds on each engine: every transaction is signed, submitted,
executed and put into a block, and the events are read after each round. A ratio survives a busy or
slow machine; the milliseconds beside it do not.

`replicated` runs on three etcd members with TLS on this machine, `evm-rpc` on anvil, each with a ledger for every
site; absent, they are passed over. Told are the time a writer waits (wall clock), what one more site spends to follow
the whole run (CPU), and for etcd the time of an append alone and of the first one after its leader was killed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from cohortium.core.identity import LedgerKey, keccak, recover
from cohortium.ledger import ENGINES
from cohortium.ledger.abi import encode
from cohortium.ledger.etcd import EtcdClient, EtcdLog
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.opening import open_ledger
from cohortium.ledger.rules import Founder
from cohortium.ledger.transactions import sign_call

SITES = ("bonn", "graz", "lund", "oslo", "porto")
KEYS = {site: LedgerKey.from_bytes(keccak(site.encode())) for site in SITES}
TARGET_MS = {"memory": 0.5, "local": 12.0}


def bare(n: int = 2000) -> float:
    """Milliseconds of CPU for one signature and one recovery."""
    key, digest = KEYS["bonn"], keccak(b"digest")
    start = time.process_time()
    for _ in range(n):
        recover(digest, key.sign(digest))
    return (time.process_time() - start) / n * 1e3


def genesis_of(engine: str, chain_id: int) -> Genesis:
    """The five sites' beginning."""
    founders = tuple(Founder(KEYS[site].address, site, keccak(site.encode()), bytes(32)) for site in SITES)
    return Genesis(founders=founders, chain_id=chain_id, time=1_800_000_000, engine=engine)


def signed(ledger: Any, site: str, function: str, args: tuple[object, ...]) -> bytes:
    """The next transaction of a site."""
    key = KEYS[site]
    return sign_call(
        key,
        chain_id=ledger.chain_id,
        nonce=ledger.nonce(key.address),
        contract=ledger.contract,
        function=function,
        args=args,
    )


def checked(receipt: Any, function: str, site: str) -> None:
    """A benchmark of refused calls would measure something else."""
    if not receipt.ok:
        raise SystemExit(f"{function} of {site}: {receipt.reason}")


def measure(engine: str, rounds: int, folder: Path) -> list[float]:
    """Milliseconds of CPU of each transaction of a run, signing included."""
    genesis = genesis_of(engine, 7001)
    ledger = ENGINES.resolve(engine).found(genesis, clock=time.time, path=folder / "chain.sqlite")
    spent: list[float] = []

    def put(site: str, function: str, *args: object) -> None:
        start = time.process_time()
        receipt = ledger.submit(signed(ledger, site, function, args))
        spent.append((time.process_time() - start) * 1e3)
        checked(receipt, function, site)

    play(put, ledger, rounds)
    ledger.close()
    return spent


def measure_served(engine: str, rounds: int, folder: Path, **place: Any) -> tuple[list[float], float]:
    """Milliseconds that each writer waited, and of CPU that one more site spends on each transaction it follows."""
    genesis = genesis_of(engine, place.pop("chain_id", 7001))

    def at(site: str) -> Any:
        path = folder / f"{site}.sqlite"
        return open_ledger(genesis, path=path, clock=time.time, key=KEYS[site.partition("-")[0]], site=site, **place)

    ledgers = {site: at(site) for site in SITES}
    waited: list[float] = []

    def put(site: str, function: str, *args: object) -> None:
        raw = signed(ledgers[site], site, function, args)
        start = time.monotonic()
        receipt = ledgers[site].submit(raw)
        waited.append((time.monotonic() - start) * 1e3)
        checked(receipt, function, site)

    play(put, ledgers["bonn"], rounds)
    newcomer = at("bonn-again")
    start = time.process_time()
    newcomer.sync()
    followed = (time.process_time() - start) * 1e3 / len(waited)
    for ledger in (*ledgers.values(), newcomer):
        ledger.close()
    return waited, followed


def play(put: Callable[..., None], ledger: object, rounds: int) -> None:
    """Propose, approve, ready; then commit, publish and attest in each round."""
    put("bonn", "propose", keccak(b"study"), 2, rounds, 3600, 60, 0, 0)
    for site in SITES:
        sealed = keccak(encode(["uint256", "address", "bytes32"], [1, KEYS[site].address, keccak(site.encode())]))
        put(site, "approve", 1, sealed)
    for site in SITES:
        put(site, "ready", 1, keccak(site.encode()))
    height = 0
    for round in range(1, rounds + 1):
        for site in SITES:
            put(site, "commit", 1, round, keccak(site.encode()), 10, 0)
        events = list(ledger.events(height))  # type: ignore[attr-defined]
        height = events[-1].height + 1
        closed = next(event.args for event in events if event.name == "Closed")
        merged = keccak(bytes([round]))
        put(closed["leader"], "publish", 1, round, merged, keccak(b"inputs"), closed["frozen"], bytes(32))
        for site in [site for site in SITES if site != closed["leader"]][:3]:
            put(site, "attest", 1, round, 0, merged)


def beside(name: str) -> ModuleType:
    """How the tests start servers."""
    path = Path(__file__).parents[1] / "tests" / "ledger" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def told(engine: str, waited: list[float], followed: float, base: float) -> str:
    """One line."""
    ordered = sorted(waited)
    return (
        f"{engine:10} {len(waited):4} transactions: a writer waits {statistics.median(waited):.1f} ms at the median, "
        f"{ordered[int(0.95 * len(ordered))]:.1f} ms at p95; following costs {followed:.1f} ms CPU each, "
        f"{followed / base:.0f} x sign + recover"
    )


def on_etcd(rounds: int, base: float) -> None:
    """`replicated`, appends alone, and a killed leader."""
    etcd = beside("etcd_cluster")
    if reason := etcd.why_not():
        print(f"replicated: passed over, {reason}")
        return
    with tempfile.TemporaryDirectory() as folder, etcd.etcd_cluster(Path(folder)) as cluster:
        place = {"endpoints": cluster.endpoints, "tls": cluster.tls}
        print(told("replicated", *measure_served("replicated", rounds, Path(folder), **place), base))
        log = EtcdLog(EtcdClient(cluster.endpoints, tls=cluster.tls), name="alone")
        appends, number = [], 0
        for number in range(1, 201):
            start = time.monotonic()
            log.append(number, bytes(400))
            appends.append((time.monotonic() - start) * 1e3)
        print(f"etcd append alone: {statistics.median(appends):.1f} ms at the median of {number} (target 150 ms)")
        away = []
        for _ in range(5):
            leader = cluster.leader()
            cluster.kill(leader)
            start, number = time.monotonic(), number + 1
            log.append(number, bytes(400))
            away.append(time.monotonic() - start)
            cluster.start(leader)
            cluster.wait()
        print(f"etcd leader killed 5 times: next append after {min(away):.1f} to {max(away):.1f} s (target 5 s)")
        log.close()


def on_anvil(rounds: int, base: float) -> None:
    """`evm-rpc` on a node that makes a block of each transaction at once."""
    anvil = beside("anvil_node")
    if reason := anvil.why_not():
        print(f"evm-rpc: passed over, {reason}")
        return
    with tempfile.TemporaryDirectory() as folder, anvil.anvil(Path(folder)) as node:
        print(told("evm-rpc", *measure_served("evm-rpc", rounds, Path(folder), endpoints=[node.url]), base))


def main() -> None:
    """Print one line an engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", nargs="?", type=int, default=20)
    rounds = parser.parse_args().rounds
    base = bare()
    print(f"sign + recover: {base:.3f} ms CPU")
    for engine in TARGET_MS:
        with tempfile.TemporaryDirectory() as folder:
            spent = sorted(measure(engine, rounds, Path(folder)))
        mean, p95 = statistics.fmean(spent), spent[int(0.95 * len(spent))]
        print(
            f"{engine:7} {len(spent):5} transactions: mean {mean:.2f} ms, p95 {p95:.2f} ms "
            f"(target {TARGET_MS[engine]} ms), {mean / base:.1f} x sign + recover"
        )
    on_etcd(rounds, base)
    on_anvil(rounds, base)


if __name__ == "__main__":
    main()
