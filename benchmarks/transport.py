"""Whole rounds between processes over mutual TLS: bytes, CPU and memory, beside a plain loop and bare sockets.

    python -m benchmarks transport [--parameters 10e6] [--sites 5] [--rounds 5] [--store disk] [--json FILE]
    python -m benchmarks transport --transfer [--parameters 10e6]

One process for each site runs the real node over `GrpcTransport`, `Switchboard` and a hosted ledger (engine `local`);
only the training is a toy, so that nothing but the framework is measured. The plain loop makes the same updates and
merges in one process; the bare sockets move the same bytes without TLS, hashes or checks. Bytes are those of the
machine's loopback interface, in a network of its own where the machine allows (headers of TCP and IP included), and
those that were handed to gRPC. The minimum is the formula of the attestation mode: N (N - 1) M a round in `all`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
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


@dataclasses.dataclass
class Site:
    """One site's end of the network, connected to all others."""

    plan: dict[str, Any]
    keys: dict[str, LedgerKey]
    transport: Any
    board: Any
    running: asyncio.Future[None]

    async def close(self) -> None:
        await self.board.close()
        await self.running


async def connected(folder: Path, site: str) -> Site:
    """This process's transport, once every pair of sites has its streams."""
    from cohortium.transport.directory import Contact
    from cohortium.transport.grpc import GrpcTransport
    from cohortium.transport.sealing import seal_public
    from cohortium.transport.switchboard import Switchboard

    plan = json.loads((folder / "plan.json").read_text())
    sites, directory = plan["sites"], Known()
    keys = {name: LedgerKey.from_bytes(bytes(31) + bytes([i + 1])) for i, name in enumerate(sites)}

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
        sign=keys[site].sign,
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
    while not all(path == "direct" for path in transport.paths().values()):
        await asyncio.sleep(0.05)
    return Site(plan, keys, transport, board, running)


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

    end = await connected(folder, site)
    plan, transport, board, loop = end.plan, end.transport, end.board, asyncio.get_running_loop()
    sites, key = plan["sites"], end.keys[site]
    founders = tuple(Founder(end.keys[name].address, name, bytes(32), bytes(32)) for name in sites)
    genesis = Genesis(founders=founders, chain_id=7001, time=plan["time"], engine="local")

    def ask(request: bytes) -> bytes:
        asked = asyncio.run_coroutine_threadsafe(board.ask(HOST, "ledger", request, timeout_s=30), loop)
        try:
            return asked.result(60)
        except (PeerError, TimeoutError) as silent:
            raise LedgerUnreachable(str(silent)) from silent

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
    await end.close()


async def transfer_main(folder: Path, site: str) -> None:
    """One payload from the first site to the second, through courier, lane and streams; what memory both needed."""
    from cohortium.core.frames import Limits, pack
    from cohortium.core.messages import BODIES, VERSION, Chunk, Envelope, Manifest, Need, Offer
    from cohortium.swarm.courier import Courier

    end = await connected(folder, site)
    size, first = end.plan["size"], site == end.plan["sites"][0]
    lane, place = end.board.lane("run/benchmark"), {"round": 1, "term": 0, "attempt": 0}
    packed = pack(Parameters.owning({"w": np.arange(size, dtype=np.float32)}))
    digest = packed.digest
    manifest = Manifest(step="updates", digest=digest, header=packed.header, chunks=packed.chunk_digests)
    if not first:
        del packed

    async def send(kind: str, body: Any, receivers: Sequence[str], place: Mapping[str, int]) -> None:
        for receiver in receivers:
            await lane.send(receiver, kind.encode().ljust(8) + msgspec.msgpack.encode(body))

    courier = Courier(send, limits=Limits(body_bytes=8 << 30), retry_s=30.0)

    async def listen() -> None:
        while True:
            sender, frame = await lane.receive()
            match msgspec.msgpack.decode(memoryview(frame)[8:], type=BODIES[frame[:8].decode().strip()]):
                case Offer() as offer:
                    courier.take_offer(sender, 1, offer)
                case Chunk() as chunk:
                    courier.take_chunk(chunk)
                case Need() as need:
                    asked = Envelope(
                        version=VERSION, consortium=bytes(32), run=1, round=1, term=0, attempt=0, kind="need",
                        sender=sender, receiver=site, sequence=1, head_height=0, head_hash=b"", body=memoryview(b""),
                    )  # fmt: skip
                    await courier.answer(asked, need)

    listening = asyncio.ensure_future(listen())
    reset_peak()
    before = now_mb()
    if first:
        await courier.offer(manifest, packed, to=[end.plan["sites"][1]], place=place)
    else:
        await courier.fetch(
            digest,
            holders=(end.plan["sites"][0],),
            place=place,
            expected=None,
            refuse=lambda who, why: None,
            is_past=lambda: False,
        )
    (folder / f"{site}.json").write_text("{}")
    await _all_done(folder, end.plan["sites"])
    figures = {"more_mb": peak_mb() - before, "payload_mb": 4 * size / MB}
    (folder / f"{site}.json").write_text(json.dumps(figures))
    listening.cancel()
    await end.close()


def reset_peak() -> None:
    """From now on the peak of this process counts anew."""
    Path("/proc/self/clear_refs").write_text("5")


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / MB


def now_mb() -> float:
    return _status_mb("VmRSS")


def peak_mb() -> float:
    return _status_mb("VmHWM")


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


def child(folder: Path, part: str, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.transport", "--part", part, "--folder", str(folder), *more]
    return subprocess.Popen(command)


def wait_for(*children: subprocess.Popen[bytes]) -> None:
    if sum(one.wait() for one in children):
        raise SystemExit("a part of the benchmark failed")


@contextlib.contextmanager
def prepared(n_sites: int, **plan: Any) -> Iterator[Path]:
    """A folder with everybody's keys and what is to be done."""
    from cohortium.transport.certificates import new_certificate, new_key

    sites = [f"site-{i}" for i in range(n_sites)]
    with tempfile.TemporaryDirectory(prefix="cohortium-benchmark-") as name:
        folder = Path(name)
        (folder / "plan.json").write_text(json.dumps({"sites": sites, "time": int(time.time()), **plan}))
        for site in sites:
            key = new_key()
            (folder / f"{site}.key").write_bytes(key)
            (folder / f"{site}.crt").write_bytes(new_certificate(site, key, now_s=time.time()))
        yield folder


def measure(n_sites: int, size: int, rounds: int, store: str) -> dict[str, Any]:
    """All parts, one after the other."""
    sites = [f"site-{i}" for i in range(n_sites)]
    with prepared(n_sites, size=size, rounds=rounds, store=store) as folder:
        wait_for(child(folder, "plain"))
        wait_for(child(folder, "sockets"))
        before, began = loopback_bytes(), time.monotonic()
        wait_for(*(child(folder, site) for site in sites))
        wire_bytes, wall_s = loopback_bytes() - before, time.monotonic() - began
        parts = {part: json.loads((folder / f"{part}.json").read_text()) for part in ("plain", "sockets", *sites)}
    return summary(parts, sites, size=size, rounds=rounds, wire_bytes=wire_bytes, wall_s=wall_s)


def measure_transfer(size: int) -> dict[str, Any]:
    """Memory of one transfer beyond what each end had before: the giver should need a constant, the taker one payload
    more."""
    with prepared(2, size=size) as folder:
        wait_for(*(child(folder, site, "--transfer") for site in ("site-0", "site-1")))
        giver, taker = (json.loads((folder / f"site-{i}.json").read_text()) for i in (0, 1))
    return {
        "payload_mb": giver["payload_mb"],
        "giver_more_mb": giver["more_mb"],
        "taker_more_mb": taker["more_mb"],
        "taker_beyond_payload_mb": taker["more_mb"] - taker["payload_mb"],
    }


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
    parser.add_argument("--transfer", action="store_true", help="memory of one transfer between two processes instead")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.part == "plain":
        plain_main(said.folder)
    elif said.part == "sockets":
        sockets_main(said.folder)
    elif said.part:
        asyncio.run((transfer_main if said.transfer else site_main)(said.folder, said.part))
    else:
        alone = enter_own_network()
        figures = (
            measure_transfer(int(said.parameters))
            if said.transfer
            else measure(said.sites, int(said.parameters), said.rounds, said.store)
        )
        what = "once" if said.transfer else f"x {said.sites} sites x {said.rounds} rounds, store {said.store}"
        print(f"{said.parameters:.0f} float32 {what}")
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
