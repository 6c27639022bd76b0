"""Mutated frames against the gate, in process, and against live nodes over TLS: no crash, no leak, no end to the run.

    python -m benchmarks fuzz [--frames 1e6] [--live 0.1] [--seed 0] [--json FILE]

Frames begin as valid ones of every kind and are then changed at one of four depths: the body, signed anew by a member's
key, so that the gate lets it pass; the envelope; the parcel around it; the message of the stream. Of `--frames`, the
share `--live` is sent by a member, over its own certificate and streams, to two nodes in the middle of a run; the rest
goes in process to the same code the frames would reach: `wire.read_message`, the opener of sealed frames, the
switchboard, `Gate.open` and a courier. Anything but a refusal fails; so do memory that keeps growing and a live run
that does not end as `partial (2/3 sites)`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import multiprocessing
import os
import random
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cohortium.core import messages as m
from cohortium.core.frames import Limits, pack
from cohortium.core.identity import LedgerKey, recover
from cohortium.core.parameters import Parameters
from cohortium.core.seams import LedgerEvent
from cohortium.errors import PeerError
from cohortium.ledger.genesis import Genesis
from cohortium.ledger.memory import MemoryLedger
from cohortium.ledger.rules import Founder
from cohortium.ledger.transactions import sign_call
from cohortium.swarm.bell import Bell
from cohortium.swarm.courier import Courier
from cohortium.swarm.gate import Gate
from cohortium.swarm.membership import Members
from cohortium.swarm.node import Charter, Node, Ports, Proposal
from cohortium.swarm.store import MemoryStore
from cohortium.swarm.waiting import Policy
from cohortium.transport import wire
from cohortium.transport.certificates import new_certificate, new_key
from cohortium.transport.directory import Contact
from cohortium.transport.grpc import GrpcTransport
from cohortium.transport.pace import Pace
from cohortium.transport.sealing import Opener, Sealer, seal_public
from cohortium.transport.switchboard import Switchboard

SITES = ("bonn", "liar", "porto")
KEYS = {site: LedgerKey.from_bytes(bytes(31) + bytes([i])) for i, site in enumerate(SITES, 1)}
SEAL = {site: bytes([i]) * 32 for i, site in enumerate(SITES, 1)}
CHAIN = 7001
LANE = "run/fuzz"
BATCH = 50
VOLLEY = 504
GROWTH_MB = 96
"""Memory may grow by this much after the first tenth of the frames: queues of one sender have 48 MiB."""


def genesis(time_s: int) -> Genesis:
    founders = tuple(Founder(key.address, site, bytes(32), bytes(32)) for site, key in KEYS.items())
    return Genesis(founders=founders, chain_id=CHAIN, time=time_s, engine="memory")


# --- frames and what is done to them


class Frames:
    """Messages of `liar`, each changed somewhere. at: (kind, depth) of what was made, counted."""

    def __init__(self, consortium: bytes, *, seed: int, to: str, run: int = 1) -> None:
        self.rng = random.Random(seed)
        self.at: Counter[str] = Counter()
        self._consortium, self._to, self._run = consortium, to, run
        self._numbers = itertools.count(1)
        self._sent: dict[str, bytes] = {}
        self._sealer = Sealer("liar", sign=KEYS["liar"].sign)
        self._contact = Contact(name=to, certificate=b"-", seal=seal_public(SEAL[to]))
        packed = pack(Parameters({"w": np.arange(4.0)}), {"site": "liar", "run": run, "round": 1, "salt": "00" * 16})
        manifest = m.Manifest(
            step="updates", digest=packed.digest, header=packed.header, chunks=packed.chunk_digests, contributors=SITES
        )
        large = m.Manifest(step="merge", digest=bytes(32), header=packed.header, chunks=(bytes(32),) * 200)
        bodies: list[tuple[str, m.Body]] = [
            ("hello", m.Hello(study=bytes(32))),
            ("progress", m.Progress(stage="train", fraction=0.5, eta_s=3.0)),
            ("trouble", m.Trouble(stage="train", code="device", where="models.torch:81", fix="restart")),
            ("offer", m.Offer(manifest=manifest, inline=bytes(packed.body))),
            ("offer", m.Offer(manifest=large)),
            ("need", m.Need(digest=packed.digest, chunks=tuple(range(40)))),
            ("need", m.Need(digest=b"", step="updates")),
            ("chunk", m.Chunk(digest=packed.digest, index=0, data=packed.chunk(0))),
            ("step", m.StepNote(step="survivors", bitmap=bytes(32))),
            ("result", m.Result(measures={"auroc": 0.8, "brier": float("nan")})),
            ("bye", m.Bye(reason="stopping")),
        ]
        self._bodies = [(kind, msgspec.msgpack.encode(body)) for kind, body in bodies]

    def envelope(self, kind: str, body: bytes, *, round: int) -> bytes:
        """A frame whose signature is right, whatever its body."""
        bare = m.Envelope(
            version=1,
            consortium=self._consortium,
            run=self._run,
            round=round,
            term=0,
            attempt=0,
            kind=kind,  # type: ignore[arg-type]
            sender="liar",
            receiver="",
            sequence=next(self._numbers),
            head_height=0,
            head_hash=bytes(32),
            body=memoryview(body),
        )
        signed = b"" if kind == "chunk" else KEYS["liar"].sign(m.signing_digest(bare))
        return msgspec.msgpack.encode(msgspec.structs.replace(bare, signature=signed))

    def good(self) -> bytes:
        """A frame as it should be."""
        return self.envelope("progress", self._bodies[1][1], round=self.rng.randint(0, 3))

    def next(self) -> tuple[str, bytes]:
        """(depth, message of a stream): the next changed one."""
        kind, body = self.rng.choice(self._bodies)
        depth = self.rng.choice(("body", "envelope", "parcel", "message"))
        self.at[f"{depth} of {kind}"] += 1
        if depth == "envelope" and kind in self._sent:  # whatever is changed in it, its signature holds no more
            frame = self._sent[kind]
        else:
            round = self.rng.choice((0, 1, 1, 2, 2**32 - 1))
            frame = self.envelope(kind, self.changed(body) if depth == "body" else body, round=round)
        if depth == "envelope":
            self._sent[kind] = frame
            frame = self.changed(frame)
        parcel = msgspec.msgpack.encode(self._parcel(frame))
        if depth == "parcel":
            parcel = self.changed(parcel)
        message = parcel if self.rng.random() < 0.8 else self._worded(parcel)
        return depth, self.changed(message) if depth == "message" else message

    def _parcel(self, frame: bytes) -> list[Any]:
        lane = LANE if self.rng.random() < 0.9 else f"run/{self.rng.randrange(1 << 30)}"
        return self.rng.choice(
            [[1, lane, frame]] * 8
            + [[2, self.rng.randbytes(8), "echo", frame], [3, bytes(8), frame], [4, self.rng.randbytes(8), "no"]]
        )

    def _worded(self, parcel: bytes) -> bytes:
        sealed = self._sealer.seal(self._contact, parcel)
        word = self.rng.choice(
            [wire.Forward("bonn", sealed), wire.Forwarded("liar", sealed), wire.Forwarded("bonn", sealed),
             wire.Reach(tuple(SITES))]
        )  # fmt: skip
        return wire.word(word)

    def changed(self, frame: bytes) -> bytes:
        """Bits flipped, bytes cut out, repeated, moved, put in, lengths written anew, or two frames in one."""
        rng, spoilt = self.rng, bytearray(frame)
        for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
            if not spoilt:
                spoilt = bytearray(rng.randbytes(8))
            at = rng.randrange(len(spoilt))
            match rng.randrange(9):
                case 0:
                    spoilt[at] ^= 1 << rng.randrange(8)
                case 1:
                    spoilt[at] = rng.choice((0x00, 0x7F, 0x80, 0x90, 0xC0, 0xC1, 0xC4, 0xC6, 0xCF, 0xDD, 0xDF, 0xFF))
                case 2:
                    del spoilt[at:]
                case 3:
                    del spoilt[at : at + rng.randrange(1, 9)]
                case 4:
                    spoilt[at:at] = rng.randbytes(rng.randrange(1, 9))
                case 5:
                    spoilt[at:at] = spoilt[at : at + rng.randrange(1, 64)]
                case 6:
                    spoilt[at : at + 4] = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 20)).to_bytes(4, "big")
                case 7:
                    spoilt[at:at] = b"\xdd\xff\xff\xff\xff" * rng.randrange(1, 4)
                case 8:
                    spoilt[at:at] = b"\x91" * rng.choice((10, 2000))
        return bytes(spoilt)


# --- in process


async def in_process(n_frames: int, seed: int) -> dict[str, Any]:
    """All the code a frame from outside reaches, one frame after the other."""
    members = Members()
    for site, key in KEYS.items():
        members.admit(site, key.address)
    gate = Gate(consortium=bytes(32), me="porto", members=members, recover=recover)
    courier = Courier(_no_word, limits=Limits(), retry_s=5.0)
    opener = Opener("porto", SEAL["porto"], address_of=lambda site: KEYS[site].address)
    source, mouth = Frames(bytes(32), seed=seed, to="porto"), _Mouth()
    board = Switchboard(mouth)
    board.answer("echo", _echo)
    lane = board.lane(LANE)
    carrying = asyncio.ensure_future(board.run())
    ends: Counter[str] = Counter()
    memory = Memory(n_frames)
    for start in range(0, n_frames, BATCH):
        for _ in range(min(BATCH, n_frames - start)):
            ends[_into_the_mouth(source.next()[1], opener, mouth)] += 1
        await mouth.swallowed()
        while frame := mouth.taste(lane):
            ends[FURTHER] -= 1
            ends[await _past_the_gate(frame, gate, courier)] += 1
        gate.refused.clear()  # else the gate would stop reading
        courier.forget_before(2, keep=())
        memory.look(start + BATCH)
    await board.close()
    await carrying
    return {"frames": n_frames, "ends": dict(ends), **memory.figures()}


FURTHER = "ended at the switchboard"


def _into_the_mouth(message: bytes, opener: Opener, mouth: _Mouth) -> str:
    """Where one message of a stream ended: in the stream, or further on."""
    try:
        said = wire.read_message(message)
        if isinstance(said, wire.Forwarded):
            if said.sender not in KEYS:
                return "refused in the stream"
            said = opener.open(said.sender, said.sealed)
    except PeerError:
        return "refused in the stream"
    if not isinstance(said, bytes):
        return "a word to a relay"
    mouth.put(said)
    return FURTHER


async def _past_the_gate(frame: bytes, gate: Gate, courier: Courier) -> str:
    """Where one frame of a lane ended."""
    try:
        envelope, body = gate.open("liar", frame)
        if isinstance(body, m.Offer):
            courier.take_offer("liar", min(envelope.round, 3), body)
        elif isinstance(body, m.Chunk):
            courier.take_chunk(body)
        elif isinstance(body, m.Need):
            await courier.answer(envelope, body)
    except PeerError:
        return "refused at the gate or by the courier"
    return "taken"


class _Mouth:
    """A transport that is fed by hand."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._empty = asyncio.Event()

    def put(self, frame: bytes) -> None:
        self._frames.append(frame)

    async def swallowed(self) -> None:
        """Wait until the switchboard has dealt with all of it."""
        self._empty.clear()
        self._news.set()
        await self._empty.wait()

    def taste(self, lane: Any) -> bytes | None:
        """The next frame of a lane, if one has come."""
        coming = lane.receive()
        try:
            coming.send(None)
        except StopIteration as come:
            return bytes(come.value[1])
        coming.close()
        return None

    async def receive(self) -> tuple[str, bytes]:
        while not self._frames:
            self._news.clear()
            self._empty.set()
            await self._news.wait()
        return "liar", self._frames.popleft()

    async def send(self, peer: str, frame: bytes) -> None:
        """Answers to nobody."""

    async def close(self) -> None:
        """Nothing is open."""


async def _no_word(kind: str, body: m.Body, receivers: Any, place: Any) -> None:
    """Nobody is there."""


async def _echo(peer: str, request: bytes) -> bytes:
    return request


class Memory:
    """Resident memory after the first tenth and at the end; fails where it grew beyond the bound."""

    def __init__(self, n_frames: int) -> None:
        self._first = max(1, n_frames // 10)
        self._early_mb = 0.0

    def look(self, number: int) -> None:
        if number + 1 >= self._first and not self._early_mb:
            gc.collect()
            self._early_mb = _resident_mb()

    def figures(self) -> dict[str, float]:
        gc.collect()
        grown = _resident_mb() - self._early_mb
        if grown > GROWTH_MB:
            raise SystemExit(f"memory grew by {grown:.0f} MB; at most {GROWTH_MB} are explained by bounded queues")
        return {"early_mb": round(self._early_mb, 1), "grown_mb": round(grown, 1)}


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


# --- live: two nodes in a run, a third member that lies


class Known:
    """A directory by hand."""

    def __init__(self) -> None:
        self.known: dict[str, Contact] = {}

    def contacts(self) -> Mapping[str, Contact]:
        return dict(self.known)


class TinyWork:
    """A mean of four numbers; each training takes a moment, so that frames arrive at every stage."""

    def __init__(self, site: str, over: threading.Event) -> None:
        self.site, self.over = site, over

    def start(self) -> Parameters:
        return Parameters({"w": np.zeros(4)})

    def train(self, round: int, state: Parameters) -> Any:
        from cohortium.core.update import Update

        time.sleep(0.05)
        return Update(site=self.site, parameters=Parameters({"w": np.asarray(state["w"]) + 1.0}), weight=10)

    def merge(self, state: Parameters, updates: Any) -> Parameters:
        from cohortium.core.exact import divide, weighted_sum

        whole = weighted_sum(updates)
        return divide(whole.total, whole.weight, like=state)

    def adopt(self, round: int, state: Parameters, own: Any) -> Mapping[str, float]:
        return {}

    def finished(self, state: Parameters) -> bool:
        return self.over.is_set()

    def memory(self) -> Parameters:
        return Parameters()

    def restore(self, memory: Parameters) -> None:
        """Nothing was kept."""


class Live:
    """Two honest nodes over gRPC in this process, on one ledger that `liar` has joined and left alone."""

    def __init__(self) -> None:
        self.genesis = genesis(int(time.time()))
        self.ledger = MemoryLedger.found(self.genesis, clock=time.time)
        self.directory = Known()
        self.tls = {site: new_key() for site in SITES}
        self.certificates = {site: new_certificate(site, self.tls[site], now_s=time.time()) for site in SITES}
        self.directory.known = {site: self._contact(site) for site in SITES}
        self.errors: list[str] = []
        self.over = threading.Event()

    def _contact(self, site: str) -> Contact:
        found = x509.load_pem_x509_certificate(self.certificates[site])
        der = found.public_bytes(serialization.Encoding.DER)
        return Contact(name=site, certificate=der, seal=seal_public(SEAL[site]), endpoint="127.0.0.1:9")

    def transport(self, site: str, *, listen: str) -> GrpcTransport:
        return GrpcTransport(
            site, directory=self.directory, tls_key=self.tls[site], certificate=self.certificates[site],
            seal_key=SEAL[site], sign=KEYS[site].sign, address_of=lambda name: KEYS[name].address, listen=listen,
            relay_for_others=True, pace=Pace(first_retry_s=0.02, last_retry_s=0.1),
        )  # fmt: skip

    def sign(self, site: str, nonce: int, function: str, args: tuple[object, ...]) -> bytes:
        return sign_call(
            KEYS[site], chain_id=CHAIN, nonce=nonce, contract=self.genesis.contract, function=function, args=args
        )

    def join_as_liar(self) -> None:
        """Approve and be ready, so that the others count on it."""
        from cohortium.core.identity import keccak

        nonce, address = b"\x11" * 32, KEYS["liar"].address
        commitment = keccak((1).to_bytes(32, "big") + address.rjust(32, b"\0") + nonce)
        self._act("approve", (1, commitment))
        while not self._named("Readying"):
            time.sleep(0.02)
        self._act("ready", (1, nonce))

    def _act(self, function: str, args: tuple[object, ...]) -> None:
        self.ledger.submit(self.sign("liar", self.ledger.nonce(KEYS["liar"].address), function, args))

    def _named(self, name: str) -> list[LedgerEvent]:
        return [event for event in self.ledger.events() if event.name == name]

    async def run(self, n_frames: int, seed: int) -> dict[str, Any]:
        """The whole run under fire."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: self.errors.append(str(context)))
        threading.excepthook = lambda args: self.errors.append(repr(args.exc_value))
        transports = {site: self.transport(site, listen="127.0.0.1:0") for site in ("bonn", "porto")}
        for site, transport in transports.items():
            await transport.start()
            known = self.directory.known[site]
            self.directory.known[site] = replace(known, endpoint=f"127.0.0.1:{transport.port}")
        for transport in transports.values():
            transport.members_changed()
        boards = {site: Switchboard(transport) for site, transport in transports.items()}
        for board in boards.values():
            board.answer("echo", _echo)
        carrying = [asyncio.ensure_future(board.run()) for board in boards.values()]
        bell = Bell()
        nodes = {site: self._node(site, boards[site], bell) for site in boards}
        running = {site: asyncio.ensure_future(node.run()) for site, node in nodes.items()}
        while not self._named("Proposed"):
            await asyncio.sleep(0.02)
        await asyncio.to_thread(self.join_as_liar)
        fire = asyncio.ensure_future(asyncio.to_thread(self._attack, n_frames, seed, transports))
        memory = Memory(n_frames)
        while not fire.done():
            await asyncio.sleep(0.2)
            memory.look(self._sent)
        sent = await fire
        figures = memory.figures()
        rounds = len(self._named("Final"))
        seen = {site: board.refused["liar"] + board.lost["liar"] for site, board in boards.items()}
        self.over.set()
        outcomes = {site: str(await asyncio.wait_for(task, 120)) for site, task in running.items()}
        traffic = {site: transport.traffic()["liar"] for site, transport in transports.items()}
        for board in boards.values():
            await board.close()
        await asyncio.gather(*carrying)
        if {*outcomes.values()} != {"partial (2/3 sites)"}:
            raise SystemExit(f"the run ended otherwise: {outcomes}")
        if self.errors:
            raise SystemExit(f"errors in the nodes: {self.errors[:3]}")
        return {
            "frames": sent,
            "rounds_final_meanwhile": rounds,
            "outcomes": outcomes,
            "received": {site: one.received for site, one in traffic.items()},
            "refused_in_the_stream": {site: one.refused for site, one in traffic.items()},
            "refused_or_lost_at_the_switchboard": seen,
            "refused_at_the_gate": {s: sum(n._line._gate.total_refused.values()) for s, n in nodes.items()},
            **figures,
        }

    def _node(self, site: str, board: Switchboard, bell: Bell) -> Node:
        terms = Proposal(min_sites=2, n_rounds=10_000, leader_timeout_s=5)
        charter = Charter(
            consortium=self.genesis.consortium, contract=self.genesis.contract, chain_id=CHAIN, study=b"\x53" * 32,
            proposal=terms if site == "porto" else None,
        )  # fmt: skip
        ports = Ports(
            ledger=self.ledger, transport=board.lane(LANE), store=MemoryStore(), work=TinyWork(site, self.over),
            key=KEYS[site],
            sign_call=lambda nonce, function, args: self.sign(site, nonce, function, args),
            next_nonce=lambda: self.ledger.nonce(KEYS[site].address), entropy=lambda n, *names: os.urandom(n),
            run_blocking=asyncio.to_thread, bell=bell,
        )  # fmt: skip
        policy = Policy(
            wait="quorum", round_timeout_s=1.0, step_s=2.0, leader_timeout_s=5.0, silence_s=5.0, heartbeat_s=0.5,
            stagger_s=0.2, retry_s=0.5, linger_s=1.0,
        )  # fmt: skip
        return Node(site, charter, ports, policy)

    _sent = 0

    def _attack(self, n_frames: int, seed: int, transports: dict[str, GrpcTransport]) -> int:
        """Let another process send; its memory and its time are not the nodes'."""
        from benchmarks.fuzz import attack  # by its importable name, for the other process

        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        ports = {site: transport.port for site, transport in transports.items()}
        given = (there, n_frames, seed, ports, self.tls["liar"], self.certificates, self.genesis.consortium)
        attacker = context.Process(target=attack, args=given)
        attacker.start()
        while self._sent < n_frames:
            if not here.poll(60):
                attacker.kill()
                raise SystemExit("the attacker could send nothing for a minute")
            self._sent = here.recv()
        attacker.join()
        return self._sent


def attack(
    told: Connection,
    n_frames: int,
    seed: int,
    ports: dict[str, int],
    tls_key: bytes,
    certificates: dict[str, bytes],
    consortium: bytes,
) -> None:
    """A member's process: bare gRPC calls with the member's certificate, opened again whenever they are cut."""
    import grpc

    from cohortium.transport.certificates import server_name
    from cohortium.transport.handshake import Greeting

    sent, lock = 0, threading.Lock()
    channels = {
        site: grpc.secure_channel(
            f"127.0.0.1:{port}",
            grpc.ssl_channel_credentials(certificates[site], tls_key, certificates["liar"]),
            options=[("grpc.ssl_target_name_override", server_name(site)), ("grpc.max_send_message_length", -1)],
        )
        for site, port in ports.items()
    }

    def taken(size: int) -> int:
        """How many of so many frames are still to be sent."""
        nonlocal sent
        with lock:
            size = min(size, n_frames - sent)
            sent += size
        return size

    def volley(source: Frames, size: int) -> Any:
        for number in range(size):
            if number % 8 == 7:  # the gate stops reading after ten refusals in a row
                yield msgspec.msgpack.encode([1, LANE, source.good()])
            yield source.next()[1]

    def fire(site: str, source: Frames) -> None:
        """One stream after the other until all is sent; what a cut stream did not take counts as sent all the same."""
        for method in itertools.cycle(("/cohortium.v1/control", "/cohortium.v1/bulk")):
            if not (size := taken(VOLLEY)):
                return
            call = channels[site].stream_stream(method)(
                volley(source, size), metadata=Greeting(instance=b"liarliar", relays=True).metadata(), timeout=120
            )
            _read(call)

    guns = [
        threading.Thread(target=fire, args=(site, Frames(consortium, seed=2 * seed + i, to=site)))
        for i, site in enumerate(ports)
    ]
    for gun in guns:
        gun.start()
    while any(gun.is_alive() for gun in guns):
        guns[0].join(0.5)
        told.send(min(sent, n_frames - 1))
    told.send(n_frames)


def _read(call: Any) -> None:
    import grpc

    try:
        for _ in call:
            pass
    except grpc.RpcError:
        return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=float, default=1e6)
    parser.add_argument("--live", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    said = parser.parse_args()
    n_live = int(said.frames * said.live)
    figures: dict[str, Any] = {}
    for name, part in (
        ("in process", lambda: in_process(int(said.frames) - n_live, said.seed)),
        ("live", lambda: Live().run(n_live, said.seed)),
    ):
        if name == "live" and not n_live:
            continue
        began = time.monotonic()
        figures[name] = asyncio.run(part())
        figures[name]["seconds"] = round(time.monotonic() - began, 1)
        print(f"{name}:")
        print("\n".join(f"  {key:36} {value}" for key, value in figures[name].items()), flush=True)
    if said.json:
        said.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    sys.exit(main())
