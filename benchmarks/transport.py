"""Whole rounds between processes over mutual TLS: bytes, CPU and memory, beside a plain loop and bare sockets.

    python -m benchmarks transport [--parameters 10e6] [--sites 5] [--rounds 5] [--store disk] [--json FILE]

One process for each site runs the real node over `GrpcTransport`, `Switchboard` and a hosted ledger (engine `local`);
only the training is a toy, so that nothing but the framework is measured. The plain loop makes the same updates and
merges in one process; the bare sockets move the same bytes without TLS, hashes or checks. Bytes are those of the
machine's loopback interface, in a network of its own where the machine allows (headers of TCP and IP included), and
those that were handed to gRPC. The minimum is the formula of the attestation mode: N (N - 1) M a round in `all`.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cohortium.core.exact import divide, weighted_sum
from cohortium.core.identity import LedgerKey
from cohortium.core.parameters import Parameters
from cohortium.core.update import Aggregate, Update

MB = 1e6
AUTO_ALL_BYTES = 256 << 20
HOST = "site-0"


class MeanWork:
    """Toy training, real merge: the weighted mean of float32 updates, exact as FedAvg's."""

    def __init__(self, site: str, index: int, *, size: int) -> None:
        self.site, self.index, self.size = site, index, size

    def start(self) -> Parameters:
        return Parameters.owning({"w": np.zeros(self.size, np.float32)})

    def train(self, round: int, state: Parameters) -> Update:
        w = np.asarray(state["w"]) + np.float32((self.index + 1) * round)
        return Update(site=self.site, parameters=Parameters.owning({"w": w}), weight=10 + self.index)

    def merge(self, state: Parameters, updates: Sequence[Update] | Aggregate) -> Parameters:
        whole = updates if isinstance(updates, Aggregate) else weighted_sum(updates)
        return divide(whole.total, whole.weight, like=state)

    def adopt(self, round: int, state: Parameters, own: Update | None) -> Mapping[str, float]:
        return {}

    def finished(self, state: Parameters) -> bool:
        return False

    def memory(self) -> Parameters:
        return Parameters()

    def restore(self, memory: Parameters) -> None:
        """Nothing was kept."""


def spent() -> dict[str, float]:
    """CPU so far and peak memory of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss * 1024 / MB}


# --- one site, in a process of its own


class Known:
    """The directory: every site's contact, once all have told their port."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}

    def contacts(self) -> Mapping[str, Any]:
        return dict(self.known)


async def site_main(folder: Path, site: str) -> None:
    """One hospital's node until its run has ended; leaves its figures in the folder."""
    from cohortium.errors import LedgerUnreachable, PeerError
    from cohortium.ledger.genesis import Genesis
    from cohortium.ledger.hosted import LedgerHost
    from cohortium.ledger.opening import open_ledger
    from cohortium.ledger.rules import Founder
    from cohortium.ledger.transactions import sign_call
    from cohortium.swarm.bell import Bell
    from cohortium.swarm.node import Charter, Node, Ports, Proposal
    from cohortium.swarm.store import DiskStore, MemoryStore
    from cohortium.swarm.waiting import Policy
    from cohortium.transport.directory import Contact
    from cohortium.transport.grpc import GrpcTransport
    from cohortium.transport.sealing import seal_public
    from cohortium.transport.switchboard import Switchboard

    plan = json.loads((folder / "plan.json").read_text())
    sites = plan["sites"]
    keys = {name: LedgerKey.from_bytes(bytes(31) + bytes([i + 1])) for i, name in enumerate(sites)}
    founders = tuple(Founder(keys[name].address, name, bytes(32), bytes(32)) for name in sites)
    genesis = Genesis(founders=founders, chain_id=7001, time=int(time.time()), engine="local")
    genesis = dataclasses.replace(genesis, time=plan["time"])
    loop, key, directory = asyncio.get_running_loop(), keys[site], Known()

    def contact(name: str, endpoint: str) -> Contact:
        pem = (folder / f"{name}.crt").read_bytes()
        der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
        return Contact(name=name, certificate=der, seal=seal_public(name.encode().ljust(32)), endpoint=endpoint)

    directory.known = {name: contact(name, "127.0.0.1:9") for name in sites}
    transport = GrpcTransport(
        site,
        directory=directory,
        tls_key=(folder / f"{site}.key").read_bytes(),
        certificate=(folder / f"{site}.crt").read_bytes(),
        seal_key=site.encode().ljust(32),
        sign=key.sign,
        address_of=lambda name: keys[name].address,
        listen="127.0.0.1:0",
    )
    await transport.start()
    (folder / f"{site}.port").write_text(str(transport.port))
    ports = {name: await _text(folder / f"{name}.port") for name in sites}
    directory.known = {name: contact(name, f"127.0.0.1:{ports[name]}") for name in sites}
    transport.members_changed()
    board = Switchboard(transport)
    running = asyncio.ensure_future(board.run())

    def ask(request: bytes) -> bytes:
        asked = asyncio.run_coroutine_threadsafe(board.ask(HOST, "ledger", request, timeout_s=30), loop)
        try:
            return asked.result(60)
        except (PeerError, TimeoutError) as silent:
            raise LedgerUnreachable(str(silent)) from silent

    while not all(path == "direct" for path in transport.paths().values()):
        await asyncio.sleep(0.05)
    ledger = await asyncio.to_thread(
        open_ledger, genesis, path=folder / f"{site}.sqlite", clock=time.time, key=key, site=site, host=HOST, ask=ask
    )
    if site == HOST:
        host = LedgerHost(ledger, key=key)  # type: ignore[arg-type]

        async def answer(peer: str, request: bytes) -> bytes:
            return await asyncio.to_thread(host.answer, request)

        board.answer("ledger", answer)
    drawn = (len(sites) - 1) * plan["size"] * 4 > AUTO_ALL_BYTES
    terms = Proposal(min_sites=2, n_rounds=plan["rounds"], leader_timeout_s=3600, drawn=drawn)
    node = Node(
        site,
        Charter(
            consortium=genesis.consortium,
            contract=genesis.contract,
            chain_id=genesis.chain_id,
            study=b"\x53" * 32,
            proposal=terms if site == HOST else None,
        ),
        Ports(
            ledger=ledger,
            transport=board.lane("run/benchmark"),
            store=DiskStore(folder / site) if plan["store"] == "disk" else MemoryStore(),
            work=MeanWork(site, sites.index(site), size=plan["size"]),
            key=key,
            sign_call=lambda nonce, function, args: sign_call(
                key, chain_id=genesis.chain_id, nonce=nonce, contract=genesis.contract, function=function, args=args
            ),
            next_nonce=lambda: ledger.nonce(key.address),
            entropy=lambda n, *names: os.urandom(n),
            run_blocking=asyncio.to_thread,
            bell=Bell(),
        ),
        Policy(linger_s=20.0),
    )
    before = spent()
    outcome = await node.run()
    traffic = transport.traffic()
    figures = {
        **spent(),
        "start_cpu_s": before["cpu_s"],
        "start_mb": before["peak_mb"],
        "outcome": str(outcome),
        "digest": node.state.digest.hex(),
        "sent_bytes": sum(one.sent_bytes for one in traffic.values()),
        "lost": sum(one.lost for one in traffic.values()) + sum(board.lost.values()),
    }
    (folder / f"{site}.json").write_text(json.dumps(figures))
    await _all_done(folder, sites)
    await board.close()
    await running


async def _text(path: Path) -> str:
    while not (path.exists() and path.read_text()):
        await asyncio.sleep(0.02)
    return path.read_text()


async def _all_done(folder: Path, sites: list[str]) -> None:
    """Whoever hosts the ledger stays until the last one has ended."""
    while not all((folder / f"{name}.json").exists() for name in sites):
        await asyncio.sleep(0.1)


# --- what it is measured against


def plain_main(folder: Path) -> None:
    """The same updates and merges in one process, without a framework."""
    plan = json.loads((folder / "plan.json").read_text())
    works = [MeanWork(site, i, size=plan["size"]) for i, site in enumerate(plan["sites"])]
    state = works[0].start()
    for round in range(1, plan["rounds"] + 1):
        state = works[0].merge(state, [work.train(round, state) for work in works])
    (folder / "plain.json").write_text(json.dumps({**spent(), "digest": state.digest.hex()}))


def sockets_main(folder: Path) -> None:
    """As many bytes between as many pairs over bare TCP, into buffers that were there before."""
    plan = json.loads((folder / "plan.json").read_text())
    n, size = len(plan["sites"]), plan["size"] * 4
    payload = np.ones(plan["size"], np.float32).view(np.uint8).data
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    for _ in range(plan["rounds"]):
        threads = [
            threading.Thread(target=_in_turn, args=(servers[i], payload, size, n - 1, role))
            for i in range(n)
            for role in (_take, _give)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (folder / "sockets.json").write_text(json.dumps(spent()))


def _in_turn(
    server: socket.socket,
    payload: memoryview,
    size: int,
    times: int,
    role: Callable[[socket.socket, memoryview, int], None],
) -> None:
    for _ in range(times):
        role(server, payload, size)


def _take(server: socket.socket, payload: memoryview, size: int) -> None:
    end, _ = server.accept()
    buffer, at = memoryview(bytearray(size)), 0
    with end:
        while at < size and (got := end.recv_into(buffer[at : at + (1 << 20)])):
            at += got


def _give(server: socket.socket, payload: memoryview, size: int) -> None:
    with socket.create_connection(server.getsockname()) as end:
        for at in range(0, size, 1 << 20):
            end.sendall(payload[at : at + (1 << 20)])


# --- the run


def loopback_bytes() -> int:
    """Bytes that went over the loopback interface of this network so far."""
    lines = Path("/proc/self/net/dev").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.split()[0] == "lo:"), 0)


def child(folder: Path, part: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.transport", "--part", part, "--folder", str(folder)])


def wait_for(*children: subprocess.Popen[bytes]) -> None:
    if sum(one.wait() for one in children):
        raise SystemExit("a part of the benchmark failed")


def measure(n_sites: int, size: int, rounds: int, store: str) -> dict[str, Any]:
    """All parts, one after the other."""
    from cohortium.transport.certificates import new_certificate, new_key

    sites = [f"site-{i}" for i in range(n_sites)]
    folder = Path(tempfile.mkdtemp(prefix="cohortium-benchmark-"))
    try:
        plan = {"sites": sites, "size": size, "rounds": rounds, "store": store, "time": int(time.time())}
        (folder / "plan.json").write_text(json.dumps(plan))
        for site in sites:
            key = new_key()
            (folder / f"{site}.key").write_bytes(key)
            (folder / f"{site}.crt").write_bytes(new_certificate(site, key, now_s=time.time()))
        wait_for(child(folder, "plain"))
        wait_for(child(folder, "sockets"))
        before, began = loopback_bytes(), time.monotonic()
        wait_for(*(child(folder, site) for site in sites))
        wire_bytes, wall_s = loopback_bytes() - before, time.monotonic() - began
        parts = {part: json.loads((folder / f"{part}.json").read_text()) for part in ("plain", "sockets", *sites)}
    finally:
        shutil.rmtree(folder)
    return summary(parts, sites, size=size, rounds=rounds, wire_bytes=wire_bytes, wall_s=wall_s)


def summary(
    parts: dict[str, dict[str, Any]], sites: list[str], *, size: int, rounds: int, wire_bytes: int, wall_s: float
) -> dict[str, Any]:
    """The figures of one run. SystemExit where the sites did not all end with the plain loop's model."""
    nodes, n, m = [parts[site] for site in sites], len(sites), 4 * size
    if {(one["outcome"], one["digest"]) for one in nodes} != {("complete", parts["plain"]["digest"])}:
        raise SystemExit(f"the sites did not end as the plain loop: {nodes}")
    k = min(n // 3 + 1, n - 1)
    drawn = (n - 1) * m > AUTO_ALL_BYTES
    minimum = rounds * (2 * (n - 1) * m + (k + 1) * (n - 2) * m if drawn else n * (n - 1) * m)
    return {
        "mode": "drawn" if drawn else "all",
        "minimum_mb": minimum / MB,
        "messages_mb": sum(one["sent_bytes"] for one in nodes) / MB,
        "wire_mb": wire_bytes / MB,
        "messages_over_minimum": sum(one["sent_bytes"] for one in nodes) / minimum,
        "wire_over_minimum": wire_bytes / minimum,
        "nodes_cpu_s": sum(one["cpu_s"] for one in nodes),
        "of_it_before_the_run_s": sum(one["start_cpu_s"] for one in nodes),
        "nodes_peak_mb": sum(one["peak_mb"] for one in nodes),
        "largest_node_peak_mb": max(one["peak_mb"] for one in nodes),
        "of_it_before_the_run_mb": max(one["start_mb"] for one in nodes),
        "plain_cpu_s": parts["plain"]["cpu_s"],
        "plain_peak_mb": parts["plain"]["peak_mb"],
        "sockets_cpu_s": parts["sockets"]["cpu_s"],
        "sockets_peak_mb": parts["sockets"]["peak_mb"],
        "lost_frames": sum(one["lost"] for one in nodes),
        "wall_s": wall_s,
    }


def enter_own_network() -> bool:
    """Begin again in an empty network, so that nobody else's bytes are counted. False where that is not allowed."""
    inside = ["unshare", "-rn", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', sys.executable]
    if "COHORTIUM_OWN_NETWORK" not in os.environ and _works([*inside, "-c", ""]):
        os.environ["COHORTIUM_OWN_NETWORK"] = "yes"
        os.execvp("unshare", [*inside, "-m", "benchmarks.transport", *sys.argv[1:]])
    return "COHORTIUM_OWN_NETWORK" in os.environ


def _works(command: list[str]) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", type=float, default=1e6)
    parser.add_argument("--sites", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", choices=["disk", "memory"], default="disk")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.part == "plain":
        plain_main(said.folder)
    elif said.part == "sockets":
        sockets_main(said.folder)
    elif said.part:
        asyncio.run(site_main(said.folder, said.part))
    else:
        alone = enter_own_network()
        figures = measure(said.sites, int(said.parameters), said.rounds, said.store)
        print(f"{said.parameters:.0f} float32 x {said.sites} sites x {said.rounds} rounds, store {said.store}")
        print(
            "\n".join(
                f"{name:24} {value if isinstance(value, str) else f'{value:.3f}'}" for name, value in figures.items()
            )
        )
        print("" if alone else "(the loopback interface is shared with everything on this machine)")
        if said.json:
            said.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
