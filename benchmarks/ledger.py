"""CPU time per transaction of each ledger engine, as a ratio to a bare loop that signs and recovers.

    python benchmarks/ledger.py [rounds]

Five sites run a study of `rounds` rounds on each engine: every transaction is signed, submitted,
executed and put into a block, and the events are read after each round. A ratio survives a busy or
slow machine; the milliseconds beside it do not.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cohortium.core.identity import LedgerKey, keccak, recover
from cohortium.ledger import ENGINES
from cohortium.ledger.abi import encode
from cohortium.ledger.genesis import Genesis
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


def measure(engine: str, rounds: int, folder: Path) -> list[float]:
    """Milliseconds of CPU of each transaction of a run, signing included."""
    founders = tuple(Founder(KEYS[site].address, site, keccak(site.encode()), bytes(32)) for site in SITES)
    genesis = Genesis(founders=founders, chain_id=7001, time=1_800_000_000, engine=engine)
    ledger = ENGINES.resolve(engine).found(genesis, clock=time.time, path=folder / "chain.sqlite")
    spent: list[float] = []

    def put(site: str, function: str, *args: object) -> None:
        start = time.process_time()
        key = KEYS[site]
        raw = sign_call(
            key,
            chain_id=ledger.chain_id,
            nonce=ledger.nonce(key.address),
            contract=ledger.contract,
            function=function,
            args=args,
        )
        receipt = ledger.submit(raw)
        spent.append((time.process_time() - start) * 1e3)
        if not receipt.ok:
            raise SystemExit(f"{function} of {site}: {receipt.reason}")

    play(put, ledger, rounds)
    ledger.close()
    return spent


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


def main() -> None:
    """Print one line an engine."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
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


if __name__ == "__main__":
    main()
