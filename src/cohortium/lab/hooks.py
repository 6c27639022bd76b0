"""Faults of one site, put around what its node touches: transport, clock, work, store. The node knows nothing of it.

    hooks = Hooks(home, FaultFile(home));  hooks.transport(transport), hooks.clock(time.time), ...

The same seams as in a simulation (`sim.faulty_ports`), but in real time, and switched while the node runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, cast

import msgspec

from cohortium.core.messages import decode
from cohortium.core.parameters import Parameters
from cohortium.core.seams import Transport, Work
from cohortium.core.update import Update
from cohortium.errors import FrameError, TrainingFailed
from cohortium.lab.processes import children_of
from cohortium.lab.site_faults import Death, FaultFile, deaths_died, note_death
from cohortium.swarm.actions import Fact
from cohortium.swarm.store import Store, StoreBroken

__all__ = ["Hooks"]

_WORKER = "cohortium.node.worker"
_DIES_S = 0.05
_STEP_S = 0.1
_ON_LANE, _QUESTION = 1, 2  # kinds of parcels (transport/switchboard.py)


class Hooks:
    """What the lab puts around the parts of one node."""

    def __init__(self, home: Path, faults: FaultFile) -> None:
        self._home, self._faults = home, faults

    def transport(self, inner: Transport) -> Transport:
        """Frames to and from peers that are cut off are lost."""
        return _CutTransport(inner, self._faults)

    def clock(self, inner: Callable[[], float]) -> Callable[[], float]:
        """A clock that is off."""
        return lambda: inner() + self._faults.now.clock_s

    def work(self, inner: Work) -> Work:
        """Trainings that are slow, fail, or lose their worker."""
        return cast(Work, _FaultyWork(inner, self._faults))

    def store(self, inner: Store) -> Store:
        """A disk that is full or read-only, and the points at which the node dies."""
        return cast(Store, _FaultyStore(inner, self._faults, self._home))


class _CutTransport:
    def __init__(self, inner: Transport, faults: FaultFile) -> None:
        self._inner, self._faults = inner, faults

    async def send(self, peer: str, frame: bytes) -> None:
        faults = self._faults.now
        if peer not in faults.cut and not (faults.mute and _is_heartbeat(frame)):
            await self._inner.send(peer, frame)

    async def receive(self) -> tuple[str, bytes]:
        while True:
            peer, frame = await self._inner.receive()
            faults = self._faults.now
            if peer not in faults.cut and not (faults.deaf_to and _topic_of(frame) in faults.deaf_to):
                return peer, frame

    async def close(self) -> None:
        await self._inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _is_heartbeat(frame: bytes) -> bool:
    """Whether a parcel on a lane holds a word of progress."""
    parcel = _parcel(frame)
    try:
        return parcel[0] == _ON_LANE and decode(parcel[2]).kind == "progress"
    except (FrameError, IndexError, TypeError):
        return False


def _topic_of(frame: bytes) -> str:
    """What a parcel asks about; empty where it is no question."""
    parcel = _parcel(frame)
    return str(parcel[2]) if len(parcel) > 2 and parcel[0] == _QUESTION else ""


def _parcel(frame: bytes) -> list[Any]:
    """A parcel of the switchboard, as plain values."""
    try:
        return msgspec.msgpack.decode(frame, type=list)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []


class _FaultyWork:
    def __init__(self, inner: Work, faults: FaultFile) -> None:
        self._inner, self._faults = inner, faults

    def prepare(self) -> None:
        code = self._faults.now.not_ready or self._faults.now.fails
        if code:
            raise TrainingFailed("injected by the lab", stage="load", code=code)
        self._inner.prepare()  # type: ignore[attr-defined]

    def train(self, round: int, state: Parameters) -> Update:
        self._wait()
        faults = self._faults.now
        if faults.fails:
            raise TrainingFailed("injected by the lab", code=faults.fails)
        if not faults.worker_dies:
            return self._inner.train(round, state)
        with _dying_workers():
            return self._inner.train(round, state)

    def _wait(self) -> None:
        """As long as it is slow; a fault that is healed meanwhile, or a code that is set, ends it."""
        began = time.monotonic()
        while time.monotonic() - began < self._faults.now.slow_s and not self._faults.now.fails:
            time.sleep(_STEP_S)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@contextlib.contextmanager
def _dying_workers() -> Iterator[None]:
    """Inside, every worker of this process dies of SIGBUS: one that is there is stopped first, so that it cannot
    answer what it is asked, a new one is met while it starts."""
    over = threading.Event()
    _signal_workers(signal.SIGSTOP)

    def strike() -> None:
        while not over.wait(_DIES_S):
            _signal_workers(signal.SIGBUS, signal.SIGCONT)

    striker = threading.Thread(target=strike, daemon=True)
    striker.start()
    try:
        yield
    finally:
        over.set()
        striker.join()


def _signal_workers(*numbers: signal.Signals) -> None:
    for pid in children_of(os.getpid(), word=_WORKER):
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class _FaultyStore:
    def __init__(self, inner: Store, faults: FaultFile, home: Path) -> None:
        self._inner, self._faults, self._home = inner, faults, home

    def add(self, fact: Fact) -> None:
        self._check()
        self._die(fact, "before")
        self._inner.add(fact)
        self._die(fact, "after")

    def put(self, payload: Any) -> None:
        self._check()
        self._inner.put(payload)

    def _check(self) -> None:
        disk = self._faults.now.disk
        if disk:
            number = errno.ENOSPC if disk == "full" else errno.EROFS
            raise StoreBroken(OSError(number, os.strerror(number), str(self._home / "node.sqlite")))

    def _die(self, fact: Fact, when: str) -> None:
        for death in self._faults.now.deaths:
            hit = (death.fact, death.round, death.when) == (fact.kind, fact.round, when)
            if hit and death.step in ("", fact.step) and death.name not in deaths_died(self._home):
                _die(self._home, death)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _die(home: Path, death: Death) -> NoReturn:
    note_death(home, death)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("survived SIGKILL")
